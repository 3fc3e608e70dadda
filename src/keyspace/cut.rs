//! A cut: all keys as they are at one moment, handed out piece by piece while everybody keeps writing.
//!
//! Beginning a cut locks everything for as long as it takes to note, with one bit per key, which keys it still has to hand
//! out. From then on whoever is about to change or remove such a key first *keeps* it: encodes it as it is, in the form that
//! the cut hands out, beside the keys of its database. Every change of an entry goes through [`Database`], so that is
//! where it happens. So a cut costs the memory of the keys that change before their turn, and those are fetched before
//! their turn when they become many ([`FETCHED_EARLY`]); should they still become too many ([`MOST_KEPT`]), the cut fails,
//! and no writer waits.
//!
//! A large value is handed out in parts. Its lock is free between them; whoever then changes it encodes what is left
//! of it. A database that is flushed is not copied: the cut keeps it until it is handed out.
//!
//! Must not know the form that keys are encoded in, nor where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use thiserror::Error;

use super::database::Database;
use super::entry::Entry;
use super::shard::Shard;
use super::value::Value;
use super::{Keyspace, Libraries, Millis, is_system_key, libraries};

/// A piece has about so many bytes: its shard is locked for as long as it takes to encode them.
const PIECE_BYTES: usize = 64 << 10;
/// And so many keys at most are looked at for it.
const PIECE_KEYS: usize = 1024;
/// When so many bytes are kept, they are fetched before their turn.
const FETCHED_EARLY: usize = 4 << 20;
/// A cut fails when it finds more than so many bytes kept.
const MOST_KEPT: usize = if cfg!(test) { 1 << 20 } else { 256 << 20 };

/// One key as it was at the moment of the cut.
#[derive(Debug)]
pub struct CutKey<'a>(&'a Entry);

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum CutValue<'a> {
    /// A string.
    Text(&'a [u8]),
    /// Anything else.
    Collection(&'a Value),
}

impl<'a> CutKey<'a> {
    /// Its name.
    pub fn name(&self) -> &'a [u8] {
        self.0.key()
    }

    /// What it holds.
    pub fn value(&self) -> CutValue<'a> {
        match (self.0.text(), self.0.collection()) {
            (None, Some(value)) => CutValue::Collection(value),
            (text, _) => CutValue::Text(text.unwrap_or_default()),
        }
    }

    /// When it ends, if ever.
    pub fn deadline(&self) -> Option<Millis> {
        self.0.deadline()
    }

    /// How often it is used, on the logarithmic scale of the access counter.
    pub fn frequency(&self, now: Millis) -> u8 {
        self.0.access().frequency(now)
    }

    /// For how long it was not used, in steps of a second.
    pub fn idle(&self, now: Millis) -> Millis {
        self.0.access().idle(now)
    }
}

/// The form that a cut hands keys out in.
pub trait CutForm: Send + Sync {
    /// Appends a key, or one part of it: the parts before `part` were appended already, to other buffers. A value that is
    /// not large is one part. True when the key is complete.
    fn encode(&self, key: &CutKey<'_>, part: usize, out: &mut Vec<u8>) -> bool;
}

/// Why a cut ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CutError {
    /// More keys changed before their turn than memory is there for.
    #[error("clients change data faster than it can be written: more than {} MiB of it wait", MOST_KEPT >> 20)]
    TooManyChanges,
}

/// What all databases know of a cut.
struct Shared {
    form: Arc<dyn CutForm>,
    /// The moment of the cut.
    now: Millis,
    /// Bytes that are kept.
    kept: AtomicUsize,
    /// Keys that were encoded.
    keys: AtomicU64,
    /// Nobody keeps anything any more.
    failed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").field("kept", &self.kept).finish()
    }
}

impl Shared {
    fn is_part_of_it(&self, entry: &Entry) -> bool {
        entry.is_live(self.now) && !is_system_key(entry.key())
    }
}

