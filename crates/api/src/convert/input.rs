//! From the wire to the kernel. What only the kernel can know (unknown limits, impossible claims) is left
//! to it; what is wrong in itself is told here, by the name of its field.

use admit_http::Problem;
use admit_kernel::{
    Acquire, Claim, Counts, IfMissing, Limit, MAX_CLAIMS, MAX_DECAY_NANO, MAX_LABELS, MAX_PATTERNS,
    MAX_SLOTS, MAX_TEXT_BYTES, MAX_TICKETS, MAX_TTL_MS, MAX_WAIT_MS, MAX_WINDOW_MS, MIN_TTL_MS, Mode, Name,
    OnFull, Patience, Refill, Terms, TermsRef, Time,
};
use serde_json::Value;
use uuid::Uuid;

use super::parse_time;
use crate::extract::name;
use crate::problems::invalid;
use crate::wire;

/// How far a client's clock may be ahead of the log's before its `age` lies in the future.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// A request for slots. `at` is its path within the body (empty: it is the body).
pub(crate) fn acquire(
    input: wire::AcquireInput,
    at: &str,
    patience: Patience,
    now: Time,
) -> Result<Acquire, Problem> {
    let path = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
    if !(1..=MAX_CLAIMS).contains(&input.claims.len()) {
        return Err(invalid(path("claims"), input.claims.len(), &format!("send 1 to {MAX_CLAIMS} claims")));
    }
    let if_missing = match input.if_missing {
        wire::IfMissing::Reject => IfMissing::Reject,
        wire::IfMissing::Admit => IfMissing::Admit,
    };
    let mut claims = Vec::with_capacity(input.claims.len());
    for (index, claim) in input.claims.iter().enumerate() {
        claims.push(self::claim(claim, &path(&format!("claims[{index}]")), if_missing)?);
    }
    let age = input.age.as_deref().map(|text| {
        let field = path("age");
        let age = parse_time(&field, text)?;
        let is_past = age <= now.plus(CLOCK_TOLERANCE_MS);
        if is_past { Ok(age.min(now)) } else { Err(invalid(field, text, "must not be in the future")) }
    });
    if input.labels.len() > MAX_LABELS {
        return Err(invalid(path("labels"), input.labels.len(), &format!("at most {MAX_LABELS} labels")));
    }
    let mut labels = std::collections::BTreeMap::new();
    for (label, value) in &input.labels {
        let field = path(&format!("labels.{label}"));
        labels.insert(name(&field, label)?, text(&field, value)?);
    }
    Ok(Acquire {
        id: input.id.unwrap_or_else(Uuid::now_v7),
        claims,
        ttl_ms: input.ttl_ms.map(|ms| ttl(&path("ttl_ms"), ms)).transpose()?,
        patience,
        priority: input.priority,
        group: input.group.map(|group| name(&path("group"), &group)).transpose()?,
        age: age.transpose()?,
        on_full: on_full(input.on_full),
        claim_ms: input.claim_ms.map(|ms| within(&path("claim_ms"), ms, 1, MAX_TTL_MS)).transpose()?,
        rate: false,
        continues: None,
        holder: input.holder.map(|holder| text(&path("holder"), &holder)).transpose()?,
        labels,
    })
}

fn claim(input: &wire::ClaimInput, at: &str, if_missing: IfMissing) -> Result<Claim, Problem> {
    let path = |field: &str| format!("{at}.{field}");
    let key = input.key.as_deref().map(|key| name(&path("key"), key)).transpose()?;
    let slots = self::slots(&path("slots"), input.slots, 1)?;
    let Some(limit) = &input.limit else {
        let key = key.ok_or_else(|| invalid(at, Value::Null, "name a `limit`, or a `key` with `max`"))?;
        let max = input.max.ok_or_else(|| {
            invalid(path("max"), Value::Null, "a claim without `limit` says the `max` of its key itself")
        })?;
        let terms = terms(at, max, input.window, input.decay_per_second)?;
        return Ok(Claim { key, terms: TermsRef::Inline(terms), slots, if_missing });
    };
    let limit = name(&path("limit"), limit)?;
    for (field, given) in [
        ("max", input.max.is_some()),
        ("window", input.window.is_some()),
        ("decay_per_second", input.decay_per_second.is_some()),
    ] {
        if given {
            return Err(invalid(
                path(field),
                Value::Null,
                "a claim by `limit` takes its terms from the limit",
            ));
        }
    }
    Ok(Claim { key: key.unwrap_or_else(|| limit.clone()), terms: TermsRef::Limit(limit), slots, if_missing })
}

