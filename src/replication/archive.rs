//! What has left the log and still matters to nodes that the log is not kept for any more.
//!
//! The log holds every effect, and is bounded: under a long partition it forgets on both sides what the other side lacks. What makes
//! it long are writes of the same keys again and again. So what leaves the log while somebody may still come back who lacks it (see
//! `stability`: somebody is forced out, or was never met) goes to the archive, which keeps of each effect only what no later one
//! has made void (`effects::compaction`). It grows with the data that was written to, not with the number of writes, but for lists and
//! streams, of which it keeps every operation; so does the metadata of their keys, which is kept for the same nodes.
//!
//! What is in the archive cannot be had effect by effect: a state on the way, in which a void write is missing and the one that
//! made it void as well, is one that nobody ever saw. So for single effects the floor of the log is what counts. Who is beyond that
//! asks for all at once, archive and log, and applies it at once (see `reconciliation`).
//!
//! # Form
//!
//! Effects in the order in which they were applied, each listing what its origin had seen since the one *before it here*; the first
//! of an origin lists all. Void effects in between are left out: who has seen one that comes later has, by its list, seen them.
//!
//! # Bounds
//!
//! A byte budget. When compacting does not bring the archive well below it, it is emptied, and begins where the log does: whoever
//! lacks more than the log has then takes a snapshot or gives way, as told in `rebase`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::log::cost;
use crate::effects::{Dot, Effect, Frontier, NodeId, Rest, SeenChanges, compact};

/// The archive is not compacted before it has grown by so many bytes.
const LEAST_GROWTH: usize = 64 << 10;

/// An effect with all that its origin had seen.
pub(super) type Known = (Effect, Frontier);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Archive {
    /// Whatever was applied here beyond this is here or in the log, as far as it matters.
    floor: Frontier,
    effects: Vec<Bytes>,
    writer: Writer,
    bytes: usize,
    /// At so many bytes it is compacted again.
    compact_at: usize,
    limit: usize,
}

impl Archive {
    pub(super) fn new(limit: usize) -> Self {
        let (effects, writer) = (Vec::new(), Writer::default());
        Archive { floor: Frontier::EMPTY, effects, writer, bytes: 0, compact_at: LEAST_GROWTH, limit }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    pub(super) fn floor(&self) -> &Frontier {
        &self.floor
    }

    /// Nobody will need what is within this, or nobody will find it here.
    pub(super) fn raise_floor(&mut self, floor: &Frontier) {
        if floor.within(&self.floor) {
            return;
        }
        self.floor.join(floor);
        if self.writer.latest().all(|dot| self.floor.includes(dot)) {
            self.clear();
        }
    }

    /// Takes what leaves the log, in the order in which it was applied. False when the archive was over its budget and is empty now.
    pub(super) fn append(&mut self, effects: Vec<Known>) -> bool {
        for (effect, seen) in effects {
            if !self.floor.includes(effect.dot) {
                self.push(&effect, &seen, effect.body());
            }
        }
        if self.bytes < self.compact_at.min(self.limit) {
            return true;
        }
        self.compact();
        self.compact_at = 2 * self.bytes + LEAST_GROWTH;
        let fits = self.bytes <= self.limit / 8 * 7;
        if !fits {
            self.clear();
        }
        fits
    }

    /// All that is here beyond `begin`; the log goes on from there. None when the archive begins later.
    pub(super) fn beyond(&self, begin: &Frontier) -> Option<Vec<Known>> {
        self.floor.within(begin).then(|| {
            let mut known = self.read();
            known.retain(|(effect, _)| !begin.includes(effect.dot));
            known
        })
    }

    /// All that is here, encoded, and the writer that can go on from there.
    pub(super) fn written(&self) -> (Vec<Bytes>, Writer) {
        (self.effects.clone(), self.writer.clone())
    }

    fn clear(&mut self) {
        (self.effects, self.writer) = (Vec::new(), Writer::default());
        (self.bytes, self.compact_at) = (0, LEAST_GROWTH);
    }

    fn push(&mut self, effect: &Effect, seen: &Frontier, body: &[u8]) {
        let encoded = self.writer.write(effect, seen, body);
        self.bytes += cost(&encoded);
        self.effects.push(encoded);
    }

    fn read(&self) -> Vec<Known> {
        let mut reader = Reader::default();
        let effects = self.effects.iter().map(|encoded| {
            let effect = Effect::decode(encoded.clone()).expect("what is in the archive was encoded here");
            let seen = reader.seen_of(&effect);
            (effect, seen)
        });
        effects.collect()
    }

    fn compact(&mut self) {
        let mut known = self.read();
        known.retain(|(effect, _)| !self.floor.includes(effect.dot));
        let rests = compact(&known, &self.floor);
        self.clear();
        for ((effect, seen), rest) in known.iter().zip(rests) {
            match rest {
                Rest::All => self.push(effect, seen, effect.body()),
                Rest::Some(body) => self.push(effect, seen, &body),
                Rest::None => {}
            }
        }
    }
}

/// Writes effects, each with what its origin had seen since the one written before.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    /// For each origin, what its latest effect had seen, and its own effects up to that one.
    written: BTreeMap<NodeId, Frontier>,
}

