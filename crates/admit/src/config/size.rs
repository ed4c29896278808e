//! Sizes as people write them: `500MB`, `1GB`, `2GiB`.

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("", 1),
];

/// Bytes of a size: a whole number and a unit.
///
/// # Errors
/// A sentence that names the text and what would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| format!("'{text}' is no size; write it like 500MB, 1GB or 2GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(parse_bytes(text).ok(), expect, "{text}");
        check("1GB", Some(1_000_000_000));
        check("2 GiB", Some(2 << 30));
        check("500", Some(500));
        check("10B", Some(10));
        check("1gb", None);
        check("GB", None);
        check("-1GB", None);
        check("99999999999GB", None);
        check("", None);
    }
}
