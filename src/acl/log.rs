//! What was refused lately, as ACL LOG shows it.

use std::collections::VecDeque;

use crate::keyspace::Millis;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogReason {
    /// The user must not run the command.
    Command,
    /// Nor touch the key.
    Key,
    /// Nor use the channel.
    Channel,
    /// It was the wrong password.
    Auth,
}

impl LogReason {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            LogReason::Command => "command",
            LogReason::Key => "key",
            LogReason::Channel => "channel",
            LogReason::Auth => "auth",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogContext {
    /// A request of its own.
    TopLevel,
    /// Between MULTI and EXEC, or by EXEC.
    Multi,
    /// In a script.
    Script,
}

impl LogContext {
    /// As ACL LOG names it.
    pub fn name(self) -> &'static str {
        match self {
            LogContext::TopLevel => "toplevel",
            LogContext::Multi => "multi",
            LogContext::Script => "lua",
        }
    }
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Why.
    pub reason: LogReason,
    /// Where.
    pub context: LogContext,
    /// The command, key or channel; with the wrong password, the command that gave it.
    pub object: Vec<u8>,
    /// The user.
    pub user: Vec<u8>,
    /// The connection, as CLIENT INFO describes it.
    pub client: Vec<u8>,
}

impl Event {
    fn is_like(&self, other: &Event) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && self.object == other.object
            && self.user == other.user
    }
}

/// One entry of the log: an event, and how many like it there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The latest.
    pub event: Event,
    /// How many.
    pub count: u64,
    /// Counts the entries from 0.
    pub id: u64,
    /// When the first was.
    pub created: Millis,
    /// When the latest was.
    pub updated: Millis,
}

/// Events of a kind within this time are one entry.
const GROUPED_FOR: Millis = 60_000;
/// An event is only compared with so many of the latest entries.
const COMPARED: usize = 10;
/// The length of the log, unless it is said otherwise (`acllog-max-len`).
const DEFAULT_LENGTH: usize = 128;

/// The latest entries, from the latest on.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    length: usize,
    next_id: u64,
}

impl Default for Log {
    fn default() -> Log {
        Log { entries: VecDeque::new(), length: DEFAULT_LENGTH, next_id: 0 }
    }
}

impl Log {
    /// Adds an event: to an entry about such ones, which is the latest then, or as an entry of its own.
    pub fn add(&mut self, event: Event, now: Millis) {
        let is_like = |entry: &LogEntry| entry.event.is_like(&event) && now.abs_diff(entry.updated) <= GROUPED_FOR;
        let known = self.entries.iter().take(COMPARED).position(is_like);
        if let Some(known) = known.and_then(|at| self.entries.remove(at)) {
            self.entries.push_front(LogEntry { event, count: known.count + 1, updated: now, ..known });
            return;
        }
        self.entries.push_front(LogEntry { event, count: 1, id: self.next_id, created: now, updated: now });
        self.next_id += 1;
        self.entries.truncate(self.length);
    }

    /// The latest entries.
    pub fn latest(&self, count: usize) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter().take(count)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many entries there are at most.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Changes how many there are at most; those beyond go with the next new one, as in Redis.
    pub fn set_length(&mut self, length: usize) {
        self.length = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &str) -> Event {
        let (reason, context) = (LogReason::Auth, LogContext::TopLevel);
        Event { reason, context, object: b"auth".to_vec(), user: user.into(), client: Vec::new() }
    }

    fn shown(log: &Log) -> Vec<(String, u64, u64, Millis, Millis)> {
        let user = |entry: &LogEntry| String::from_utf8_lossy(&entry.event.user).into_owned();
        log.latest(9).map(|entry| (user(entry), entry.count, entry.id, entry.created, entry.updated)).collect()
    }

    #[test]
    fn equal_events_of_a_minute_are_one_entry() {
        let mut log = Log::default();
        log.add(event("a"), 1000);
        log.add(event("b"), 2000);
        log.add(event("a"), 3000);
        assert_eq!(shown(&log), [("a".into(), 2, 0, 1000, 3000), ("b".into(), 1, 1, 2000, 2000)]);
        log.add(event("a"), 63_000);
        assert_eq!(shown(&log)[0], ("a".into(), 3, 0, 1000, 63_000));
        log.add(event("a"), 123_001);
        assert_eq!(shown(&log)[0], ("a".into(), 1, 2, 123_001, 123_001));
        log.add(Event { context: LogContext::Multi, ..event("a") }, 123_001);
        assert_eq!(shown(&log)[0].2, 3);
        log.clear();
        assert!(shown(&log).is_empty());
        log.add(event("a"), 123_001);
        assert_eq!(shown(&log)[0].2, 4);
    }

    #[test]
    fn the_log_has_a_length() {
        let mut log = Log::default();
        (0..200).for_each(|number| log.add(event(&number.to_string()), 0));
        assert_eq!(log.latest(usize::MAX).len(), DEFAULT_LENGTH);
        log.set_length(2);
        log.add(event("199"), 0);
        assert_eq!(log.latest(usize::MAX).len(), DEFAULT_LENGTH);
        log.add(event("200"), 0);
        assert_eq!(shown(&log).into_iter().map(|entry| entry.0).collect::<Vec<_>>(), ["200", "199"]);
        log.set_length(0);
        log.add(event("x"), 0);
        assert!(shown(&log).is_empty());
    }
}
