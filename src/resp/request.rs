//! Reading requests from a connection's input, in place and in any number of pieces.
//!
//! [`Parser::parse`] is given everything received from a request's first byte on, and either finds the whole request or
//! remembers how far it came: bytes that were looked at once are not looked at again when more arrive. Words are ranges
//! of the input; only the words of an inline request, which may be quoted, are copied.
//!
//! Sources: the RESP page of the Redis documentation; limits, texts and leniency (the byte after a carriage return is
//! never looked at) as observed with Redis 7.0.

use std::ops::Range;

use super::Arguments;
use super::inline;

/// The longest inline request, and the longest line that announces a count or a length, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// The most words of one request.
const MOST_WORDS: i64 = 1024 * 1024;
/// The longest word, in bytes, whatever is asked for.
const LONGEST_WORD: u32 = 512 * 1024 * 1024;
/// The most words of one request of a client that has not authenticated.
const MOST_WORDS_UNAUTHENTICATED: i64 = 10;
/// The longest word of a client that has not authenticated, in bytes.
const LONGEST_WORD_UNAUTHENTICATED: i64 = 16 * 1024;
/// Room for this many words is kept between requests.
const WORDS_KEPT: usize = 1024;

/// What [`Parser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A whole request of `consumed` bytes; its words are [`Parser::arguments`]. A request without words is to be ignored.
    Request { consumed: usize },
    /// The input is not RESP, or beyond a limit. The connection is to be closed after saying so.
    Error(ProtocolError),
}

/// Why a connection cannot be read any further. Displayed as Redis says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    Count,
    #[error("Protocol error: unauthenticated multibulk length")]
    CountUnauthenticated,
    #[error("Protocol error: invalid bulk length")]
    Length,
    #[error("Protocol error: unauthenticated bulk length")]
    LengthUnauthenticated,
    /// A word did not begin with a dollar sign but with this byte (a line break shown as a space).
    #[error("Protocol error: expected '$', got '{}'", if matches!(.0, b'\r' | b'\n') { ' ' } else { char::from(*.0) })]
    ExpectedWord(u8),
    #[error("Protocol error: too big mbulk count string")]
    CountTooLong,
    #[error("Protocol error: too big bulk count string")]
    LengthTooLong,
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
}

/// Reads one request after another. One per connection.
#[derive(Debug)]
pub struct Parser {
    /// The words found so far.
    ranges: Vec<Range<u32>>,
    /// What the ranges of an inline request point into.
    unquoted: Vec<u8>,
    /// The last request was an inline one.
    inline: bool,
    /// Everything before this offset is understood.
    position: usize,
    /// There is no line break between `position` and this offset.
    scanned: usize,
    /// Words still to come; 0 between requests.
    remaining: usize,
    /// The announced length of the next word.
    length: Option<usize>,
    /// The longest word that is accepted.
    longest_word: u32,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser {
            ranges: Vec::new(),
            unquoted: Vec::new(),
            inline: false,
            position: 0,
            scanned: 0,
            remaining: 0,
            length: None,
            longest_word: LONGEST_WORD,
        }
    }
}

impl Parser {
    /// From now on, longer words than this (in bytes) are not accepted; Redis's `proto-max-bulk-len`. It does not go beyond 512 MiB.
    pub fn limit_words(&mut self, longest: usize) {
        self.longest_word = u32::try_from(longest).unwrap_or(LONGEST_WORD).min(LONGEST_WORD);
    }

    /// Looks for one request at the start of `input`, which holds at most 4 GiB. After `Incomplete`, the next call must
    /// pass the same bytes again, with more behind them.
    pub fn parse(&mut self, input: &[u8], authenticated: bool) -> Parsed {
        assert!(u32::try_from(input.len()).is_ok(), "the connection limits its input to far less");
        if self.remaining == 0 {
            self.ranges.clear();
            self.position = 0;
            let started = match input.first() {
                None => return Parsed::Incomplete,
                Some(b'*') => self.count(input, authenticated),
                Some(_) => self.inline_request(input),
            };
            if let Some(parsed) = started {
                return parsed;
            }
        }
        self.words(input, authenticated)
    }

    /// The words of the request that `parse` has just found at the start of `input`.
    pub fn arguments<'a>(&'a self, input: &'a [u8]) -> Arguments<'a> {
        Arguments::new(if self.inline { &self.unquoted } else { input }, &self.ranges)
    }

