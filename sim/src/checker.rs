//! The promises, checked: from what nodes did, never from what their cores say about it.
//!
//! The checker keeps its own books: for each effect the whole past of its origin when it was made, for each node which
//! effects are applied to its keyspace. From these, the executable specification says what the data must be at every
//! moment. How the books are kept is in [`books`], what is demanded at the end in [`ending`].

mod books;
mod ending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptests::specification::History;
use swytch::effects::{Dot, Frontier, NodeId, StreamId};
use swytch::keyspace::{Keyspace, Millis, Transaction};

/// Every read of a key with fewer effects is checked, of one with twice as many every second, and so on.
const ALWAYS_CHECKED: usize = 25;

/// All books, and what was found wrong.
#[derive(Default)]
pub struct Checker {
    history: History,
    /// How many keys clients have read.
    reads: usize,
    /// All that each effect's origin had seen, its own earlier effects included.
    past: BTreeMap<Dot, Frontier>,
    /// Effects of nothing but the system's own keys: those of an identity that was given up are not made again.
    of_the_system: BTreeSet<Dot>,
    slots: Vec<Slot>,
    /// Effects that died with the last node that had them.
    lost: BTreeSet<Dot>,
    /// Effects that were made again, and as which.
    renamed: BTreeMap<Dot, Vec<Dot>>,
    /// Of what was made again: what it was called in the first place.
    originals: BTreeMap<Dot, Dot>,
    additions: Vec<(Dot, String, i64)>,
    members: Vec<(Dot, String, String)>,
    /// What clients pushed to the queues, of which no two elements are alike, and what they took out.
    pushed: Vec<(Dot, String, String)>,
    popped: BTreeSet<(String, String)>,
    /// What made the groups of the streams that are only added to.
    groups: Vec<(Dot, String)>,
    /// The entries of the streams that are only added to.
    entries: BTreeSet<(String, StreamId)>,
    /// When only some nodes were healed: what those had.
    demanded: Option<(Frontier, BTreeSet<Dot>)>,
    /// What clients got from the groups of streams that are only added to.
    delivered: BTreeMap<String, BTreeSet<StreamId>>,
    violations: Vec<String>,
}

/// What is known of one node.
#[derive(Default)]
struct Slot {
    /// Has it power?
    running: bool,
    /// It has given up its identity, and its data is about to go.
    given_up: bool,
    /// Under which name its keyspace makes effects.
    origin: NodeId,
    /// What is applied to its keyspace.
    applied: Frontier,
    /// A snapshot is being taken in, or parts of one may be ahead of `applied`.
    importing: bool,
    /// The last own seq that was noted, and the pasts of those that were not collected yet.
    noted: u64,
    uncollected: VecDeque<(u64, Frontier)>,
    /// What the headers of the collected own effects add up to.
    told: Frontier,
    /// Effects of identities given up and of nodes that are gone, until they are made again, here or by another.
    former: Vec<Dot>,
    /// Members that clients of this node have written to or seen in the sets that only grow.
    session: BTreeMap<String, BTreeSet<String>>,
}

impl Checker {
    /// For that many nodes.
    pub fn new(nodes: usize) -> Checker {
        Checker { slots: (0..nodes).map(|_| Slot::default()).collect(), ..Checker::default() }
    }

    /// Something is wrong.
    pub fn violated(&mut self, promise: &str, what: String) {
        self.violations.push(format!("{promise}: {what}"));
    }

    /// Was anything found?
    pub fn has_failed(&self) -> bool {
        !self.violations.is_empty()
    }

    /// All that was found.
    pub fn into_violations(self) -> Vec<String> {
        self.violations
    }

    /// What is applied to a node's keyspace.
    pub fn applied(&self, slot: usize) -> &Frontier {
        &self.slots[slot].applied
    }

