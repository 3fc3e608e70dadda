//! Random concurrent histories against the specification, and what a reader of the module's text would want to see.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use fastrand::Rng;

use super::specification::{Made, Operation, Tree};
use super::*;
use crate::effects::{HybridClock, NodeId};

struct Replica {
    node: NodeId,
    clock: HybridClock,
    list: Vec<u32>,
    /// None: all is stable.
    sequence: Option<Sequence>,
    frontier: Frontier,
    /// For each node, what it had applied when it made its latest effect that arrived here.
    known: BTreeMap<NodeId, Frontier>,
}

impl Replica {
    fn new(node: NodeId, list: Vec<u32>) -> Replica {
        let (clock, known) = (HybridClock::default(), BTreeMap::new());
        Replica { node, clock, list, sequence: None, frontier: Frontier::EMPTY, known }
    }

    fn apply(&mut self, made: &Made, operation: &Operation) {
        let list = &mut self.list;
        let sequence = self.sequence.get_or_insert_with(|| Sequence::resting(list.len()));
        let seen = Seen { frontier: &made.seen, own: made.dot, stable: true };
        let mark = Mark { dot: made.dot, stamp: made.stamp, seen, known: &made.seen, applied: &self.frontier };
        match operation {
            Operation::Insert(at, values) => {
                let index = sequence.insert(*at, values.len(), &mark);
                list.splice(index..index, values.iter().copied());
            }
            Operation::Remove(end, ranges) => {
                for range in sequence.remove(*end, ranges.iter().cloned(), &mark) {
                    list.drain(range);
                }
            }
            Operation::RemoveAll => {
                for range in sequence.remove_all_seen(&mark) {
                    list.drain(range);
                }
            }
            Operation::Set(end, position, value) => {
                if let Some(index) = sequence.set(*end, *position, &mark) {
                    list[index] = *value;
                }
            }
        }
        assert_eq!(sequence.len(), list.len());
    }

    fn note(&mut self, made: &Made) {
        self.frontier.set(made.dot.node, made.dot.seq);
        self.clock.observe(made.stamp.time);
        let mut known = made.seen.clone();
        known.set(made.dot.node, made.dot.seq);
        self.known.insert(made.dot.node, known);
    }

    fn fold(&mut self, stable: &Frontier) {
        if let Some(sequence) = &mut self.sequence {
            sequence.fold(stable);
            if sequence.is_settled() {
                assert!(sequence.runs() <= 1);
                self.sequence = None;
            }
        }
    }
}

/// Chooses an operation on a list of so many elements, with a fresh value.
type Choice = Box<dyn FnOnce(usize, u32) -> Operation>;

struct Cluster {
    replicas: Vec<Replica>,
    made: BTreeMap<Dot, Rc<Made>>,
    next_node: u64,
    next_value: u32,
}

impl Cluster {
    fn new(count: usize, elements: &[u32]) -> Cluster {
        let replicas = (1..=count as u64).map(|node| Replica::new(NodeId(node), elements.to_vec())).collect();
        Cluster { replicas, made: BTreeMap::new(), next_node: count as u64 + 1, next_value: 100 }
    }

    /// Makes and applies an effect; `choose` is told the length of the list before each of its operations.
    fn write(&mut self, at: usize, wall: u64, operations: Vec<Choice>) -> Rc<Made> {
        let replica = &mut self.replicas[at];
        let dot = Dot { node: replica.node, seq: replica.frontier.get(replica.node) + 1 };
        let stamp = Stamp { time: replica.clock.tick(wall), node: replica.node };
        let mut made = Made { dot, stamp, seen: replica.frontier.clone(), operations: Vec::new() };
        for choose in operations {
            let operation = choose(replica.list.len(), self.next_value);
            self.next_value += 100;
            replica.apply(&made, &operation);
            made.operations.push(operation);
        }
        replica.note(&made);
        let made = Rc::new(made);
        self.made.insert(dot, made.clone());
        made
    }

    fn run(&mut self, at: usize, operation: Operation) -> Rc<Made> {
        self.write(at, 1, vec![Box::new(|_, _| operation)])
    }

