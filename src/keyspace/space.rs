//! The keyspace: its shards, who may lock what, and the books that are kept over all of it.

use std::fmt;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use parking_lot::{Mutex, MutexGuard};

use super::conflicts::Conflicts;
use super::database::hash_key;
use super::events::Events;
use super::eviction::Eviction;
use super::gates::{Gates, Inside};
use super::imported::Imported;
use super::scan::ScanPage;
use super::shard::Shard;
use super::tracking::Tracked;
use super::transaction::{Key, Transaction};
use super::value::seed_elements;
use super::waiting::Waiter;
use super::watching::{Watched, Watcher};
use super::{KeyspaceOptions, Kind, Millis};
use crate::effects::{Effect, Frontier, Origin, TracedEffect};

/// The data of one node. See the module `keyspace`.
pub struct Keyspace {
    shards: Box<[Slot]>,
    pub(super) hasher: FixedState,
    /// The seed of `hasher`.
    pub(super) hash_seed: u64,
    databases: u32,
    pub(super) origin: Option<Mutex<Origin>>,
    /// A snapshot is being imported: commands do not get at the data.
    pub(super) loading: AtomicBool,
    /// What the snapshot has that is being caught up with. Taken before all other locks, by whoever applies effects.
    pub(super) imported: Mutex<Option<Imported>>,
    /// There is a cut.
    pub(super) has_cut: AtomicBool,
    memory: Box<[Stripe]>,
    metadata: AtomicIsize,
    memory_limit: AtomicUsize,
    pub(super) random: Mutex<fastrand::Rng>,
    on_commit: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Which part of the background work this node does: rank among the members, and their number.
    share: (AtomicU32, AtomicU32),
    pub(super) next_expiry_shard: AtomicUsize,
    pub(super) expired: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) events: Events,
    pub(super) tracked: Tracked,
    pub(super) eviction: Eviction,
    conflicts: Arc<Conflicts>,
    gates: Gates,
}

/// A locked shard. Its lock goes before the pass.
pub struct ShardGuard<'k> {
    shard: MutexGuard<'k, Shard>,
    _inside: Inside<'k>,
}

impl Deref for ShardGuard<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for ShardGuard<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

/// Each lock on cache lines of its own.
#[repr(align(64))]
struct Slot(Mutex<Shard>);

/// A part of the memory counter: writers on different shards do not meet on one cache line.
#[repr(align(64))]
#[derive(Default)]
struct Stripe(AtomicIsize);

const STRIPES: usize = 16;

impl fmt::Debug for Keyspace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyspace").field("databases", &self.databases).field("memory", &self.memory()).finish()
    }
}

impl Keyspace {
    /// How many shards every keyspace has. Part of the snapshot format.
    pub const SHARDS: usize = 1024;

    /// An empty keyspace.
    pub fn new(options: KeyspaceOptions) -> Keyspace {
        let mut random = fastrand::Rng::with_seed(options.random_seed);
        seed_elements(options.hash_seed);
        let tracked = Tracked::default();
        let conflicts = Arc::<Conflicts>::default();
        let (books, counted) = (&tracked.books, &conflicts);
        let mut shard = || Slot(Mutex::new(Shard::new(random.u64(..), Arc::clone(books), Arc::clone(counted))));
        Keyspace {
            shards: (0..Self::SHARDS).map(|_| shard()).collect(),
            hasher: FixedState::with_seed(options.hash_seed),
            hash_seed: options.hash_seed,
            databases: options.databases,
            origin: options.node.map(|node| Mutex::new(Origin::new(node))),
            loading: AtomicBool::new(false),
            imported: Mutex::default(),
            has_cut: AtomicBool::new(false),
            memory: (0..STRIPES).map(|_| Stripe::default()).collect(),
            metadata: AtomicIsize::new(0),
            memory_limit: AtomicUsize::new(options.memory_limit),
            random: Mutex::new(random),
            on_commit: OnceLock::new(),
            share: (AtomicU32::new(0), AtomicU32::new(1)),
            next_expiry_shard: AtomicUsize::new(0),
            expired: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            events: Events::default(),
            tracked,
            eviction: Eviction::default(),
            conflicts,
            gates: Gates::default(),
        }
    }

