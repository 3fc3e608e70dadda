//! A register: a string key, or one field of a hash, with what is not yet stable about it.
//!
//! The surviving writes are kept in stamp order above a stable base; the value is the base with the writes applied in that
//! order ("as if executed in stamp order"). A write survives until a SET or a removal that has seen it. Pruning on SET is
//! sound because whoever later removes the SET has, by causality, seen what the SET had seen.
//!
//! The value itself lies in the keyspace, materialised. As long as nothing is concurrent, the register *follows* it: instead
//! of values it holds names and stamps, and of writes that changed a part of the value what they overwrote. Only when it has
//! to put a write below others does it get copies of its own (it is *detached*), until all is stable.

use serde::{Deserialize, Serialize};

use super::causality::{Mark, Seen};
use super::edit::{Edit, Undo};
use super::{integer, long_double};
use crate::effects::{Dot, Frontier, Stamp};
use crate::planted::{Bug, planted};

/// One write of a register.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// SET; the value is the materialised one. Only ever alone in a register without a base.
    SetMaterialised { deadline: Option<u64> },
    /// SET.
    Set { value: Box<[u8]>, deadline: Option<u64> },
    /// INCRBY.
    Add(i64),
    /// INCRBYFLOAT, in Redis's notation.
    AddFloat(Box<[u8]>),
    /// A change of a part of a string.
    Edit(Edit<Box<[u8]>>),
}

impl Change {
    fn is_set(&self) -> bool {
        matches!(self, Change::Set { .. } | Change::SetMaterialised { .. })
    }
}

