//! TLS, and certificates that change.

use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use admit_http::{Access, ListenError, Listener, ListenerConfig, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::server::{Answer, Server};

/// Writes a new certificate and its key; gives the certificate.
fn issue(folder: &Path) -> CertificateDer<'static> {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), issued.cert.pem()).unwrap();
    issued.cert.der().clone()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
}

/// Asks over TLS, trusting this certificate alone.
fn healthz(server: &Server, trusted: &CertificateDer<'static>) -> Result<u16, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream =
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), server.connect());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    Ok(Answer::read(&mut BufReader::new(stream)).status)
}

#[test]
fn a_certificate_is_served_and_reloaded_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path());
    let server = Server::start(|config| config.tls = Some(files(folder.path())));
    assert_eq!(healthz(&server, &first).unwrap(), 200);

    // A broken file leaves the certificate in force as it is.
    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    std::thread::sleep(admit_http::TLS_CHECK);
    assert_eq!(healthz(&server, &first).unwrap(), 200);

    let second = issue(folder.path());
    server.until("the new certificate", |server| healthz(server, &second).is_ok());
    assert!(healthz(&server, &first).is_err());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bind = || {
        let mut config = ListenerConfig::new("native", "127.0.0.1:0".parse().unwrap(), Access::Public);
        config.tls = Some(files(folder.path()));
        match Listener::bind(config) {
            Err(error @ ListenError::Tls { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it cannot"),
        }
    };
    assert!(bind().contains("cert.pem"));
    issue(folder.path());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    assert!(bind().contains("does not fit"), "{}", bind());
    std::fs::write(folder.path().join("key.pem"), "").unwrap();
    assert!(bind().contains("key.pem"), "{}", bind());
}
