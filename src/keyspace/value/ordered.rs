//! The order of a large sorted set: a counted B+-tree of (score, position of the member).
//!
//! The leaves hold the items in order. An inner node knows of each child its first item and how many items it has, so
//! that items are found by what they are and by their rank alike, in O(log n). Nodes that empty out are merged with
//! neighbours. Items that are always added at one end fill their leaves completely.
//!
//! Source: D. Comer, "The Ubiquitous B-Tree", ACM Computing Surveys 11(2), 1979; counts as in Knuth, TAOCP 3, 6.2.3.
//!
//! Must not know what the positions lead to: whoever searches brings the comparison.

use std::ops::Range;

use super::allocation;

/// A leaf never keeps more items: with one more, which makes it split, it fills 1 KiB.
const LEAF: usize = 84;
/// An inner node never keeps more children.
const FAN: usize = 31;

/// A score, and which member has it. 12 bytes, which an `f64` as such would make 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    score: [u32; 2],
    position: u32,
}

impl Item {
    pub fn new(score: f64, position: usize) -> Item {
        let bits = score.to_bits();
        let position = u32::try_from(position).expect("a collection has fewer than 2^32 elements");
        Item { score: [bits as u32, (bits >> 32) as u32], position }
    }

    pub fn score(self) -> f64 {
        f64::from_bits(u64::from(self.score[0]) | u64::from(self.score[1]) << 32)
    }

    pub fn position(self) -> usize {
        self.position as usize
    }
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Item>),
    Inner(Vec<Child>),
}

#[derive(Clone, Debug)]
struct Child {
    node: Node,
    first: Item,
    count: u32,
}

/// Which end of the whole sequence an item is added to, if one.
#[derive(Clone, Copy)]
enum Edge {
    Front,
    Back,
    Neither,
}

impl Edge {
    /// Where a node of so many entries splits: in the middle, but all stays together where more is to come.
    fn split(self, length: usize) -> usize {
        match self {
            Edge::Front => 1,
            Edge::Back => length - 1,
            Edge::Neither => length / 2,
        }
    }
}

fn tail<T>(entries: &mut Vec<T>, at: usize, capacity: usize) -> Vec<T> {
    let mut tail = Vec::with_capacity(capacity);
    tail.extend(entries.drain(at..));
    tail
}

/// The child that has the item of this rank, and the item's rank within it.
fn child_at(children: &[Child], mut rank: usize) -> (usize, usize) {
    for (number, child) in children.iter().enumerate() {
        let count = child.count as usize;
        if rank < count {
            return (number, rank);
        }
        rank -= count;
    }
    unreachable!("the rank is within the counts")
}

/// A way from the root to an item.
trait Way {
    /// The number of the child to go to.
    fn child(&mut self, children: &[Child]) -> usize;

    /// The place in the leaf.
    fn item(&mut self, items: &[Item]) -> usize;
}

/// To the item of this rank.
struct ToRank(usize);

impl Way for ToRank {
    fn child(&mut self, children: &[Child]) -> usize {
        let (number, within) = child_at(children, self.0);
        self.0 = within;
        number
    }

    fn item(&mut self, _: &[Item]) -> usize {
        self.0
    }
}

/// To the item with this position, before which are exactly those for which `is_before` holds.
struct ToItem<F> {
    position: u32,
    is_before: F,
}

impl<F: Fn(Item) -> bool> Way for ToItem<F> {
    fn child(&mut self, children: &[Child]) -> usize {
        let number = children.partition_point(|child| (self.is_before)(child.first));
        match children.get(number) {
            Some(child) if child.first.position == self.position => number,
            _ => number.checked_sub(1).expect("the item is there"),
        }
    }

    fn item(&mut self, items: &[Item]) -> usize {
        items.partition_point(|&item| (self.is_before)(item))
    }
}

/// To where a new item belongs, behind those for which `is_before` holds. Knows in the end whether that is at an end.
struct ToPlace<F> {
    is_first: bool,
    is_last: bool,
    is_before: F,
}

impl<F: Fn(Item) -> bool> ToPlace<F> {
    fn edge(&self) -> Edge {
        match (self.is_first, self.is_last) {
            (_, true) => Edge::Back,
            (true, false) => Edge::Front,
            (false, false) => Edge::Neither,
        }
    }
}

impl<F: Fn(Item) -> bool> Way for ToPlace<F> {
    fn child(&mut self, children: &[Child]) -> usize {
        let behind = children.partition_point(|child| (self.is_before)(child.first));
        let number = behind.saturating_sub(1);
        self.is_first &= behind == 0;
        self.is_last &= number + 1 == children.len();
        number
    }

