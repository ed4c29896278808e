//! Roles, and the secrets that prove them.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a token may do; each role may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask for slots, hold them, and read.
    Acquire,
    /// Change limits too.
    Operate,
    /// Make and revoke tokens too.
    Admin,
}

impl Role {
    /// Every role, the smallest first.
    pub const ALL: [Role; 3] = [Role::Acquire, Role::Operate, Role::Admin];

    /// The role in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Acquire => "acquire",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: acquire, operate or admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

/// SHA-256 of a secret: all of it that is ever stored. The secret is 256 random bits, so neither salt nor
/// a slow hash would add anything, and looking a hash up tells a clock nothing about the secret.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new secret: `admit_` and 64 hexadecimal digits.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let mut secret = String::with_capacity(70);
    secret.push_str("admit_");
    for byte in random {
        secret.push_str(&format!("{byte:02x}"));
    }
    Ok(secret)
}

/// What an `Authorization` header may prove.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// There is no such header.
    None,
    /// Words that may be a token: the bearer's, or the password, name or both of Basic.
    Candidates(Vec<String>),
}

pub(crate) fn credentials(headers: &HeaderMap) -> Credentials {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Credentials::None };
    let text = value.to_str().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    let candidates = if scheme.eq_ignore_ascii_case("bearer") {
        vec![rest.to_owned()]
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.map_or_else(Vec::new, |pair| match pair.split_once(':') {
            Some((name, password)) => vec![password.to_owned(), name.to_owned(), pair.clone()],
            None => vec![pair],
        })
    } else {
        Vec::new()
    };
    Credentials::Candidates(candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_and_basic_are_read() {
        let check = |value: &str, expect: &[&str]| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            let expect = expect.iter().map(ToString::to_string).collect();
            assert_eq!(credentials(&headers), Credentials::Candidates(expect), "{value}");
        };
        check("Bearer admit_1", &["admit_1"]);
        check("bearer  admit_1 ", &["admit_1"]);
        check("Basic YWRtaW46cGFzcw==", &["pass", "admin", "admin:pass"]);
        check("Basic !!", &[]);
        check("Digest x", &[]);
        check("Bearer", &[""]);
        assert_eq!(credentials(&HeaderMap::new()), Credentials::None);
    }

    #[test]
    fn roles_grow() {
        assert!(Role::Acquire < Role::Operate && Role::Operate < Role::Admin);
        assert_eq!("operate".parse(), Ok(Role::Operate));
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn secrets_differ_and_are_long() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), "admit_".len() + 64);
    }
}