/// What a cut still has to hand out of one database of a shard.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    /// The number of the database at the moment of the cut.
    number: u32,
    /// A bit for each position below `covered`: is its entry still to be handed out?
    left: Vec<u64>,
    covered: usize,
    /// No position from here on is still to be handed out.
    below: usize,
    /// Its first parts are handed out, so many of them; the rest follows before any other key.
    begun: Option<(usize, usize)>,
    /// What whoever changed that entry left of it: goes before everything else.
    rest: Option<Vec<u8>>,
    /// Keys that changed before their turn.
    kept: Vec<u8>,
}

const WORD: usize = u64::BITS as usize;

impl Pending {
    fn new(shared: Arc<Shared>, number: u32, entries: usize) -> Pending {
        let mut left = vec![u64::MAX; entries.div_ceil(WORD)];
        if let Some(last) = left.last_mut().filter(|_| !entries.is_multiple_of(WORD)) {
            *last = (1 << (entries % WORD)) - 1;
        }
        Pending { shared, number, left, covered: entries, below: entries, begun: None, rest: None, kept: Vec::new() }
    }

    fn is_left(&self, position: usize) -> bool {
        position < self.covered && self.left[position / WORD] & 1 << (position % WORD) != 0
    }

    fn mark(&mut self, position: usize, left: bool) {
        if position < self.covered {
            let bit = 1 << (position % WORD);
            if left { self.left[position / WORD] |= bit } else { self.left[position / WORD] &= !bit }
        }
    }

    /// The entry at a position is about to change, or to go. False: the cut has failed, and this is no longer needed.
    pub fn keep(&mut self, position: usize, entry: &Entry) -> bool {
        if self.shared.kept.load(Relaxed) > MOST_KEPT {
            self.shared.failed.store(true, Relaxed);
        }
        if self.shared.failed.load(Relaxed) {
            return false;
        }
        match self.begun {
            Some((begun, part)) if begun == position => {
                self.begun = None;
                let mut rest = Vec::new();
                self.encode_rest(entry, part, &mut rest);
                self.shared.kept.fetch_add(rest.len(), Relaxed);
                self.rest = Some(rest);
            }
            _ if self.is_left(position) => {
                self.mark(position, false);
                if self.shared.is_part_of_it(entry) {
                    let before = self.kept.len();
                    let mut kept = std::mem::take(&mut self.kept);
                    self.encode_rest(entry, 0, &mut kept);
                    self.kept = kept;
                    self.shared.kept.fetch_add(self.kept.len() - before, Relaxed);
                }
            }
            _ => {}
        }
        true
    }

    fn encode_rest(&self, entry: &Entry, mut part: usize, out: &mut Vec<u8>) {
        while !self.shared.form.encode(&CutKey(entry), part, out) {
            part += 1;
        }
        self.shared.keys.fetch_add(1, Relaxed);
    }

    /// The entry at `position` has gone, and the last one, at `moved`, has taken its place.
    pub fn note_removal(&mut self, position: usize, moved: usize) {
        let is_left = self.is_left(moved);
        self.mark(position, is_left);
        self.mark(moved, false);
        self.covered = self.covered.min(moved);
        if let Some((begun, _)) = &mut self.begun
            && *begun == moved
        {
            *begun = position;
        }
    }

    /// Encodes about one piece more. True when there is nothing left.
    fn hand_out(&mut self, entries: &[Entry], out: &mut Vec<u8>) -> bool {
        if let Some(rest) = self.rest.take() {
            self.shared.kept.fetch_sub(rest.len(), Relaxed);
            out.extend_from_slice(&rest);
        }
        if let Some((position, part)) = self.begun.take() {
            self.hand_out_part(position, part, &entries[position], out);
        }
        let mut looked_at = 0;
        self.below = self.below.min(self.covered);
        while self.below > 0 && self.begun.is_none() {
            if out.len() >= PIECE_BYTES || looked_at >= PIECE_KEYS {
                return false;
            }
            self.below -= 1;
            looked_at += 1;
            let position = self.below;
            if self.is_left(position) {
                self.mark(position, false);
                let entry = &entries[position];
                if self.shared.is_part_of_it(entry) {
                    self.hand_out_part(position, 0, entry, out);
                }
            }
        }
        if self.begun.is_some() {
            return false;
        }
        self.take_kept(out);
        true
    }

