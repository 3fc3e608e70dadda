//! What a list must be after a history, by definition: the tree of Fugue, with every item that ever was, for ever.

use std::ops::Range;

use super::{End, Place};
use crate::effects::{Dot, Frontier, Stamp};

/// One operation on the list.
#[derive(Clone, Debug)]
pub enum Operation {
    Insert(Place, Vec<u32>),
    Remove(End, Vec<Range<usize>>),
    RemoveAll,
    Set(End, usize, u32),
}

/// An effect, with everything that its origin had seen.
#[derive(Clone, Debug)]
pub struct Made {
    pub dot: Dot,
    pub stamp: Stamp,
    pub seen: Frontier,
    pub operations: Vec<Operation>,
}

struct Node {
    dot: Dot,
    stamp: Stamp,
    at: Place,
    value: u32,
    parent: usize,
    left: Vec<usize>,
    right: Vec<usize>,
    removals: Vec<Dot>,
    sets: Vec<(Stamp, Dot, u32)>,
}

/// All effects that were ever made. An effect is added when it is made: after all that it has seen.
pub struct Tree {
    /// The first is the start.
    nodes: Vec<Node>,
}

const START: usize = 0;

impl Tree {
    /// A list of these elements, all of them stable: as if pushed one after the other.
    pub fn new(elements: &[u32]) -> Tree {
        let stable = Dot { node: crate::effects::NodeId(0), seq: 0 };
        let mut tree = Tree { nodes: Vec::new() };
        for (at, value) in [0].iter().chain(elements).enumerate() {
            tree.nodes.push(Tree::node(stable, Stamp::default(), Place::RightEnd, *value, at.saturating_sub(1)));
            if at > 0 {
                tree.nodes[at - 1].right.push(at);
            }
        }
        tree
    }

    fn node(dot: Dot, stamp: Stamp, at: Place, value: u32, parent: usize) -> Node {
        let (left, right) = (Vec::new(), Vec::new());
        Node { dot, stamp, at, value, parent, left, right, removals: Vec::new(), sets: Vec::new() }
    }

    /// The list where exactly the effects within `applied` are.
    pub fn list(&self, applied: &Frontier) -> Vec<u32> {
        let (_, visible) = self.view(|dot| applied.includes(dot));
        let value = |at: &usize| {
            let node = &self.nodes[*at];
            let sets = node.sets.iter().filter(|set| applied.includes(set.1));
            sets.max_by_key(|set| set.0).map_or(node.value, |set| set.2)
        };
        visible.iter().map(value).collect()
    }

    /// Items in view, and those of them that are visible.
    fn view(&self, has: impl Fn(Dot) -> bool) -> (Vec<usize>, Vec<usize>) {
        let mut order = Vec::new();
        self.walk(START, &mut order);
        order.retain(|at| *at != START && has(self.nodes[*at].dot));
        let visible = |at: &usize| !self.nodes[*at].removals.iter().any(|dot| has(*dot));
        (order.clone(), order.into_iter().filter(visible).collect())
    }

    fn walk(&self, at: usize, order: &mut Vec<usize>) {
        self.nodes[at].left.iter().for_each(|child| self.walk(*child, order));
        order.push(at);
        self.nodes[at].right.iter().for_each(|child| self.walk(*child, order));
    }

    /// Adds an effect.
    pub fn add(&mut self, made: &Made) {
        for operation in &made.operations {
            let (in_view, visible) = self.view(|dot| dot == made.dot || made.seen.includes(dot));
            let item = |end: &End, position: usize| match end {
                End::Left => visible.get(position).copied(),
                End::Right => {
                    position.checked_add(1).and_then(|back| visible.len().checked_sub(back)).map(|at| visible[at])
                }
            };
            match operation {
                Operation::Insert(at, values) => {
                    let before = match at {
                        Place::LeftEnd => 0,
                        Place::RightEnd => visible.len(),
                        Place::Position(position) => visible.len().min(*position),
                    };
                    let left = if before == 0 { START } else { visible[before - 1] };
                    let next = in_view.iter().position(|item| *item == left).map_or(0, |at| at + 1);
                    self.insert(*at, values, left, in_view.get(next).copied(), made);
                }
                Operation::Remove(end, ranges) => {
                    for position in ranges.iter().cloned().flatten() {
                        if let Some(item) = item(end, position) {
                            self.nodes[item].removals.push(made.dot);
                        }
                    }
                }
                Operation::RemoveAll => {
                    visible.iter().for_each(|item| self.nodes[*item].removals.push(made.dot));
                }
                Operation::Set(end, position, value) => {
                    if let Some(item) = item(end, *position) {
                        // The later of two sets in one effect has the last word.
                        self.nodes[item].sets.retain(|set| set.1 != made.dot);
                        self.nodes[item].sets.push((made.stamp, made.dot, *value));
                    }
                }
            }
        }
    }

    fn insert(&mut self, at: Place, values: &[u32], left: usize, right: Option<usize>, made: &Made) {
        let mut parent = left;
        for (count, value) in values.iter().enumerate() {
            let on_left = right.filter(|right| count == 0 && self.descends(*right, left));
            parent = on_left.unwrap_or(parent);
            let new = self.nodes.len();
            self.nodes.push(Tree::node(made.dot, made.stamp, at, *value, parent));
            let siblings = match on_left {
                Some(_) => &self.nodes[parent].left,
                None => &self.nodes[parent].right,
            };
            let place = siblings.partition_point(|sibling| self.is_before(*sibling, new));
            match on_left {
                Some(_) => self.nodes[parent].left.insert(place, new),
                None => self.nodes[parent].right.insert(place, new),
            }
            parent = new;
        }
    }

    fn descends(&self, mut item: usize, from: usize) -> bool {
        while item != START && item != from {
            item = self.nodes[item].parent;
        }
        item == from
    }

    /// The order of siblings.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        let class = |place| match place {
            Place::LeftEnd => 0,
            Place::Position(_) => 1,
            Place::RightEnd => 2,
        };
        match class(one.at).cmp(&class(other.at)) {
            std::cmp::Ordering::Equal if one.at == Place::LeftEnd => one.stamp > other.stamp,
            std::cmp::Ordering::Equal => one.stamp < other.stamp,
            order => order.is_lt(),
        }
    }
}
