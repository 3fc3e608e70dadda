//! Effects that were not made here: applying those of peers, and forgetting what all have of them.

use super::causality::{Mark, Seen};
use super::events::Heard;
use super::shard::Spared;
use super::transaction::Transaction;
use super::{Keyspace, Millis};
use crate::effects::{Effect, Frontier, Operation};
use crate::planted::{Bug, planted};

/// Databases above this are not taken from peers.
pub const MAX_DATABASES: u32 = 1024;

impl Keyspace {
    /// Applies an effect of a peer. The caller delivers in causal order and once; `seen` is everything that the origin had
    /// seen, its own earlier effects included. All of the effect becomes visible at once.
    pub fn apply(&self, effect: &Effect, seen: &Frontier, now: Millis) {
        let imported = self.imported.lock();
        let imported = imported.as_ref().filter(|_| !planted(Bug::SnapshotAppliesTwice));
        let has_already = |key: &[u8]| imported.is_some_and(|imported| imported.has(key, effect.dot));
        let spared = imported.filter(|imported| imported.has_anywhere(effect.dot));
        let everything = effect.operations().any(|operation| matches!(operation, Operation::Flush { .. }));
        let mut transaction = if everything {
            self.lock_all(now, 0)
        } else {
            let keys = effect.operations().filter_map(|operation| match operation {
                Operation::Key { key, .. } => Some(self.key(key)),
                Operation::Flush { .. } => None,
            });
            self.lock_keys(now, 0, keys)
        };
        let spared = spared.map(|_| &has_already as &Spared<'_>);
        self.apply_in(&mut transaction, effect, (seen, &self.frontier()), spared);
    }

    /// Applies an effect under locks that its keys are among. `applied`: all that was before it. `spared`: which of its keys have it
    /// already.
    pub(super) fn apply_in(
        &self,
        transaction: &mut Transaction<'_>,
        effect: &Effect,
        (seen, applied): (&Frontier, &Frontier),
        spared: Option<&Spared<'_>>,
    ) {
        let now = transaction.now();
        let reach = match &effect.acts_on {
            None => Seen { frontier: seen, own: effect.dot, stable: true },
            Some(reach) => Seen { frontier: &reach.frontier, own: effect.dot, stable: reach.stable },
        };
        let mark = Mark { dot: effect.dot, stamp: effect.stamp(), seen: reach, known: seen, applied };
        let mut first_key = None;
        let mut heard: Option<Heard<'_>> = None;
        for operation in effect.operations() {
            match operation {
                Operation::Flush { database } => {
                    transaction.note_everything_stale();
                    for (_, shard) in transaction.shards_mut() {
                        shard.flush_databases(&self.hasher, now, database, Some(&mark), spared);
                    }
                }
                Operation::Key { database, key, action } => {
                    if planted(Bug::TearEffect) && *first_key.get_or_insert(key) != key {
                        continue;
                    }
                    let key = self.key(key);
                    if database < MAX_DATABASES && !spared.is_some_and(|has_already| has_already(key.bytes)) {
                        if self.events.wants_any()
                            && !heard.as_ref().is_some_and(|heard| heard.is_about(database, key.bytes))
                        {
                            if let Some(former) = heard.take() {
                                former.announce(transaction);
                            }
                            heard = Some(Heard::before(transaction, (database, key)));
                        }
                        transaction.apply(key, database, &action, &mark);
                        if let Some(heard) = &mut heard {
                            heard.note(&action);
                        }
                    }
                }
            }
        }
        if let Some(heard) = heard {
            heard.announce(transaction);
        }
        // Still under the locks: who locks these shards next has seen this effect, and says so.
        let time = if planted(Bug::IgnoreRemoteTime) { 0 } else { effect.time };
        transaction.origin().observe(effect.dot, time);
    }

    /// Drops the metadata of one shard that is within `stable`. Nothing that a client can see changes.
    pub fn fold(&self, shard: usize, stable: &Frontier) {
        self.lock_shard(shard).fold(&self.hasher, stable);
    }

    /// How many keys have metadata that is not stable.
    pub fn unstable_keys(&self) -> usize {
        let count = |shard| self.lock_shard(shard).databases.iter().map(|keys| keys.unstable.len()).sum::<usize>();
        (0..Self::SHARDS).map(count).sum()
    }
}
