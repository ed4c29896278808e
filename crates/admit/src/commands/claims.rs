//! What is claimed, as `admit run` and `admit acquire` both take it.

use std::collections::BTreeMap;

use admit_client::{Claim, LimitSpec};
use clap::Args;
use clap::builder::RangedI64ValueParser;

/// Reads a number of slots, at least so many.
pub fn slots_from(min: u32) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(min)..=i64::from(LimitSpec::MAX_SLOTS))
}

/// The options that make up the claims of a request.
#[derive(Debug, Args)]
pub struct ClaimArgs {
    /// The limit whose slots are claimed; with --max, which needs no limit, a label for people
    #[arg(required_unless_present = "max")]
    pub limit: Option<String>,
    /// How many slots
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = slots_from(1))]
    pub slots: u32,
    /// Count on this key under LIMIT's terms: each key has the limit for itself
    #[arg(long, value_name = "K")]
    pub key: Option<String>,
    /// How many slots key K has: no limit has to be defined
    #[arg(long, value_name = "N", requires = "key", allow_negative_numbers = true, value_parser = slots_from(0))]
    pub max: Option<u32>,
}

impl ClaimArgs {
    /// The claims of the request.
    pub fn claims(&self) -> Vec<Claim> {
        let limit = || Claim::limit(self.limit.as_deref().unwrap_or_default(), self.slots);
        vec![match (&self.key, self.max) {
            (None, _) => limit(),
            (Some(key), None) => limit().on_key(key),
            (Some(key), Some(max)) => Claim::inline(key, max, self.slots),
        }]
    }

    /// What the claims are of, for people.
    pub fn name(&self) -> &str {
        let key = self.key.as_deref().filter(|_| self.max.is_some());
        key.or(self.limit.as_deref()).unwrap_or_default()
    }

    /// LIMIT, where it is a label only.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let label = self.limit.clone().filter(|_| self.max.is_some());
        label.map(|label| ("limit".to_owned(), label)).into_iter().collect()
    }
}

/// Who asks, for people: host, process and what it runs.
pub fn holder(program: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let host = host.trim();
    let program = program.rsplit('/').next().unwrap_or(program);
    let host = if host.is_empty() { "localhost" } else { host };
    format!("{host}:{} {program}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_make_the_claims() {
        let check = |key: Option<&str>, max, expect: Vec<Claim>| {
            let args = ClaimArgs { limit: Some("db".into()), slots: 2, key: key.map(Into::into), max };
            assert_eq!(args.claims(), expect);
        };
        check(None, None, vec![Claim::limit("db", 2)]);
        check(Some("t/42"), None, vec![Claim::limit("db", 2).on_key("t/42")]);
        check(Some("t/42"), Some(3), vec![Claim::inline("t/42", 3, 2)]);
    }
}
