//! Key patterns of limits: `*` matches within a segment, `**` across segments.

/// Whether `key` is covered by `pattern`. Segments are separated by `/`; `*` stands for any run of
/// characters without `/` (also none), `**` for any run of characters (also none).
///
/// The work is at most the product of the two lengths, both of which are bounded.
#[must_use]
pub fn matches(pattern: &str, key: &str) -> bool {
    let (pattern, key) = (pattern.as_bytes(), key.as_bytes());
    let (mut p, mut k) = (0, 0);
    // Where to go on when a guess of `*` or `**` proves too short: the position behind the wildcard
    // and how much of the key it has taken so far. `**` can always take more than `*`, so it is kept apart.
    let (mut star, mut deep) = (None::<(usize, usize)>, None::<(usize, usize)>);
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            deep = Some((p, k));
            star = None;
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, k));
        } else if k < key.len() && pattern.get(p) == Some(&key[k]) {
            p += 1;
            k += 1;
        } else if k == key.len() && p == pattern.len() {
            return true;
        } else if let Some((after, taken)) =
            star.filter(|&(_, taken)| taken < key.len() && key[taken] != b'/')
        {
            star = Some((after, taken + 1));
            (p, k) = (after, taken + 1);
        } else if let Some((after, taken)) = deep.filter(|&(_, taken)| taken < key.len()) {
            star = None;
            deep = Some((after, taken + 1));
            (p, k) = (after, taken + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn star_stays_in_a_segment_and_double_star_crosses() {
        let check = |pattern: &str, key: &str, expect: bool| {
            assert_eq!(matches(pattern, key), expect, "{pattern} ~ {key}");
        };
        check("openai", "openai", true);
        check("openai", "openai2", false);
        check("apim/openai-*", "apim/openai-eu", true);
        check("apim/openai-*", "apim/openai-", true);
        check("apim/openai-*", "apim/openai-eu/west", false);
        check("apim/**", "apim/openai-eu/west", true);
        check("**/west", "apim/eu/west", true);
        check("*/west", "apim/eu/west", false);
        check("a/*/c", "a/b/c", true);
        check("a/**/z*", "a/b/c/zed", true);
        check("a/**/z*", "a/b/c/zed/q", false);
        check("*a*b*", "xxaxxbxx", true);
        check("**", "", true);
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("tenant/ü*", "tenant/über", true);
    }
}
