//! What a hash must be.

use std::collections::BTreeMap;

use swytch::effects::Action;

use super::{Write, register, text};

fn field<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::FieldSet { field, .. }
        | Action::FieldAdd { field, .. }
        | Action::FieldAddFloat { field, .. }
        | Action::FieldRemove { field }
        | Action::FieldDeadline { field, .. } => Some(field),
        _ => None,
    }
}

/// Does `later` end `write`, if it has seen it?
pub fn ends(later: &Action<'_>, write: &Action<'_>) -> bool {
    let ends = match later {
        Action::FieldSet { .. } | Action::FieldRemove { .. } => true,
        Action::FieldDeadline { .. } => matches!(write, Action::FieldDeadline { .. }),
        _ => false,
    };
    ends && field(later) == field(write)
}

/// Does it only end other writes?
pub fn is_removal(action: &Action<'_>) -> bool {
    matches!(action, Action::FieldRemove { .. })
}

/// Does it make the field that it is about, or does it only say how long that lives?
pub fn makes_value(action: &Action<'_>) -> bool {
    !matches!(action, Action::FieldDeadline { .. })
}

/// What the surviving writes make: each field with its value, and with its deadline.
pub fn fields(writes: &[&Write<'_>]) -> Vec<(String, Option<u64>)> {
    let mut fields: BTreeMap<&[u8], Vec<&Write<'_>>> = BTreeMap::new();
    for write in writes {
        if let Some(field) = field(&write.1) {
            fields.entry(field).or_default().push(write);
        }
    }
    let line = |(field, writes): (&[u8], Vec<&Write<'_>>)| {
        let values = || writes.iter().map(|(_, action)| action).filter(|action| makes_value(action));
        values().next()?;
        let value = register::fold(values());
        Some((format!("{}={}", text(field), text(&value)), deadline(&writes)))
    };
    fields.into_iter().filter_map(line).collect()
}

/// When a field ends: the latest deadline that was set by someone who had seen the SET that decides the value, and that
/// of this SET if there is none.
fn deadline(writes: &[&Write<'_>]) -> Option<u64> {
    let winner = writes.iter().rev().find_map(|(event, action)| match action {
        Action::FieldSet { deadline, .. } => Some((event, deadline)),
        _ => None,
    });
    let lives = writes.iter().filter_map(|(event, action)| match action {
        Action::FieldDeadline { at, .. } if winner.is_none_or(|(set, _)| event.lives_after(set)) => {
            Some(at.unwrap_or(u64::MAX))
        }
        _ => None,
    });
    match lives.max() {
        Some(u64::MAX) => None,
        Some(deadline) => Some(deadline),
        None => winner.and_then(|(_, deadline)| *deadline),
    }
}

/// A hash as `Keyspace::dump` prints it.
pub fn value(fields: &[(String, Option<u64>)]) -> String {
    let line = |(field, deadline): &(String, Option<u64>)| match deadline {
        None => field.clone(),
        Some(deadline) => format!("{field} until {deadline}"),
    };
    let mut fields: Vec<String> = fields.iter().map(line).collect();
    fields.sort_unstable();
    fields.join(" ")
}