    /// The effects that a replica may apply now.
    fn ready(&self, at: usize) -> Vec<Rc<Made>> {
        let replica = &self.replicas[at];
        let next = (1..self.next_node).filter_map(|node| {
            let node = NodeId(node);
            self.made.get(&Dot { node, seq: replica.frontier.get(node) + 1 })
        });
        next.filter(|made| made.seen.within(&replica.frontier)).cloned().collect()
    }

    fn deliver(&mut self, at: usize, made: &Made) {
        let replica = &mut self.replicas[at];
        made.operations.iter().for_each(|operation| replica.apply(made, operation));
        replica.note(made);
    }

    fn stable(&self, at: usize) -> Frontier {
        let replica = &self.replicas[at];
        let mut stable = replica.frontier.clone();
        for other in self.replicas.iter().filter(|other| other.node != replica.node) {
            stable.meet(replica.known.get(&other.node).unwrap_or(&Frontier::EMPTY));
        }
        stable
    }

    fn fold(&mut self, at: usize) {
        let stable = self.stable(at);
        self.replicas[at].fold(&stable);
    }

    /// A replica whose effects are everywhere is lost, and starts anew from a copy of another.
    fn replace(&mut self, at: usize, from: usize) {
        let lost = self.replicas[at].node;
        let made = self.replicas[at].frontier.get(lost);
        if at == from || self.replicas.iter().any(|replica| replica.frontier.get(lost) < made) {
            return;
        }
        let source = &self.replicas[from];
        let mut joiner = Replica::new(NodeId(self.next_node), source.list.clone());
        joiner.sequence = source.sequence.as_ref().map(copy);
        joiner.frontier = source.frontier.clone();
        joiner.known = source.known.clone();
        joiner.clock = source.clock.clone();
        self.next_node += 1;
        self.replicas[at] = joiner;
    }

    fn settle(&mut self) {
        for at in 0..self.replicas.len() {
            while let Some(made) = self.ready(at).first() {
                self.deliver(at, made);
            }
        }
    }

    fn lists(&self) -> Vec<&[u32]> {
        self.replicas.iter().map(|replica| &replica.list[..]).collect()
    }
}

/// As it travels in a snapshot.
fn copy(sequence: &Sequence) -> Sequence {
    let bytes = postcard::to_allocvec(sequence).expect("it can be written");
    postcard::from_bytes(&bytes).expect("it can be read")
}

/// What kind of operations a history is made of.
#[derive(Clone, Copy, Debug)]
enum Flavour {
    /// All alike.
    Mixed,
    /// Pushes and pops at both ends.
    Ends,
    /// Insertions and removals close to each other.
    Dense,
}

fn end(random: &mut Rng) -> End {
    if random.bool() { End::Left } else { End::Right }
}

/// Ranges within `0..len`, now and then beyond.
fn ranges(random: &mut Rng, len: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    for _ in 0..random.usize(1..=3) {
        let start = from + random.usize(0..=len.max(1) / 2);
        let end = start + random.usize(0..=2);
        if start < len || random.u8(..) < 10 {
            ranges.push(start..end);
        }
        from = end;
    }
    ranges
}

fn operation(random: &mut Rng, flavour: Flavour, len: usize, value: u32) -> Operation {
    let values: Vec<u32> = (value..value + random.u32(1..=3)).collect();
    let one = |at: usize| Range { start: at, end: at + 1 };
    let beyond = usize::from(random.u8(..) < 10);
    match flavour {
        Flavour::Mixed => match random.u8(0..20) {
            0..3 => Operation::Insert(Place::LeftEnd, values),
            3..6 => Operation::Insert(Place::RightEnd, values),
            6..11 => Operation::Insert(Place::Position(random.usize(0..=len + beyond)), values),
            11..15 => Operation::Remove(end(random), ranges(random, len)),
            15..17 => Operation::Remove(end(random), vec![one(0)]),
            17..19 => Operation::Set(end(random), random.usize(0..=len), value),
            _ => Operation::RemoveAll,
        },
        Flavour::Ends => match random.u8(0..16) {
            0..4 => Operation::Insert(Place::LeftEnd, values),
            4..8 => Operation::Insert(Place::RightEnd, values),
            8..15 => Operation::Remove(end(random), vec![Range { start: 0, end: random.usize(1..=2) }]),
            _ => Operation::Set(end(random), 0, value),
        },
        Flavour::Dense => {
            let near = (len / 2 + random.usize(0..3)).saturating_sub(1);
            match random.u8(0..12) {
                0..8 => Operation::Insert(Place::Position(near.min(len)), vec![value]),
                8..11 => Operation::Remove(End::Left, vec![one(near)]),
                _ => Operation::Set(End::Left, near, value),
            }
        }
    }
}

