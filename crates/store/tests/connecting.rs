//! What may be between a node and PostgreSQL: TLS, PgBouncer. What does not work says why, and what does.
#![allow(clippy::unwrap_used, reason = "in a test it says what is wrong")]

use admit_store::{Error, Head, NodeInfo, PostgresConfig, PostgresStore, Record, Store};
use admit_testing::{Pooler, Postgres, Proxy, shared};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use uuid::Uuid;

fn open(url: &str) -> Result<PostgresStore, Error> {
    let (name, address, version) = ("node".to_owned(), String::new(), String::new());
    let info = NodeInfo { number: 1, name, address, version, format: 1 };
    PostgresStore::open(PostgresConfig::parse(url)?, info, &[])
}

/// A certificate authority, and its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), file }
    }

    /// The option that names it.
    fn root(&self) -> String {
        format!("&sslrootcert={}", self.file.path().display())
    }

    /// A server that is called so, with a certificate of this authority.
    fn server(&self, name: &str) -> Postgres {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Postgres::start_with_tls(&certificate.pem(), &key.serialize_pem())
    }
}

#[test]
fn tls_is_what_was_asked_for_or_says_what_is_wrong() {
    let [authority, other, namesake] = ["ours", "another", "ours"].map(Authority::new);
    let server = authority.server("localhost");
    let plain = Proxy::start(shared().socket());
    let check = |url: &str, options: &str, expect: Result<(), &[&str]>| {
        let opened = open(&format!("{url}{options}")).map(|_| ());
        match (opened, expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(parts)) => {
                let error = error.to_string();
                assert!(parts.iter().all(|part| error.contains(part)), "{options}: {error}");
            }
            (got, expect) => panic!("{options}: {got:?} instead of {expect:?}"),
        }
    };
    let by_name = server.url_at("localhost", "by_name");
    let by_number = server.url_at("127.0.0.1", "by_number");
    let verify = format!("&sslmode=verify-full{}", authority.root());
    check(&by_name, "", Ok(()));
    check(&by_name, "&sslmode=require", Ok(()));
    check(&by_number, "&sslmode=require", Ok(()));
    check(&by_name, &verify, Ok(()));
    check(&by_number, &verify, Err(&["127.0.0.1", "localhost", "connect by a name that"]));
    for root in [other.root(), namesake.root(), String::new()] {
        let verify = format!("&sslmode=verify-full{root}");
        check(&by_name, &verify, Err(&["authority that is not known here", "sslrootcert=FILE"]));
    }
    check(&by_name, "&sslmode=disable", Err(&["no encryption", "sslmode=require"]));
    let unencrypted = shared().url_through(&plain, "unencrypted").replace("&sslmode=disable", "");
    check(&unencrypted, "", Ok(()));
    check(&unencrypted, "&sslmode=require", Err(&["does not support TLS", "sslmode=disable"]));
}

/// Writes a record as the next of the log, and gives what the log then ends with.
fn append(store: &mut PostgresStore, batch: u128) -> Head {
    let head = store.head().unwrap();
    store.begin(&head).unwrap();
    let record = Record::after(&head, Uuid::from_u128(batch), 0, 1, head.seq, None, vec![0]);
    store.commit(&record, &[]).unwrap();
    record.head()
}

#[test]
fn two_nodes_behind_pgbouncer_share_a_log_in_session_and_in_transaction_mode() {
    let postgres = shared();
    let pooler = Pooler::start(postgres);
    for mode in ["session", "transaction"] {
        let url = pooler.url(mode, &postgres.new_schema());
        let (mut one, mut other) = (open(&url).unwrap(), open(&url).unwrap());
        let seen = other.head().unwrap();
        let ends: Vec<Head> =
            (1..=20).map(|n| append(if n % 2 == 0 { &mut one } else { &mut other }, n)).collect();
        assert_eq!(other.missed(&seen).unwrap().len(), 20, "{mode}");
        assert_eq!(one.head().unwrap(), ends[19], "{mode}");
    }
    let error = open(&pooler.url("statement", "statement")).err().unwrap().to_string();
    for part in ["statement pooling mode", "pool_mode=transaction", "directly"] {
        assert!(error.contains(part), "{error}");
    }
}
