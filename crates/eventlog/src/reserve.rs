//! The file beside the log: the lock against a second process, and a reserve of space.
//!
//! To drop frames SQLite must write first. On a disk that is truly full it could not, so the log would never get room
//! again by trimming; giving up the reserve lets it. The reserve is filled again once there is space.

use std::{
    fs::{File, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use crate::LogError;

/// What is written to see whether there is space, and the step in which the reserve is filled, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Locked as long as it lives.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    bytes: u64,
    full: bool,
}

impl Reserve {
    /// Locks `<path>.lock` and fills it up to `bytes` when there is space.
    pub(crate) fn open(path: &Path, bytes: usize) -> Result<Reserve, LogError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let doing = format!("lock {}", name.display());
        let open = File::options().create(true).truncate(false).write(true).open(&name);
        let file = open.map_err(|e| LogError::file(&doing, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Io(format!("{doing}: the event log is open elsewhere")));
            }
            Err(TryLockError::Error(e)) => return Err(LogError::file(&doing, &e)),
        }
        let mut reserve = Reserve { file, bytes: bytes as u64, full: false };
        reserve.fill();
        Ok(reserve)
    }

    /// Fills it, unless it is full or there is no space yet.
    pub(crate) fn fill(&mut self) {
        if self.full {
            return;
        }
        match self.try_fill() {
            Ok(()) => self.full = true,
            Err(error) => {
                tracing::warn!(%error, "event log: no space for the reserve");
                // What is left belongs to the appends.
                self.release();
            }
        }
    }

    fn try_fill(&mut self) -> io::Result<()> {
        let mut length = self.file.seek(SeekFrom::End(0))?;
        while length < self.bytes {
            let piece = self.bytes.saturating_sub(length).min(PIECE_BYTES as u64);
            self.file.write_all(&[0; PIECE_BYTES][..piece as usize])?;
            length += piece;
        }
        self.file.set_len(self.bytes)
    }

    /// Gives the space up; whether there was any.
    pub(crate) fn release(&mut self) -> bool {
        let length = self.file.seek(SeekFrom::End(0)).unwrap_or(0);
        self.full = false;
        match self.file.set_len(0) {
            Ok(()) => length > 0,
            Err(error) => {
                tracing::warn!(%error, "event log: the reserve could not be given up");
                false
            }
        }
    }

    /// Whether the disk or a quota is full, asked of the file system itself by writing a little.
    pub(crate) fn space_is_missing(&mut self) -> bool {
        let mut probe = || {
            let length = self.file.seek(SeekFrom::End(0))?;
            let written = self.file.write_all(&[0; PIECE_BYTES]);
            self.file.set_len(length)?;
            written
        };
        probe().map_err(|e| LogError::file("check for space", &e)) == Err(LogError::Full)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_reserve_is_held_given_up_once_and_filled_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let size = || std::fs::metadata(folder.path().join("events.db.lock")).unwrap().len();
        let mut reserve = Reserve::open(&path, 100_000).unwrap();
        assert_eq!(size(), 100_000);
        assert!(!reserve.space_is_missing());
        assert_eq!(size(), 100_000);
        assert!(reserve.release());
        assert_eq!(size(), 0);
        assert!(!reserve.release(), "there is nothing left to give up");
        reserve.fill();
        assert_eq!(size(), 100_000);
        drop(reserve);
        drop(Reserve::open(&path, 10).unwrap());
        assert_eq!(size(), 10, "a smaller reserve is wanted now");
    }
}
