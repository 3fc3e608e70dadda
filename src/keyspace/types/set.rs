//! Sets: the additions of each member. A removal takes the additions that it has seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::text;
use crate::effects::{Action, Dot, Frontier, Stamp};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Collection, SetValue};

/// What is not stable about the members of a set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemberCauses {
    members: BTreeMap<Box<[u8]>, Member>,
}

/// Who added a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Member {
    /// Also by an effect that is stable.
    stable: bool,
    /// The concurrent additions that are not stable.
    additions: Vec<(Dot, Stamp)>,
}

impl MemberCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, mark: &Mark<'_>) {
        match *action {
            Action::MemberAdd { member } => {
                let added = Member { stable: false, additions: vec![(mark.dot, mark.stamp)] };
                self.members.insert(member.into(), added);
            }
            Action::MemberRemove { member } => {
                self.members.remove(member);
            }
            _ => unreachable!("not an action on a set"),
        }
    }

    /// Merges an action in any order.
    pub fn merge(&mut self, set: &mut SetValue, action: &Action<'_>, mark: &Mark<'_>) {
        match *action {
            Action::MemberAdd { member } => {
                let stable = set.contains(member) && !self.members.contains_key(member);
                let causes = self.members.entry(member.into()).or_default();
                causes.stable = (causes.stable || stable) && !mark.seen.stable;
                causes.additions.retain(|(dot, _)| !mark.seen.includes(*dot));
                causes.additions.push((mark.dot, mark.stamp));
                set.insert(member);
            }
            Action::MemberRemove { member } => self.remove_member(set, member, &mark.seen),
            _ => unreachable!("not an action on a set"),
        }
    }

    /// Observed-remove of all members.
    pub fn remove(&mut self, set: &mut SetValue, seen: &Seen<'_>) {
        let members: Vec<Box<[u8]>> = set.iter().map(|member| member.into()).collect();
        for member in members {
            self.remove_member(set, &member, seen);
        }
    }

    fn remove_member(&mut self, set: &mut SetValue, member: &[u8], seen: &Seen<'_>) {
        let Some(causes) = self.members.get_mut(member) else {
            if seen.stable {
                set.remove(member);
            }
            return;
        };
        causes.stable &= !seen.stable;
        causes.additions.retain(|(dot, _)| !seen.removes(*dot));
        let stays = causes.stable || !causes.additions.is_empty();
        if causes.additions.is_empty() {
            self.members.remove(member);
        }
        if !stays {
            set.remove(member);
        }
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        for member in self.members.values_mut() {
            let before = member.additions.len();
            member.additions.retain(|(dot, _)| !stable.includes(*dot));
            member.stable |= member.additions.len() < before;
        }
        self.members.retain(|_, member| !member.additions.is_empty());
    }

    /// The highest stamp among the surviving additions.
    pub fn stamp(&self) -> Option<Stamp> {
        self.members.values().flat_map(|member| member.additions.iter().map(|addition| addition.1)).max()
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.members.len() * 160
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// Applies an action as a single node would. True when it created or removed the key or the member.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>) -> bool {
    match *action {
        Action::MemberAdd { member } => slot.edit(|set: &mut SetValue| set.insert(member)),
        Action::MemberRemove { member } => slot.remove_from(|set: &mut SetValue| set.remove(member)),
        _ => unreachable!("not an action on a set"),
    }
}

/// The actions that make an absent key this set.
pub fn rebuild(set: &SetValue, each: &mut dyn FnMut(Action<'_>)) {
    for member in set.iter() {
        each(Action::MemberAdd { member: &member });
    }
}

/// A set in a snapshot.
pub type Image = Vec<ByteBuf>;

/// A set, for a snapshot.
pub fn image(set: &SetValue) -> Image {
    set.iter().map(ByteBuf::from).collect()
}

/// A set, out of a snapshot.
pub fn restore(image: Image) -> SetValue {
    let mut set = SetValue::empty();
    for member in image {
        set.insert(&member);
    }
    set
}

/// A set as `dump` prints it. The order of the members is not part of the data.
pub fn describe(set: &SetValue) -> String {
    let mut members: Vec<_> = set.iter().map(|member| text(&member)).collect();
    members.sort_unstable();
    members.join(" ")
}
