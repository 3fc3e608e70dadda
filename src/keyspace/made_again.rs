//! Making effects again that a snapshot lacks, under other names (see [`Reissue`]).
//!
//! What an effect removed by name, made again it removes by name. What it removed from lists it counted, and the list is another one
//! now: it lacks what others had pushed who make that later or under other names, and lies in another order. So such a
//! removal notes what the elements looked like ([`crate::effects::Prints`]), and is made again about elements that look so: rather of those that were made
//! again themselves, the nearest to the end that it counted from; else about one that it reaches and that lies where it counted, or at
//! least looks so. If there is none, it is about nothing: an element that shows again can be taken out again, one that was never taken
//! out must not go. Nor are removals made again of which is not known what the elements looked like, unless they reach all that they had seen.
//!
//! It names the elements that it found by where they are in the list here, of which its maker knows all.
//!
//! What meets a value of another type that it does not reach, may show in its place, and live as long as the key. Whether that is what an EXPIRE said, which would
//! apply to it, or a SET, whose time to live is its own, is not known of what is stable. So it says itself how long the key lives.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::transaction::Transaction;
use super::types::{RemovedBefore, replaces_key};
use super::{Key, Keyspace, Kind, Millis, is_system_key, libraries};
use crate::effects::{
    Action, Dot, Effect, End, Frontier, Making, Operation, PrintsWriter, RangesWriter, Reissue, Sight,
};

impl Keyspace {
    /// Makes effects of former identities and of nodes that are gone again, under other names, on top of a snapshot that lacks them; each
    /// with all that it had seen, in order. What they removed and overwrote stays limited to that: of what is within `folded`, and so
    /// has no metadata here, it reaches all or nothing (see `Reissue`). Returns the new ones, with the former names; they are applied.
    pub fn reissue(
        &self,
        reissue: &mut Reissue,
        effects: &[(Effect, Frontier)],
        folded: &Frontier,
        now: Millis,
    ) -> Vec<(Dot, Effect)> {
        let mut made = Vec::with_capacity(effects.len());
        for (effect, past) in effects {
            let mut transaction = self.lock_all(now, 0);
            let applied = transaction.origin().frontier().clone();
            let time = transaction.origin().tick(now);
            let making = Making { folded, applied: &applied, time };
            let mut lists = BTreeMap::new();
            let again = reissue.make(effect, past, making, |operation, sight, writer| {
                // The membership is written anew. Libraries are data that happens to lie under such a key.
                let is_kept = match operation {
                    Operation::Key { key, .. } => !is_system_key(key) || key == libraries::KEY,
                    Operation::Flush { .. } => true,
                };
                match operation {
                    _ if !is_kept => {}
                    Operation::Key { database, key, action } => {
                        let place = (database, self.key(key));
                        let before = lists.entry((database, key.to_vec())).or_default();
                        transaction.remake(place, action, sight, before, &mut |action| {
                            writer.push(Operation::Key { database, key, action });
                        });
                    }
                    Operation::Flush { .. } => writer.push(operation),
                }
                is_kept
            });
            if let Some(again) = again {
                self.apply_in(&mut transaction, &again, (&applied, &applied), None);
                made.push((effect.dot, again));
            }
        }
        made
    }
}

impl Transaction<'_> {
    /// Passes on what becomes of an action that is made again, if anything does. `before`: what earlier ones of the same effect do to the
    /// same list.
    fn remake(
        &self,
        (database, key): (u32, Key<'_>),
        action: Action<'_>,
        sight: &Sight<'_>,
        before: &mut RemovedBefore,
        each: &mut dyn FnMut(Action<'_>),
    ) {
        let Action::ListRemove { from, ranges, prints, .. } = action else {
            before.note(&action);
            let life = self.life_of_another((database, key), &action, sight);
            each(action);
            return life.into_iter().for_each(|at| each(Action::Deadline { at }));
        };
        if prints.is_empty() {
            before.note(&action);
            if sight.reach.stable {
                each(action);
            }
            return;
        }
        let shard = self.shard(key);
        let Some(keys) = shard.databases.get(database as usize) else { return };
        let Some(entry) = keys.find(key.hash, key.bytes).map(|at| keys.at(at)) else { return };
        let Some(value) = Some(entry).filter(|entry| entry.is_live(self.now())).and_then(Entry::collection) else {
            return;
        };
        let causes = keys.unstable.get(key.bytes).map(|known| &known.causes);
        let found = before.find(value, causes, from, (ranges, prints), sight);
        if found.is_empty() {
            return;
        }
        let (mut again, mut looks) = (RangesWriter::default(), PrintsWriter::default());
        for (position, print) in found {
            again.push(position as u64);
            looks.push(print);
        }
        let (from, ranges, prints) = (End::Left, again.ranges(), looks.prints());
        each(Action::ListRemove { from, ranges, prints, whole: true });
    }

    /// Until when a key lives (`Some(None)`: for ever) whose value is of another type than what this action changes, and out of its reach.
    fn life_of_another(
        &self,
        (database, key): (u32, Key<'_>),
        action: &Action<'_>,
        sight: &Sight<'_>,
    ) -> Option<Option<Millis>> {
        let kind = Kind::of(action).filter(|_| !sight.reach.stable)?;
        let keys = self.shard(key).databases.get(database as usize)?;
        let entry = keys.find(key.hash, key.bytes).map(|at| keys.at(at))?;
        (entry.kind() != kind && !replaces_key(action)).then(|| entry.deadline())
    }
}