    fn hand_out_part(&mut self, position: usize, part: usize, entry: &Entry, out: &mut Vec<u8>) {
        if self.shared.form.encode(&CutKey(entry), part, out) {
            self.shared.keys.fetch_add(1, Relaxed);
        } else {
            self.begun = Some((position, part + 1));
        }
    }

    /// Fetches what is kept.
    fn take_kept(&mut self, out: &mut Vec<u8>) {
        let kept = std::mem::take(&mut self.kept);
        self.shared.kept.fetch_sub(kept.len(), Relaxed);
        out.extend_from_slice(&kept);
    }
}

/// What a cut has to hand out of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutSize {
    /// Keys, those of the system not counted.
    pub keys: usize,
    /// Those of them that have a deadline.
    pub with_deadline: usize,
}

/// See the module's text. Dropped before its end, it is given up.
#[derive(Debug)]
pub struct Cut {
    keyspace: Arc<Keyspace>,
    shared: Arc<Shared>,
    sizes: Vec<CutSize>,
    has_ending_fields: bool,
    /// Where it is: the number of the database at the moment of the cut, and the shard.
    number: u32,
    shard: usize,
    /// A key is handed out in parts: nothing may come between.
    in_parts: bool,
    /// What is kept is fetched from this shard on.
    fetching: Option<usize>,
    /// How many databases of shards are still to be handed out.
    open: usize,
    /// The libraries of functions: few and small, they are copied at once.
    libraries: Libraries,
}

