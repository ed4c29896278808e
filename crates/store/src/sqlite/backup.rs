//! A copy of a data folder that somebody else may be using.

use std::path::Path;

use super::DB_FILE;
use super::rows::SqliteReader;
use crate::{Error, Reader};

/// Writes a consistent copy of everything in the data folder to a new file, whether or not a server uses it.
pub fn backup(folder: &Path, to: &Path) -> Result<(), Error> {
    let path = folder.join(DB_FILE);
    if !path.is_file() {
        return Err(Error::File { path, reason: "there is no database here".into() });
    }
    SqliteReader::open(&path)?.backup(to)
}
