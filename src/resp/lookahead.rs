//! A look at the requests that wait in a connection's input, for what they will most likely touch.
//!
//! Only a hint comes out of it: the words behind the name, of which the first is a key for nearly all commands. The
//! parser reads the requests later as if nobody had looked.

use super::request::short_number;

/// A request of more words than this ends the look: reading over it would cost too much.
const MOST_WORDS: usize = 16;

/// The second, third and fourth word of a request; empty where there is none.
pub type Ahead<'a> = [&'a [u8]; 3];

/// The words behind the name, of the complete requests in front of `input` that have such words, up to the first request
/// that is inline, long or malformed.
pub fn look_ahead(input: &[u8]) -> impl Iterator<Item = Ahead<'_>> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let (words, behind) = request(rest?).unzip();
        rest = behind;
        words
    })
    .flatten()
}

/// The words behind the name of the request in front, if it has any, and what follows the request.
#[inline]
fn request(input: &[u8]) -> Option<(Option<Ahead<'_>>, &[u8])> {
    if *input.first()? != b'*' {
        return None;
    }
    let (words, mut at) = short_number(input, 0)?;
    if words > MOST_WORDS {
        return None;
    }
    let mut ahead: Ahead<'_> = [&[]; 3];
    let mut is_script = false;
    for word in 0..words {
        if *input.get(at)? != b'$' {
            return None;
        }
        let (length, start) = short_number(input, at)?;
        let bytes = input.get(start..start + length)?;
        match word {
            0 => is_script = runs_script(bytes),
            1..=3 => ahead[word - 1] = bytes,
            _ => {}
        }
        at = start + length + 2;
    }
    if is_script {
        // The script, how many keys, and the first of them.
        ahead = [ahead[2], &[], &[]];
    }
    Some(((words > 1).then_some(ahead), input.get(at..)?))
}

/// Does a command of this name run a script, with its keys behind their number?
#[inline]
fn runs_script(name: &[u8]) -> bool {
    let (name, suffix) = name.split_at(name.len().min(4));
    (name.eq_ignore_ascii_case(b"eval") || name.eq_ignore_ascii_case(b"fcal"))
        && ["", "sha", "l", "_ro", "sha_ro", "l_ro"].iter().any(|known| suffix.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(input: &[u8]) -> Vec<&[u8]> {
        look_ahead(input).map(|words| words[0]).collect()
    }

    #[test]
    fn sees_the_keys_of_complete_requests_only() {
        let input =
            b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$4\r\nk\r\ny\r\n$0\r\n\r\n";
        assert_eq!(seen(input), [&b"foo"[..], b"k\r\ny"]);
        assert_eq!(seen(&input[..input.len() - 1]), [&b"foo"[..]]);
        assert_eq!(seen(b""), [] as [&[u8]; 0]);
        assert_eq!(look_ahead(input).last(), Some([&b"k\r\ny"[..], b"", b""]));
        let long = b"*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n";
        assert_eq!(look_ahead(long).next(), Some([&b"b"[..], b"c", b"d"]));
    }

    #[test]
    fn sees_the_first_key_of_a_script() {
        let script = b"*5\r\n$4\r\nEval\r\n$8\r\nreturn 1\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let function = b"*4\r\n$8\r\nfcall_ro\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\nk\r\n";
        assert_eq!(seen(&[&script[..], function].concat()), [b"a", b"k"]);
        let other = b"*4\r\n$5\r\nevalx\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\nk\r\n";
        assert_eq!(look_ahead(other).next(), Some([&b"f"[..], b"1", b"k"]));
    }

    #[test]
    fn stops_at_whatever_is_unusual() {
        let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for odd in
            [&b"PING\r\n"[..], b"*-1\r\n", b"*17\r\n", b"*2\r\n:3\r\n", b"*2\r\n$99999999999\r\n", b"*2\r\n$-1\r\n"]
        {
            let input = [get, odd, get].concat();
            assert_eq!(seen(&input), [&b"a"[..]], "{}", odd.escape_ascii());
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let alphabet = b"**$$\r\n\r\n0123456789-+ \"'\\xgetPING\0\xff";
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let input: Vec<u8> = (0..random.usize(1..80)).map(|_| alphabet[random.usize(0..alphabet.len())]).collect();
            look_ahead(&input).flatten().for_each(|word| assert!(word.len() < input.len()));
        }
    }
}
