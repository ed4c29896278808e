//! A command line that knows every server, and loses the one that it asks.

use admit_testing::shared;
use uuid::Uuid;

use crate::support::{Running, content, wait_until};
use crate::{Cluster, set_limit, take};

/// Longer than any wait in these tests: it is not this that ends.
const LONG_MS: u64 = 600_000;
/// A command that writes its lease's id to a file and ends when there is another file.
const UNTIL_TOLD: &str = "echo $ADMIT_LEASE_ID > $0.lease; while [ ! -e $0.go ]; do sleep 0.05; done";

impl Cluster<'_> {
    /// `admit run db`, which knows all servers and asks the first; its folder is that of the last.
    fn run(&self, name: &str, flags: &[&str]) -> Running {
        let urls: Vec<&str> = self.nodes.iter().map(|node| &*node.url).collect();
        let mut command = self.nodes[2].admit();
        command.env("ADMIT_URL", urls.join(",")).args(["run", "db"]).args(flags);
        Running::start(command.args(["--", "sh", "-c", UNTIL_TOLD, name]))
    }

    /// The lease of a command that runs.
    fn lease_of(&self, name: &str) -> Uuid {
        content(&self.nodes[2], &format!("{name}.lease")).parse().unwrap()
    }

    fn let_end(&self, name: &str) {
        std::fs::write(self.nodes[2].file(&format!("{name}.go")), "").unwrap();
    }
}

/// Loses the first server, then the second; each time the lease is renewed through another one before it ends.
fn a_slot_is_kept(lose: fn(&mut Cluster<'_>, usize)) {
    let mut cluster = Cluster::start(shared());
    let last = cluster.nodes[2].client();
    set_limit(&last, "db", 1);
    // A third of it passes between two renewals; a busy machine takes its time for one.
    let job = cluster.run("job", &["--ttl", "15s"]);
    let id = cluster.lease_of("job");
    for n in [0, 1] {
        lose(&mut cluster, n);
        let ends_at = || last.lease(id).expect("it is renewed through another server").expires_at;
        let before = ends_at();
        wait_until("it is renewed", || ends_at() > before);
    }
    cluster.let_end("job");
    let (code, said) = job.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(last.lease(id).unwrap_err().status(), Some(410), "it is given back, too");
}

#[test]
fn a_command_keeps_its_slot_when_the_servers_that_renew_it_die() {
    a_slot_is_kept(|cluster, n| {
        cluster.nodes[n].stop(libc::SIGKILL);
    });
}

#[test]
fn a_command_keeps_its_slot_when_the_servers_that_renew_it_say_nothing() {
    a_slot_is_kept(|cluster, n| cluster.pause(n));
}

#[test]
fn who_waits_keeps_its_id_and_place_when_the_server_that_it_waits_at_dies() {
    let mut cluster = Cluster::start(shared());
    let last = cluster.nodes[2].client();
    set_limit(&last, "db", 1);
    let held = take(&last, "db", LONG_MS, 0).unwrap();
    let waiting = |count: u32| last.limit("db").unwrap().waiting == count;
    let first = cluster.run("first", &[]);
    wait_until("one waits", || waiting(1));
    let second = cluster.run("second", &[]);
    wait_until("two wait", || waiting(2));
    // Ids of requests are in the order in which they are made.
    let marker = Uuid::now_v7();
    cluster.nodes[0].stop(libc::SIGKILL);
    last.release(held.id).unwrap();

    let id = cluster.lease_of("first");
    assert!(id < marker, "it is still the request of before");
    assert!(waiting(1), "the second waits on");
    cluster.let_end("first");
    assert_eq!(first.end().0, Some(0));
    let id = cluster.lease_of("second");
    assert!(id < marker, "so is that");
    cluster.let_end("second");
    assert_eq!(second.end().0, Some(0));
}

#[test]
fn a_command_line_begins_with_any_server_that_is_there() {
    let mut cluster = Cluster::start(shared());
    cluster.nodes[0].stop(libc::SIGKILL);
    cluster.nodes[1].stop(libc::SIGKILL);
    set_limit(&cluster.nodes[2].client(), "db", 1);
    let job = cluster.run("job", &["--wait", "0"]);
    cluster.lease_of("job");
    cluster.let_end("job");
    assert_eq!(job.end().0, Some(0));
}
