//! PgBouncer between a test and its cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Postgres;

/// How to get what is missing.
pub const INSTALL_POOLER: &str = "apt-get install --no-install-recommends pgbouncer";

/// Where Debian's package puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// The port that names its socket; TCP is not listened to.
const PORT: u16 = 6432;
/// How long it may take to start.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running PgBouncer with a database for each of its modes. It ends with the cluster.
pub struct Pooler<'a> {
    postgres: &'a Postgres,
}

impl Pooler<'_> {
    /// Starts one before a cluster.
    ///
    /// # Panics
    ///
    /// If there is no PgBouncer, with the command that installs it.
    #[must_use]
    pub fn start(postgres: &Postgres) -> Pooler<'_> {
        assert!(Path::new(PROGRAM).is_file(), "no {PROGRAM}; install it: {INSTALL_POOLER}");
        let folder = postgres.folder().display();
        let database =
            |mode: &str| format!("{mode} = host={folder} dbname=postgres user=admit pool_mode={mode}\n");
        let databases = ["session", "transaction", "statement"].map(database).concat();
        postgres.write(
            "pgbouncer.ini",
            &format!(
                "[databases]\n{databases}[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\nauth_type = any"
            ),
        );
        postgres.start_beside(&format!("{PROGRAM} -q {folder}/pgbouncer.ini"));
        let (socket, begun) = (postgres.folder().join(format!(".s.PGSQL.{PORT}")), Instant::now());
        while !socket.exists() {
            assert!(begun.elapsed() < READY_WITHIN, "PgBouncer does not start; see {folder}/log");
            std::thread::sleep(Duration::from_millis(5));
        }
        Pooler { postgres }
    }

    /// Where a schema is, by way of the pooler in this mode: `session`, `transaction` or `statement`.
    #[must_use]
    pub fn url(&self, mode: &str, schema: &str) -> String {
        format!("postgres://admit@{}:{PORT}/{mode}?schema={schema}", self.postgres.encoded_folder())
    }
}
