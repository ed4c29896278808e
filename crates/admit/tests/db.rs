//! `admit db`: the data itself, in a folder and in a database.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::process::Output;

use admit_testing::{Postgres, shared};
use serde_json::Value;
use support::{Server, admit, text, wait_until};
use tempfile::TempDir;

/// A database of its own, and the command line on it.
struct Database {
    postgres: &'static Postgres,
    schema: String,
    folder: TempDir,
}

impl Database {
    fn new() -> Database {
        let postgres = shared();
        Database { postgres, schema: postgres.new_schema(), folder: tempfile::tempdir().unwrap() }
    }

    fn url(&self) -> String {
        self.postgres.url(&self.schema)
    }

    fn serve(&self) -> Server {
        Server::start_in(
            tempfile::tempdir().unwrap(),
            &["--listen", "127.0.0.1:0", "--database", &self.url()],
        )
    }

    fn call(&self, args: &[&str]) -> Output {
        admit(self.folder.path()).args(args).env("ADMIT_DATABASE", self.url()).output().unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.schema, sql)
    }
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

#[test]
fn a_database_is_checked_beside_the_server_that_uses_it() {
    let database = Database::new();
    let server = database.serve();
    server.ok(&["limit", "set", "db", "--max", "2"]);
    server.ok(&["acquire", "db", "--ttl", "10m"]);
    let output = database.call(&["db", "check"]);
    let shown = text(&output.stdout);
    assert!(
        output.status.success() && shown.contains("1 leases") && shown.contains("all is well"),
        "{shown}"
    );
    let report = json(&database.call(&["db", "check", "--json"]));
    assert_eq!((&report["totals"]["limits"], &report["first_seq"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["problems"], Value::Array(Vec::new()));

    database.sql("UPDATE log SET time_ms = time_ms + 1 WHERE seq = 2");
    let output = database.call(&["db", "check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("record 2: its checksum does not fit"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_be_checked_is_told_with_the_way_out() {
    let database = Database::new();
    let check = |args: &[&str], code: i32, says: &str| {
        let output = database.call(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    };
    check(&["db", "check"], 1, &format!("there is nothing of Admit in the schema {}", database.schema));
    check(&["db", "check", "--database", "postgres://me@127.0.0.1:1/x"], 69, "not available");
    check(&["db", "check", "--database", "mysql://x"], 78, "--database");
    check(&["db", "check", "--data", "."], 1, "there is no database here");
    check(&["db", "backup", "copy"], 1, &format!("pg_dump --format=custom --schema='{}'", database.schema));
    check(&["db", "upgrade", "--data", "nowhere"], 1, "there is no database here");
}

#[test]
fn an_upgrade_makes_what_is_missing_and_says_so() {
    let database = Database::new();
    let output = database.call(&["db", "upgrade"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(
        shown.contains("those of `store` went from version 0") && shown.contains("all is up to date"),
        "{shown}"
    );
    assert_eq!(database.sql("SELECT count(*) FROM nodes"), "0", "it has left");
    let again = json(&database.call(&["db", "upgrade", "--json"]));
    assert_eq!(
        (&again["tables"], &again["format"]["from"]),
        (&Value::Array(Vec::new()), &again["format"]["to"])
    );
}

#[test]
fn an_upgrade_leaves_the_format_to_servers_that_know_no_newer_one() {
    let database = Database::new();
    let server = database.serve();
    wait_until("it is there", || database.sql("SELECT count(*) FROM nodes") == "1");
    // As if it was of an older version.
    database.sql(
        "CREATE FUNCTION older() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.name NOT LIKE '%upgrade%' THEN NEW.format = 1; END IF; RETURN NEW; END $$;
         CREATE TRIGGER older BEFORE INSERT OR UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION older()",
    );
    wait_until("it says so", || database.sql("SELECT format FROM nodes") == "1");
    let output = database.call(&["db", "upgrade"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("its format stays 1, the newest that") && shown.contains("upgrade that server"),
        "{shown}"
    );
    drop(server);
}

#[test]
fn a_folder_is_checked_and_upgraded_where_no_server_uses_it() {
    let mut server = Server::start();
    server.ok(&["limit", "set", "db", "--max", "1"]);
    let refused = server.call(&["db", "upgrade"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("in use by process"), "{}", text(&refused.stderr));
    assert!(text(&server.call(&["db", "check"]).stderr).contains("in use by a server"));
    server.stop(libc::SIGTERM);
    let shown = server.ok(&["db", "upgrade"]);
    assert!(shown.contains("there was nothing to do"), "{shown}");
    let report = json(&server.call(&["db", "check", "--json"]));
    assert_eq!(
        (&report["in_use_by"], &report["problems"]),
        (&Value::Null, &Value::Array(Vec::new())),
        "{report}"
    );
}
