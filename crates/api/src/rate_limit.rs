//! `RateLimit` and `RateLimit-Policy` (IETF draft): what a 429 says to programs that know nothing of Admit.

use admit_kernel::{Block, Why};
use axum::http::HeaderName;

/// Policies that are named: more would make a header that clients refuse.
const MAX_POLICIES: usize = 8;

/// `"openai";q=10;qu="concurrent-requests"` and `"openai";r=0;t=5`, for each claim that is short.
pub(crate) fn headers(blocked_by: &[Block]) -> Vec<(HeaderName, String)> {
    let named = &blocked_by[..blocked_by.len().min(MAX_POLICIES)];
    if named.is_empty() {
        return Vec::new();
    }
    let policy = named
        .iter()
        .map(|block| format!("{};q={};qu=\"concurrent-requests\"", name(block), block.max))
        .collect::<Vec<_>>();
    let left = named.iter().map(|block| {
        let free = match block.why {
            Why::NoRoom | Why::Behind | Why::Reserved => u64::from(block.max).saturating_sub(block.used),
            Why::Paused | Why::Closed | Why::Impossible => 0,
        };
        let seconds = block.retry_in_ms.map_or(String::new(), |ms| format!(";t={}", ms.div_ceil(1_000)));
        format!("{};r={free}{seconds}", name(block))
    });
    vec![
        (HeaderName::from_static("ratelimit-policy"), policy.join(", ")),
        (HeaderName::from_static("ratelimit"), left.collect::<Vec<_>>().join(", ")),
    ]
}

/// The limit's or key's name as a structured field's string: printable ASCII, the rest percent-encoded.
fn name(block: &Block) -> String {
    let mut quoted = String::from('"');
    for byte in block.limit.as_ref().unwrap_or(&block.key).bytes() {
        match byte {
            b'"' | b'\\' | b'%' | 0..=0x1f | 0x7f.. => quoted.push_str(&format!("%{byte:02X}")),
            _ => quoted.push(char::from(byte)),
        }
    }
    quoted.push('"');
    quoted
}