    /// Was the request that `parse` has just found an inline one?
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// How many bytes at least must follow `available` bytes of an incomplete request.
    pub fn missing(&self, available: usize) -> usize {
        let end = self.length.map_or(0, |length| self.position + length + 2);
        end.saturating_sub(available).max(1)
    }

    /// Gives back the memory that an unusually large request needed. Not while its words are still in use.
    pub fn shrink(&mut self) {
        if self.remaining == 0 {
            self.ranges.clear();
            self.ranges.shrink_to(WORDS_KEPT);
            self.unquoted = Vec::new();
        }
    }

    /// Reads the number of words. `None`: go on with the words.
    fn count(&mut self, input: &[u8], authenticated: bool) -> Option<Parsed> {
        self.inline = false;
        let (count, next) = match short_number(input, 0) {
            Some((count, next)) => (count as i64, next),
            None => match self.line(input) {
                Line::Whole { end, next } => match number(&input[1..end]) {
                    Some(count) => (count, next),
                    None => return Some(Parsed::Error(ProtocolError::Count)),
                },
                Line::Incomplete => return Some(Parsed::Incomplete),
                Line::TooLong => return Some(Parsed::Error(ProtocolError::CountTooLong)),
            },
        };
        self.scanned = 0;
        if count > MOST_WORDS {
            return Some(Parsed::Error(ProtocolError::Count));
        }
        if count > MOST_WORDS_UNAUTHENTICATED && !authenticated {
            return Some(Parsed::Error(ProtocolError::CountUnauthenticated));
        }
        if count <= 0 {
            return Some(Parsed::Request { consumed: next });
        }
        self.position = next;
        self.remaining = count as usize;
        None
    }

    /// Reads the words that are still to come.
    fn words(&mut self, input: &[u8], authenticated: bool) -> Parsed {
        while self.remaining > 0 {
            let length = match self.length {
                Some(length) => length,
                None => match self.word_length(input, authenticated) {
                    Ok(Some(length)) => length,
                    Ok(None) => return Parsed::Incomplete,
                    Err(error) => return Parsed::Error(error),
                },
            };
            let end = self.position + length;
            if input.len() < end + 2 {
                self.length = Some(length);
                return Parsed::Incomplete;
            }
            self.ranges.push(self.position as u32..end as u32);
            self.position = end + 2;
            self.length = None;
            self.remaining -= 1;
        }
        Parsed::Request { consumed: self.position }
    }

    /// Reads the length of the word at `position` and moves to its first byte.
    #[inline]
    fn word_length(&mut self, input: &[u8], authenticated: bool) -> Result<Option<usize>, ProtocolError> {
        let short = match input.get(self.position) {
            Some(b'$') => short_number(input, self.position),
            _ => None,
        };
        let (length, next) = match short {
            Some((length, next)) => (length as i64, next),
            None => match self.line(input) {
                Line::Whole { end, next } => {
                    let first = input[self.position];
                    if first != b'$' {
                        return Err(ProtocolError::ExpectedWord(first));
                    }
                    (number(&input[self.position + 1..end]).ok_or(ProtocolError::Length)?, next)
                }
                Line::Incomplete => return Ok(None),
                Line::TooLong => return Err(ProtocolError::LengthTooLong),
            },
        };
        if !(0..=i64::from(self.longest_word)).contains(&length) {
            return Err(ProtocolError::Length);
        }
        if length > LONGEST_WORD_UNAUTHENTICATED && !authenticated {
            return Err(ProtocolError::LengthUnauthenticated);
        }
        self.position = next;
        self.scanned = 0;
        Ok(Some(length as usize))
    }

    /// Finds the end of the line at `position`.
    fn line(&mut self, input: &[u8]) -> Line {
        let from = self.scanned.max(self.position);
        match input[from..].iter().position(|&byte| byte == b'\r') {
            Some(offset) => {
                let end = from + offset;
                self.scanned = end;
                if end + 2 <= input.len() { Line::Whole { end, next: end + 2 } } else { Line::Incomplete }
            }
            None => {
                self.scanned = input.len();
                if input.len() - self.position > LONGEST_LINE { Line::TooLong } else { Line::Incomplete }
            }
        }
    }

