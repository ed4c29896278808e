//! A claim: so many slots of a key, under terms.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::TermsRef;

/// A name or a key: shared text, cheap to clone.
pub type Name = Arc<str>;

/// One claim of a request. A request is admitted when all of its claims are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The key whose slots are counted, 1 to [`crate::MAX_NAME_BYTES`] bytes.
    pub key: Name,
    /// How much is allowed on it.
    pub terms: TermsRef,
    /// How many slots the lease takes, at least 1.
    pub slots: u32,
    /// What becomes of the claim when the limit that it names does not exist (any more).
    pub if_missing: IfMissing,
}

impl Claim {
    /// A claim on the key of the limit `name`, under its terms.
    pub fn limit(name: impl Into<Name>, slots: u32) -> Claim {
        let name = name.into();
        Claim { key: name.clone(), terms: TermsRef::Limit(name), slots, if_missing: IfMissing::Reject }
    }

    /// A claim on `key` under the terms of the limit `name`: each key has the limit for itself.
    pub fn limit_on(name: impl Into<Name>, key: impl Into<Name>, slots: u32) -> Claim {
        Claim { key: key.into(), terms: TermsRef::Limit(name.into()), slots, if_missing: IfMissing::Reject }
    }

    /// A claim on `key` under terms of its own.
    pub fn inline(key: impl Into<Name>, terms: crate::Terms, slots: u32) -> Claim {
        Claim { key: key.into(), terms: TermsRef::Inline(terms), slots, if_missing: IfMissing::Reject }
    }
}

/// What a claim by an unknown or deleted limit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum IfMissing {
    /// The request is refused, or its ticket rejected.
    #[default]
    Reject,
    /// The claim neither counts nor blocks (Prefect's rule for unknown names).
    Admit,
}
