//! The parameter `client-output-buffer-limit`: three limits for each class of clients.
//!
//! That of the class `pubsub` is about messages, and enforced where they come; that of `normal` about replies, and enforced where they are
//! sent. There are no replicas.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::RwLock;

use super::config::parse_memory;
use crate::pubsub::{Channels, OutputLimit};

const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];
const NORMAL: usize = 0;
const PUBSUB: usize = 2;

/// The limits of all classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits([OutputLimit; 3]);

impl Default for OutputLimits {
    fn default() -> OutputLimits {
        let normal = OutputLimit { hard: 0, soft: 0, seconds: 0 };
        let replica = OutputLimit { hard: 256 << 20, soft: 64 << 20, seconds: 60 };
        OutputLimits([normal, replica, Channels::DEFAULT_LIMIT])
    }
}

impl OutputLimits {
    /// That of everybody else.
    fn normal(&self) -> OutputLimit {
        self.0[NORMAL]
    }

    /// That of subscribers.
    pub fn pubsub(&self) -> OutputLimit {
        self.0[PUBSUB]
    }

    /// As CONFIG GET shows it.
    pub fn text(&self) -> String {
        let limit =
            |(class, limit): (&str, &OutputLimit)| format!("{class} {} {} {}", limit.hard, limit.soft, limit.seconds);
        CLASSES.into_iter().zip(&self.0).map(limit).collect::<Vec<_>>().join(" ")
    }

    /// Changes the classes that are named.
    fn change(&mut self, changes: &OutputLimitChange) {
        for (class, limit) in &changes.0 {
            self.0[*class] = *limit;
        }
    }
}

/// The limits of a running node.
#[derive(Debug, Default)]
pub struct CurrentOutputLimits {
    limits: RwLock<OutputLimits>,
    /// Replies have a limit.
    limits_replies: AtomicBool,
}

impl CurrentOutputLimits {
    /// All of them.
    pub fn get(&self) -> OutputLimits {
        *self.limits.read()
    }

    /// Changes the classes that are named. Returns all.
    pub fn change(&self, changes: &OutputLimitChange) -> OutputLimits {
        let mut limits = self.limits.write();
        limits.change(changes);
        let normal = limits.normal();
        self.limits_replies.store(normal.hard > 0 || normal.soft > 0, Relaxed);
        *limits
    }

    /// How much of replies a client may leave untaken, if that is limited.
    pub fn of_replies(&self) -> Option<OutputLimit> {
        self.limits_replies.load(Relaxed).then(|| self.limits.read().normal())
    }
}

/// A checked new value: some classes, by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLimitChange(Vec<(usize, OutputLimit)>);

impl OutputLimitChange {
    /// Reads `class hard soft seconds`, any number of times.
    pub fn parse(value: &[u8]) -> Result<OutputLimitChange, &'static str> {
        let words: Vec<&[u8]> = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.");
        }
        let change = |words: &[&[u8]]| {
            let name = if words[0].eq_ignore_ascii_case(b"replica") { b"slave" } else { words[0] };
            let class = CLASSES.iter().position(|class| name.eq_ignore_ascii_case(class.as_bytes()));
            let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
            let seconds = std::str::from_utf8(words[3]).ok().and_then(|text| text.parse().ok());
            match (parse_memory(words[1]), parse_memory(words[2]), seconds) {
                (Some(hard), Some(soft), Some(seconds)) => Ok((class, OutputLimit { hard, soft, seconds })),
                _ => Err("Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            }
        };
        words.chunks_exact(4).map(change).collect::<Result<_, _>>().map(OutputLimitChange)
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn limits_are_read_and_changed_by_class() {
        let mut fixture = Fixture::new();
        let name = "client-output-buffer-limit";
        let get = |fixture: &mut Fixture| fixture.run(&format!("config get {name}"));
        assert!(get(&mut fixture).ends_with("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60\r\n"));
        let set = |fixture: &mut Fixture, value: &str| {
            fixture.run_words(&[b"config", b"set", name.as_bytes(), value.as_bytes()])
        };
        assert_eq!(set(&mut fixture, "pubsub 1mb 2k 3 Replica 1 2 3"), "+OK\r\n");
        assert_eq!(set(&mut fixture, ""), "+OK\r\n");
        assert!(get(&mut fixture).ends_with("normal 0 0 0 slave 1 2 3 pubsub 1048576 2000 3\r\n"));
        for (value, wrong) in [
            ("pubsub 1 2", "Wrong number of arguments in buffer limit configuration."),
            ("foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
            ("pubsub x 2 3", "Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            ("pubsub 1 2 -3", "Error in hard, soft or soft_seconds setting in buffer limit configuration."),
        ] {
            let text = format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {wrong}\r\n");
            assert_eq!(set(&mut fixture, value), text);
        }
    }
}
