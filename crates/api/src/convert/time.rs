//! Times as people and programs read them.

use admit_http::Problem;
use admit_kernel::Time;
use jiff::Timestamp;

use crate::problems;

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn at(time: Time) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{timestamp:.3}")
}

/// A time that may lie ahead, as it is and from now; [`Time`]`(u64::MAX)` is never.
pub(crate) fn until(time: Option<Time>, now: Time) -> (Option<String>, Option<u64>) {
    match time.filter(|time| time.0 != u64::MAX) {
        Some(time) => (Some(at(time)), Some(time.since(now))),
        None => (None, None),
    }
}

/// A time that may lie behind, as it is and how long ago.
pub(crate) fn ago(time: Option<Time>, now: Time) -> (Option<String>, Option<u64>) {
    (time.map(at), time.map(|time| now.since(time)))
}

/// A time of a request.
pub(crate) fn parse_time(field: &str, text: &str) -> Result<Time, Problem> {
    let right = "a time as in RFC 3339, such as 2026-01-31T12:00:00Z";
    let timestamp: Timestamp = text.parse().map_err(|_| problems::invalid(field, text, right))?;
    let ms = u64::try_from(timestamp.as_millisecond());
    ms.map(Time).map_err(|_| problems::invalid(field, text, "not before 1970"))
}

/// A time of a request that must lie ahead.
pub(crate) fn in_future(field: &str, text: &str, now: Time) -> Result<Time, Problem> {
    let time = parse_time(field, text)?;
    if time > now { Ok(time) } else { Err(problems::invalid(field, text, "must be in the future")) }
}