    /// Reads a request that is a plain line of words.
    fn inline_request(&mut self, input: &[u8]) -> Option<Parsed> {
        self.inline = true;
        let from = self.scanned;
        let Some(offset) = input[from..].iter().position(|&byte| byte == b'\n') else {
            self.scanned = input.len();
            let too_long = input.len() > LONGEST_LINE;
            return Some(if too_long { Parsed::Error(ProtocolError::InlineTooLong) } else { Parsed::Incomplete });
        };
        self.scanned = 0;
        let end = from + offset;
        if end > LONGEST_LINE {
            return Some(Parsed::Error(ProtocolError::InlineTooLong));
        }
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let words = inline::split(line, &mut self.unquoted, &mut self.ranges);
        Some(match words {
            Ok(()) => Parsed::Request { consumed: end + 1 },
            Err(inline::Unbalanced) => Parsed::Error(ProtocolError::Quotes),
        })
    }
}

/// A line that announces a number.
enum Line {
    Whole { end: usize, next: usize },
    Incomplete,
    TooLong,
}

/// The usual case of a number, at most five digits behind the type byte at `at`, with the offset behind its line. `None`
/// says only that the line needs a closer look.
#[inline]
pub(super) fn short_number(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let digits = input.get(at + 1..)?;
    let first = digits.first()?.wrapping_sub(b'0');
    if first > 9 {
        return None;
    }
    let mut value = usize::from(first);
    for (index, &byte) in digits.iter().enumerate().skip(1).take(5) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let next = at + 1 + index + 2;
            return (byte == b'\r' && next <= input.len()).then_some((value, next));
        }
        if value == 0 {
            return None;
        }
        value = value * 10 + usize::from(digit);
    }
    None
}

