//! The Python environment with the real clients that tests and benchmarks run.

use std::path::{Path, PathBuf};

/// How to make it.
pub const MAKE_PYTHON: &str = "cargo xtask python";

/// Its interpreter: `ADMIT_TEST_PYTHON`, else the one that [`MAKE_PYTHON`] made.
///
/// # Errors
///
/// If there is none, with the command that makes it.
pub fn python() -> Result<PathBuf, String> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/python/bin/python");
    let python = std::env::var_os("ADMIT_TEST_PYTHON").map_or_else(made, PathBuf::from);
    if python.is_file() {
        return Ok(python);
    }
    Err(format!("no Python environment at {}; make it: {MAKE_PYTHON}", python.display()))
}
