//! The benchmarks, in release builds.

use crate::command::{cargo, root, run as run_program};

/// Runs the benchmarks of these names, or all.
pub fn run(names: &[String]) -> Result<(), String> {
    let all = names.is_empty();
    if all || names.iter().any(|name| name == "kernel") {
        cargo(&["bench", "-p", "admit-kernel"])?;
    }
    if all || names.iter().any(|name| name == "cluster") {
        crate::postgres::install()?;
        cargo(&["bench", "-p", "admit-engine", "--bench", "cluster"])?;
    }
    let libraries = ["kernel", "cluster"];
    let rest: Vec<&str> = names.iter().map(String::as_str).filter(|name| !libraries.contains(name)).collect();
    if all || !rest.is_empty() {
        if all || rest.contains(&"prefect") {
            crate::python::environment()?;
        }
        if all || rest.contains(&"nodes") {
            crate::postgres::install()?;
        }
        cargo(&["build", "--release", "-p", "admit", "-p", "admit-bench"])?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        let binary = |name: &str| target.join("release").join(name).display().to_string();
        let admit = binary("admit");
        let arguments: Vec<&str> = [admit.as_str()].into_iter().chain(rest).collect();
        run_program(&binary("admit-bench"), &arguments)?;
    }
    Ok(())
}
