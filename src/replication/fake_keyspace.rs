//! A fake keyspace for the tests of cores: a set with observed removal, and the membership, whose metadata is folded as the
//! real one's is. What a fold or a snapshot gets wrong shows in its contents.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;
use crate::effects::{Action, Dot, Effect, Frontier, NodeId, Operation};

pub(super) const MEMBERS: &[u8] = b"__swytch:members";

/// Who wrote an element: unless that is folded away.
type Marks = BTreeSet<Option<Dot>>;

#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) elements: BTreeMap<Vec<u8>, Marks>,
    pub(super) members: BTreeMap<NodeId, BTreeMap<Option<Dot>, Member>>,
    pub(super) folded: Frontier,
}

impl Data {
    pub(super) fn new() -> Self {
        Data { elements: BTreeMap::new(), members: BTreeMap::new(), folded: Frontier::EMPTY }
    }

    pub(super) fn apply(&mut self, effect: &Effect, seen: &Frontier) {
        let (reach, stable) = effect.acts_on.as_ref().map_or((seen, true), |reach| (&reach.frontier, reach.stable));
        let is_reached = |mark: &Option<Dot>| mark.map_or(stable, |dot| reach.includes(dot));
        for operation in effect.operations() {
            match operation {
                Operation::Key { action: Action::MemberAdd { member }, .. } => {
                    let marks = self.elements.entry(member.to_vec()).or_default();
                    marks.retain(|mark| !is_reached(mark));
                    marks.insert(Some(effect.dot));
                }
                Operation::Key { action: Action::MemberRemove { member }, .. } => {
                    let Some(marks) = self.elements.get_mut(member) else { continue };
                    marks.retain(|mark| !is_reached(mark));
                    if marks.is_empty() {
                        self.elements.remove(member);
                    }
                }
                Operation::Key { action: Action::FieldSet { field, value, .. }, .. } => {
                    let entries = self.members.entry(node_of(field)).or_default();
                    entries.retain(|mark, _| !is_reached(mark));
                    entries.insert(Some(effect.dot), serde_json::from_slice(value).expect("written by the harness"));
                }
                Operation::Key { action: Action::FieldRemove { field }, .. } => {
                    let Some(entries) = self.members.get_mut(&node_of(field)) else { continue };
                    entries.retain(|mark, _| !is_reached(mark));
                    if entries.is_empty() {
                        self.members.remove(&node_of(field));
                    }
                }
                other => panic!("the harness writes no {other:?}"),
            }
        }
    }

    pub(super) fn fold(&mut self, stable: &Frontier) {
        let fold = |mark: Option<Dot>| mark.filter(|&dot| !stable.includes(dot));
        for marks in self.elements.values_mut() {
            *marks = marks.iter().map(|&mark| fold(mark)).collect();
        }
        for entries in self.members.values_mut() {
            *entries = std::mem::take(entries).into_iter().map(|(mark, member)| (fold(mark), member)).collect();
        }
        self.folded = stable.clone();
    }

    pub(super) fn member_map(&self) -> BTreeMap<NodeId, Member> {
        let last = |entries: &BTreeMap<Option<Dot>, Member>| entries.values().next_back().cloned().unwrap_or_default();
        self.members.iter().map(|(&node, entries)| (node, last(entries))).collect()
    }
}

fn node_of(field: &[u8]) -> NodeId {
    NodeId(u64::from_le_bytes(field.try_into().expect("written by the harness")))
}

/// Does this effect change the membership?
pub(super) fn touches_members(effect: &Effect) -> bool {
    effect.operations().any(|operation| matches!(operation, Operation::Key { key, .. } if key == MEMBERS))
}
