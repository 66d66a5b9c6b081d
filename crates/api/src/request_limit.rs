//! A general limit of requests from one address (contract 2.2), off unless the configuration sets it.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::Request, http::StatusCode};
use parking_lot::Mutex;
use tributary_control::origin::Origin;
use tributary_domain::Timestamp;

use crate::{ApiError, AppState, auth};

/// The window in which requests are counted, in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Most addresses that are remembered; with one more those whose window is over are forgotten, or else all.
const REMEMBERED: usize = 100_000;

/// Counts the requests of each address in windows of a minute. Cheap to clone.
#[derive(Clone, Default)]
pub struct RequestLimit {
    per_minute: u32,
    windows: Arc<Mutex<HashMap<Origin, Window>>>,
}

#[derive(Clone, Copy)]
struct Window {
    ends: Timestamp,
    requests: u32,
}

impl RequestLimit {
    /// At most so many requests a minute from one address; 0 = no limit.
    pub fn new(per_minute: u32) -> RequestLimit {
        RequestLimit { per_minute, windows: Arc::default() }
    }

    /// Counts a request. When it is one too many: the seconds to wait.
    fn count(&self, origin: Origin, now: Timestamp) -> Result<(), u64> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let mut windows = self.windows.lock();
        if windows.len() >= REMEMBERED {
            windows.retain(|_, window| window.ends > now);
        }
        if windows.len() >= REMEMBERED {
            windows.clear();
        }
        let fresh = Window { ends: now.plus_ms(WINDOW_MS), requests: 0 };
        let window = windows.entry(origin).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        if window.requests >= self.per_minute {
            let wait_ms = u64::try_from(window.ends.0 - now.0).unwrap_or_default();
            return Err(wait_ms.div_ceil(1_000).max(1));
        }
        window.requests += 1;
        Ok(())
    }
}

/// Counts a request; refuses it when its address is over the limit.
pub(crate) fn count(state: &AppState, request: &Request) -> Result<(), ApiError> {
    if state.request_limit.per_minute == 0 {
        return Ok(());
    }
    let from = auth::addressed(request.extensions()).origin();
    let counted = state.request_limit.count(from, state.control.now());
    counted.map_err(|wait| ApiError::of_status(StatusCode::TOO_MANY_REQUESTS, None).retry_after(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_requests_a_minute_and_others_have_their_own() {
        let limit = RequestLimit::new(2);
        let origin = |last: u8| Origin::from(Some([192, 0, 2, last].into()));
        for (at_ms, last, answer) in [
            (0, 1, Ok(())),
            (10, 1, Ok(())),
            (30_000, 1, Err(30)),
            (30_000, 2, Ok(())),
            (59_999, 1, Err(1)),
            (60_000, 1, Ok(())),
        ] {
            assert_eq!(limit.count(origin(last), Timestamp(at_ms)), answer, "{at_ms}");
        }
        assert_eq!(RequestLimit::default().count(origin(1), Timestamp(0)), Ok(()));
    }
}
