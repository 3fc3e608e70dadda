//! A stream as `dump` and the simulation print it: entries, what is counted, and each group with what is late and pending.

use std::fmt;

use super::{Group, StreamValue};
use crate::effects::StreamId;

impl fmt::Display for StreamValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.iter() {
            write!(out, "{}", entry.id)?;
            for (at, element) in entry.fields.enumerate() {
                write!(out, "{}{}", if at % 2 == 0 { ' ' } else { '=' }, element.escape_ascii())?;
            }
            out.write_str(", ")?;
        }
        write!(out, "last {} added {}", self.last_id, self.entries_added)?;
        if self.max_deleted_id > StreamId::MIN {
            write!(out, " deleted {}", self.max_deleted_id)?;
        }
        for (name, group) in self.groups() {
            write!(out, ", group {} at {} read ", name.escape_ascii(), group.last_delivered)?;
            match group.entries_read {
                Some(read) => write!(out, "{read}")?,
                None => out.write_str("?")?,
            }
            group.late().iter().try_for_each(|id| write!(out, ", late {id}"))?;
            consumers(out, group)?;
        }
        Ok(())
    }
}

fn consumers(out: &mut fmt::Formatter<'_>, group: &Group) -> fmt::Result {
    for (name, consumer) in group.consumers() {
        write!(out, ", consumer {}", name.escape_ascii())?;
        if let Some(at) = consumer.active_at {
            write!(out, " active {at}")?;
        }
        for (id, claim) in consumer.pending().iter().filter_map(|id| Some((id, group.pending().get(id)?))) {
            write!(out, " {id}@{}x{}", claim.delivered_at, claim.deliveries)?;
        }
    }
    Ok(())
}
