//! When the fields of a hash end. Only a hash that has or had such a field has this.
//!
//! One deadline for each position of the hash. Few fields are searched from end to end; of many there is an order
//! besides, so that the first to end are found at once.
//!
//! Must not know what the fields are.

use std::collections::BTreeSet;

use super::allocation;
use crate::keyspace::Millis;

/// The deadline of a field without one.
const NEVER: Millis = Millis::MAX;

/// Bytes of an entry of the order, about: its 16 bytes in nodes that are two thirds full, and a share of their heads.
const ORDER_BYTES: usize = 28;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    /// One for each field, in the order of their positions. Empty when no field has one.
    at: Vec<Millis>,
    /// How many fields have one.
    count: usize,
    /// The deadlines with their positions, once the fields are many.
    order: Option<BTreeSet<(Millis, u32)>>,
}

impl Deadlines {
    /// When the field at a position ends.
    pub fn of(&self, position: usize) -> Option<Millis> {
        self.at.get(position).copied().filter(|&at| at != NEVER)
    }

    /// Changes when the field at a position ends, in a hash of so many fields.
    pub fn set(&mut self, position: usize, length: usize, deadline: Option<Millis>) {
        let new = deadline.unwrap_or(NEVER);
        if self.at.is_empty() {
            if new == NEVER {
                return;
            }
            self.at.resize(length, NEVER);
        }
        let before = std::mem::replace(&mut self.at[position], new);
        self.account(position, before, new);
        if self.count == 0 {
            self.at = Vec::new();
        }
    }

    /// A field without a deadline came behind all others.
    pub fn push(&mut self) {
        if !self.at.is_empty() {
            self.at.push(NEVER);
        }
    }

    /// The field at a position went: few fields move up, of many the last one moves into the gap.
    pub fn remove(&mut self, position: usize) {
        if self.at.is_empty() {
            return;
        }
        let last = self.at.len() - 1;
        if self.order.is_some() {
            let moved = self.at[last];
            let before = self.at.swap_remove(position);
            self.account(position, before, NEVER);
            if position != last {
                self.account(last, moved, NEVER);
                self.account(position, NEVER, moved);
            }
        } else {
            let before = self.at.remove(position);
            self.account(position, before, NEVER);
        }
        if self.count == 0 {
            self.at = Vec::new();
        }
    }

    /// The fields are many from now on.
    pub fn put_in_order(&mut self) {
        let all = self.at.iter().zip(0u32..).filter(|&(&at, _)| at != NEVER);
        self.order = Some(all.map(|(&at, position)| (at, position)).collect());
    }

    fn account(&mut self, position: usize, before: Millis, after: Millis) {
        self.count += usize::from(after != NEVER);
        self.count -= usize::from(before != NEVER);
        let Some(order) = &mut self.order else { return };
        let position = u32::try_from(position).expect("a collection has fewer than 2^32 elements");
        if before != NEVER {
            order.remove(&(before, position));
        }
        if after != NEVER {
            order.insert((after, position));
        }
    }

    /// How many fields have a deadline.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of all.
    pub fn earliest(&self) -> Option<Millis> {
        match &self.order {
            Some(order) => order.first().map(|&(at, _)| at),
            None => self.at.iter().copied().min().filter(|&at| at != NEVER),
        }
    }

    /// The last of all.
    pub fn latest(&self) -> Option<Millis> {
        match &self.order {
            Some(order) => order.last().map(|&(at, _)| at),
            None => self.at.iter().copied().filter(|&at| at != NEVER).max(),
        }
    }

    /// The positions of the fields that have ended; the earliest come first where the fields are many.
    pub fn ended(&self, now: Millis) -> impl Iterator<Item = usize> + '_ {
        let now = now.min(NEVER - 1);
        let ordered = self.order.iter().flat_map(move |order| order.range(..=(now, u32::MAX)));
        let few = if self.order.is_some() { &[] } else { &self.at[..] };
        let few = few.iter().enumerate().filter(move |&(_, &at)| at <= now).map(|(position, _)| position);
        ordered.map(|&(_, position)| position as usize).chain(few)
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let order = self.order.as_ref().map_or(0, |order| order.len() * ORDER_BYTES);
        allocation(self.at.capacity() * size_of::<Millis>()) + order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_vector_of_deadlines() {
        let mut random = fastrand::Rng::with_seed(17);
        for round in 0..40 {
            let (mut deadlines, mut model) = (Deadlines::default(), Vec::<Option<Millis>>::new());
            let many_from = if round % 2 == 0 { 150 } else { 0 };
            let mut is_many = false;
            for step in 0..600 {
                if step >= many_from && !is_many {
                    deadlines.put_in_order();
                    is_many = true;
                }
                // Grows at first, then shrinks to nothing.
                match random.u8(..if step < 300 { 4 } else { 8 }) {
                    0 => {
                        deadlines.push();
                        model.push(None);
                    }
                    1 | 2 if !model.is_empty() => {
                        let position = random.usize(..model.len());
                        let deadline = (random.u8(..3) > 0).then(|| random.u64(1..50));
                        deadlines.set(position, model.len(), deadline);
                        model[position] = deadline;
                    }
                    _ if !model.is_empty() => {
                        let position = random.usize(..model.len());
                        deadlines.remove(position);
                        if is_many {
                            model.swap_remove(position);
                        } else {
                            model.remove(position);
                        }
                    }
                    _ => {}
                }
                let all: Vec<_> = (0..model.len() + 1).map(|position| deadlines.of(position)).collect();
                assert_eq!(all, [&model[..], &[None]].concat());
                let known = || model.iter().copied().flatten();
                assert_eq!(deadlines.count(), known().count());
                assert_eq!((deadlines.earliest(), deadlines.latest()), (known().min(), known().max()));
                let now = random.u64(..50);
                let mut ended: Vec<usize> = deadlines.ended(now).collect();
                ended.sort_unstable();
                let has_ended = |&position: &usize| model[position].is_some_and(|at| at <= now);
                assert!(ended.into_iter().eq((0..model.len()).filter(has_ended)));
            }
        }
    }

    #[test]
    fn the_first_of_many_to_end_come_first() {
        let mut deadlines = Deadlines::default();
        deadlines.put_in_order();
        for position in 0..100 {
            deadlines.set(position, 100, Some(1_000 - position as u64));
        }
        assert!(deadlines.ended(Millis::MAX).take(3).eq([99, 98, 97]));
    }
}