/// One random history. Every replica is held against the specification whenever it has changed. `eager` folds what is
/// not stable.
fn history(seed: u64, eager: bool) {
    let mut random = Rng::with_seed(seed);
    let flavour = [Flavour::Mixed, Flavour::Ends, Flavour::Dense][random.usize(0..3)];
    let elements: Vec<u32> = (1..=random.u32(0..5)).collect();
    let count = random.usize(2..=5);
    let steps = if random.u8(0..20) == 0 { 300 } else { random.usize(5..70) };
    // How often replicas hear of each other, and how often each forgets: of ten steps.
    let (deliveries, floods) = (random.u8(3..9), random.u8(0..6).saturating_sub(1));
    let folds: Vec<u8> = (0..count).map(|_| random.u8(0..8).saturating_sub(2)).collect();
    let mut cluster = Cluster::new(count, &elements);
    let mut tree = Tree::new(&elements);
    let mut wall = 0;
    for step in 0..steps {
        let at = random.usize(0..count);
        if random.u8(0..10) < deliveries {
            // One effect, or now and then all there are.
            let everything = random.u8(0..10) < floods;
            while let Some(made) = random.choice(&cluster.ready(at)) {
                cluster.deliver(at, made);
                if !everything {
                    break;
                }
            }
        } else if random.u8(0..12) == 0 {
            cluster.replace(at, random.usize(0..count));
        } else {
            // Clocks that stand still and clocks that differ.
            wall += random.u64(0..2);
            let skew = at as u64 * (seed % 3);
            let mut choices: Vec<Choice> = Vec::new();
            for _ in 0..[1, 1, 1, 2, 3][random.usize(0..5)] {
                let mut random = random.fork();
                choices.push(Box::new(move |len, value| operation(&mut random, flavour, len, value)));
            }
            tree.add(&cluster.write(at, wall + skew, choices));
        }
        let check = |cluster: &Cluster, at: usize| {
            let replica = &cluster.replicas[at];
            assert_eq!(
                replica.list,
                tree.list(&replica.frontier),
                "seed {seed}, step {step}, replica {at}, {flavour:?}"
            );
        };
        check(&cluster, at);
        let at = random.usize(0..count);
        if random.u8(0..10) < folds[at] {
            if eager {
                let applied = cluster.replicas[at].frontier.clone();
                cluster.replicas[at].fold(&applied);
            } else {
                cluster.fold(at);
            }
        }
        if random.u8(..) < 10
            && let Some(sequence) = &mut cluster.replicas[at].sequence
        {
            *sequence = copy(sequence);
        }
    }
    for (at, often) in folds.iter().enumerate() {
        while let Some(made) = random.choice(&cluster.ready(at)) {
            cluster.deliver(at, made);
            if random.u8(0..10) < *often {
                cluster.fold(at);
            }
            let replica = &cluster.replicas[at];
            assert_eq!(
                replica.list,
                tree.list(&replica.frontier),
                "seed {seed}, at the end, replica {at}, {flavour:?}"
            );
        }
    }
    let everything = cluster.replicas[0].frontier.clone();
    for replica in &mut cluster.replicas {
        assert_eq!(replica.frontier, everything);
        replica.fold(&everything);
        assert!(replica.sequence.is_none(), "when all is stable nothing is left to know");
    }
}

