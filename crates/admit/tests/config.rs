//! `admit config check`: where values come from, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use support::{admit, text};

struct Given<'a> {
    file: &'a str,
    env: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

fn check(given: &Given<'_>) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    if !given.file.is_empty() {
        std::fs::write(folder.path().join("admit.toml"), given.file).unwrap();
    }
    let mut command = admit(folder.path());
    command.envs(given.env.iter().copied()).args(["config", "check"]).args(given.flags);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const NOTHING: Given<'_> = Given { file: "", env: &[], flags: &[] };

#[test]
fn nothing_need_be_configured() {
    let (code, shown, _) = check(&NOTHING);
    assert_eq!(code, 0);
    assert_eq!(
        shown,
        "\
SETTING           VALUE           FROM
listen            127.0.0.1:7070  default
tls_cert          -               default
tls_key           -               default
allow_hosts       -               default
prefect           127.0.0.1:4200  default
prefect_hold      25s             default
prefect_upstream  -               default
data              ./admit-data    default
database          -               default
durability        full            default
history_age       24h             default
history_bytes     1GB             default
log_level         info            default
log_format        text            default
"
    );
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\ndata = \"f\"\nlog_level = \"warn\"\nallow_hosts = [\"a\", \"b\"]\n";
    let env = [("ADMIT_LISTEN", "127.0.0.1:2"), ("ADMIT_DATA", "e"), ("ADMIT_ALLOW_HOSTS", "c, d")];
    let (code, shown, _) = check(&Given { file, env: &env, flags: &["--listen", "127.0.0.1:3"] });
    assert_eq!(code, 0);
    for line in [
        "listen            127.0.0.1:3     --listen",
        "data              e               ADMIT_DATA",
        "log_level         warn            admit.toml, line 3",
        "allow_hosts       c, d            ADMIT_ALLOW_HOSTS",
    ] {
        assert!(shown.contains(line), "{shown} lacks {line}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let refused = |given: Given<'_>, expect: &[&str]| {
        let (code, shown, said) = check(&given);
        assert_eq!((code, shown.as_str()), (78, ""), "{said}");
        for part in expect {
            assert!(said.contains(part), "{said:?} lacks {part:?}");
        }
    };
    let file = |file| Given { file, ..NOTHING };
    refused(file("lisen = \"x\""), &["admit.toml, line 1", "'lisen'", "did you mean 'listen'?"]);
    refused(file("\n\ndurabilty = \"full\""), &["admit.toml, line 3", "did you mean 'durability'?"]);
    refused(file("listen = \"x\""), &["admit.toml, line 1, listen: 'x' is no address"]);
    refused(file("listen = 7070"), &["admit.toml, line 1", "a text is expected, not integer"]);
    refused(file("listen = "), &["admit.toml, line 1"]);
    refused(
        file("history_age = \"1\"\nhistory_bytes = \"2gb\""),
        &["line 1, history_age", "line 2, history_bytes"],
    );
    refused(file("prefect = \"on\""), &["'on' is no address", "or off"]);
    refused(file("prefect_hold = \"2m\""), &["line 1, prefect_hold", "at most 50s"]);
    refused(file("tls_cert = \"c.pem\""), &["tls_key", "a certificate (tls_cert) needs its key"]);
    refused(
        Given { env: &[("ADMIT_LOG_FORMAT", "xml")], ..NOTHING },
        &["ADMIT_LOG_FORMAT: 'xml' is none of text, json"],
    );
    refused(
        Given { env: &[("ADMIT_LOG_LEVEL", "loud")], ..NOTHING },
        &["ADMIT_LOG_LEVEL: 'loud' is no level"],
    );
    refused(
        Given { flags: &["--durability", "x"], ..NOTHING },
        &["--durability: 'x' is none of full, normal"],
    );
    refused(Given { flags: &["--config", "no.toml"], ..NOTHING }, &["no.toml", "No such file"]);
}

#[test]
fn a_mistyped_variable_is_warned_about() {
    let (code, _, said) =
        check(&Given { env: &[("ADMIT_LISTN", "x"), ("ADMIT_SERVICE_HOST", "x")], ..NOTHING });
    assert_eq!(code, 0);
    assert!(said.contains("ADMIT_LISTN is no setting") && said.contains("ADMIT_LISTEN?"), "{said}");
    assert!(!said.contains("ADMIT_SERVICE_HOST"), "{said}");
}
