//! Where the database is, and how to get there.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::SslMode;

use super::session::Path as SessionPath;
use super::{CALL_TIMEOUT, Tls, tls};
use crate::Error;

/// The schema that is used unless another is named.
const DEFAULT_SCHEMA: &str = "admit";
/// PostgreSQL cuts longer names off without a word.
const MAX_SCHEMA_BYTES: usize = 63;
/// How long getting a connection may take, per address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After how long a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A PostgreSQL database, and which schema in it is ours.
#[derive(Clone)]
pub struct PostgresConfig {
    pub(super) connect: Box<tokio_postgres::Config>,
    pub(super) tls: Tls,
    pub(super) schema: String,
    /// What is between us and the database, if that was said.
    pub(super) path: Option<SessionPath>,
}

impl PostgresConfig {
    /// Understands `postgres://user:password@host:port/database?option=value&...`.
    ///
    /// Besides what PostgreSQL's own clients know: `schema` (`admit`) is created if it is not there;
    /// `sslmode` is `disable`, `prefer` (the default: TLS if the server has it), `require` (TLS, whoever the
    /// server is) or `verify-full` (TLS, and the server is who the certificate says, by the system's
    /// authorities or those in the file `sslrootcert`); `pool_mode=transaction` says that there is a pooler of
    /// this kind between, which is found out otherwise.
    pub fn parse(url: &str) -> Result<PostgresConfig, Error> {
        let bad = |reason: String| Error::Refused(reason);
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad("it begins with neither postgres:// nor postgresql://".to_owned()));
        }
        let (address, options) = url.split_once('?').unwrap_or((url, ""));
        let (mut schema, mut ssl_mode, mut root, mut path) = (DEFAULT_SCHEMA.to_owned(), None, None, None);
        let mut others = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "schema" => schema = value,
                "sslmode" => ssl_mode = Some(value),
                "pool_mode" => path = Some(pool_mode(&value)?),
                "sslrootcert" => root = Some(PathBuf::from(value)),
                _ => others.push(option),
            }
        }
        if schema.is_empty() || schema.len() > MAX_SCHEMA_BYTES || schema.contains('\0') {
            return Err(bad(format!(
                "schema={schema}: a schema's name has 1 to {MAX_SCHEMA_BYTES} bytes, none of them zero"
            )));
        }
        let (ssl_mode, verify) = match ssl_mode.as_deref() {
            Some("disable") => (SslMode::Disable, false),
            None | Some("prefer") => (SslMode::Prefer, false),
            Some("require") => (SslMode::Require, root.is_some()),
            Some("verify-full") => (SslMode::Require, true),
            Some(other) => {
                return Err(bad(format!(
                    "sslmode={other} is none of disable, prefer, require and verify-full"
                )));
            }
        };
        let address = format!("{address}?{}", others.join("&"));
        let mut connect: tokio_postgres::Config =
            address.parse().map_err(|error: tokio_postgres::Error| {
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                bad(format!("{error}{cause}"))
            })?;
        connect.ssl_mode(ssl_mode).keepalives_idle(KEEPALIVE).tcp_user_timeout(CALL_TIMEOUT);
        if connect.get_connect_timeout().is_none() {
            connect.connect_timeout(CONNECT_TIMEOUT);
        }
        if connect.get_application_name().is_none() {
            connect.application_name("admit");
        }
        let tls = tls::connector(verify, root.as_deref())?;
        Ok(PostgresConfig { connect: Box::new(connect), tls, schema, path })
    }

    /// The name of our schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The name of our schema as it stands in a statement.
    pub(super) fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// The name of our role as it stands in a statement; none: the URL names none.
    pub(super) fn quoted_role(&self) -> Option<String> {
        self.connect.get_user().map(quoted)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn pool_mode(value: &str) -> Result<SessionPath, Error> {
    match value {
        "session" => Ok(SessionPath::Direct),
        "transaction" => Ok(SessionPath::Pooled),
        "statement" => Err(Error::Refused(
            "pool_mode=statement: a batch needs a transaction of several statements".to_owned(),
        )),
        _ => Err(Error::Refused(format!("pool_mode={value} is neither session nor transaction"))),
    }
}

/// Says where, not how to get in.
impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("hosts", &self.connect.get_hosts())
            .field("database", &self.connect.get_dbname())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let config =
            PostgresConfig::parse("postgres://a:b%20c@db:5433/x?schema=my%22own&sslmode=require").unwrap();
        assert_eq!(config.quoted_schema(), "\"my\"\"own\"");
        assert_eq!(config.connect.get_user(), Some("a"));
        assert_eq!(config.connect.get_ports(), [5433]);
        assert_eq!(config.connect.get_ssl_mode(), SslMode::Require);
        assert!(!format!("{config:?}").contains("b c"), "no password");
        assert_eq!(PostgresConfig::parse("postgresql://db").unwrap().schema(), "admit");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, expected) in [
            ("mysql://db", "neither postgres:// nor"),
            ("postgres://db?sslmode=allow", "sslmode=allow is none of"),
            ("postgres://db?schema=", "1 to 63 bytes"),
            ("postgres://db?pool_mode=statement", "a transaction of several statements"),
            ("postgres://db?nonsense=1", "nonsense"),
            ("postgres://db:port/", "port"),
            ("postgres://db?sslmode=verify-full&sslrootcert=/nowhere.pem", "/nowhere.pem"),
        ] {
            let error = PostgresConfig::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
