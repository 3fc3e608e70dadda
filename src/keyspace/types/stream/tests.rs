//! That it makes no difference what is folded when, also to effects that reach nothing stable (those that were made again by a
//! node that had never met this cluster), and that nonsense does no harm. Orders of arrival are for `proptests/`.

use crate::effects::{
    Dot, Elements, Frontier, NodeId, Operation, Operations, OperationsWriter, StreamClaim, StreamClaims, StreamIds,
};
use crate::keyspace::causality::Seen;

use super::*;

/// A stream, and what is known of it.
#[derive(Clone, Default)]
struct Node {
    causes: StreamCauses,
    stream: Option<StreamValue>,
}

impl Node {
    fn merge(&mut self, action: &Action<'_>, mark: &Mark<'_>) {
        let stream = self.stream.take();
        self.stream = self.causes.merge(stream, action, mark);
    }

    fn apply(&mut self, operations: &[u8], mark: &Mark<'_>) {
        for operation in Operations::new(operations) {
            match operation.expect("as it was written") {
                Operation::Key { action: Action::Remove, .. } => {
                    self.stream = self.stream.take().and_then(|stream| self.causes.remove(stream, mark));
                }
                Operation::Key { action, .. } => self.merge(&action, mark),
                Operation::Flush { .. } => unreachable!("none is written"),
            }
        }
    }

    fn describe(&self) -> String {
        self.stream.as_ref().map_or("no key".to_owned(), StreamValue::to_string)
    }
}

/// Applies an action of any kind to all of these nodes, alike. `origin`: what the node whose action it is sees.
fn any_action(nodes: &mut [&mut Node], origin: &Node, mark: &Mark<'_>, random: &mut fastrand::Rng) -> Vec<u8> {
    let id = |random: &mut fastrand::Rng| StreamId::new(random.u64(1..9), 0);
    let mut several: Vec<StreamId> = (0..random.usize(1..4)).map(|_| id(random)).collect();
    several.sort_unstable();
    several.dedup();
    let delivered = id(random);
    let mut late: Vec<StreamId> = several.iter().copied().filter(|id| *id <= delivered).collect();
    late.truncate(random.usize(..2));
    let claim = |id: &StreamId| StreamClaim { id: *id, delivered_at: random.u64(..9), deliveries: 2 };
    let claims: Vec<StreamClaim> = several.iter().map(claim).collect();
    let group = if random.u8(..4) == 0 { &b"h"[..] } else { b"g" };
    let consumer = [b'a' + random.u8(..3)];
    let consumer = &consumer[..];
    let ids = StreamIds::of(&several);
    let number = random.bool().then(|| random.u64(..9));
    let value = [b'f', random.u8(b'a'..=b'z')];
    let action = match random.u8(..40) {
        0 => Action::Remove,
        1..12 => Action::StreamAdd { id: id(random), entry: Elements::parts(&value, &[0..1, 1..2]) },
        12..14 => Action::StreamRemove { ids },
        14 => Action::StreamTrim { below: delivered },
        15 => Action::StreamSetId { last: delivered, added: number, max_deleted: random.bool().then(|| id(random)) },
        16..19 => Action::GroupCreate { group, delivered, entries_read: number, late: StreamIds::of(&late) },
        19 => Action::GroupSetPosition { group, delivered, entries_read: number, late: StreamIds::of(&late) },
        20 => Action::GroupDestroy { group },
        21..29 => Action::GroupDeliver {
            group,
            consumer,
            ids,
            at: random.u64(..9),
            pending: random.bool(),
            entries_read: number,
        },
        29..33 => {
            let (at, last) = (random.bool().then(|| random.u64(..9)), random.bool().then_some(delivered));
            Action::GroupClaim { group, consumer, claims: StreamClaims::of(&claims), at, last }
        }
        33..36 => Action::GroupAcknowledge { group, ids },
        36 => Action::ConsumerCreate { group, consumer, at: 5 },
        _ => Action::ConsumerRemove { group, consumer },
    };
    let mut writer = OperationsWriter::default();
    let found = origin.stream.as_ref().and_then(|stream| stream.group(group)?.consumer(consumer));
    if let (Action::ConsumerRemove { .. }, Some(found)) = (action, found) {
        let pending: Vec<StreamId> = found.pending().iter().copied().collect();
        if !pending.is_empty() {
            let action = Action::GroupAcknowledge { group, ids: StreamIds::of(&pending) };
            writer.push(Operation::Key { database: 0, key: b"k", action });
        }
    }
    writer.push(Operation::Key { database: 0, key: b"k", action });
    nodes.iter_mut().for_each(|node| node.apply(writer.bytes(), mark));
    writer.bytes().to_vec()
}

/// An effect, and what it had seen.
struct Made {
    dot: Dot,
    stamp: Stamp,
    seen: Frontier,
    stable: bool,
    operations: Vec<Vec<u8>>,
}

impl Made {
    fn mark(&self) -> Mark<'_> {
        let seen = Seen { frontier: &self.seen, own: self.dot, stable: self.stable };
        Mark { dot: self.dot, stamp: self.stamp, seen, known: &self.seen, applied: &self.seen }
    }
}

