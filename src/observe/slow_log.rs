//! The slow log: what the latest commands were that took long.
//!
//! Must not know how a command is timed. Bounded by its length, and each entry by what of a request is kept.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Words of a request that are kept; the last one says how many more there were.
const MAX_WORDS: usize = 32;
/// Bytes of a word that are kept.
const MAX_WORD_BYTES: usize = 128;

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Counts from 0, never reused while the process lives.
    pub id: u64,
    /// When it was done, in seconds since the epoch.
    pub seconds: u64,
    /// How long it took.
    pub microseconds: u64,
    /// The request, shortened.
    pub words: Vec<Vec<u8>>,
    /// The client's address.
    pub address: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// What a new entry says.
#[derive(Clone, Debug)]
pub struct SlowCommand<I> {
    /// See [`SlowEntry`].
    pub seconds: u64,
    /// See [`SlowEntry`].
    pub microseconds: u64,
    /// The request.
    pub words: I,
    /// See [`SlowEntry`].
    pub address: String,
    /// See [`SlowEntry`].
    pub name: Vec<u8>,
}

#[derive(Debug, Default)]
struct Entries {
    /// The latest first.
    list: VecDeque<SlowEntry>,
    next_id: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Entries>);

impl SlowLog {
    /// Adds an entry and forgets the oldest beyond `limit`.
    pub fn add<'a>(&self, command: SlowCommand<impl ExactSizeIterator<Item = &'a [u8]>>, limit: usize) {
        let SlowCommand { seconds, microseconds, words, address, name } = command;
        let words = shorten(words);
        let mut entries = self.0.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.list.push_front(SlowEntry { id, seconds, microseconds, words, address, name });
        entries.list.truncate(limit);
    }

    /// The latest entries, the latest first.
    pub fn latest(&self, count: usize) -> Vec<SlowEntry> {
        self.0.lock().list.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.lock().list.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries. Their ids are not used again.
    pub fn clear(&self) {
        self.0.lock().list.clear();
    }
}

fn shorten<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = words.len();
    let kept = if count > MAX_WORDS { MAX_WORDS - 1 } else { count };
    let mut short: Vec<Vec<u8>> = words.take(kept).map(shorten_word).collect();
    if count > kept {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    short
}

fn shorten_word(word: &[u8]) -> Vec<u8> {
    match word.get(..MAX_WORD_BYTES) {
        Some(start) if word.len() > MAX_WORD_BYTES => {
            [start, format!("... ({} more bytes)", word.len() - MAX_WORD_BYTES).as_bytes()].concat()
        }
        _ => word.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(log: &SlowLog, words: &[&[u8]], limit: usize) {
        let (address, name) = ("127.0.0.1:1".to_string(), b"me".to_vec());
        log.add(SlowCommand { seconds: 1, microseconds: 2, words: words.iter().copied(), address, name }, limit);
    }

    #[test]
    fn the_latest_are_kept_under_numbers_of_their_own() {
        let log = SlowLog::default();
        for word in [b"a", b"b", b"c"] {
            add(&log, &[word], 2);
        }
        let ids: Vec<u64> = log.latest(10).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [2, 1]);
        log.clear();
        assert!(log.is_empty());
        add(&log, &[b"d"], 2);
        assert_eq!((log.latest(1)[0].id, log.len()), (3, 1));
        add(&log, &[b"e"], 0);
        assert!(log.is_empty(), "the limit is what holds when something is added");
    }

    #[test]
    fn long_requests_are_shortened() {
        let log = SlowLog::default();
        let (long, exact) = ([b'x'; 130], [b'y'; 128]);
        add(&log, &[b"set", &exact, &long], 9);
        let words = &log.latest(1)[0].words;
        assert_eq!((words[1].len(), &words[2][128..]), (128, &b"... (2 more bytes)"[..]));
        for (count, shown, last) in [(32, 32, &b"k"[..]), (33, 32, b"... (2 more arguments)")] {
            add(&log, &vec![&b"k"[..]; count], 9);
            let words = &log.latest(1)[0].words;
            assert_eq!((words.len(), &words[shown - 1][..]), (shown, last));
        }
    }
}