impl Cut {
    /// Takes a cut of this moment; `None`: there is one already.
    pub fn begin(keyspace: &Arc<Keyspace>, now: Millis, form: Arc<dyn CutForm>) -> Option<Cut> {
        let mut transaction = keyspace.lock_all(now, 0);
        if transaction.is_void() || keyspace.has_cut.swap(true, Relaxed) {
            return None;
        }
        let shared = Arc::new(Shared {
            form,
            now,
            kept: AtomicUsize::new(0),
            keys: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        let mut cut = Cut {
            keyspace: Arc::clone(keyspace),
            shared,
            sizes: Vec::new(),
            has_ending_fields: false,
            number: 0,
            shard: 0,
            in_parts: false,
            fetching: None,
            open: 0,
            libraries: libraries::find(&mut transaction, keyspace.libraries_key()),
        };
        for (_, shard) in transaction.shards_unchanged() {
            for (number, database) in shard.databases.iter_mut().enumerate().filter(|(_, keys)| keys.len() > 0) {
                if cut.sizes.len() <= number {
                    cut.sizes.resize(number + 1, CutSize::default());
                }
                cut.sizes[number].keys += database.visible();
                cut.sizes[number].with_deadline += database.with_deadline();
                cut.has_ending_fields |= database.has_ending_elements();
                cut.open += 1;
                let pending = Pending::new(Arc::clone(&cut.shared), number as u32, database.len());
                database.begin_cut(pending);
            }
        }
        Some(cut)
    }

    /// What it has to hand out, by number of the database.
    pub fn sizes(&self) -> &[CutSize] {
        &self.sizes
    }

    /// Did some hash have fields that expire?
    pub fn has_ending_fields(&self) -> bool {
        self.has_ending_fields
    }

    /// The libraries of functions.
    pub fn libraries(&self) -> &Libraries {
        &self.libraries
    }

    /// The moment of the cut.
    pub fn now(&self) -> Millis {
        self.shared.now
    }

    /// How many keys are encoded so far.
    pub fn keys(&self) -> u64 {
        self.shared.keys.load(Relaxed)
    }

    /// Appends the next piece, and returns the number of the database that its keys are in; `None` at the end.
    ///
    /// # Errors
    /// See [`CutError`]. What was handed out is not to be used then.
    pub fn next_piece(&mut self, out: &mut Vec<u8>) -> Result<Option<u32>, CutError> {
        loop {
            if self.shared.failed.load(Relaxed) {
                return Err(CutError::TooManyChanges);
            }
            if self.shared.kept.load(Relaxed) > FETCHED_EARLY && self.fetching.is_none() && !self.in_parts {
                self.fetching = Some(0);
            }
            if let Some(shard) = self.fetching {
                match self.fetch_kept(shard, out) {
                    Some(number) => return Ok(Some(number)),
                    None => self.fetching = Some(shard + 1).filter(|&next| next < Keyspace::SHARDS),
                }
                continue;
            }
            if self.shard == Keyspace::SHARDS {
                (self.shard, self.number) = (0, self.number + 1);
            }
            if self.number as usize >= self.sizes.len() {
                assert_eq!(self.open, 0, "what is flushed or moved stays with its shard");
                return Ok(None);
            }
            self.hand_out(out);
            if !out.is_empty() {
                return Ok(Some(self.number));
            }
        }
    }

    /// A piece of the database and the shard at hand; the next shard is at hand when nothing is left.
    fn hand_out(&mut self, out: &mut Vec<u8>) {
        let mut guard = self.keyspace.lock_shard(self.shard);
        let Shard { databases, detached, .. } = &mut *guard;
        let found = databases.iter_mut().chain(detached.iter_mut()).find(|keys| keys.cut_number() == Some(self.number));
        let Some(database) = found else {
            self.shard += 1;
            return;
        };
        let done = database.hand_out(out);
        self.in_parts = !done && database.is_handed_out_in_parts();
        if done {
            database.end_cut();
            self.open -= 1;
            let (kept, finished) = std::mem::take(detached).into_iter().partition(Database::is_in_cut);
            *detached = kept;
            drop(guard);
            // A flushed database goes only now, and without a lock.
            drop::<Vec<Database>>(finished);
            self.shard += 1;
        }
    }

    /// What is kept of one database of a shard.
    fn fetch_kept(&self, shard: usize, out: &mut Vec<u8>) -> Option<u32> {
        let mut guard = self.keyspace.lock_shard(shard);
        let Shard { databases, detached, .. } = &mut *guard;
        let mut all = databases.iter_mut().chain(detached.iter_mut());
        all.find_map(|database| database.fetch_kept(out))
    }
}

impl Database {
    /// The number that a cut knows it by.
    fn cut_number(&self) -> Option<u32> {
        self.pending.as_ref().map(|pending| pending.number)
    }

    /// Has a cut still to hand out some of it?
    pub fn is_in_cut(&self) -> bool {
        self.pending.is_some()
    }

    fn begin_cut(&mut self, pending: Pending) {
        self.pending = Some(Box::new(pending));
    }

    fn end_cut(&mut self) {
        self.pending = None;
    }

    fn is_handed_out_in_parts(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.begun.is_some() || pending.rest.is_some())
    }

    fn hand_out(&mut self, out: &mut Vec<u8>) -> bool {
        let Database { pending, entries, .. } = self;
        pending.as_mut().is_none_or(|pending| pending.hand_out(entries, out))
    }

    fn fetch_kept(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let pending = self.pending.as_mut().filter(|pending| !pending.kept.is_empty())?;
        pending.take_kept(out);
        Some(pending.number)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.shared.failed.store(true, Relaxed);
        if self.open > 0 {
            for shard in 0..Keyspace::SHARDS {
                let mut guard = self.keyspace.lock_shard(shard);
                let detached = std::mem::take(&mut guard.detached);
                guard.databases.iter_mut().for_each(Database::end_cut);
                drop(guard);
                drop(detached);
            }
        }
        self.keyspace.has_cut.store(false, Relaxed);
    }
}
