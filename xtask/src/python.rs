//! A Python environment of the project's own, with the clients that tests run against the server. It lies under
//! `.cache/` and is never a part of the product.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::{root, run as run_program};

/// What is installed. Prefect's server takes no other FastAPI, and its libraries are those of its lock file, so
/// that a release of theirs tomorrow does not change what is tested today.
const PACKAGES: &[&str] = &[
    "prefect==3.8.8",
    "fastapi==0.141.1",
    "starlette==1.3.1",
    "pydantic==2.13.4",
    "sqlalchemy==2.0.45",
    "uvicorn==0.52.0",
    "asyncpg==0.31.0",
    "openapi-python-client==0.29.1",
];

/// The file that says what was installed, written last.
const STAMP: &str = "packages.txt";

/// Makes the environment unless it is there with these versions. Tests and benchmarks look for it here, unless
/// `ADMIT_TEST_PYTHON` names another Python.
pub fn environment() -> Result<(), String> {
    let folder = root().join(".cache/python");
    let wanted = PACKAGES.join("\n");
    let installed = std::fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
    if installed == wanted && starts(&folder.join("bin/python")) {
        eprintln!("Python environment: {} is up to date", folder.display());
    } else {
        make(&folder)?;
        std::fs::write(folder.join(STAMP), wanted)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), String> {
    eprintln!("Python environment: making {} with {}", folder.display(), PACKAGES.join(", "));
    let path = folder.display().to_string();
    let venv = ["-m", "venv", "--clear", &path];
    if !has_venv() {
        install_venv()?;
    }
    run_program("python3", &venv)?;
    let python = folder.join("bin/python").display().to_string();
    let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
    run_program(&python, &[&pip, PACKAGES].concat())
}

/// Whether Python is there with all that an environment takes; Debian leaves a part of it out.
fn has_venv() -> bool {
    quiet("python3", &["-c", "import ensurepip, venv"])
}

fn starts(python: &Path) -> bool {
    python.is_file() && quiet(&python.display().to_string(), &["-c", "import prefect.client"])
}

fn quiet(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn install_venv() -> Result<(), String> {
    const INSTALL: &[&str] = &["install", "--yes", "--no-install-recommends", "python3", "python3-venv"];
    eprintln!("Python environment: no python3 with venv; installing python3-venv with apt-get");
    run_program("apt-get", &["update"]).and_then(|()| run_program("apt-get", INSTALL)).map_err(|error| {
        format!(
            "{error}\nThe tests of Prefect's client need Python 3.10 or newer with venv; \
             install it: apt-get install python3-venv"
        )
    })
}
