//! Access tokens: a table of hashes, and the same in memory for every request to be held against.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use admit_engine::Engine;
use admit_store::{Migration, Row, TableCheck, Write};

use crate::credential::{Hash, hash, new_secret};
use crate::{AuditEntry, MAX_TOKEN_NAME_BYTES, MAX_TOKENS, Role, TOKENS_CHECK};

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] = &[Migration {
    component: "http",
    version: 1,
    sql: "CREATE TABLE api_tokens (
              name TEXT PRIMARY KEY,
              role TEXT NOT NULL,
              sha256 BLOB NOT NULL,
              created_at BIGINT NOT NULL,
              expires_at BIGINT,
              revoked_at BIGINT
          );
          CREATE TABLE audit (
              id BLOB PRIMARY KEY,
              at BIGINT NOT NULL,
              who TEXT NOT NULL,
              through TEXT NOT NULL,
              peer TEXT NOT NULL,
              request_id TEXT NOT NULL,
              action TEXT NOT NULL,
              subject TEXT NOT NULL,
              before_json TEXT,
              after_json TEXT
          );
          CREATE INDEX audit_by_time ON audit (at);
          CREATE INDEX audit_by_subject ON audit (subject, at)",
}];

/// What can be judged of them.
pub const TABLE_CHECKS: &[TableCheck] = &[
    TableCheck {
        problem: "an access token whose role is none",
        sql: "SELECT name FROM api_tokens WHERE role NOT IN ('acquire', 'operate', 'admin') ORDER BY name LIMIT 10",
    },
    TableCheck {
        problem: "an access token whose hash is none, so that it opens nothing",
        sql: "SELECT name FROM api_tokens WHERE length(sha256) <> 32 ORDER BY name LIMIT 10",
    },
];

/// A token, without its secret, which nobody keeps. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called; no two that are valid have the same name.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it ends by itself.
    pub expires_at_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
}

impl Token {
    /// Whether it opens anything at `now_ms`.
    #[must_use]
    pub fn is_valid(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// Why a token cannot be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is empty or too long.
    #[error("a token's name has 1 to {MAX_TOKEN_NAME_BYTES} bytes")]
    BadName,
    /// A valid token has this name.
    #[error("a token named `{0}` exists; revoke it first, or choose another name")]
    NameTaken(String),
    /// No valid token has this name.
    #[error("there is no valid token named `{0}`")]
    Unknown(String),
    /// There are as many as there may be.
    #[error("there are {MAX_TOKENS} valid tokens already; revoke some")]
    TooMany,
    /// The end would be in the past.
    #[error("the token would have expired already")]
    Expired,
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// The engine could not write or read.
    #[error(transparent)]
    Engine(#[from] admit_engine::Error),
    /// A row of the table is not what this version writes.
    #[error("the table of tokens cannot be read: {0}")]
    Table(admit_store::Error),
}

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    known: RwLock<Known>,
    /// One change at a time, so that two of the same name cannot both find it free.
    changes: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<Hash, Token>,
}

impl Tokens {
    /// Reads the table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn load(engine: &Engine) -> Result<Tokens, TokenError> {
        let tokens = Tokens { known: RwLock::default(), changes: tokio::sync::Mutex::new(()) };
        tokens.read(engine).await?;
        Ok(tokens)
    }

