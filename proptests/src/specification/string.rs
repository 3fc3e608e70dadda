//! What a string must be.

use swytch::effects::Action;

use super::{Write, register, text};

/// Does `later` end the writes of a string that it has seen?
pub fn ends(later: &Action<'_>) -> bool {
    matches!(later, Action::StringSet { .. })
}

/// What the surviving writes make.
pub fn value(writes: &[&Write<'_>]) -> String {
    text(&register::fold(writes.iter().map(|(_, action)| action)))
}
