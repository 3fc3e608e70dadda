//! A register: a string, or one field of a hash.

use swytch::effects::Action;
use swytch::keyspace::{integer, long_double};

/// A register's value: its writes, one after the other.
pub fn fold<'a>(writes: impl Iterator<Item = &'a Action<'a>>) -> Vec<u8> {
    let mut value: Option<Vec<u8>> = None;
    for write in writes {
        match *write {
            Action::StringSet { value: new, .. } | Action::FieldSet { value: new, .. } => value = Some(new.to_vec()),
            Action::StringAdd { increment } | Action::FieldAdd { increment, .. } => {
                if let Some(current) = value.as_deref().map_or(Some(0), integer::parse) {
                    value = Some(current.saturating_add(increment).to_string().into_bytes());
                } else if let Ok(sum) =
                    long_double::add(value.as_deref().unwrap_or(b"0"), increment.to_string().as_bytes())
                {
                    value = Some(sum);
                }
            }
            Action::StringAddFloat { increment } | Action::FieldAddFloat { increment, .. } => {
                if let Ok(sum) = long_double::add(value.as_deref().unwrap_or(b"0"), increment) {
                    value = Some(sum);
                }
            }
            Action::StringAppend { bytes } => value.get_or_insert_default().extend_from_slice(bytes),
            Action::StringSetRange { offset, bytes } => {
                let text = value.get_or_insert_default();
                let end = offset as usize + bytes.len();
                text.resize(text.len().max(end), 0);
                text[offset as usize..end].copy_from_slice(bytes);
            }
            _ => {}
        }
    }
    value.unwrap_or_default()
}
