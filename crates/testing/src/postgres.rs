//! A PostgreSQL cluster that lives as long as the test that started it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How to get what is missing.
pub const INSTALL: &str = "apt-get install --no-install-recommends postgresql";

/// Reads commands line by line until its input ends, however the test ends; then it cleans up. A signal to the
/// terminal's whole group must not stop it before.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
bin=$1
runs=
dir=$(mktemp -d "${TMPDIR:-/tmp}/admit-pg.XXXXXX") || exit 1
cd "$dir"
start() {
    "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/log" -o "-k '$dir' -c listen_addresses='' -c max_connections=400 \
        -c shared_buffers=128MB -c max_wal_size=2GB $1" start || { cat "$dir/log" >&2; exit 1; }
}
"$bin/initdb" -D "$dir/data" -U admit -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
start "$2"
echo "$dir"
while read -r command argument; do
    case $command in
        stop) "$bin/pg_ctl" -D "$dir/data" -w -s -m "$argument" stop ;;
        start) start "$argument" ;;
        write) (umask 077; while IFS= read -r line && [ "$line" != . ]; do printf '%s\n' "$line"; done >"$dir/$argument") ;;
        run) $argument >>"$dir/log" 2>&1 & runs="$runs $!" ;;
    esac
    echo done
done
[ -z "$runs" ] || kill $runs
"$bin/pg_ctl" -D "$dir/data" -w -s -m immediate stop
rm -rf "$dir"
"#;

/// The port that names the socket; TCP is not listened to.
const PORT: u16 = 5432;

/// A running cluster, reached through a unix socket in a folder of its own. It syncs to disk as usual.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Keeper>,
}

struct Keeper {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<std::process::ChildStdout>,
}

static NAMES: AtomicU64 = AtomicU64::new(1);

/// The cluster that the tests of this process share: each uses a schema of its own.
pub fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(""))
}

impl Postgres {
    /// Starts a cluster with further options of the server (`-c name=value`).
    ///
    /// # Panics
    ///
    /// If there is no PostgreSQL, with the command that installs it.
    #[must_use]
    pub fn start(options: &str) -> Postgres {
        let bin = bin();
        let mut command = unprivileged();
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(&bin).arg(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        let mut child = command.spawn().expect("a shell to start PostgreSQL with");
        let commands = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("a piped output"));
        let folder = PathBuf::from(line(&mut answers));
        Postgres { folder, port: PORT, keeper: Mutex::new(Keeper { child, commands, answers }) }
    }

    /// Starts a cluster that listens to TCP on 127.0.0.1, too, and takes no connection there without TLS.
    /// The server's certificate and its key are in PEM.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn start_with_tls(certificate: &str, key: &str) -> Postgres {
        let mut postgres = Postgres::start("");
        postgres.stop("fast");
        postgres.write("server.crt", certificate);
        postgres.write("server.key", key);
        postgres.write("hba", "local all all trust\nhostssl all all 127.0.0.1/32 trust");
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        postgres.port = free.port();
        let (folder, port) = (postgres.folder.display(), postgres.port);
        postgres.start_again(&format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c hba_file={folder}/hba \
             -c ssl=on -c ssl_cert_file={folder}/server.crt -c ssl_key_file={folder}/server.key"
        ));
        postgres
    }

    /// A name that no other test of this process uses.
    #[must_use]
    pub fn new_schema(&self) -> String {
        format!("test_{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }

    /// Where a schema is.
    #[must_use]
    pub fn url(&self, schema: &str) -> String {
        format!("postgres://admit@{}:{}/postgres?schema={schema}", self.encoded_folder(), self.port)
    }

    /// Where a schema is, over TCP to a server of this name, which has to be this machine.
    #[must_use]
    pub fn url_at(&self, host: &str, schema: &str) -> String {
        format!("postgres://admit@{host}:{}/postgres?schema={schema}", self.port)
    }

    /// The folder of the sockets as it stands in a URL.
    pub(crate) fn encoded_folder(&self) -> String {
        self.folder.display().to_string().replace('/', "%2F")
    }

    /// The folder of the sockets and of all that the server has.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the schema is that stands for a test's folder, so that what runs in folders runs here, too.
    ///
    /// # Panics
    ///
    /// If the folder's name is not text.
    #[must_use]
    pub fn url_of(&self, folder: &Path) -> String {
        self.url(
            folder.file_name().and_then(|name| name.to_str()).expect("a temporary folder's name is text"),
        )
    }

    /// The socket that the server listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    /// Where a schema is, by way of a proxy on this port.
    #[must_use]
    pub fn url_through(&self, proxy: &crate::Proxy, schema: &str) -> String {
        format!("postgres://admit@127.0.0.1:{}/postgres?schema={schema}&sslmode=disable", proxy.port())
    }

    /// Stops the server; `mode` is `fast` or `immediate`, the latter as good as a crash.
    pub fn stop(&self, mode: &str) {
        self.command(&format!("stop {mode}"));
    }

    /// Starts it again with further options.
    pub fn start_again(&self, options: &str) {
        self.command(&format!("start {options}"));
    }

    /// Writes a file into its folder, readable for the server alone.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.command(&format!("write {name}\n{text}\n."));
    }

    /// Starts a program beside the server, as the same user; it ends with the server.
    pub(crate) fn start_beside(&self, command: &str) {
        self.command(&format!("run {command}"));
    }

    /// Runs a program of PostgreSQL's, such as `psql` or `pg_dump`, against the server; gives its output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(bin().join(program))
            .args(["-h".as_ref(), self.folder.as_os_str(), "-U".as_ref(), "admit".as_ref()])
            .args(["-p", &self.port.to_string(), "-d", "postgres"])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Executes SQL in a schema, as its administrator; gives the output, columns separated by `|`.
    pub fn sql(&self, schema: &str, sql: &str) -> String {
        let in_schema = format!("SET search_path = \"{schema}\"; {sql}");
        let output = self.run("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", &in_schema]);
        output.trim().to_owned()
    }

    fn command(&self, command: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = keeper.commands.as_mut().expect("it is open until it is dropped");
        writeln!(commands, "{command}").expect("the shell is there");
        assert_eq!(line(&mut keeper.answers), "done");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(keeper.commands.take());
        let _ = keeper.child.wait();
    }
}

fn line(answers: &mut impl BufRead) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("the shell's output");
    assert!(!line.is_empty(), "PostgreSQL could not be started, see above");
    line.trim_end().to_owned()
}

/// The newest PostgreSQL that Debian's packages put here.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .max_by_key(|(version, _)| *version)
        .map(|(_, bin)| bin)
        .unwrap_or_else(|| panic!("no PostgreSQL below /usr/lib/postgresql; install it: {INSTALL}"))
}

/// PostgreSQL refuses to run as root.
fn unprivileged() -> Command {
    let is_root = Path::new("/proc/self").metadata().is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if is_root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]);
        command
    } else {
        Command::new("env")
    }
}