    /// Reads the table again: another node may have changed it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn reload(&self, engine: &Engine) -> Result<(), TokenError> {
        // What is read must not undo a change that is made meanwhile.
        let _one_at_a_time = self.changes.lock().await;
        self.read(engine).await
    }

    /// Keeps up with what other nodes change, until the engine stops. Where the database is away, what is known
    /// stays: all that a token opens there is an answer that says so.
    pub async fn follow(&self, engine: &Engine) {
        loop {
            tokio::time::sleep(TOKENS_CHECK).await;
            match self.reload(engine).await {
                Err(TokenError::Engine(admit_engine::Error::Stopping)) => return,
                Err(error) => tracing::debug!(%error, "the tokens cannot be read just now"),
                Ok(()) => {}
            }
        }
    }

    async fn read(&self, engine: &Engine) -> Result<(), TokenError> {
        let sql = "SELECT name, role, sha256, created_at, expires_at, revoked_at FROM api_tokens";
        let rows = engine.query(sql, Vec::new()).await?;
        let by_hash = rows.iter().map(read).collect::<Result<_, _>>().map_err(TokenError::Table)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { by_hash };
        Ok(())
    }

    /// The valid token of this secret.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<Token> {
        self.with(|known| known.by_hash.get(&hash(secret)).filter(|token| token.is_valid(now_ms())).cloned())
    }

    /// Whether anyone has a valid token.
    #[must_use]
    pub fn any_valid(&self) -> bool {
        let now_ms = now_ms();
        self.with(|known| known.by_hash.values().any(|token| token.is_valid(now_ms)))
    }

    /// Every token by name, those that ended included.
    #[must_use]
    pub fn list(&self) -> Vec<Token> {
        let mut all: Vec<Token> = self.with(|known| known.by_hash.values().cloned().collect());
        all.sort_by(|one, two| one.name.cmp(&two.name));
        all
    }

    /// Makes a token and gives its secret, which cannot be read again.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn create(
        &self,
        engine: &Engine,
        name: &str,
        role: Role,
        expires_at_ms: Option<u64>,
        audit: AuditEntry,
    ) -> Result<(String, Token), TokenError> {
        if !(1..=MAX_TOKEN_NAME_BYTES).contains(&name.len()) {
            return Err(TokenError::BadName);
        }
        let _one_at_a_time = self.changes.lock().await;
        let created_at_ms = now_ms();
        if expires_at_ms.is_some_and(|expires| expires <= created_at_ms) {
            return Err(TokenError::Expired);
        }
        self.read(engine).await?;
        let known = self.list();
        if known.iter().any(|token| &*token.name == name && token.is_valid(created_at_ms)) {
            return Err(TokenError::NameTaken(name.to_owned()));
        }
        let dropped = match known.len() < MAX_TOKENS {
            true => None,
            false => Some(oldest_ended(&known, created_at_ms).ok_or(TokenError::TooMany)?),
        };
        let secret = new_secret().map_err(TokenError::Random)?;
        let token = Token { name: name.into(), role, created_at_ms, expires_at_ms, revoked_at_ms: None };
        let hash = hash(&secret);
        let (row, told) = (upsert(&token, hash), describe(&token));
        let audit = audit.of("token.create", name, None, Some(told));
        let dropped =
            dropped.map(|name| Write::new("DELETE FROM api_tokens WHERE name = $1", vec![name.into()]));
        let rows = move |_: Option<&_>, now| {
            dropped.iter().cloned().chain([row.clone(), audit.write(now)]).collect::<Vec<_>>()
        };
        engine.execute_with(None, rows).await?;
        self.read(engine).await?;
        // Another node may have been quicker with this name; then the row was left as it is.
        match self.with(|known| known.by_hash.contains_key(&hash)) {
            true => Ok((secret, token)),
            false => Err(TokenError::NameTaken(name.to_owned())),
        }
    }

    /// Revokes the valid token of this name, from now on.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn revoke(&self, engine: &Engine, name: &str, audit: AuditEntry) -> Result<(), TokenError> {
        let _one_at_a_time = self.changes.lock().await;
        self.read(engine).await?;
        let now_ms = now_ms();
        let found = self.with(|known| {
            let mut all = known.by_hash.iter();
            all.find(|(_, token)| &*token.name == name && token.is_valid(now_ms))
                .map(|(hash, token)| (*hash, token.clone()))
        });
        let (hash, before) = found.ok_or_else(|| TokenError::Unknown(name.to_owned()))?;
        let after = Token { revoked_at_ms: Some(now_ms), ..before.clone() };
        let row = upsert(&after, hash);
        let audit = audit.of("token.revoke", name, Some(describe(&before)), Some(describe(&after)));
        engine.execute_with(None, move |_, now| vec![row.clone(), audit.write(now)]).await?;
        self.read(engine).await
    }

    fn with<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The token that ended longest ago, to make room for a new one; the audit remembers it.
fn oldest_ended(known: &[Token], now_ms: u64) -> Option<Arc<str>> {
    let ended = known.iter().filter(|token| !token.is_valid(now_ms));
    ended.min_by_key(|token| token.revoked_at_ms.or(token.expires_at_ms)).map(|token| token.name.clone())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn describe(token: &Token) -> serde_json::Value {
    serde_json::json!({
        "name": &*token.name,
        "role": token.role,
        "expires_at_ms": token.expires_at_ms,
        "revoked_at_ms": token.revoked_at_ms,
    })
}

/// A name whose token is valid stays that token's.
fn upsert(token: &Token, hash: Hash) -> Write {
    Write::new(
        "INSERT INTO api_tokens (name, role, sha256, created_at, expires_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO UPDATE SET role = excluded.role, sha256 = excluded.sha256,
             created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at
         WHERE api_tokens.sha256 = excluded.sha256 OR api_tokens.revoked_at IS NOT NULL
             OR api_tokens.expires_at <= excluded.created_at",
        vec![
            token.name.clone().into(),
            token.role.as_str().into(),
            hash.as_slice().into(),
            token.created_at_ms.into(),
            token.expires_at_ms.into(),
            token.revoked_at_ms.into(),
        ],
    )
}

fn read(row: &Row) -> Result<(Hash, Token), admit_store::Error> {
    let strange = |what: String| admit_store::Error::Query(what);
    let time = |value: i64| u64::try_from(value).unwrap_or(0);
    let role = row.text(1)?.parse().map_err(|error| strange(format!("{error}")))?;
    let hash = Hash::try_from(row.blob(2)?).map_err(|_| strange("a hash is not 32 bytes long".into()))?;
    let token = Token {
        name: row.text(0)?.into(),
        role,
        created_at_ms: time(row.int(3)?),
        expires_at_ms: row.opt_int(4)?.map(time),
        revoked_at_ms: row.opt_int(5)?.map(time),
    };
    Ok((hash, token))
}
