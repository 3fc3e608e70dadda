//! Patterns of KEYS, SCAN, CONFIG GET, PSUBSCRIBE: `*`, `?`, `[a-z]`, `[^x]` and `\` for the character itself.
//!
//! Behaves as Redis's matcher does, malformed patterns included, but never takes longer than pattern length × text
//! length: only the last `*` is ever tried again, which is enough because everything else takes exactly one character.

/// Does the whole text match the pattern?
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match_with(pattern, text, |byte| byte)
}

/// The same, with upper and lower case alike.
pub fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    match_with(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn match_with(pattern: &[u8], text: &[u8], fold: fn(u8) -> u8) -> bool {
    // A text without characters is matched by `*` and the empty pattern, but by no other series of stars: so does Redis.
    if text.is_empty() || pattern == b"*" {
        return pattern == b"*" || pattern.is_empty();
    }
    let (mut at, mut position) = (0, 0);
    // Where to go on when a match fails: behind the last star, and with one more character given to it.
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            last_star = Some((at, position));
            continue;
        }
        let next = match text.get(position) {
            None if at == pattern.len() => return true,
            None => None,
            Some(&byte) => match_one(&pattern[at..], byte, fold),
        };
        match (next, last_star) {
            (Some(length), _) => {
                at += length;
                position += 1;
            }
            (None, Some((behind, given))) if given < text.len() => {
                last_star = Some((behind, given + 1));
                (at, position) = (behind, given + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one character against the first element of a pattern; the element's length when it does.
fn match_one(pattern: &[u8], byte: u8, fold: fn(u8) -> u8) -> Option<usize> {
    let byte = fold(byte);
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => match_class(pattern, byte, fold),
        [b'\\', escaped, ..] => (fold(escaped) == byte).then_some(2),
        [literal, ..] => (fold(literal) == byte).then_some(1),
    }
}

/// A class, from its `[` on. One that is not closed ends with the pattern.
fn match_class(pattern: &[u8], byte: u8, fold: fn(u8) -> u8) -> Option<usize> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= fold(escaped) == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [start, b'-', end, ..] => {
                let (start, end) = (fold(start), fold(end));
                found |= (start.min(end)..=start.max(end)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= fold(literal) == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_as_redis_reads_them() {
        let cases = [
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("[a-]", "a", true),
            ("[abc", "b", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("[^]", "x", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbx", false),
            ("", "", true),
            ("*", "", true),
            ("**", "", false),
            ("", "a", false),
            ("a?", "a", false),
            ("A*", "abc", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_in_any_case(b"MAX[M]em*", b"maxmemory"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(1_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }
}