/// What a node has that has all of `history` that is in this frontier.
fn view(history: &[Made], seen: &Frontier) -> Node {
    let mut node = Node::default();
    for made in history.iter().filter(|made| seen.includes(made.dot)) {
        made.operations.iter().for_each(|operations| node.apply(operations, &made.mark()));
    }
    node
}

#[test]
fn it_makes_no_difference_what_is_folded_when() {
    const NODES: u64 = 3;
    for seed in 0..8000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut keeps, mut folds, mut history) = (Node::default(), Node::default(), Vec::new());
        // What each node has seen, and its clock. The last one reaches only what it made itself.
        let mut views: Vec<(Frontier, u64)> = vec![(Frontier::EMPTY, 0); NODES as usize + 1];
        // What was made without having seen anything of the stranger.
        let mut apart = Frontier::EMPTY;
        let mut time = 0;
        for step in 0..random.usize(5..60) {
            let stranger = random.u8(..6) == 0 && step < 30;
            let at = if stranger { NODES as usize } else { random.usize(..NODES as usize) };
            if !stranger {
                let other = views[random.usize(..views.len())].clone();
                views[at].0.join(&other.0);
                views[at].1 = views[at].1.max(other.1);
            }
            let node = NodeId(at as u64 + 1);
            // What is stable is known to everybody: whatever comes has a higher stamp.
            time += 1;
            views[at].1 = if stranger { time * 3 } else { views[at].1 + random.u64(1..3) };
            let (seen, clock) = views[at].clone();
            let dot = Dot { node, seq: seen.get(node) + 1 };
            let stamp = Stamp { time: clock, node };
            let mut made = Made { dot, stamp, seen: seen.clone(), stable: !stranger, operations: Vec::new() };
            let mut origin = view(&history, &seen);
            for _ in 0..random.usize(1..3) {
                let before = origin.clone();
                let mut nodes = [&mut keeps, &mut folds, &mut origin];
                made.operations.push(any_action(&mut nodes, &before, &made.mark(), &mut random));
            }
            history.push(made);
            views[at].0.set(node, dot.seq);
            if !stranger && seen.get(NodeId(NODES + 1)) == 0 {
                apart.set(node, dot.seq);
            }
            assert_eq!(folds.describe(), keeps.describe(), "seed {seed}, step {step}");
            if random.u8(..3) == 0 {
                let mut stable = views[0].0.clone();
                views[1..NODES as usize].iter().for_each(|view| stable.meet(&view.0));
                if step < 30 {
                    // What the stranger will still make reaches what it has made; nothing that builds on that is stable.
                    stable.meet(&apart);
                }
                let before = folds.describe();
                folds.causes.fold(&stable);
                assert_eq!(folds.describe(), before, "seed {seed}, step {step}");
            }
        }
        let mut all = Frontier::EMPTY;
        views.iter().for_each(|view| all.join(&view.0));
        // Where a group had several positions, additions of one id unite only after those have.
        (0..2).for_each(|_| folds.causes.fold(&all));
        assert!(folds.causes.is_empty(), "seed {seed}: {:?}", folds.causes);
    }
}

#[test]
fn metadata_of_another_stream_does_no_harm() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut one, mut other) = (Node::default(), Node::default());
        let mut seen = Frontier::EMPTY;
        for step in 0..60 {
            let node = NodeId(random.u64(1..4));
            let dot = Dot { node, seq: seen.get(node) + 1 };
            let stamp = Stamp { time: step + 1, node };
            let frontier = if random.bool() { seen.clone() } else { Frontier::EMPTY };
            let reach = Seen { frontier: &frontier, own: dot, stable: random.bool() };
            let mark = Mark { dot, stamp, seen: reach, known: &seen, applied: &seen };
            let chosen = if random.bool() { &mut one } else { &mut other };
            let before = chosen.clone();
            any_action(&mut [chosen], &before, &mark, &mut random);
            seen.set(node, dot.seq);
            if step % 20 == 19 {
                std::mem::swap(&mut one.causes, &mut other.causes);
                one.causes.fold(&seen);
            }
        }
        assert!(!one.describe().is_empty() && !other.describe().is_empty());
    }
}

/// An effect of the first node, which has seen all this.
fn mark_by_one(seq: u64, seen: &Frontier) -> Mark<'_> {
    let node = NodeId(1);
    let dot = Dot { node, seq };
    let reach = Seen { frontier: seen, own: dot, stable: true };
    Mark { dot, stamp: Stamp { time: seq, node }, seen: reach, known: seen, applied: seen }
}

#[test]
fn a_stream_is_made_again_from_its_image_and_from_its_actions() {
    let (mut random, mut node) = (fastrand::Rng::with_seed(7), Node::default());
    let mut seen = Frontier::EMPTY;
    let mut compared = 0;
    for seq in 1..300 {
        let before = node.clone();
        any_action(&mut [&mut node], &before, &mark_by_one(seq, &seen), &mut random);
        seen.set(NodeId(1), seq);
        let Some(stream) = &node.stream else { continue };
        assert_eq!(restore(image(stream)).to_string(), stream.to_string());
        let mut again = Node::default();
        rebuild(stream, &mut |action| again.merge(&action, &mark_by_one(1, &Frontier::EMPTY)));
        assert_eq!(again.describe(), stream.to_string());
        compared += 1;
    }
    assert!(compared > 100);
}