    /// How many databases SELECT can choose from.
    pub fn databases(&self) -> u32 {
        self.databases
    }

    /// A key's name with its hash.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: hash_key(&self.hasher, bytes) }
    }

    /// The shard of a hash. The index within a shard uses the lowest and the highest bits; these lie between.
    pub(super) fn shard_of(hash: u64) -> usize {
        (hash >> 32) as usize % Self::SHARDS
    }

    /// What every access passes, and who is alone closes.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Locks one shard, for work that is no transaction.
    pub(super) fn lock_shard(&self, shard: usize) -> ShardGuard<'_> {
        let inside = self.gates.enter();
        ShardGuard { shard: self.shards[shard].0.lock(), _inside: inside }
    }

    /// The lock of a shard itself, for who is inside.
    pub(super) fn lock_inside(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].0.lock()
    }

    /// The same, if nobody else has it.
    pub(super) fn try_lock_inside(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards[shard].0.try_lock()
    }

    /// Locks the shard of one key for one command in one database.
    pub fn lock_one(&self, now: Millis, database: u32, key: Key<'_>) -> Transaction<'_> {
        let shard = Self::shard_of(key.hash);
        let mut transaction = Transaction::new(self, now, database);
        transaction.add_guard(shard, self.lock_inside(shard));
        transaction
    }

    /// Locks the shards of several keys, in order, so that two commands never wait for each other in a circle.
    pub fn lock_keys<'a>(&self, now: Millis, database: u32, keys: impl Iterator<Item = Key<'a>>) -> Transaction<'_> {
        let mut shards: smallvec::SmallVec<[usize; 8]> = keys.map(|key| Self::shard_of(key.hash)).collect();
        shards.sort_unstable();
        shards.dedup();
        // The locks lie far apart in memory, and taking one waits for the one before. Looks do not wait for each other.
        for shard in &shards {
            black_box(self.shards[*shard].0.is_locked());
        }
        self.lock_shards(now, database, shards.into_iter())
    }

    /// Locks everything.
    pub fn lock_all(&self, now: Millis, database: u32) -> Transaction<'_> {
        self.lock_shards(now, database, 0..Self::SHARDS)
    }

    pub(super) fn lock_shards(
        &self,
        now: Millis,
        database: u32,
        ascending: impl Iterator<Item = usize>,
    ) -> Transaction<'_> {
        let mut transaction = Transaction::new(self, now, database);
        for shard in ascending {
            transaction.add_guard(shard, self.lock_inside(shard));
        }
        transaction
    }

    /// Keys of a database, and how many of them have a deadline. Keys of the system are not counted.
    pub fn size(&self, database: u32) -> (usize, usize) {
        self.lock_all(0, database).size()
    }

    /// Bytes of data, about.
    pub fn memory(&self) -> usize {
        let sum: isize = self.memory.iter().map(|stripe| stripe.0.load(Relaxed)).sum();
        usize::try_from(sum).unwrap_or(0)
    }

    pub(super) fn report_memory(&self, shard: usize, contents: &mut Shard) {
        let memory = contents.memory();
        let change = memory as isize - contents.reported_memory as isize;
        if change != 0 {
            contents.reported_memory = memory;
            self.memory[shard % STRIPES].0.fetch_add(change, Relaxed);
        }
    }

    /// Bytes of metadata of what is not stable, about, as the last round of the background work found it.
    pub fn metadata(&self) -> usize {
        usize::try_from(self.metadata.load(Relaxed)).unwrap_or(0)
    }

    pub(super) fn report_metadata(&self, contents: &mut Shard) {
        let metadata = contents.metadata();
        let change = metadata as isize - contents.reported_metadata as isize;
        if change != 0 {
            contents.reported_metadata = metadata;
            self.metadata.fetch_add(change, Relaxed);
        }
    }

    /// Sets the limit of `memory()`; 0: none.
    pub fn set_memory_limit(&self, bytes: usize) {
        self.memory_limit.store(bytes, Relaxed);
    }

    /// The limit of `memory()`; 0: none.
    pub fn memory_limit(&self) -> usize {
        self.memory_limit.load(Relaxed)
    }

    /// Keys that were removed because their time was over.
    pub fn expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }

    /// Keys that were removed to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// How many actions met something at their key that their node had not seen, by the type of the value; `None`: there
    /// was no value. A write of this node has seen all that is here, unless it is made again after a rebase. Keys of the system
    /// do not count.
    pub fn conflicts(&self) -> Vec<(Option<Kind>, u64)> {
        self.conflicts.counts().collect()
    }

    /// Do writes become effects that other nodes apply?
    pub fn is_in_cluster(&self) -> bool {
        self.origin.is_some()
    }

    /// How often keys and elements were changed since the start, by clients of this node and by peers. Not within a
    /// transaction: it locks all shards, one after the other.
    pub fn changes(&self) -> u64 {
        (0..Self::SHARDS).map(|shard| self.lock_shard(shard).changes).sum()
    }

    /// Which part of the background work falls to this node: `rank` of `members`.
    pub fn set_share(&self, rank: u32, members: u32) {
        assert!(rank < members, "a rank is below the number of members");
        self.share.0.store(rank, Relaxed);
        self.share.1.store(members, Relaxed);
    }

    /// Does the background work on this shard fall to this node?
    pub(super) fn is_mine(&self, shard: usize) -> bool {
        let members = self.share.1.load(Relaxed) as usize;
        shard % members == self.share.0.load(Relaxed) as usize % members
    }

    /// Continues a scan of a database: calls `each` for keys (not expired, not of the system) until `count` keys were
    /// visited. Returns the next cursor, 0 at the end. A key that is there all the while is reported at least once.
    pub fn scan(&self, now: Millis, database: u32, page: ScanPage, each: &mut dyn FnMut(&[u8], Kind)) -> u64 {
        page.walk(now, database, each, |shard, visit| visit(&self.lock_shard(shard)))
    }

    /// The waiter waits nowhere any more.
    pub fn forget_waiter(&self, now: Millis, database: u32, waiter: &Arc<Waiter>) {
        for name in waiter.take_places() {
            let key = self.key(&name);
            self.lock_one(now, database, key).stop_waiting(key, waiter);
        }
    }

    /// The watcher watches nothing any more. It goes to one shard after the other: what it watches means nothing any more.
    pub fn forget_watcher(&self, watcher: &Arc<Watcher>) {
        for Watched { key, .. } in watcher.take_keys() {
            self.lock_shard(Self::shard_of(self.key(&key).hash)).watching.remove(&key, watcher);
        }
    }

    /// Calls `hook` (outside all locks) when there are effects to collect and there were none before.
    pub fn on_commit(&self, hook: Box<dyn Fn() + Send + Sync>) {
        assert!(self.on_commit.set(hook).is_ok(), "the hook is set once");
    }

    pub(super) fn notify_commit(&self) {
        if let Some(hook) = self.on_commit.get() {
            hook();
        }
    }

    /// The effects of local writes since the last call, in order.
    pub fn drain_effects(&self) -> Vec<Effect> {
        self.origin.as_ref().map(|origin| origin.lock().drain()).unwrap_or_default()
    }

    /// Which effects belong to traces, of those that [`Keyspace::drain_effects`] has handed out since the last call, and maybe of some that
    /// it is about to.
    pub fn drain_traced(&self) -> Vec<TracedEffect> {
        self.origin.as_ref().map(|origin| origin.lock().drain_traced()).unwrap_or_default()
    }

    /// Everything that is applied here. Empty without a cluster.
    pub fn frontier(&self) -> Frontier {
        self.origin.as_ref().map(|origin| origin.lock().frontier().clone()).unwrap_or_default()
    }
}
