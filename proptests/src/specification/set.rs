//! What a set must be.

use std::collections::BTreeSet;

use swytch::effects::Action;

use super::{Write, text};

fn member<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::MemberAdd { member } | Action::MemberRemove { member } => Some(member),
        _ => None,
    }
}

/// Does `later` end `write`, if it has seen it?
pub fn ends(later: &Action<'_>, write: &Action<'_>) -> bool {
    member(later) == member(write)
}

/// Does it only end other writes?
pub fn is_removal(action: &Action<'_>) -> bool {
    matches!(action, Action::MemberRemove { .. })
}

/// What the surviving writes make.
pub fn value(writes: &[&Write<'_>]) -> String {
    let members: BTreeSet<String> = writes.iter().filter_map(|(_, action)| member(action)).map(text).collect();
    members.into_iter().collect::<Vec<_>>().join(" ")
}