/// A number in its only accepted form: no plus sign, no leading zeros, no minus zero, within 64 bits.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let negative = digits.len() < text.len();
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in a stream, fed in pieces of the given sizes (repeated), up to the first error.
    fn read(stream: &[u8], pieces: &[usize], authenticated: bool) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut parser, mut buffer, mut requests) = (Parser::default(), Vec::new(), Vec::new());
        let (mut sizes, mut fed) = (pieces.iter().cycle(), 0);
        while fed < stream.len() {
            let size = (*sizes.next().expect("cycles")).clamp(1, stream.len() - fed);
            buffer.extend_from_slice(&stream[fed..fed + size]);
            fed += size;
            loop {
                match parser.parse(&buffer, authenticated) {
                    Parsed::Incomplete => break,
                    Parsed::Request { consumed } => {
                        assert!(consumed > 0 && consumed <= buffer.len());
                        let words: Vec<Vec<u8>> = parser.arguments(&buffer).iter().map(<[u8]>::to_vec).collect();
                        if !words.is_empty() {
                            requests.push(words);
                        }
                        buffer.drain(..consumed);
                    }
                    Parsed::Error(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    fn error(stream: &[u8]) -> Option<ProtocolError> {
        read(stream, &[stream.len()], true).1
    }

    fn words(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn every_split_gives_the_same_requests() {
        let mut stream = Vec::new();
        stream.extend_from_slice(
            b"*3\r\n$3\r\nSET\r\n$5\r\nk\r\ney\r\n$0\r\n\r\n*0\r\n*-1\r\n\r\n  \r\nPING \"a b\" 'c'\nGET x\r\n",
        );
        stream.extend_from_slice(b"*12\r\n");
        for index in 0..12 {
            let word = "w".repeat(index * 17);
            stream.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        stream.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        let (whole, error) = read(&stream, &[stream.len()], true);
        assert_eq!(error, None);
        assert_eq!(whole.len(), 5);
        assert_eq!(whole[0], words(&["SET", "k\r\ney", ""]));
        assert_eq!(whole[1], words(&["PING", "a b", "c"]));
        assert_eq!(whole[3].len(), 12);
        for split in 1..stream.len() {
            assert_eq!(read(&stream, &[split, stream.len()], true).0, whole, "split at {split}");
            assert_eq!(read(&stream, &[split], true).0, whole, "pieces of {split}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let pieces: Vec<usize> = (0..16).map(|_| random.usize(1..60)).collect();
            assert_eq!(read(&stream, &pieces, true).0, whole, "pieces {pieces:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_splits_agree_on_the_error() {
        let alphabet = b"**$$\r\n\r\n0123456789-+ \"'\\xgetPING\0\xff";
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let stream: Vec<u8> = (0..random.usize(1..80)).map(|_| alphabet[random.usize(0..alphabet.len())]).collect();
            let authenticated = random.bool();
            let whole = read(&stream, &[stream.len()], authenticated);
            assert_eq!(read(&stream, &[1], authenticated), whole, "{stream:?}");
        }
        for _ in 0..2_000 {
            let stream: Vec<u8> = (0..random.usize(1..200)).map(|_| random.u8(..)).collect();
            read(&stream, &[3], true);
        }
    }

    #[test]
    fn malformed_requests_are_refused_with_redis_texts() {
        let cases: [(&[u8], &str); 17] = [
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*+1\r\n", "invalid multibulk length"),
            (b"*01\r\n", "invalid multibulk length"),
            (b"*-0\r\n", "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*1 \r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
            (b"*1\r\n\r\n", "expected '$', got ' '"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*1\r\n$04\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"PING \"a\r\n", "unbalanced quotes in request"),
            (b"PING \"a\"b\r\n", "unbalanced quotes in request"),
            (b"PING 'a\r\n", "unbalanced quotes in request"),
        ];
        for (stream, text) in cases {
            let error = error(stream).unwrap_or_else(|| panic!("{stream:?} was accepted"));
            assert_eq!(error.to_string(), format!("Protocol error: {text}"), "{stream:?}");
        }
        assert_eq!(error(b"*1048576\r\n"), None);
        assert_eq!(error(b"*1\r\n$536870912\r\n"), None);
        assert_eq!(error(b"*1\r\nPING"), None, "the line is judged when it has come");
    }

    #[test]
    fn lines_without_end_are_refused() {
        let long =
            |start: &str, byte: &str, length| error(&[start.as_bytes(), byte.repeat(length).as_bytes()].concat());
        assert_eq!(long("*", "1", 70_000), Some(ProtocolError::CountTooLong));
        assert_eq!(long("*1\r\n$", "1", 70_000), Some(ProtocolError::LengthTooLong));
        assert_eq!(long("", "a", 70_000), Some(ProtocolError::InlineTooLong));
        assert_eq!(long("", "a", 65_536), None);
        let stream = [b"a".repeat(70_000), b"\r\n".to_vec()].concat();
        assert_eq!(read(&stream, &[stream.len()], true), read(&stream, &[1000], true));
    }

    #[test]
    fn clients_that_have_not_authenticated_have_small_limits() {
        let refused = |stream: &[u8]| read(stream, &[stream.len()], false).1;
        assert_eq!(refused(b"*10\r\n"), None);
        assert_eq!(refused(b"*11\r\n"), Some(ProtocolError::CountUnauthenticated));
        assert_eq!(refused(b"*1\r\n$16384\r\n"), None);
        assert_eq!(refused(b"*1\r\n$16385\r\n"), Some(ProtocolError::LengthUnauthenticated));
        assert_eq!(refused(b"*1\r\n$99999999\r\n"), Some(ProtocolError::LengthUnauthenticated));
    }

    #[test]
    fn the_longest_word_can_be_limited() {
        let parse = |limit: usize, length: usize| {
            let mut parser = Parser::default();
            parser.limit_words(limit);
            parser.parse(format!("*1\r\n${length}\r\n").as_bytes(), true)
        };
        assert_eq!(parse(1 << 20, 1 << 20), Parsed::Incomplete);
        assert_eq!(parse(1 << 20, (1 << 20) + 1), Parsed::Error(ProtocolError::Length));
        for limit in [usize::MAX, 1 << 30] {
            assert_eq!(parse(limit, 512 << 20), Parsed::Incomplete);
            assert_eq!(parse(limit, (512 << 20) + 1), Parsed::Error(ProtocolError::Length));
        }
    }

    #[test]
    fn the_byte_after_a_carriage_return_is_not_looked_at() {
        assert_eq!(read(b"*1\rx$4\rxPINGxx", &[1], true).0, [words(&["PING"])]);
    }

    #[test]
    fn what_a_half_arrived_word_still_needs() {
        let mut parser = Parser::default();
        assert_eq!(parser.missing(0), 1);
        let start = b"*2\r\n$3\r\nSET\r\n$100000\r\nab";
        assert_eq!(parser.parse(start, true), Parsed::Incomplete);
        assert_eq!(parser.missing(start.len()), 100_000 - 2 + 2);
        parser.shrink();
        let whole = [&start[..], &b"b".repeat(99_998), b"\r\n"].concat();
        assert_eq!(parser.parse(&whole, true), Parsed::Request { consumed: whole.len() });
        assert_eq!(parser.arguments(&whole).len(), 2);
    }
}