/// What lies below the writes that are not stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Base {
    Absent,
    /// The materialised value with all writes above taken back: they are edits.
    Below,
    Copy(Box<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Write {
    dot: Dot,
    stamp: Stamp,
    change: Change,
    /// How to take it back, while the register follows the materialised value.
    undo: Option<Box<Undo>>,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Register {
    base: Base,
    writes: Vec<Write>,
    /// Where the SET lies that decides the value.
    latest_set: Option<u32>,
}

impl Register {
    /// The register of a stable value (or of none), before its first write that is not stable.
    pub fn resting(current: Option<&[u8]>, next: &Change) -> Register {
        let base = match (current, next) {
            (None, _) => Base::Absent,
            (Some(_), Change::Edit(_)) => Base::Below,
            (Some(current), _) => Base::Copy(current.into()),
        };
        Register { base, writes: Vec::new(), latest_set: None }
    }

    /// The register after a SET that has seen all there was.
    pub fn set(mark: &Mark<'_>, deadline: Option<u64>) -> Register {
        let change = Change::SetMaterialised { deadline };
        let writes = vec![Write { dot: mark.dot, stamp: mark.stamp, change, undo: None }];
        Register { base: Base::Absent, writes, latest_set: Some(0) }
    }

    /// Notes a write that has seen all others and is no SET. `current` is the value before it.
    pub fn note(&mut self, current: Option<&[u8]>, change: Change, mark: &Mark<'_>) {
        let undo = match &change {
            Change::Edit(edit) if self.follows() => Some(Box::new(edit.undo(current.unwrap_or_default()))),
            _ => {
                self.detach(current);
                None
            }
        };
        self.writes.push(Write { dot: mark.dot, stamp: mark.stamp, change, undo });
    }

    /// Is the materialised value needed to know the base and all writes, and enough for it? Then every write but a SET at
    /// the bottom can be taken back.
    fn follows(&self) -> bool {
        match (&self.base, self.writes.first()) {
            (Base::Copy(_), _) => false,
            (Base::Below, _) | (Base::Absent, None) => true,
            (Base::Absent, Some(first)) => {
                first.undo.is_some() || matches!(first.change, Change::SetMaterialised { .. })
            }
        }
    }

    /// Makes the register independent of the materialised value.
    fn detach(&mut self, current: Option<&[u8]>) {
        if !self.follows() {
            return;
        }
        let mut value = current.map(<[u8]>::to_vec);
        for write in self.writes.iter_mut().rev() {
            if let Some(undo) = write.undo.take() {
                undo.apply(value.as_mut().expect("an edit leaves a value"));
            } else if let Change::SetMaterialised { deadline } = write.change {
                let value = value.take().expect("a materialised SET has a value").into();
                write.change = Change::Set { value, deadline };
            }
        }
        if matches!(self.base, Base::Below) {
            self.base = Base::Copy(value.expect("the base is a value").into());
        }
    }

    /// Merges a write in any order. `current` is the value before it. Returns the value after it.
    pub fn merge(&mut self, current: Option<Vec<u8>>, change: Change, mark: &Mark<'_>) -> Option<Vec<u8>> {
        let at = self.place_of(mark);
        let below_a_set =
            at == 0 && self.writes.first().is_some_and(|first| matches!(first.change, Change::SetMaterialised { .. }));
        if matches!(change, Change::Edit(_)) && self.follows() && !below_a_set {
            let write = Write { dot: mark.dot, stamp: mark.stamp, change, undo: None };
            let value = self.insert_edit(current, at, write);
            self.find_latest_set();
            return value;
        }
        self.detach(current.as_deref());
        if change.is_set() {
            self.prune(|dot| mark.seen.includes(dot), mark.seen.stable);
        }
        if planted(Bug::LoseIncrement) && matches!(change, Change::Add(_)) {
            self.writes.retain(|write| !matches!(write.change, Change::Add(_)) || mark.seen.includes(write.dot));
        }
        let at = self.place_of(mark);
        let sum = match change {
            Change::Add(increment) => self.sum_with(current.as_deref(), at, increment),
            _ => None,
        };
        self.writes.insert(at, Write { dot: mark.dot, stamp: mark.stamp, change, undo: None });
        if let Some(sum) = sum {
            // Above it are no SETs.
            return Some(itoa::Buffer::new().format(sum).as_bytes().to_vec());
        }
        self.find_latest_set();
        self.evaluate()
    }

    /// The value with an addition put in at `at`, if that is plainly one more term of a sum: above are only additions, and
    /// nothing leaves 64 bits on the way, in whatever order. A counter that many nodes add to while one is away has so many
    /// writes that are not stable that each must not cost a look at all of them.
    fn sum_with(&self, current: Option<&[u8]>, at: usize, increment: i64) -> Option<i64> {
        let current = current.map_or(Some(0), integer::parse)?;
        let mut reach = current.unsigned_abs().checked_add(increment.unsigned_abs())?;
        for write in &self.writes[at..] {
            let Change::Add(above) = write.change else { return None };
            reach = reach.checked_add(above.unsigned_abs())?;
        }
        (reach < i64::MAX as u64).then(|| current + increment)
    }

    /// After any change of the writes but the addition of one above all SETs.
    fn find_latest_set(&mut self) {
        self.latest_set = self.writes.iter().rposition(|write| write.change.is_set()).map(|at| at as u32);
    }

    /// Puts an edit below others: they are taken back and done again, which costs no more than what they change.
    fn insert_edit(&mut self, current: Option<Vec<u8>>, at: usize, write: Write) -> Option<Vec<u8>> {
        let mut value = current;
        let above = self.writes.split_off(at);
        for undo in above.iter().rev().filter_map(|write| write.undo.as_ref()) {
            undo.apply(value.as_mut().expect("an edit leaves a value"));
        }
        // Not an empty string: what makes no HyperLogLog of text makes one of nothing.
        if at == 0 && matches!(self.base, Base::Absent) {
            value = None;
        }
        for mut write in std::iter::once(write).chain(above) {
            let Change::Edit(edit) = &write.change else { unreachable!("above the lowest write are only edits") };
            write.undo = Some(Box::new(edit.undo(value.as_deref().unwrap_or_default())));
            edit.apply(&mut value);
            self.writes.push(write);
        }
        value
    }

    /// Where a write belongs among the others.
    fn place_of(&self, mark: &Mark<'_>) -> usize {
        match planted(Bug::LastArrivalWins) {
            true => self.writes.len(),
            false => self.writes.partition_point(|write| write.stamp <= mark.stamp),
        }
    }

    /// Removes what a removal has seen. Returns what is left.
    pub fn remove(&mut self, current: Option<&[u8]>, seen: &Seen<'_>) -> Option<Vec<u8>> {
        self.detach(current);
        self.prune(|dot| seen.removes(dot), seen.stable);
        self.evaluate()
    }

    fn prune(&mut self, seen: impl Fn(Dot) -> bool, base: bool) {
        self.writes.retain(|write| !seen(write.dot));
        if base {
            self.base = Base::Absent;
        }
        self.find_latest_set();
    }

    fn evaluate(&self) -> Option<Vec<u8>> {
        let mut value = match &self.base {
            Base::Absent => None,
            Base::Copy(copy) => Some(copy.to_vec()),
            Base::Below => unreachable!("only a detached register is evaluated"),
        };
        for write in &self.writes {
            apply(&mut value, &write.change);
        }
        value
    }

    /// Moves stable writes into the base, oldest first; a SET only where `may_fold` agrees. Returns the latest SET that was
    /// folded, and its deadline.
    pub fn fold(&mut self, stable: &Frontier, may_fold: impl Fn(Dot) -> bool) -> Option<(Dot, Option<u64>)> {
        let foldable = |write: &&Write| stable.includes(write.dot) && (!write.change.is_set() || may_fold(write.dot));
        let count = self.writes.iter().take_while(foldable).count();
        if count == 0 {
            return None;
        }
        let mut folded_set = None;
        for write in &self.writes[..count] {
            if let Change::Set { deadline, .. } | Change::SetMaterialised { deadline } = write.change {
                folded_set = Some((write.dot, deadline));
            }
        }
        if count == self.writes.len() {
            // All of the value is stable: the materialised one is all there is to know.
            self.writes.clear();
            self.base = Base::Absent;
            self.latest_set = None;
            return folded_set;
        }
        if self.follows() {
            self.writes.drain(..count);
            self.base = Base::Below;
        } else {
            let mut value = match std::mem::replace(&mut self.base, Base::Absent) {
                Base::Copy(copy) => Some(copy.into_vec()),
                Base::Absent | Base::Below => None,
            };
            for write in self.writes.drain(..count) {
                apply(&mut value, &write.change);
            }
            self.base = value.map_or(Base::Absent, |value| Base::Copy(value.into()));
        }
        self.latest_set = self.latest_set.and_then(|at| at.checked_sub(count as u32));
        folded_set
    }

    /// Bytes of memory beside the struct itself, about; what APPENDs and SETs hold is left out, as they are few.
    pub fn memory(&self) -> usize {
        self.writes.capacity() * size_of::<Write>()
    }

    /// Is nothing left that is not stable?
    pub fn is_resting(&self) -> bool {
        self.writes.is_empty()
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Stamp {
        self.writes.last().map_or(Stamp::default(), |write| write.stamp)
    }

    /// The SET that decides the value, and the deadline that it brought.
    pub fn winner(&self) -> Option<(Dot, Option<u64>)> {
        let write = self.writes.get(self.latest_set? as usize)?;
        match write.change {
            Change::Set { deadline, .. } | Change::SetMaterialised { deadline } => Some((write.dot, deadline)),
            _ => None,
        }
    }
}

/// Applies one write to a value. What would be an error for a client (adding to text) changes nothing.
fn apply(value: &mut Option<Vec<u8>>, change: &Change) {
    match change {
        Change::SetMaterialised { .. } => unreachable!("only a detached register is evaluated"),
        Change::Set { value: new, .. } => *value = Some(new.to_vec()),
        Change::Add(increment) => {
            if let Some(sum) = add_integer(value.as_deref(), *increment) {
                *value = Some(sum);
            }
        }
        Change::AddFloat(increment) => {
            if let Some(sum) = add_float(value.as_deref(), increment) {
                *value = Some(sum);
            }
        }
        Change::Edit(edit) => edit.apply(value),
    }
}

/// The sum; `None` where the value is text. A concurrent INCRBYFLOAT may have made it a fraction: no increment is lost for
/// that. Beyond 64 bits it saturates.
pub fn add_integer(current: Option<&[u8]>, increment: i64) -> Option<Vec<u8>> {
    let mut digits = itoa::Buffer::new();
    match current.map_or(Some(0), integer::parse) {
        Some(current) => Some(digits.format(current.saturating_add(increment)).as_bytes().to_vec()),
        None => add_float(current, digits.format(increment).as_bytes()),
    }
}

/// The sum; `None` where the value is text, or the sum is not finite.
pub fn add_float(current: Option<&[u8]>, increment: &[u8]) -> Option<Vec<u8>> {
    long_double::add(current.unwrap_or(b"0"), increment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::NodeId;

    /// Merges writes of as many nodes as there are writes, which have not seen each other.
    fn merge(
        register: &mut Register,
        value: Option<Vec<u8>>,
        change: Change,
        time: u64,
        seen: &Frontier,
    ) -> Option<Vec<u8>> {
        let dot = Dot { node: NodeId(time), seq: 1 };
        let stamp = Stamp { time, node: dot.node };
        let mark =
            Mark { dot, stamp, seen: Seen { frontier: seen, own: dot, stable: false }, known: seen, applied: seen };
        register.merge(value, change, &mark)
    }

    #[test]
    fn a_sum_is_what_evaluating_all_writes_gives() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..3_000 {
            let base: Option<&[u8]> = random
                .choice([None, Some(&b"10"[..]), Some(b"text"), Some(b"-9223372036854775800"), Some(b"1.5")])
                .unwrap_or(None);
            let mut register = Register::resting(base, &Change::Add(0));
            let mut value = base.map(<[u8]>::to_vec);
            let mut times: Vec<u64> = (1..=random.u64(1..12)).collect();
            random.shuffle(&mut times);
            for time in times {
                let change = match random.u8(..20) {
                    0 => Change::Set {
                        value: random.choice(["7", "x", "0.5"]).unwrap_or("").as_bytes().into(),
                        deadline: Some(time),
                    },
                    1 => Change::AddFloat(b"0.25"[..].into()),
                    2 => Change::Add(random.choice([i64::MAX, i64::MIN, i64::MAX - 12]).unwrap_or(0)),
                    _ => Change::Add(random.i64(-5..=5)),
                };
                value = merge(&mut register, value, change, time, &Frontier::EMPTY);
                assert_eq!(value, register.evaluate(), "{register:?}");
                let last = register.writes.iter().rev().find(|write| write.change.is_set());
                assert_eq!(register.winner().map(|(dot, _)| dot), last.map(|write| write.dot));
            }
            let stable = register.writes[..register.writes.len() / 2].iter().map(|write| (write.dot.node, 1)).collect();
            register.fold(&stable, |_| true);
            let last = register.writes.iter().rev().find(|write| write.change.is_set());
            assert_eq!(register.winner().map(|(dot, _)| dot), last.map(|write| write.dot));
        }
    }

    #[test]
    fn a_counter_may_have_any_number_of_additions_that_are_not_stable() {
        // With a look at all of them for each, this does not end in a minute.
        let mut register = Register::resting(None, &Change::Add(1));
        let count = 100_000;
        let times = (1..=count).map(|time| if time % 2 == 0 { time - 1 } else { (time + 1).min(count) });
        let value = times.fold(None, |value, time| merge(&mut register, value, Change::Add(1), time, &Frontier::EMPTY));
        assert_eq!(value, Some(count.to_string().into_bytes()));
    }
}
