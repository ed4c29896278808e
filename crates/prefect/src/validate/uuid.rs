//! UUIDs, and what is wrong with a text that is none, in the words that Prefect's clients know.

use uuid::Uuid;

/// Lengths of the five groups of a UUID.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// Reads a UUID in any of its notations: with or without hyphens, in braces, as a URN.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|_| reason(text))
}

fn reason(text: &str) -> String {
    let (before, inner, is_simple) = match (text.strip_prefix("urn:uuid:"), text.strip_prefix('{')) {
        (Some(rest), _) => (9, rest, false),
        (None, Some(rest)) if rest.ends_with('}') => (1, &rest[..rest.len() - 1], false),
        _ => (0, text, true),
    };
    let stray = inner.char_indices().find(|(_, char)| !char.is_ascii_hexdigit() && *char != '-');
    if let Some((at, char)) = stray {
        return format!("invalid character: found `{char}` at {}", before + at + 1);
    }
    if is_simple && !inner.contains('-') {
        return format!("invalid length: expected length 32 for simple format, found {}", inner.len());
    }
    let groups: Vec<&str> = inner.split('-').collect();
    if groups.len() != GROUPS.len() {
        return format!("invalid group count: expected 5, found {}", groups.len());
    }
    let wrong = groups.iter().zip(GROUPS).enumerate().find(|(_, (group, expected))| group.len() != *expected);
    match wrong {
        Some((n, (group, expected))) => {
            format!("invalid group length in group {n}: expected {expected}, found {}", group.len())
        }
        None => "invalid UUID".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_uuid;

    #[test]
    fn what_is_wrong_is_said_as_clients_know_it() {
        let check = |text: &str, reason: &str| assert_eq!(parse_uuid(text), Err(reason.to_owned()), "{text}");
        check("x", "invalid character: found `x` at 1");
        check("abc", "invalid length: expected length 32 for simple format, found 3");
        check("", "invalid length: expected length 32 for simple format, found 0");
        check(
            "00000000-0000-4000-8000-00000000000",
            "invalid group length in group 4: expected 12, found 11",
        );
        check("0000000-00000-4000-8000-000000000001", "invalid group length in group 0: expected 8, found 7");
        check("00000000-0000-4000-8000-00000000000g", "invalid character: found `g` at 36");
        check("ü", "invalid character: found `ü` at 1");
        check("00000000-0000-4000-80000-00000000001", "invalid group length in group 3: expected 4, found 5");
        check("00000000-0000-4000-8000-000000000001 ", "invalid character: found ` ` at 37");
        check("{00000000-0000-4000-8000-000000000001", "invalid character: found `{` at 1");
        check("-", "invalid group count: expected 5, found 2");
        check("----------", "invalid group count: expected 5, found 11");
        check("urn:uuid:x", "invalid character: found `x` at 10");
        check("aüx", "invalid character: found `ü` at 2");
        check("urn:uuid:00000000", "invalid group count: expected 5, found 1");
        check("{}", "invalid group count: expected 5, found 1");
        check("{x}", "invalid character: found `x` at 2");
        check("a-b-c-d-e", "invalid group length in group 0: expected 8, found 1");
        check("a-b-c-d-e-f", "invalid group count: expected 5, found 6");
        check(
            "000000000000000000000000000000000",
            "invalid length: expected length 32 for simple format, found 33",
        );
        check("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "invalid character: found `z` at 1");
    }

    #[test]
    fn every_notation_is_read() {
        for text in [
            "00000000-0000-4000-8000-00000000000a",
            "0000000000004000800000000000000A",
            "{00000000-0000-4000-8000-00000000000a}",
            "urn:uuid:00000000-0000-4000-8000-00000000000a",
        ] {
            assert_eq!(parse_uuid(text).unwrap().as_u128() & 0xf, 0xa, "{text}");
        }
    }
}
