//! The PostgreSQL that tests and benchmarks start clusters of their own with, and the pooler that tests put before it.

use std::path::Path;

use crate::command::run;

/// Where Debian's packages put it.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Keeps the package from starting a cluster for the whole machine, which nobody asked for.
const NO_CLUSTER: (&str, &str) =
    ("/etc/postgresql-common/createcluster.d/admit.conf", "create_main_cluster = false\n");
/// Where Debian's package puts the pooler.
const POOLER: &str = "/usr/sbin/pgbouncer";
/// What Debian's packages ask before they start a service.
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";

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

/// Installs PgBouncer if it is missing.
pub fn install_pooler() -> Result<(), String> {
    if Path::new(POOLER).is_file() {
        return Ok(());
    }
    eprintln!("no {POOLER}: installing it with apt-get, without a service for the machine");
    without_services(|| run("apt-get", &["update"]).and_then(|()| apt_install("pgbouncer"))).map_err(|error| {
        format!("{error}\nThe tests start a PgBouncer of their own; install it: apt-get install --no-install-recommends pgbouncer")
    })
}

fn with_apt() -> Result<(), String> {
    run("apt-get", &["update"])?;
    apt_install("postgresql-common")?;
    let (path, text) = NO_CLUSTER;
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| format!("{path}: {error}"))?;
    apt_install("postgresql")
}

fn apt_install(package: &str) -> Result<(), String> {
    run("apt-get", &["install", "--yes", "--no-install-recommends", package])
}

/// Installs something whose package starts a service, which Debian lets a file forbid.
fn without_services(install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let policy = Path::new(NO_SERVICES);
    if policy.exists() {
        return install();
    }
    let allow = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::write(policy, "#!/bin/sh\nexit 101\n")
        .and_then(|()| std::fs::set_permissions(policy, allow))
        .map_err(|error| format!("{NO_SERVICES}: {error}"))?;
    let installed = install();
    std::fs::remove_file(policy).map_err(|error| format!("{NO_SERVICES}: {error}"))?;
    installed
}
