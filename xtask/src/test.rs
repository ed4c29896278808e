//! The project's test command: all that a change has to pass.

use crate::command::cargo;

/// Seeds that the simulator runs as part of the tests.
const SEEDS: &str = "10000";

/// Runs every check. Beyond the Rust toolchain, what the tests need is installed here.
pub fn run() -> Result<(), String> {
    c_compiler()?;
    crate::postgres::install()?;
    crate::postgres::install_pooler()?;
    crate::python::environment()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["test", "--workspace"])?;
    cargo(&["run", "--release", "-p", "admit-sim", "--", "--seeds", SEEDS])
}

/// The bundled SQLite is built from C.
fn c_compiler() -> Result<(), String> {
    let found = ["cc", "gcc", "clang"].iter().any(|name| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
    });
    if found {
        return Ok(());
    }
    let install: &[&str] = &["install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"];
    eprintln!("no C compiler: installing gcc and libc6-dev with apt-get");
    crate::command::run("apt-get", &["update"]).and_then(|()| crate::command::run("apt-get", install)).map_err(|error| {
        format!("{error}\nA C compiler is needed for the bundled SQLite; install one: apt-get install gcc libc6-dev")
    })
}
