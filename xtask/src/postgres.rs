//! The PostgreSQL that tests and benchmarks start clusters of their own with.

use std::path::Path;

use crate::command::run;

/// Where Debian's packages put it.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Keeps the package from starting a cluster for the whole machine, which nobody asked for.
const NO_CLUSTER: (&str, &str) =
    ("/etc/postgresql-common/createcluster.d/admit.conf", "create_main_cluster = false\n");

/// Installs it if it is missing.
pub fn install() -> Result<(), String> {
    let versions = std::fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    if versions.into_iter().any(|version| version.path().join("bin/initdb").is_file()) {
        return Ok(());
    }
    eprintln!(
        "no PostgreSQL below {PROGRAMS}: installing it with apt-get, without a cluster for the machine"
    );
    with_apt().map_err(|error| {
        format!("{error}\nThe tests start a PostgreSQL of their own; install it: apt-get install --no-install-recommends postgresql")
    })
}

fn with_apt() -> Result<(), String> {
    let install = |package: &str| run("apt-get", &["install", "--yes", "--no-install-recommends", package]);
    run("apt-get", &["update"])?;
    install("postgresql-common")?;
    let (path, text) = NO_CLUSTER;
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| format!("{path}: {error}"))?;
    install("postgresql")
}