    /// A client reads a key: what it gets must be what the applied effects make of it, all of them and nothing else
    /// (P2, P3, P4, P6). What that is, is found out from the key's whole history. So the longer that is, the fewer of the reads are
    /// checked: or they would take nearly all of the time, and fewer runs fit into it.
    pub fn read(&mut self, slot: usize, transaction: &mut Transaction<'_>, keyspace: &Keyspace, place: (u32, &str)) {
        if self.slots[slot].importing {
            return;
        }
        let (database, key) = place;
        self.reads += 1;
        if !self.reads.is_multiple_of(self.history.effects_on(database, key.as_bytes()) / ALWAYS_CHECKED + 1) {
            return;
        }
        let expected = self.history.expected(database, key.as_bytes(), &self.slots[slot].applied);
        let now = transaction.now();
        let expected = expected.and_then(|expected| expected.visible(now));
        let found = describe(transaction, keyspace, database, key);
        if found != expected {
            let what = format!("node {slot} shows {found:?}, but what is applied there makes {expected:?}");
            self.violated("P2, P3, P5 or P6", what);
        }
    }

    /// A client wrote a set of keys that are only ever written together; these are their values now (P3).
    pub fn read_together(&mut self, slot: usize, values: &[Option<Vec<u8>>]) {
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            let text = |value: &Option<Vec<u8>>| value.as_ref().map(|value| value.escape_ascii().to_string());
            let values: Vec<_> = values.iter().map(text).collect();
            self.violated("P3", format!("node {slot} shows a torn transaction: {values:?}"));
        }
    }

    /// A client read a set that only grows: whatever a client of this node wrote to it or saw in it is still there (P4).
    pub fn read_growing(&mut self, slot: usize, key: &str, members: BTreeSet<String>) {
        let session = self.slots[slot].session.entry(key.to_owned()).or_default();
        let missing = session.difference(&members).next().cloned();
        *session = members;
        if let Some(missing) = missing {
            self.violated(
                "P4",
                format!("node {slot} no longer shows {missing} in {key}, which its clients wrote or saw"),
            );
        }
    }

    /// A client read two sets of which the second only gets what was seen in the first (P2).
    pub fn read_cause(&mut self, slot: usize, key: &str, causes: &BTreeSet<String>, effects: &BTreeSet<String>) {
        let is_without_cause = |member: &&String| !causes.contains(*member) && !self.is_lost(key, member);
        if let Some(member) = effects.iter().find(is_without_cause) {
            let what = format!("node {slot} shows {member}, but not in {key}, where its writer had seen it");
            self.violated("P2", what);
        }
    }

    /// Did the member die with the last node that had it?
    fn is_lost(&self, key: &str, member: &str) -> bool {
        let mut written = self.members.iter().filter(|(_, at, what)| at == key && what == member);
        written.all(|(dot, ..)| self.names(*dot).any(|name| self.lost.contains(&name)))
    }

    /// A client added an entry to a stream that is only added to: nobody else has that id.
    pub fn entered(&mut self, key: &str, id: StreamId) {
        if !self.entries.insert((key.to_owned(), id)) {
            self.violated("P5", format!("two entries of {key} are called {id}"));
        }
    }

    /// A client made the group of a stream that is only added to.
    pub fn grouped(&mut self, slot: usize, seq: Option<u64>, key: &str) {
        let Some(seq) = seq else { return };
        self.groups.push((Dot { node: self.slots[slot].origin, seq }, key.to_owned()));
    }

    /// A client pushed an element to a queue.
    pub fn pushed(&mut self, slot: usize, seq: Option<u64>, key: &str, element: &str) {
        let Some(seq) = seq else { return };
        self.pushed.push((Dot { node: self.slots[slot].origin, seq }, key.to_owned(), element.to_owned()));
    }

    /// A client took an element out of a queue.
    pub fn popped(&mut self, key: &str, element: String) {
        self.popped.insert((key.to_owned(), element));
    }

    /// `node` says that its effects up to `seq` are applied at another (WAIT tells clients so): they are (P5).
    pub fn acknowledged(&mut self, slot: usize, node: NodeId, seq: u64, other: usize) {
        let applied = self.slots[other].applied.get(node);
        if seq > applied {
            let what = format!("node {slot} counts its effect {seq} as applied at node {other}, which has {applied}");
            self.violated("P5", what);
        }
    }

    /// A client got entries of a stream that is only added to, from its group.
    pub fn delivered(&mut self, key: &str, ids: Vec<StreamId>) {
        self.delivered.entry(key.to_owned()).or_default().extend(ids);
    }

    /// Nodes that have applied the same effects have the same data (P1).
    pub fn compare(&mut self, keyspaces: &[Option<&Keyspace>]) {
        let comparable = |slot: &usize| keyspaces[*slot].is_some() && !self.slots[*slot].importing;
        let mut left: Vec<usize> = (0..keyspaces.len()).filter(comparable).collect();
        let mut different = Vec::new();
        while let Some(one) = left.first().copied() {
            let is_twin = |slot: &usize| self.slots[*slot].applied == self.slots[one].applied;
            let (twins, rest): (Vec<usize>, Vec<usize>) = left.into_iter().partition(is_twin);
            left = rest;
            let digest = |slot: &usize| keyspaces[*slot].map(Keyspace::digest);
            if let [_, others @ ..] = &twins[..]
                && !others.is_empty()
            {
                let first = digest(&one);
                different.extend(others.iter().filter(|other| digest(other) != first).map(|other| (one, *other)));
            }
        }
        for (one, other) in different {
            let dumps = [one, other].map(|slot| keyspaces[slot].map(Keyspace::dump).unwrap_or_default());
            let differs = |one: &[String], other: &[String]| one.iter().find(|line| !other.contains(line)).cloned();
            let (here, there) = (differs(&dumps[0], &dumps[1]), differs(&dumps[1], &dumps[0]));
            let what = "have applied the same effects, but the one holds";
            self.violated("P1", format!("nodes {one} and {other} {what} {here:?}, the other {there:?}"));
        }
    }

    /// All that a node holds is what the applied effects make (P1, P2, P3, P5, P6).
    pub fn audit(&mut self, slot: usize, keyspace: &Keyspace) {
        if self.slots[slot].importing {
            return;
        }
        let applied = &self.slots[slot].applied;
        if *applied != keyspace.frontier() {
            let what = format!("node {slot} says it has applied {:?}, but it is {applied:?}", keyspace.frontier());
            return self.violated("P2", what);
        }
        let (found, expected) = (keyspace.dump(), self.history.dump(applied));
        if found != expected {
            let wrong = found.iter().find(|line| expected.binary_search(line).is_err());
            let missing = expected.iter().find(|line| found.binary_search(line).is_err());
            let what = format!("node {slot} holds {wrong:?}, but what is applied there makes {missing:?}");
            self.violated("P1, P2, P3, P5 or P6", what);
        }
    }
}