fn terms(
    at: &str,
    max: u64,
    window: Option<wire::WindowBody>,
    decay_per_second: Option<f64>,
) -> Result<Terms, Problem> {
    let path = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
    let max = slots(&path("max"), max, 0)?;
    let refill = match (window, decay_per_second) {
        (None, None) => Refill::Release,
        (Some(_), Some(decay)) => {
            return Err(invalid(
                path("decay_per_second"),
                decay,
                "terms have a `window` or a decay, not both",
            ));
        }
        (Some(window), None) => Refill::Window {
            ms: within(&path("window.ms"), window.ms, 1, MAX_WINDOW_MS)?,
            counts: match window.counts {
                wire::Counts::Starts => Counts::Starts,
                wire::Counts::Runs => Counts::Runs,
            },
        },
        (None, Some(decay)) => Refill::Decay { nano_per_second: nano(&path("decay_per_second"), decay)? },
    };
    Ok(Terms { max, refill })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within the bounds")]
fn nano(field: &str, per_second: f64) -> Result<u64, Problem> {
    let nano = (per_second * 1e9).round();
    #[allow(clippy::cast_precision_loss, reason = "the bound is a round number")]
    if nano >= 1.0 && nano <= MAX_DECAY_NANO as f64 {
        return Ok(nano as u64);
    }
    Err(invalid(field, per_second, &format!("0.000000001 to {MAX_SLOTS} slots per second")))
}

/// The limit that a request defines. `source` is the owner it has already, if it has one.
pub(crate) fn limit(input: wire::LimitInput, in_path: &Name, source: Option<Name>) -> Result<Limit, Problem> {
    if let Some(given) = input.name.filter(|given| **given != **in_path) {
        return Err(invalid(
            "name",
            given,
            &format!("must be the name in the path, `{in_path}`, or left out"),
        ));
    }
    if input.patterns.len() > MAX_PATTERNS {
        return Err(invalid("match", input.patterns.len(), &format!("at most {MAX_PATTERNS} patterns")));
    }
    let patterns = input.patterns.iter().enumerate();
    let patterns = patterns.map(|(index, pattern)| name(&format!("match[{index}]"), pattern));
    let given = input.source.map(|given| self::source(&given, source.as_ref())).transpose()?;
    Ok(Limit {
        name: in_path.clone(),
        terms: terms("", input.max, input.window, input.decay_per_second)?,
        patterns: patterns.collect::<Result<_, _>>()?,
        mode: match input.mode {
            wire::Mode::Enforce => Mode::Enforce,
            wire::Mode::Observe => Mode::Observe,
            wire::Mode::Off => Mode::Off,
        },
        on_full: on_full(input.on_full),
        max_len: count("queue.max_len", input.queue.max_len, 0, MAX_TICKETS, "tickets")?,
        max_wait_ms: input
            .queue
            .max_wait_ms
            .map(|ms| within("queue.max_wait_ms", ms, 1, MAX_WAIT_MS))
            .transpose()?,
        description: text("description", &input.description)?.to_string(),
        source: given.or(source).unwrap_or_else(|| "native".into()),
        paused_until: None,
        revision: 0,
    })
}

/// The sources of limits that dialects make: whoever removes or renames one through its dialect needs not ask.
const DIALECTS: [&str; 4] = ["prefect", "windmill", "inngest", "apim"];

/// The owner that a request names. `current` is the one it has already.
fn source(given: &str, current: Option<&Name>) -> Result<Name, Problem> {
    let given = name("source", given)?;
    if DIALECTS.contains(&&*given) && current != Some(&given) {
        let right = "that is the name of a dialect, whose limits are made by its own clients; \
                     give another, or leave it out";
        return Err(invalid("source", &*given, right));
    }
    Ok(given)
}

fn on_full(on_full: wire::OnFull) -> OnFull {
    match on_full {
        wire::OnFull::Queue => OnFull::Queue,
        wire::OnFull::KeepNewest => OnFull::KeepNewest,
        wire::OnFull::CancelOldest => OnFull::CancelOldest,
        wire::OnFull::Reject => OnFull::Reject,
    }
}

/// A lease's time to live.
pub(crate) fn ttl(field: &str, ms: u64) -> Result<u64, Problem> {
    within(field, ms, MIN_TTL_MS, MAX_TTL_MS)
}

/// Milliseconds within bounds.
pub(crate) fn within(field: &str, ms: u64, min: u64, max: u64) -> Result<u64, Problem> {
    if (min..=max).contains(&ms) {
        return Ok(ms);
    }
    let units = [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1_000)];
    let unit = units.into_iter().find(|(_, length)| max.is_multiple_of(*length));
    let longest = unit.map_or(String::new(), |(unit, length)| format!(" (at most {} {unit})", max / length));
    Err(invalid(field, ms, &format!("{min} to {max} ms{longest}")))
}

/// So many slots, or what else is counted. The wire takes any number, so that one beyond the bound is told it.
fn count(field: &str, value: u64, min: u32, max: u32, what: &str) -> Result<u32, Problem> {
    let count = u32::try_from(value).ok().filter(|count| (min..=max).contains(count));
    count.ok_or_else(|| invalid(field, value, &format!("{min} to {max} {what}")))
}

fn slots(field: &str, value: u64, min: u32) -> Result<u32, Problem> {
    count(field, value, min, MAX_SLOTS, "slots")
}

fn text(field: &str, text: &str) -> Result<Name, Problem> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(invalid(field, text, &format!("at most {MAX_TEXT_BYTES} bytes")));
    }
    Ok(text.into())
}
