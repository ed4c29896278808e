//! One process per data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::Error;

/// The file in the data folder that is locked; it contains the owner's process id.
const LOCK_FILE: &str = "lock";

/// An operating system's lock on a data folder. It ends with its owner, however that ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks the folder, or says which process has it.
    pub fn take(folder: &Path) -> Result<FolderLock, Error> {
        let path = folder.join(LOCK_FILE);
        let failed = |error: std::io::Error| Error::file(&path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The owner may be about to write it: then it is unknown.
                let _ = (&file).take(32).read_to_string(&mut text);
                return Err(Error::Locked { folder: folder.to_owned(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The lock is what counts; on a full disk it does without the owner's name.
        if file.set_len(0).and_then(|()| file.rewind()).is_ok() {
            let _ = writeln!(file, "{}", std::process::id());
        }
        Ok(FolderLock { _file: file })
    }
}