impl Writer {
    /// Writes one, with these operations.
    pub(super) fn write(&mut self, effect: &Effect, seen: &Frontier, body: &[u8]) -> Bytes {
        let Dot { node, seq } = effect.dot;
        let written = self.written.entry(node).or_default();
        let is_news = |&(other, seq): &(NodeId, u64)| other != node && seq > written.get(other);
        let changes: SeenChanges = seen.iter().filter(is_news).collect();
        written.join(seen);
        written.raise(node, seq);
        let mut encoded = Vec::with_capacity(body.len() + 32 + 12 * changes.len());
        Effect::encode(&mut encoded, effect.dot, effect.time, &changes, effect.acts_on.as_ref(), body);
        Bytes::from(encoded)
    }

    /// The latest effect of each origin.
    fn latest(&self) -> impl Iterator<Item = Dot> + '_ {
        self.written.iter().map(|(&node, written)| Dot { node, seq: written.get(node) })
    }
}

/// Tells what effects had seen that a [`Writer`] wrote, in the same order.
#[derive(Debug, Default)]
pub(super) struct Reader {
    read: BTreeMap<NodeId, Frontier>,
}

impl Reader {
    /// All that the origin of the next effect had seen.
    pub(super) fn seen_of(&mut self, effect: &Effect) -> Frontier {
        let Dot { node, seq } = effect.dot;
        let seen = self.read.entry(node).or_default();
        effect.seen_changes.iter().for_each(|&(other, seq)| seen.raise(other, seq));
        seen.set(node, seq - 1);
        seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::{Action, Operation, OperationsWriter};

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    fn set(node: u64, seq: u64, key: &[u8], seen: &[(u64, u64)]) -> Known {
        let (dot, mut seen) = (Dot { node: NodeId(node), seq }, frontier(seen));
        seen.set(dot.node, seq - 1);
        let mut writer = OperationsWriter::default();
        let action = Action::StringSet { value: b"value", deadline: None };
        writer.push(Operation::Key { database: 0, key, action });
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, dot, seq, &[], None, writer.bytes());
        (Effect::decode(Bytes::from(encoded)).expect("well formed"), seen)
    }

    fn dots(known: &[Known]) -> Vec<(u64, u64)> {
        known.iter().map(|(effect, _)| (effect.dot.node.0, effect.dot.seq)).collect()
    }

    #[test]
    fn what_is_archived_comes_back_with_all_that_it_had_seen() {
        let mut archive = Archive::new(1 << 20);
        let known =
            [set(1, 3, b"a", &[(2, 1)]), set(2, 2, b"b", &[(1, 3), (3, 9)]), set(1, 4, b"c", &[(2, 2), (3, 9)])];
        assert!(archive.append(known.to_vec()));
        let back = archive.beyond(&Frontier::EMPTY).expect("it begins at nothing");
        assert_eq!(dots(&back), [(1, 3), (2, 2), (1, 4)]);
        assert!(back.iter().zip(&known).all(|(back, known)| back.1 == known.1));
        let back = archive.beyond(&frontier(&[(1, 3), (2, 5)])).expect("it begins at nothing");
        assert_eq!((dots(&back), &back[0].1), (vec![(1, 4)], &known[2].1));
        archive.raise_floor(&frontier(&[(2, 2)]));
        assert!(archive.beyond(&frontier(&[(1, 9), (2, 1)])).is_none() && archive.bytes() > 0);
        archive.raise_floor(&frontier(&[(1, 4)]));
        assert_eq!(archive.bytes(), 0);
    }

    #[test]
    fn it_grows_with_the_keys_and_not_with_the_writes() {
        let mut archive = Archive::new(1 << 20);
        for seq in 1..=100_000 {
            assert!(archive.append(vec![set(1, seq, &[(seq % 100) as u8], &[])]));
        }
        assert!(archive.bytes() < 2 * LEAST_GROWTH + 50_000, "{}", archive.bytes());
        let kept = archive.beyond(&Frontier::EMPTY).expect("it begins at nothing");
        let keys = |known: &[Known]| known[..100].iter().map(|known| known.0.dot.seq).collect::<Vec<_>>();
        assert_eq!(keys(&kept), (1..=100).collect::<Vec<_>>(), "the first of each key stays");
        assert_eq!(kept.last().map(|known| known.0.dot.seq), Some(100_000));
    }

    #[test]
    fn over_its_budget_it_is_emptied_and_begins_where_the_log_does() {
        let mut archive = Archive::new(100_000);
        let fits = |archive: &mut Archive, seq: u64| archive.append(vec![set(1, seq, &seq.to_le_bytes(), &[])]);
        let upto = (1..).find(|&seq| !fits(&mut archive, seq)).expect("it ends");
        assert!((800..1_200).contains(&upto) && archive.bytes() == 0, "{upto}");
        archive.raise_floor(&frontier(&[(1, upto)]));
        assert!(archive.beyond(&Frontier::EMPTY).is_none());
        assert!(fits(&mut archive, upto + 1));
        let kept = archive.beyond(&frontier(&[(1, upto)])).expect("from there on");
        assert_eq!(dots(&kept), [(1, upto + 1)]);
    }
}
