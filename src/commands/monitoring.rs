//! MONITOR: every command that this node runs for its clients, as lines for whoever reads along.
//!
//! A line is made once and put into the mailbox of each reader, as with published messages. Without a reader nothing of
//! this costs anything but the look at [`Attention`]. Secrets in arguments are hidden ([`super::redaction`]).

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::attention::{Attention, MONITORED};
use super::clients::ClientRecord;
use super::redaction::{REDACTED, is_secret};
use super::table::Entry;
use crate::keyspace::Millis;
use crate::pubsub::{Delivery, OutputLimit, Subscriber};
use crate::resp::Arguments;

/// Who reads along.
#[derive(Debug, Default)]
pub struct Monitors(Mutex<Vec<Arc<Subscriber>>>);

/// From where a command comes, as a line shows it.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// From a connection.
    Client(&'a ClientRecord),
    /// From a script.
    Script,
}

impl Monitors {
    /// Lets somebody read along from now on.
    pub fn add(&self, attention: &Attention, reader: Arc<Subscriber>) {
        let mut readers = self.0.lock();
        if !readers.iter().any(|known| known.id() == reader.id()) {
            readers.push(reader);
        }
        attention.set(MONITORED, true);
    }

    /// Somebody reads along no longer.
    pub fn remove(&self, attention: &Attention, id: u64) {
        let mut readers = self.0.lock();
        readers.retain(|reader| reader.id() != id);
        attention.set(MONITORED, !readers.is_empty());
    }

    /// Tells all readers of a command.
    pub fn feed(
        &self,
        source: Source<'_>,
        database: u32,
        entry: &Entry,
        arguments: &Arguments<'_>,
        limit: OutputLimit,
        now: Millis,
    ) {
        let readers = self.0.lock().clone();
        if readers.is_empty() {
            return;
        }
        let line = Bytes::from(line(source, database, entry, arguments, now));
        for reader in readers {
            reader.put(Delivery::Line(line.clone()), limit, now);
        }
    }
}

/// `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`. Our time of a command is in milliseconds: the last three digits are 0.
fn line(source: Source<'_>, database: u32, entry: &Entry, arguments: &Arguments<'_>, now: Millis) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write!(out, "{}.{:06} [{database} ", now / 1000, now % 1000 * 1000).expect("a vector takes everything");
    match source {
        Source::Script => out.extend_from_slice(b"lua"),
        Source::Client(record) if record.unix => {
            out.extend_from_slice(b"unix:");
            // The path stands at both ends of a unix socket, with port 0.
            out.extend_from_slice(record.address.strip_suffix(":0").unwrap_or(&record.address).as_bytes());
        }
        Source::Client(record) => out.extend_from_slice(record.address.as_bytes()),
    }
    out.push(b']');
    for (at, argument) in arguments.iter().enumerate() {
        out.extend_from_slice(b" \"");
        escape(if is_secret(entry, arguments, at) { REDACTED } else { argument }, &mut out);
        out.push(b'"');
    }
    out
}

/// As a string of C: what cannot be seen is escaped.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => write!(out, "\\x{byte:02x}").expect("a vector takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        let mut out = Vec::new();
        escape(b"a\"b\\c\n\r\t\x07\x08\0\x1f~\x7f\xff", &mut out);
        assert_eq!(out, b"a\\\"b\\\\c\\n\\r\\t\\a\\b\\x00\\x1f~\\x7f\\xff");
    }
}
