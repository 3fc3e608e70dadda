//! What a hash must be.

use std::collections::BTreeMap;

use swytch::effects::Action;

use super::{Write, register, text};

fn field<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::FieldSet { field, .. }
        | Action::FieldAdd { field, .. }
        | Action::FieldAddFloat { field, .. }
        | Action::FieldRemove { field } => Some(field),
        _ => None,
    }
}

/// Does `later` end `write`, if it has seen it?
pub fn ends(later: &Action<'_>, write: &Action<'_>) -> bool {
    matches!(later, Action::FieldSet { .. } | Action::FieldRemove { .. }) && field(later) == field(write)
}

/// Does it only end other writes?
pub fn is_removal(action: &Action<'_>) -> bool {
    matches!(action, Action::FieldRemove { .. })
}

/// What the surviving writes make.
pub fn value(writes: &[&Write<'_>]) -> String {
    let mut fields: BTreeMap<&[u8], Vec<&Action<'_>>> = BTreeMap::new();
    for (_, action) in writes {
        if let Some(field) = field(action) {
            fields.entry(field).or_default().push(action);
        }
    }
    let line = |(field, writes): (&[u8], Vec<&Action<'_>>)| {
        format!("{}={}", text(field), text(&register::fold(writes.into_iter())))
    };
    let mut fields: Vec<String> = fields.into_iter().map(line).collect();
    fields.sort_unstable();
    fields.join(" ")
}
