//! What a sorted set must be.

use std::collections::BTreeMap;

use swytch::effects::Action;

use super::{Write, text};

fn member<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::ScoreSet { member, .. }
        | Action::ScoreAdd { member, .. }
        | Action::ScoreMax { member, .. }
        | Action::ScoreMin { member, .. }
        | Action::ScoreRemove { member } => Some(member),
        _ => None,
    }
}

/// Does `later` end `write`, if it has seen it?
pub fn ends(later: &Action<'_>, write: &Action<'_>) -> bool {
    matches!(later, Action::ScoreSet { .. } | Action::ScoreRemove { .. }) && member(later) == member(write)
}

/// Does it only end other writes?
pub fn is_removal(action: &Action<'_>) -> bool {
    matches!(action, Action::ScoreRemove { .. })
}

/// What the surviving writes make.
pub fn value(writes: &[&Write<'_>]) -> String {
    let mut scores: BTreeMap<&[u8], f64> = BTreeMap::new();
    for (_, action) in writes {
        let Some(member) = member(action) else { continue };
        let current = scores.get(member).copied();
        let score = match (*action, current) {
            (Action::ScoreSet { score, .. }, _) => score.get(),
            (Action::ScoreAdd { increment, .. }, current) => {
                let sum = current.map_or(increment.get(), |current| current + increment.get());
                if sum.is_nan() { 0.0 } else { sum }
            }
            (Action::ScoreMax { score, .. } | Action::ScoreMin { score, .. }, None) => score.get(),
            (Action::ScoreMax { score, .. }, Some(current)) => current.max(score.get()),
            (Action::ScoreMin { score, .. }, Some(current)) => current.min(score.get()),
            _ => continue,
        };
        scores.insert(member, score);
    }
    let mut members: Vec<String> =
        scores.into_iter().map(|(member, score)| format!("{}={score}", text(member))).collect();
    members.sort_unstable();
    members.join(" ")
}
