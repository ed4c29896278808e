//! Durations as people write them (`250ms`, `30s`, `5m`, `1h30m`, `7d`), always kept in milliseconds.

/// The units, longest first, each with its milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What the server takes as a lease's time to live.
const TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=7 * 86_400_000;

/// Milliseconds of a duration: numbers with a unit each, added up.
///
/// # Errors
/// A sentence that names the text, what is wrong and what would be right.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let wrong =
        |what: &str| format!("'{text}' is no duration: {what}; write it like 250ms, 30s, 5m, 1h30m or 7d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("it is empty"));
    }
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return Err(wrong("a whole number is missing"));
        }
        if tail.starts_with(['.', ',']) {
            return Err(wrong("only whole numbers are read"));
        }
        if unit.is_empty() {
            return Err(wrong(&format!("{number} has no unit")));
        }
        let Some((_, ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong(&format!("there is no unit '{unit}'")));
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*ms))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(|| wrong("it is too long"))?;
        rest = tail;
    }
    Ok(total)
}

/// Milliseconds of a lease's time to live.
///
/// # Errors
/// See [`parse_ms`]; it is too short or too long.
pub fn parse_ttl_ms(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text)?;
    if TTL_MS.contains(&ms) { Ok(ms) } else { Err("it must be 1s to 7d".to_owned()) }
}

/// A duration in its largest two units, rounded to seconds, for people: `1h 30m`, `12s`, `0s`.
pub fn human(ms: u64) -> String {
    if ms < 1_000 {
        return if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    parts(ms.saturating_add(500) / 1_000 * 1_000, 2).join(" ")
}

/// A duration exactly, as [`parse_ms`] reads it back: `1h30m`.
pub fn exact(ms: u64) -> String {
    if ms == 0 { "0s".to_owned() } else { parts(ms, usize::MAX).concat() }
}

fn parts(mut ms: u64, at_most: usize) -> Vec<String> {
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        // Weeks are read, but days are what people expect to see.
        if unit == "w" || ms < length || parts.len() == at_most {
            continue;
        }
        parts.push(format!("{}{unit}", ms / length));
        ms %= length;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, expect: u64| assert_eq!(parse_ms(text), Ok(expect), "{text}");
        check("0", 0);
        check("250ms", 250);
        check("30s", 30_000);
        check("5m", 300_000);
        check("1h", 3_600_000);
        check("1h30m", 5_400_000);
        check("90d", 7_776_000_000);
        check("2w", 1_209_600_000);
        check(" 1s ", 1_000);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        let check = |text: &str, expect: &str| {
            let error = parse_ms(text).unwrap_err();
            assert!(error.contains(expect) && error.contains(&format!("'{text}'")), "{error}");
        };
        check("", "it is empty");
        check("30", "30 has no unit");
        check("30 s", "30 has no unit");
        check("-5s", "a whole number is missing");
        check("1.5s", "only whole numbers are read");
        check("5sec", "there is no unit 'sec'");
        check("99999999999999999999s", "it is too long");
        check("9999999999999999w", "it is too long");
        check("s", "a whole number is missing");
    }

    #[test]
    fn durations_are_shown_short_for_people_and_exactly_for_files() {
        let check = |ms: u64, short: &str, long: &str| {
            assert_eq!((human(ms).as_str(), exact(ms).as_str()), (short, long));
            assert_eq!(parse_ms(long), Ok(ms));
        };
        check(0, "0s", "0s");
        check(250, "250ms", "250ms");
        check(12_345, "12s", "12s345ms");
        check(119_600, "2m", "1m59s600ms");
        check(5_400_000, "1h 30m", "1h30m");
        check(90_061_001, "1d 1h", "1d1h1m1s1ms");
        check(1_209_600_000, "14d", "14d");
    }
}