    fn item(&mut self, items: &[Item]) -> usize {
        let at = items.partition_point(|&item| (self.is_before)(item));
        self.is_first &= at == 0;
        self.is_last &= at == items.len();
        at
    }
}

/// Bytes of a node; all have room for one entry more than they keep.
const LEAF_BYTES: usize = allocation((LEAF + 1) * size_of::<Item>());
const INNER_BYTES: usize = allocation((FAN + 1) * size_of::<Child>());

impl Node {
    fn leaf() -> Node {
        Node::Leaf(Vec::with_capacity(LEAF + 1))
    }

    /// How many items or children of its own it has.
    fn entries(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF,
            Node::Inner(_) => FAN,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_BYTES,
            Node::Inner(_) => INNER_BYTES,
        }
    }

    fn first(&self) -> Item {
        self.end(false)
    }

    fn into_child(self) -> Child {
        let count = match &self {
            Node::Leaf(items) => items.len() as u32,
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        };
        Child { first: self.first(), count, node: self }
    }

    /// Returns what was split off, which belongs behind this node. Counts the bytes of new nodes.
    fn insert<F: Fn(Item) -> bool>(&mut self, way: &mut ToPlace<F>, item: Item, added: &mut usize) -> Option<Node> {
        match self {
            Node::Leaf(items) => items.insert(way.item(items), item),
            Node::Inner(children) => {
                let number = way.child(children);
                let child = &mut children[number];
                child.count += 1;
                let split_off = child.node.insert(way, item, added);
                child.first = child.node.first();
                let right = split_off?.into_child();
                child.count -= right.count;
                children.insert(number + 1, right);
            }
        }
        (self.entries() > self.capacity()).then(|| {
            *added += self.bytes();
            self.split(way.edge())
        })
    }

    fn split(&mut self, edge: Edge) -> Node {
        let at = edge.split(self.entries());
        match self {
            Node::Leaf(items) => Node::Leaf(tail(items, at, LEAF + 1)),
            Node::Inner(children) => Node::Inner(tail(children, at, FAN + 1)),
        }
    }

    /// Takes an item out, and counts the bytes of nodes that vanish.
    fn remove(&mut self, way: &mut impl Way, vanished: &mut usize) -> Item {
        let children = match self {
            Node::Leaf(items) => {
                let at = way.item(items);
                return items.remove(at);
            }
            Node::Inner(children) => children,
        };
        let number = way.child(children);
        let child = &mut children[number];
        let item = child.node.remove(way, vanished);
        child.count -= 1;
        if child.count == 0 {
            *vanished += children.remove(number).node.bytes();
            return item;
        }
        child.first = child.node.first();
        if child.node.entries() < child.node.capacity() / 4 {
            let left = if number + 1 < children.len() { number } else { number.saturating_sub(1) };
            merge(children, left, vanished);
        }
        item
    }

    /// The first item, or the last. The node is not empty.
    fn end(&self, last: bool) -> Item {
        match self {
            Node::Leaf(items) => items[if last { items.len() - 1 } else { 0 }],
            Node::Inner(children) if last => children[children.len() - 1].node.end(true),
            Node::Inner(children) => children[0].first,
        }
    }

    fn set_last_position(&mut self, position: u32) {
        match self {
            Node::Leaf(items) => items.last_mut().expect("the node is not empty").position = position,
            Node::Inner(children) => {
                let child = children.last_mut().expect("the node is not empty");
                child.node.set_last_position(position);
                child.first = child.node.first();
            }
        }
    }

    fn set_position(&mut self, way: &mut impl Way, position: u32) {
        match self {
            Node::Leaf(items) => {
                let at = way.item(items);
                items[at].position = position;
            }
            Node::Inner(children) => {
                let number = way.child(children);
                let child = &mut children[number];
                child.node.set_position(way, position);
                child.first = child.node.first();
            }
        }
    }
}

/// Makes one child of this one and the next, if they fit.
fn merge(children: &mut Vec<Child>, left: usize, vanished: &mut usize) {
    let [one, other, ..] = &mut children[left..] else { return };
    if one.node.entries() + other.node.entries() > one.node.capacity() {
        return;
    }
    match (&mut one.node, &mut other.node) {
        (Node::Leaf(items), Node::Leaf(more)) => items.append(more),
        (Node::Inner(children), Node::Inner(more)) => children.append(more),
        _ => unreachable!("all leaves are equally deep"),
    }
    one.count += other.count;
    *vanished += children.remove(left + 1).node.bytes();
}