/// A key as clients see it, as the specification writes it, and its deadline.
fn describe(
    transaction: &mut Transaction<'_>,
    keyspace: &Keyspace,
    database: u32,
    name: &str,
) -> Option<(String, Option<Millis>)> {
    let key = keyspace.key(name.as_bytes());
    let kind = transaction.kind(key)?;
    let deadline = transaction.deadline(key).flatten();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut elements = Vec::new();
    if let Ok(Some(string)) = transaction.string(key) {
        elements.push(text(string));
    }
    if let Ok(Some(hash)) = transaction.hash(key) {
        elements.extend(hash.iter().map(|(field, value)| format!("{}={}", text(&field), text(&value))));
    }
    if let Ok(Some(set)) = transaction.set(key) {
        elements.extend(set.iter().map(|member| text(&member)));
    }
    if let Ok(Some(set)) = transaction.sorted_set(key) {
        elements.extend(set.iter_from(0).map(|(member, score)| format!("{}={score}", text(&member))));
    }
    elements.sort_unstable();
    if let Ok(Some(list)) = transaction.list(key) {
        elements.extend(list.iter().map(|element| text(&element)));
    }
    if let Ok(Some(stream)) = transaction.stream(key) {
        return Some((format!("{database} {name} stream [{stream}]"), deadline));
    }
    Some((format!("{database} {name} {} [{}]", kind.name(), elements.join(" ")), deadline))
}
