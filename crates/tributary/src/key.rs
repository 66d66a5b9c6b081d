//! The key under which secrets are encrypted at rest.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use tributary_store::{Vault, vault::KEY_BYTES};

/// Only the owner may read it.
const MODE: u32 = 0o600;

/// Reads the key file, or makes it when there is none and the store is new: an old one could not be read with a new key.
///
/// # Errors
/// When it cannot be read or made, holds something else than 64 hexadecimal digits, or others may read it.
pub(crate) fn open(path: &Path, store_is_new: bool) -> io::Result<Vault> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let hint = format!("others may read it (mode {mode:o}); run: chmod 600 {}", path.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, hint));
            }
            let wrong = || {
                io::Error::new(io::ErrorKind::InvalidData, "the key file does not hold 64 hexadecimal digits")
            };
            Ok(Vault::new(&read_hex(text.trim()).ok_or_else(wrong)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && store_is_new => create(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "is missing, but the store was written with one: put that key file back",
        )),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<Vault> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    Ok(Vault::new(&key))
}

fn read_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != KEY_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_made_once_kept_private_and_refused_when_others_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(open(&path, false).unwrap_err().to_string().contains("put that key file back"));
        assert!(!path.exists(), "no new key beside an old store");
        let sealed = open(&path, true).unwrap().seal("here", b"whisper").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(open(&path, false).unwrap().open("here", &sealed).unwrap(), b"whisper");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(&path, true).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "too short").unwrap();
        assert!(open(&path, true).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