/// Items in the order in which they were put.
#[derive(Clone, Debug)]
pub struct Ordered {
    root: Node,
    length: usize,
    memory: usize,
}

impl Ordered {
    /// No items.
    pub fn new() -> Ordered {
        Ordered { root: Node::leaf(), length: 0, memory: LEAF_BYTES }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// How many items come first for which `is_before` holds; it must not hold for any behind those.
    pub fn count_before(&self, is_before: impl Fn(Item) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(|&item| is_before(item)),
                Node::Inner(children) => {
                    let number = children.partition_point(|child| is_before(child.first));
                    let Some(last) = number.checked_sub(1) else { return rank };
                    rank += children[..last].iter().map(|child| child.count as usize).sum::<usize>();
                    node = &children[last].node;
                }
            }
        }
    }

    /// Puts an item behind those for which `is_before` holds, which are the first ones.
    pub fn insert(&mut self, item: Item, is_before: impl Fn(Item) -> bool) {
        let mut way = ToPlace { is_first: true, is_last: true, is_before };
        if let Some(right) = self.root.insert(&mut way, item, &mut self.memory) {
            self.memory += INNER_BYTES;
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::with_capacity(FAN + 1)));
            if let Node::Inner(children) = &mut self.root {
                children.extend([left.into_child(), right.into_child()]);
            }
        }
        self.length += 1;
    }

    /// Takes out the item with this position, which is there, and before which are exactly those for which `is_before`
    /// holds.
    pub fn remove(&mut self, position: usize, is_before: impl Fn(Item) -> bool) -> Item {
        match self.rank_at_end(position) {
            Some(rank) => self.take_out(&mut ToRank(rank)),
            None => self.take_out(&mut ToItem { position: position as u32, is_before }),
        }
    }

    fn take_out(&mut self, way: &mut impl Way) -> Item {
        let mut vanished = 0;
        let item = self.root.remove(way, &mut vanished);
        while let Node::Inner(children) = &mut self.root
            && children.len() <= 1
        {
            vanished += INNER_BYTES;
            self.root = match children.pop() {
                Some(only) => only.node,
                None => {
                    self.memory += LEAF_BYTES;
                    Node::leaf()
                }
            };
        }
        self.length -= 1;
        self.memory -= vanished;
        item
    }

    /// Says that the member of the item with this position is at another one now. As with [`Ordered::remove`].
    pub fn set_position(&mut self, before: usize, position: usize, is_before: impl Fn(Item) -> bool) {
        match self.rank_at_end(before) {
            Some(rank) if rank + 1 == self.length => self.root.set_last_position(position as u32),
            Some(rank) => self.root.set_position(&mut ToRank(rank), position as u32),
            None => self.root.set_position(&mut ToItem { position: before as u32, is_before }, position as u32),
        }
    }

    /// The rank of the item with this position, if it is at one of the ends: found without comparisons and counts.
    pub fn rank_at_end(&self, position: usize) -> Option<usize> {
        let last = self.length.checked_sub(1)?;
        match position {
            _ if self.root.end(false).position() == position => Some(0),
            _ if self.root.end(true).position() == position => Some(last),
            _ => None,
        }
    }

    /// The leaf with the item of this rank, and the rank of its first item.
    fn leaf_at(&self, rank: usize) -> (&[Item], usize) {
        let (mut node, mut within) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(items) => return (items, rank - within),
                Node::Inner(children) => {
                    let (number, rank) = child_at(children, within);
                    (node, within) = (&children[number].node, rank);
                }
            }
        }
    }

    /// The item of this rank.
    pub fn get(&self, rank: usize) -> Option<Item> {
        if rank >= self.length {
            return None;
        }
        let (leaf, first) = self.leaf_at(rank);
        Some(leaf[rank - first])
    }

    /// The items of these ranks.
    pub fn range(&self, ranks: Range<usize>) -> Items<'_> {
        assert!(ranks.end <= self.length);
        Items { order: self, ranks, front: (&[], 0), back: (&[], 0) }
    }
}

