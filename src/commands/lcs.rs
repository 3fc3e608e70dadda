//! LCS: the longest common subsequence of two strings, by dynamic programming.

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};

/// A run of bytes that both strings share: where it begins in each, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    left: usize,
    right: usize,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Options {
    length_only: bool,
    positions: bool,
    match_lengths: bool,
    min_length: usize,
}

fn parse_options(context: &Context<'_>) -> Result<Options, Refusal> {
    let mut options = Options::default();
    let mut at = 3;
    while at < context.words() {
        let word = context.word(at);
        if is_option(word, "idx") {
            options.positions = true;
        } else if is_option(word, "len") {
            options.length_only = true;
        } else if is_option(word, "withmatchlen") {
            options.match_lengths = true;
        } else if is_option(word, "minmatchlen") && at + 1 < context.words() {
            // A negative length means none.
            options.min_length = usize::try_from(context.integer(at + 1)?).unwrap_or(0);
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if options.positions && options.length_only {
        return Err(Refusal::Fixed("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

/// LCS key key [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN].
pub fn lcs(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..3);
    let mut transaction = context.lock_keys(&keys);
    let mut strings = Vec::with_capacity(2);
    for &key in &keys {
        context.count_read(key, transaction.kind(key).is_some());
    }
    for &key in &keys {
        let value = transaction.string(key);
        let value = value.map_err(|_| Refusal::Fixed("ERR The specified keys must contain string values"))?;
        strings.push(value.unwrap_or_default().to_vec());
    }
    // The work is quadratic: nobody else is to wait for it.
    drop(transaction);
    let options = parse_options(context)?;
    let (left, right) = (&strings[0], &strings[1]);
    let cells = (left.len() + 1).checked_mul(right.len() + 1).and_then(|cells| cells.checked_mul(size_of::<u32>()));
    if cells.is_none_or(|bytes| bytes > context.state.config.longest_string()) {
        let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(Refusal::Fixed(text));
    }
    let (length, matches) = compare(left, right);
    if options.length_only {
        return context.reply_count(length);
    }
    if !options.positions {
        let mut common = Vec::with_capacity(length);
        for found in matches.iter().rev() {
            common.extend_from_slice(&left[found.left..found.left + found.length]);
        }
        context.reply.bulk(&common);
        return Ok(Flow::Continue);
    }
    let shown: Vec<Match> = matches.into_iter().filter(|found| found.length >= options.min_length).collect();
    context.reply.map(2);
    context.reply.bulk(b"matches");
    context.reply.array(shown.len());
    for found in shown {
        context.reply.array(if options.match_lengths { 3 } else { 2 });
        for start in [found.left, found.right] {
            context.reply.array(2);
            context.reply.count(start);
            context.reply.count(start + found.length - 1);
        }
        if options.match_lengths {
            context.reply.count(found.length);
        }
    }
    context.reply.bulk(b"len");
    context.reply_count(length)
}

/// The length, and the runs that make up one longest common subsequence, last one first. Of several, the one that
/// Redis finds: it walks back along the right string as long as that costs nothing.
fn compare(left: &[u8], right: &[u8]) -> (usize, Vec<Match>) {
    let width = right.len() + 1;
    let mut lengths = vec![0u32; (left.len() + 1) * width];
    for (row, byte) in left.iter().enumerate() {
        for (column, other) in right.iter().enumerate() {
            let at = (row + 1) * width + column + 1;
            lengths[at] = match byte == other {
                true => lengths[at - width - 1] + 1,
                false => lengths[at - width].max(lengths[at - 1]),
            };
        }
    }
    let mut matches: Vec<Match> = Vec::new();
    let (mut row, mut column) = (left.len(), right.len());
    while row > 0 && column > 0 {
        if left[row - 1] == right[column - 1] {
            match matches.last_mut() {
                Some(last) if last.left == row && last.right == column => {
                    *last = Match { left: row - 1, right: column - 1, length: last.length + 1 };
                }
                _ => matches.push(Match { left: row - 1, right: column - 1, length: 1 }),
            }
            row -= 1;
            column -= 1;
        } else if lengths[(row - 1) * width + column] > lengths[row * width + column - 1] {
            row -= 1;
        } else {
            column -= 1;
        }
    }
    (lengths.last().copied().unwrap_or(0) as usize, matches)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn the_example_of_the_documentation() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("mset key1 ohmytext key2 mynewtext", "+OK\r\n"),
            ("lcs key1 key2", "$6\r\nmytext\r\n"),
            ("lcs key1 key2 len", ":6\r\n"),
            (
                "lcs key1 key2 idx",
                "*4\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n\
                 *2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n$3\r\nlen\r\n:6\r\n",
            ),
            (
                "lcs key1 key2 idx minmatchlen 4 withmatchlen",
                "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6\r\n",
            ),
        ]);
    }

    #[test]
    fn refusals() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("hset h f v", ":1\r\n"),
            ("lcs s h", "-ERR The specified keys must contain string values\r\n"),
            ("lcs s s foo", "-ERR syntax error\r\n"),
            ("lcs s s idx minmatchlen", "-ERR syntax error\r\n"),
            ("lcs s s len idx", "-ERR If you want both the length and indexes, please just use IDX.\r\n"),
            ("lcs s nosuch", "$0\r\n\r\n"),
            ("setrange a 20000 x", ":20001\r\n"),
            ("lcs a a", "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n"),
        ]);
    }
}
