//! What a list must be: the tree of Fugue (Weidner and Kleppmann 2023), with every element that ever was, for ever.
//!
//! The order of siblings, and how positions are meant, is told in `swytch::keyspace`, module `sequence`; here it is carried
//! out on whole histories, and nothing is ever forgotten.

use std::cmp::Ordering;

use swytch::effects::{Action, Dot, End, Family, NodeId, Stamp};

use super::{Event, Write, text};

/// How an insertion was put: decides the order among siblings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    LeftEnd,
    Position,
    RightEnd,
}

struct Node<'a> {
    dot: Dot,
    stamp: Stamp,
    class: Class,
    value: &'a [u8],
    parent: usize,
    left: Vec<usize>,
    right: Vec<usize>,
    removals: Vec<Dot>,
    /// Who wrote the value that shows: its insertion, or the latest set.
    writer: (Stamp, Dot),
}

/// All elements that a key's list ever had. The first node is its start.
pub struct List<'a> {
    nodes: Vec<Node<'a>>,
}

const START: usize = 0;

impl<'a> List<'a> {
    /// From everything that was written to the key, in the order of the stamps: after all that it has seen.
    pub fn of(writes: &[Write<'a>]) -> List<'a> {
        let mut list = List { nodes: Vec::new() };
        let nobody = Dot { node: NodeId::default(), seq: 0 };
        list.nodes.push(Node::new(nobody, Stamp::default(), Class::RightEnd, b"", START));
        if writes.iter().any(|(_, action)| action.family() == Family::List) {
            writes.iter().for_each(|(event, action)| list.apply(event, action));
        }
        list
    }

    /// The elements that are there.
    fn visible(&self) -> impl Iterator<Item = &Node<'a>> {
        let mut order = Vec::new();
        self.walk(START, &mut order);
        order.into_iter().map(|at| &self.nodes[at]).filter(|node| node.removals.is_empty())
    }

    /// As `Keyspace::dump` prints it.
    pub fn value(&self) -> String {
        self.visible().map(|node| text(node.value)).collect::<Vec<_>>().join(" ")
    }

    /// The effects that inserted an element that is there, or set the value that it has.
    pub fn survivors(&self) -> Vec<Dot> {
        self.visible().flat_map(|node| [node.dot, node.writer.1]).collect()
    }

    fn walk(&self, at: usize, order: &mut Vec<usize>) {
        self.nodes[at].left.iter().for_each(|child| self.walk(*child, order));
        if at != START {
            order.push(at);
        }
        self.nodes[at].right.iter().for_each(|child| self.walk(*child, order));
    }

    fn apply(&mut self, event: &Event<'_>, action: &Action<'a>) {
        let mut all = Vec::new();
        self.walk(START, &mut all);
        let reached = |dot: Dot| dot == event.dot || event.seen.includes(dot);
        let shows = |at: &&usize| {
            let node = &self.nodes[**at];
            reached(node.dot) && !node.removals.iter().any(|dot| reached(*dot))
        };
        let shown: Vec<usize> = all.iter().filter(shows).copied().collect();
        let at = |from: End, position: u64| {
            let position = usize::try_from(position).expect("a position of this test");
            match from {
                End::Left => shown.get(position).copied(),
                End::Right => shown.iter().rev().nth(position).copied(),
            }
        };
        match *action {
            Action::ListPush { end, elements } => {
                let mut values: Vec<&[u8]> = elements.iter().collect();
                let (class, left) = match end {
                    End::Left => (Class::LeftEnd, START),
                    End::Right => (Class::RightEnd, self.last_known(event, &all)),
                };
                if end == End::Left {
                    values.reverse();
                }
                self.insert(event, &all, class, left, &values);
            }
            Action::ListInsert { position, element } => {
                let left = match position {
                    0 => START,
                    position => at(End::Left, position - 1).or_else(|| shown.last().copied()).unwrap_or(START),
                };
                self.insert(event, &all, Class::Position, left, &[element]);
            }
            Action::ListSet { from, position, element } => {
                if let Some(at) = at(from, position) {
                    let (node, writer) = (&mut self.nodes[at], (event.stamp, event.dot));
                    if node.writer <= writer {
                        (node.value, node.writer) = (element, writer);
                    }
                }
            }
            Action::ListRemove { from, ranges, whole: false, .. } => {
                for position in ranges.iter().flatten() {
                    if let Some(at) = at(from, position) {
                        self.nodes[at].removals.push(event.dot);
                    }
                }
            }
            Action::ListRemove { from, ranges, .. } => {
                let is_known = |at: &&usize| {
                    let node = &self.nodes[**at];
                    event.had_seen(node.dot) && !node.removals.iter().any(|dot| event.had_seen(*dot))
                };
                let mut known: Vec<usize> = all.iter().filter(is_known).copied().collect();
                if from == End::Right {
                    known.reverse();
                }
                for position in ranges.iter().flatten().filter_map(|position| usize::try_from(position).ok()) {
                    if let Some(&at) = known.get(position) {
                        self.nodes[at].removals.push(event.dot);
                    }
                }
            }
            Action::Deadline { .. } => {}
            // Whatever removes the key, or writes a value of another type.
            _ => shown.iter().for_each(|at| self.nodes[*at].removals.push(event.dot)),
        }
    }

    /// The last element that was there for whoever made this.
    fn last_known(&self, event: &Event<'_>, all: &[usize]) -> usize {
        let shows = |at: &&usize| {
            let node = &self.nodes[**at];
            event.had_seen(node.dot) && !node.removals.iter().any(|dot| event.had_seen(*dot))
        };
        all.iter().rfind(shows).copied().unwrap_or(START)
    }

    fn insert(&mut self, event: &Event<'_>, all: &[usize], class: Class, left: usize, values: &[&'a [u8]]) {
        let after = all.iter().position(|at| *at == left).map_or(0, |place| place + 1);
        let right = all[after..].iter().copied().find(|at| event.had_seen(self.nodes[*at].dot));
        let mut above = right.filter(|right| self.descends(*right, left));
        let mut parent = left;
        for value in values {
            let new = self.nodes.len();
            let on_left = above.take();
            parent = on_left.unwrap_or(parent);
            self.nodes.push(Node::new(event.dot, event.stamp, class, value, parent));
            let is_before = |sibling: &usize| self.nodes[*sibling].cmp(&self.nodes[new]).is_lt();
            let place = match on_left {
                Some(_) => self.nodes[parent].left.partition_point(is_before),
                None => self.nodes[parent].right.partition_point(is_before),
            };
            match on_left {
                Some(_) => self.nodes[parent].left.insert(place, new),
                None => self.nodes[parent].right.insert(place, new),
            }
            parent = new;
        }
    }

    fn descends(&self, mut at: usize, from: usize) -> bool {
        while at != START && at != from {
            at = self.nodes[at].parent;
        }
        at == from
    }
}

impl<'a> Node<'a> {
    fn new(dot: Dot, stamp: Stamp, class: Class, value: &'a [u8], parent: usize) -> Node<'a> {
        let writer = (stamp, dot);
        Node { dot, stamp, class, value, parent, left: Vec::new(), right: Vec::new(), removals: Vec::new(), writer }
    }

    /// The order of siblings.
    fn cmp(&self, other: &Node<'_>) -> Ordering {
        self.class.cmp(&other.class).then_with(|| match self.class {
            Class::LeftEnd => other.stamp.cmp(&self.stamp),
            Class::Position | Class::RightEnd => self.stamp.cmp(&other.stamp),
        })
    }
}