/// Items in order. Keeps the leaf at either end, and descends anew where it ends: once in many items.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    order: &'a Ordered,
    ranks: Range<usize>,
    /// A leaf and the rank of its first item.
    front: (&'a [Item], usize),
    back: (&'a [Item], usize),
}

fn item_in(leaf: (&[Item], usize), rank: usize) -> Option<Item> {
    leaf.0.get(rank.checked_sub(leaf.1)?).copied()
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let rank = self.ranks.next()?;
        item_in(self.front, rank).or_else(|| {
            self.front = self.order.leaf_at(rank);
            item_in(self.front, rank)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl DoubleEndedIterator for Items<'_> {
    fn next_back(&mut self) -> Option<Item> {
        let rank = self.ranks.next_back()?;
        item_in(self.back, rank).or_else(|| {
            self.back = self.order.leaf_at(rank);
            item_in(self.back, rank)
        })
    }
}

impl ExactSizeIterator for Items<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what inner nodes say about their children; returns the number of items, the depth and the bytes.
    fn check(node: &Node) -> (usize, usize, usize) {
        match node {
            Node::Leaf(items) => {
                assert!(items.len() <= LEAF && items.capacity() == LEAF + 1);
                (items.len(), 0, LEAF_BYTES)
            }
            Node::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= FAN && children.capacity() == FAN + 1);
                let mut sum = (0, 0, INNER_BYTES);
                for (number, child) in children.iter().enumerate() {
                    let (count, depth, bytes) = check(&child.node);
                    assert_eq!((child.count as usize, child.first), (count, child.node.first()));
                    assert!(count > 0 && (number == 0 || depth + 1 == sum.1));
                    sum = (sum.0 + count, depth + 1, sum.2 + bytes);
                }
                sum
            }
        }
    }

    fn check_all(order: &Ordered, model: &[Item]) {
        let (length, _, memory) = check(&order.root);
        assert_eq!((length, order.length, memory), (model.len(), model.len(), order.memory()));
        assert!(order.range(0..length).eq(model.iter().copied()));
        assert!(order.range(0..length).rev().eq(model.iter().rev().copied()));
        for (item, rank) in model.first().into_iter().chain(model.last()).zip([0, length.saturating_sub(1)]) {
            assert_eq!(order.rank_at_end(item.position()), Some(rank));
        }
    }

    fn comes_before(item: Item) -> impl Fn(Item) -> bool {
        move |other| other.score() < item.score()
    }

    #[test]
    fn behaves_like_a_sorted_vector() {
        let mut random = fastrand::Rng::with_seed(17);
        let (mut order, mut model) = (Ordered::new(), Vec::new());
        for step in 0..60_000usize {
            // No two are equal.
            let bound = f64::from(random.u16(..1_000)) + step as f64 * 1e-9;
            let rank = order.count_before(|item| item.score() < bound);
            assert_eq!(rank, model.partition_point(|item: &Item| item.score() < bound));
            let grows = step / 20_000 != 1;
            if model.is_empty() || random.u8(..8) > if grows { 1 } else { 5 } {
                let item = Item::new(bound, step);
                order.insert(item, |other| other.score() < bound);
                model.insert(rank, item);
            } else {
                // Often many from one place, so that leaves empty out.
                let rank = if step % 1_000 < 500 { model.len() / 2 } else { random.usize(..model.len()) };
                let taken = model.remove(rank);
                assert_eq!(order.remove(taken.position(), comes_before(taken)), taken);
                if let Some(item) = model.get_mut(rank) {
                    order.set_position(item.position(), step, comes_before(*item));
                    item.position = step as u32;
                }
            }
            let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
            assert_eq!(order.get(from), model.get(from).copied());
            let range = from.min(to)..from.max(to).min(from.min(to) + 200);
            assert!(order.range(range.clone()).eq(model[range.clone()].iter().copied()));
            assert!(order.range(range.clone()).rev().eq(model[range].iter().rev().copied()));
            if step % 500 == 0 {
                check_all(&order, &model);
            }
        }
        while !model.is_empty() {
            let rank = [0, model.len() - 1, random.usize(..model.len())][random.usize(..3)];
            let taken = model.remove(rank);
            assert_eq!(order.remove(taken.position(), comes_before(taken)), taken);
            if model.len() % 500 == 0 {
                check_all(&order, &model);
            }
        }
        assert_eq!(order.memory(), LEAF_BYTES);
    }

    #[test]
    fn items_added_at_one_end_fill_their_leaves() {
        assert_eq!(size_of::<Item>(), 12);
        for at_back in [true, false] {
            let mut order = Ordered::new();
            for number in 0..LEAF * 100 {
                order.insert(Item::new(number as f64, number), |_| at_back);
            }
            check(&order.root);
            assert!(order.memory() <= 100 * LEAF_BYTES + 8 * INNER_BYTES, "{}", order.memory());
        }
    }
}
