//! Open files: the process may have as many as the system lets it, and connections leave some for deliveries.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process opens besides connections and deliveries: databases, kept connections to destinations.
const OTHERS: usize = 256;

/// Raises the limit of open files to the highest that is allowed; the limit then.
pub(crate) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
    let now = getrlimit(Resource::Nofile).current;
    now.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// How many connections there may be with so many open files, if deliveries are to have theirs: at least half of them.
pub(crate) fn connections(wanted: usize, files: usize, deliveries: usize) -> usize {
    wanted.min(files - deliveries.saturating_add(OTHERS).min(files / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn deliveries_have_descriptors_left() {
        for (wanted, files, deliveries, given) in [
            (10_000, 1_048_576, 1_024, 10_000),
            (10_000, 1_024, 1_024, 512),
            (10_000, 4_096, 1_024, 2_816),
            (100, 1_024, 1_024, 100),
            (10_000, usize::MAX, usize::MAX, 10_000),
            (10_000, 0, 0, 1),
        ] {
            assert_eq!(connections(wanted, files, deliveries), given, "{wanted} {files} {deliveries}");
        }
    }
}