/// More with `SEQUENCE_HISTORIES`.
fn histories() -> u64 {
    std::env::var("SEQUENCE_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(5000)
}

#[test]
fn every_replica_always_shows_what_the_specification_says() {
    for seed in 0..histories() {
        history(seed, false);
    }
}

/// The histories can tell right from wrong: forgetting too early is found.
#[test]
fn a_fold_of_what_is_not_stable_is_noticed() {
    let fails = |seed: &u64| std::panic::catch_unwind(|| history(*seed, true)).is_err();
    assert!((0..50).any(|seed| fails(&seed)));
}

/// Three replicas push to the right and pop from the left without a pause, and hear of each other some steps later.
#[test]
fn a_busy_queue_keeps_only_what_is_not_stable() {
    let mut cluster = Cluster::new(3, &[]);
    let mut random = Rng::with_seed(7);
    let mut in_flight: [std::collections::VecDeque<(usize, Rc<Made>)>; 3] = Default::default();
    let mut most_runs = 0;
    for step in 0..100_000 {
        let at = random.usize(0..3);
        let push = random.u8(0..10) < 5 || cluster.replicas[at].list.is_empty();
        let made = cluster.run(
            at,
            match push {
                true => Operation::Insert(Place::RightEnd, vec![step]),
                false => Operation::Remove(End::Left, vec![Range { start: 0, end: 1 }]),
            },
        );
        for other in (0..3).filter(|other| *other != at) {
            in_flight[other].push_back((step as usize + random.usize(10..30), made.clone()));
        }
        for (at, queue) in in_flight.iter_mut().enumerate() {
            while queue.front().is_some_and(|(due, _)| *due <= step as usize) {
                let (_, made) = queue.pop_front().expect("it has a front");
                cluster.deliver(at, &made);
            }
            if step % 7 == 0 {
                cluster.fold(at);
                let replica = &cluster.replicas[at];
                let unstable = (replica.frontier.total() - cluster.stable(at).total()) as usize;
                let runs = replica.sequence.as_ref().map_or(0, Sequence::runs);
                // Each operation names one item, or removes one and cuts a run of others for that.
                assert!(runs <= 2 * unstable + 1, "{runs} runs of {unstable} operations");
                most_runs = most_runs.max(runs);
            }
        }
    }
    assert!(most_runs > 20, "the replicas were busy");
    cluster.settle();
    let lists = cluster.lists();
    assert!(lists[0] == lists[1] && lists[1] == lists[2]);
}

fn push(cluster: &mut Cluster, at: usize, place: Place, values: &[u32]) {
    cluster.run(at, Operation::Insert(place, values.to_vec()));
}

fn pop(cluster: &mut Cluster, at: usize, from: End) {
    cluster.run(at, Operation::Remove(from, vec![Range { start: 0, end: 1 }]));
}

/// All replicas get everything; the list that all of them have then.
fn settled(mut cluster: Cluster) -> Vec<u32> {
    cluster.settle();
    let list = cluster.replicas[0].list.clone();
    assert!(cluster.replicas.iter().all(|replica| replica.list == list), "{:?}", cluster.lists());
    list
}

#[test]
fn concurrent_pushes_do_not_interleave() {
    for elements in [&[][..], &[7, 8, 9]] {
        // At one end, several elements at once, and one after the other.
        for place in [Place::LeftEnd, Place::RightEnd, Place::Position(0), Place::Position(elements.len())] {
            let mut cluster = Cluster::new(3, elements);
            push(&mut cluster, 0, place, &[10, 11, 12]);
            for round in 0..3 {
                let at = if matches!(place, Place::Position(n) if n > 0) { Place::RightEnd } else { place };
                push(&mut cluster, 1, at, &[20 + round]);
                push(&mut cluster, 2, at, &[30 + round]);
                push(&mut cluster, 0, at, &[13 + round]);
            }
            let list = settled(cluster);
            let tens: Vec<u32> = list.iter().map(|value| value / 10).collect();
            let mut groups = tens.clone();
            groups.dedup();
            assert_eq!(groups.len(), 3 + usize::from(!elements.is_empty()), "{place:?}: {list:?}");
        }
    }
}

#[test]
fn a_run_written_backwards_stays_together() {
    // Each inserts before what it inserted last, somewhere in the middle.
    let mut cluster = Cluster::new(2, &[1, 2]);
    for value in [10, 11, 12] {
        push(&mut cluster, 0, Place::Position(1), &[value]);
        push(&mut cluster, 1, Place::Position(1), &[value + 10]);
    }
    assert_eq!(settled(cluster), [1, 12, 11, 10, 22, 21, 20, 2]);
}

#[test]
fn concurrent_pushes_come_out_in_the_order_of_their_stamps() {
    for (place, expected) in [(Place::LeftEnd, [30, 20, 10, 7]), (Place::RightEnd, [7, 10, 20, 30])] {
        let mut cluster = Cluster::new(3, &[7]);
        for at in 0..3 {
            push(&mut cluster, at, place, &[10 * (at as u32 + 1)]);
        }
        assert_eq!(settled(cluster), expected);
    }
}

#[test]
fn pushes_to_both_ends_of_an_empty_list_keep_their_ends() {
    let mut cluster = Cluster::new(4, &[]);
    push(&mut cluster, 0, Place::RightEnd, &[1, 2]);
    push(&mut cluster, 1, Place::LeftEnd, &[3, 4]);
    push(&mut cluster, 2, Place::RightEnd, &[5]);
    push(&mut cluster, 3, Place::LeftEnd, &[6]);
    assert_eq!(settled(cluster), [6, 3, 4, 1, 2, 5]);
}

#[test]
fn removals_and_sets_act_on_what_they_saw() {
    let mut cluster = Cluster::new(3, &[1, 2, 3]);
    // LSET against LSET: the later stamp. Against a removal: the removal.
    cluster.run(0, Operation::Set(End::Left, 1, 20));
    cluster.run(1, Operation::Set(End::Right, 1, 21));
    cluster.run(0, Operation::Set(End::Left, 2, 30));
    pop(&mut cluster, 1, End::Right);
    // What is pushed to a list that is removed concurrently stays alone.
    push(&mut cluster, 2, Place::RightEnd, &[4]);
    let mut removed = Cluster { replicas: Vec::new(), made: cluster.made.clone(), ..Cluster::new(3, &[]) };
    removed.replicas = (1..=3).map(|node| Replica::new(NodeId(node), vec![1, 2, 3])).collect();
    assert_eq!(settled(cluster), [1, 21, 4]);
    removed.replicas.push(Replica::new(NodeId(4), vec![1, 2, 3]));
    removed.next_node = 5;
    removed.run(3, Operation::RemoveAll);
    assert_eq!(settled(removed), [4]);
}

#[test]
fn both_pop_the_same_element_at_once() {
    let mut cluster = Cluster::new(2, &[1, 2, 3, 4]);
    pop(&mut cluster, 0, End::Left);
    pop(&mut cluster, 1, End::Left);
    pop(&mut cluster, 1, End::Left);
    push(&mut cluster, 0, Place::LeftEnd, &[5]);
    assert_eq!(settled(cluster), [5, 3, 4]);
}

/// A gap may be half stable: `u` goes directly after `w`, though `x`, which it had not seen, ranks lower.
#[test]
fn an_item_may_be_forgotten_while_its_siblings_are_not() {
    for folds in [false, true] {
        let mut cluster = Cluster::new(3, &[1]);
        let w = cluster.run(0, Operation::Insert(Place::RightEnd, vec![10]));
        let x = cluster.run(1, Operation::Insert(Place::RightEnd, vec![20]));
        cluster.deliver(1, &w);
        cluster.deliver(2, &w);
        let u = cluster.run(2, Operation::Insert(Place::RightEnd, vec![30]));
        // An effect of replica 1 that has seen `w`, so that replica 0 knows `w` to be stable when it has `u`.
        let y = cluster.run(1, Operation::Insert(Place::LeftEnd, vec![40]));
        for made in [&x, &y, &u] {
            cluster.deliver(0, made);
            if folds {
                cluster.fold(0);
            }
        }
        assert_eq!(cluster.replicas[0].list, [40, 1, 10, 30, 20]);
        assert_eq!(settled(cluster), [40, 1, 10, 30, 20]);
    }
}

/// Several siblings and their parent are forgotten at once; `y` between them stays, and must be after what is inserted there.
#[test]
fn siblings_and_their_parent_may_be_forgotten_at_once() {
    let mut cluster = Cluster::new(5, &[1]);
    let parent = cluster.run(0, Operation::Insert(Place::RightEnd, vec![10]));
    (1..5).for_each(|at| cluster.deliver(at, &parent));
    let insert = |cluster: &mut Cluster, at, value| cluster.run(at, Operation::Insert(Place::Position(1), vec![value]));
    let (a, y, b) = (insert(&mut cluster, 1, 20), insert(&mut cluster, 2, 30), insert(&mut cluster, 3, 40));
    // All but `y` becomes stable, and replica 0 hears of it.
    let mut told = vec![a.clone(), b.clone(), y.clone()];
    for (at, lacks) in [(1, &[&b][..]), (2, &[&a, &b]), (3, &[&a]), (4, &[&a, &b])] {
        lacks.iter().for_each(|made| cluster.deliver(at, made));
        told.push(cluster.run(at, Operation::Set(End::Left, 0, 1)));
    }
    told.iter().for_each(|made| cluster.deliver(0, made));
    cluster.fold(0);
    assert_eq!(cluster.replicas[0].list, [1, 20, 30, 40, 10]);
    let x = cluster.run(4, Operation::Insert(Place::Position(2), vec![50]));
    cluster.deliver(0, &x);
    assert_eq!(cluster.replicas[0].list, [1, 20, 50, 30, 40, 10]);
    assert_eq!(settled(cluster), [1, 20, 50, 30, 40, 10]);
}

#[test]
fn a_local_queue_is_cheap() {
    // A node that hears of nobody: nothing is ever stable.
    let mut cluster = Cluster::new(1, &[]);
    cluster.next_node = 3;
    for value in 0..5000 {
        push(&mut cluster, 0, Place::RightEnd, &[value]);
        if value % 2 == 1 {
            pop(&mut cluster, 0, End::Left);
        }
    }
    let sequence = cluster.replicas[0].sequence.as_ref().expect("nothing is stable");
    assert_eq!((sequence.len(), sequence.runs()), (2500, 5000));
    assert!(sequence.memory() < 5000 * 300);
    assert_eq!(sequence.latest().map(|stamp| stamp.node), Some(NodeId(1)));
}

/// What was made again by a node that had never met this cluster reaches nothing of it, whatever is stable where it arrives.
#[test]
fn an_effect_that_does_not_reach_what_is_stable_acts_alike_everywhere() {
    for folded in [0, 2, 4] {
        let mut cluster = Cluster::new(2, &[]);
        for (place, value) in [(Place::RightEnd, 1), (Place::RightEnd, 2), (Place::LeftEnd, 3), (Place::Position(1), 4)]
        {
            push(&mut cluster, 0, place, &[value]);
        }
        let replica = &mut cluster.replicas[0];
        assert_eq!(replica.list, [3, 4, 1, 2]);
        replica.fold(&[(replica.node, folded)].into_iter().collect());
        let (node, known) = (NodeId(9), replica.frontier.clone());
        let mut again = |seq: u64, operation: Operation| {
            let (dot, stamp) = (Dot { node, seq }, Stamp { time: 1_000 + seq, node });
            let (mut reach, mut known) = (Frontier::EMPTY, known.clone());
            if seq > 1 {
                reach.set(node, seq - 1);
                known.set(node, seq - 1);
            }
            let list = &mut replica.list;
            let sequence = replica.sequence.get_or_insert_with(|| Sequence::resting(list.len()));
            let seen = Seen { frontier: &reach, own: dot, stable: false };
            let mark = Mark { dot, stamp, seen, known: &known, applied: &known };
            match operation {
                Operation::Insert(at, values) => {
                    let index = sequence.insert(at, values.len(), &mark);
                    list.splice(index..index, values);
                }
                Operation::Remove(end, ranges) => {
                    sequence.remove(end, ranges, &mark).into_iter().for_each(|range| drop(list.drain(range)));
                }
                Operation::Set(end, position, value) => {
                    if let Some(index) = sequence.set(end, position, &mark) {
                        list[index] = value;
                    }
                }
                Operation::RemoveAll => unreachable!("not part of this test"),
            }
        };
        again(1, Operation::Insert(Place::LeftEnd, vec![10, 11]));
        again(2, Operation::Insert(Place::RightEnd, vec![12, 13]));
        again(3, Operation::Insert(Place::Position(3), vec![14]));
        again(4, Operation::Remove(End::Left, vec![0..1, 4..9]));
        again(5, Operation::Set(End::Right, 0, 15));
        again(6, Operation::Set(End::Left, 3, 16));
        again(7, Operation::Insert(Place::Position(7), vec![17]));
        assert_eq!(replica.list, [11, 3, 4, 1, 2, 12, 15, 17], "{folded} folded");
    }
}

#[test]
fn what_cannot_be_a_copy_is_refused() {
    let run = |count, first| {
        let dot = Dot { node: NodeId(1), seq: 1 };
        let rank = run::Rank::new(Place::LeftEnd, Stamp::default());
        Run::named(count, run::Named { first, dot, rank, branch: run::Branch::RightOf(9) })
    };
    for runs in [vec![run(0, 0)], vec![run(2, u64::MAX)], vec![Run::anchors(usize::MAX), Run::anchors(1)]] {
        let bytes = postcard::to_allocvec(&runs).expect("it can be written");
        assert!(postcard::from_bytes::<Sequence>(&bytes).is_err());
    }
    let bytes = postcard::to_allocvec(&vec![run(2, 5)]).expect("it can be written");
    assert!(postcard::from_bytes::<Sequence>(&bytes).is_ok_and(|sequence| sequence.len() == 2));
}

/// A peer's snapshot is taken on trust, but whatever is in it, nothing panics.
#[test]
fn a_copy_that_contradicts_itself_does_no_harm() {
    let mut random = Rng::with_seed(1);
    let dot = |random: &mut Rng| Dot { node: NodeId(random.u64(1..4)), seq: random.u64(1..6) };
    let frontier = |random: &mut Rng| -> Frontier { (1..4).map(|node| (NodeId(node), random.u64(0..6))).collect() };
    for _ in 0..2000 {
        let mut run = || {
            let count = random.usize(1..4);
            let stamp = Stamp { time: random.u64(0..9), node: NodeId(random.u64(1..4)) };
            let mut run = Run::anchors(count);
            if random.u8(0..3) > 0 {
                let origin = [run::Origin::Boundary, run::Origin::Gone, run::Origin::Item(random.u64(0..9))];
                let zones = [run::Zone::Before, run::Zone::Group, run::Zone::After];
                let branch = match random.u8(0..3) {
                    0 => run::Branch::RightOf(random.u64(0..9)),
                    1 => run::Branch::LeftOf { parent: random.u64(0..9), origin: origin[random.usize(0..3)] },
                    _ => run::Branch::Root(zones[random.usize(0..3)]),
                };
                let rank = run::Rank::new(Place::Position(0), stamp);
                run = Run::named(count, run::Named { first: random.u64(0..9), dot: dot(&mut random), rank, branch });
            }
            run.removals = (0..random.u8(0..5).saturating_sub(2)).map(|_| dot(&mut random)).collect();
            run
        };
        let runs: Vec<Run> = (0..12).map(|_| run()).collect();
        let mut sequence = copy(&Sequence::from_runs(runs));
        for _ in 0..8 {
            let mut seen = frontier(&mut random);
            let dot = Dot { node: NodeId(random.u64(1..4)), seq: random.u64(1..9) };
            seen.set(dot.node, dot.seq - 1);
            let stamp = Stamp { time: random.u64(0..9), node: dot.node };
            let reach = Seen { frontier: &seen, own: dot, stable: random.bool() };
            let mark = Mark { dot, stamp, seen: reach, known: &seen, applied: &seen };
            let len = sequence.len();
            match operation(&mut random, Flavour::Mixed, len, 0) {
                Operation::Insert(at, values) => assert!(sequence.insert(at, values.len(), &mark) <= len),
                Operation::Remove(end, ranges) => {
                    let removed = sequence.remove(end, ranges, &mark);
                    assert_eq!(len - removed.iter().map(Range::len).sum::<usize>(), sequence.len());
                }
                Operation::Set(end, position, _) => {
                    assert!(sequence.set(end, position, &mark).is_none_or(|index| index < len));
                }
                Operation::RemoveAll => drop(sequence.remove_all_seen(&mark)),
            }
            if random.bool() {
                sequence.fold(&frontier(&mut random));
            }
        }
    }
}
