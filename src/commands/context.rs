//! What a handler works with, and the checks of arguments that many share.
//!
//! Must not know any single command.

use std::time::Duration;

use super::floats::parse_float;
use super::{Entry, Flow, ServerState, Session};
use crate::keyspace::{Held, Key, Kind, Millis, Transaction, WriteError, WrongType, integer, long_double};
use crate::resp::{Arguments, Reply};

/// What became of a command: what the connection does next, or why it was refused.
pub type Outcome = Result<Flow, Refusal>;

/// The largest reply to one command, in bytes. Redis closes the connection of a client with too much output; here the
/// command is refused before memory is gone.
pub const MAX_REPLY_BYTES: usize = if cfg!(test) { 16 << 20 } else { 1 << 30 };

/// An error for the client. Whatever the handler had written to the reply before is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A text that is always the same.
    Fixed(&'static str),
    /// A text with parts of the request in it.
    Built(Vec<u8>),
}

impl Refusal {
    /// A text that was put together.
    pub fn built(text: String) -> Refusal {
        Refusal::Built(text.into_bytes())
    }

    /// Code and text.
    pub fn text(&self) -> &[u8] {
        match self {
            Refusal::Fixed(text) => text.as_bytes(),
            Refusal::Built(text) => text,
        }
    }
}

impl From<WrongType> for Refusal {
    fn from(_: WrongType) -> Self {
        Refusal::Fixed("WRONGTYPE Operation against a key holding the wrong kind of value")
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        Refusal::built(error.to_string())
    }
}

/// `ERR syntax error`.
pub const SYNTAX: Refusal = Refusal::Fixed("ERR syntax error");
/// Not the text of a 64-bit integer.
pub const NOT_AN_INTEGER: Refusal = Refusal::Fixed("ERR value is not an integer or out of range");

/// Whether a command tries once, or waits for what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Tries once.
    None,
    /// For so long; `None`: for ever.
    Waits(Option<Duration>),
}

/// One command's view of the node, its connection and its request.
#[derive(Debug)]
pub struct Context<'c> {
    /// The node.
    pub state: &'c ServerState,
    /// The connection.
    pub session: &'c mut Session,
    /// The request, the command's name included.
    pub arguments: Arguments<'c>,
    /// Where the reply goes.
    pub reply: &'c mut Reply,
    /// The time of this command.
    pub now: Millis,
    /// The command's row.
    pub entry: &'static Entry,
    /// The command runs as a part of EXEC, which holds all locks. Nothing else may be locked then.
    pub held: Option<Held<'c>>,
}

impl<'c> Context<'c> {
    /// A word of the request. The table has checked that it is there.
    pub fn word(&self, at: usize) -> &'c [u8] {
        self.arguments.get(at).expect("the arity was checked against the table")
    }

    /// How many words the request has, the name included.
    pub fn words(&self) -> usize {
        self.arguments.len()
    }

    /// The key at a position.
    pub fn key(&self, at: usize) -> Key<'c> {
        self.state.keyspace.key(self.word(at))
    }

    /// The keys at some positions.
    pub fn keys(&self, positions: impl Iterator<Item = usize>) -> Vec<Key<'c>> {
        positions.map(|at| self.key(at)).collect()
    }

    /// Begins work on one key.
    pub fn lock(&self, key: Key<'_>) -> Transaction<'c> {
        let state = self.state;
        let mut transaction = match &self.held {
            None => state.keyspace.lock_one(self.now, self.session.database, key),
            Some(held) => held.lend(self.session.database),
        };
        self.introduce(&mut transaction);
        transaction
    }

    /// Begins work on several keys at once.
    pub fn lock_keys(&self, keys: &[Key<'_>]) -> Transaction<'c> {
        let state = self.state;
        let mut transaction = match (keys, &self.held) {
            ([key], _) => self.lock(*key),
            (keys, None) => {
                let transaction = state.keyspace.lock_keys(self.now, self.session.database, keys.iter().copied());
                transaction.warm(keys);
                transaction
            }
            (_, Some(held)) => held.lend(self.session.database),
        };
        self.introduce(&mut transaction);
        transaction
    }

    /// Says who the client is.
    fn introduce(&self, transaction: &mut Transaction<'_>) {
        transaction.set_writer(self.session.id);
        if self.session.no_touch {
            transaction.read_quietly();
        }
    }

    /// Begins work on everything. The command's row says so ([`super::Flags::EVERYTHING`]), for EXEC to know it beforehand.
    pub fn lock_all(&self) -> Transaction<'c> {
        let state = self.state;
        let mut transaction = match &self.held {
            None => state.keyspace.lock_all(self.now, self.session.database),
            Some(held) => held.lend(self.session.database),
        };
        transaction.set_writer(self.session.id);
        transaction
    }

    /// Is the command a part of EXEC, or of a script? Then it waits for nothing.
    pub fn in_exec(&self) -> bool {
        self.held.is_some() || self.session.in_exclusive
    }

    /// Keys of a database, and how many of them have a deadline.
    pub fn size(&self, database: u32) -> (usize, usize) {
        let mut transaction = self.lock_all();
        transaction.select(database);
        transaction.size()
    }

    /// Ends a write and remembers its effect for WAIT.
    pub fn commit(&mut self, transaction: Transaction<'_>) {
        if let Some(seq) = transaction.commit() {
            self.session.last_written = seq;
        }
    }

    /// Counts a read of a key that was there or was not.
    pub fn count_read(&self, key: Key<'_>, found: bool) {
        let block = self.state.stats.thread(self.session.thread);
        if found {
            block.hits.add(1);
        } else {
            block.misses.add(1);
            self.state.keyspace.announce_miss(self.now, self.session.database, key.bytes);
        }
    }

    /// May a blocking command take what the key has? Not if others wait for it longer.
    pub fn may_take(&self, transaction: &Transaction<'_>, key: Key<'_>, kind: Kind) -> bool {
        self.in_exec() || transaction.is_first(key, kind, self.session.waiter())
    }

    /// What a command that takes from a key found there. One that has waited passes over a value of another type.
    pub fn found<T: Default>(&self, found: Result<T, WrongType>) -> Result<T, WrongType> {
        if self.session.is_blocked() { Ok(found.unwrap_or_default()) } else { found }
    }

    /// The optional count of a command that pops.
    pub fn optional_count(&self, at: usize) -> Result<Option<usize>, Refusal> {
        let Some(word) = self.arguments.get(at) else { return Ok(None) };
        let count = integer::parse(word).and_then(|count| usize::try_from(count).ok());
        count.map(Some).ok_or(Refusal::Fixed("ERR value is out of range, must be positive"))
    }

    /// There is nothing to take: the client is told so, or waits at these keys, whose locks the transaction holds, until one
    /// has a value of this type. Within EXEC nobody waits.
    pub fn find_nothing(
        &mut self,
        mut transaction: Transaction<'_>,
        keys: &[Key<'_>],
        kind: Kind,
        patience: Patience,
        null: fn(&mut Reply),
    ) -> Outcome {
        let timeout = match patience {
            Patience::Waits(timeout) if !self.in_exec() => timeout,
            _ => {
                null(self.reply);
                return Ok(Flow::Continue);
            }
        };
        let waiter = self.session.block();
        for key in keys {
            transaction.wait(*key, kind, &waiter);
        }
        Ok(Flow::Block { timeout })
    }

    /// The timeout of a blocking command, in seconds with a fraction; 0 is for ever.
    pub fn timeout(&self, at: usize) -> Result<Option<Duration>, Refusal> {
        let word = self.word(at);
        // Redis reads a float of 80 bits: what only that can hold is beyond all that follows.
        let beyond = || long_double::is_finite(word).then_some(f64::INFINITY);
        let seconds = parse_float(word).or_else(beyond);
        let seconds = seconds.ok_or(Refusal::Fixed("ERR timeout is not a float or out of range"))?;
        // It counts milliseconds in 64 bits, and rounds up; what does not fit comes out negative.
        let milliseconds = (seconds * 1000.0).ceil();
        if !(0.0..=i64::MAX as f64).contains(&milliseconds) {
            return Err(Refusal::Fixed("ERR timeout is negative"));
        }
        Ok((milliseconds > 0.0).then(|| Duration::from_millis(milliseconds as u64)))
    }

    /// An integer among the arguments.
    pub fn integer(&self, at: usize) -> Result<i64, Refusal> {
        integer::parse(self.word(at)).ok_or(NOT_AN_INTEGER)
    }

    /// The number of a database among the arguments.
    pub fn database(&self, at: usize) -> Result<u32, Refusal> {
        let number = i32::try_from(self.integer(at)?)
            .map_err(|_| Refusal::Fixed("ERR value is out of range, value must between -2147483648 and 2147483647"))?;
        self.check_database(number)
    }

    /// Is there a database of this number?
    pub fn check_database(&self, number: i32) -> Result<u32, Refusal> {
        let number = u32::try_from(number).ok().filter(|&number| number < self.state.keyspace.databases());
        number.ok_or(Refusal::Fixed("ERR DB index is out of range"))
    }

    /// Replies `OK`.
    pub fn ok(&mut self) -> Outcome {
        self.reply.ok();
        Ok(Flow::Continue)
    }

    /// Replies with an integer.
    pub fn reply_integer(&mut self, value: i64) -> Outcome {
        self.reply.integer(value);
        Ok(Flow::Continue)
    }

    /// Replies with a count.
    pub fn reply_count(&mut self, value: usize) -> Outcome {
        self.reply.count(value);
        Ok(Flow::Continue)
    }

    /// Replies 1 or 0.
    pub fn reply_flag(&mut self, value: bool) -> Outcome {
        self.reply_integer(i64::from(value))
    }

    /// Replies with lines of help: what the subcommands do.
    pub fn reply_help(&mut self, lines: &[&str]) -> Outcome {
        let container = self.word(0).to_ascii_uppercase();
        let container = String::from_utf8_lossy(&container);
        self.reply.array(lines.len() + 3);
        self.reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for line in lines {
            self.reply.simple(line);
        }
        self.reply.simple("HELP");
        self.reply.simple("    Prints this help.");
        Ok(Flow::Continue)
    }
}

/// A reply that would fill the memory.
pub const TOO_LARGE_REPLY: Refusal = Refusal::Fixed("ERR the reply would be larger than 1 GB");

/// Refuses a reply that has grown too large. For commands whose reply may repeat an element any number of times.
pub fn check_reply_size(reply: &Reply, start: usize) -> Result<(), Refusal> {
    if reply.bytes().len() - start > MAX_REPLY_BYTES {
        return Err(TOO_LARGE_REPLY);
    }
    Ok(())
}

/// A word of the request as errors show it: up to its first zero byte.
pub fn shown(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Is this word that option?
pub fn is_option(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}

/// The unit of a time among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// From where a time among the arguments counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Now,
    Epoch,
}

/// What an option of SET and its kin says about the number behind it: EX, PX, EXAT, PXAT.
pub fn time_option(word: &[u8]) -> Option<(Unit, Since)> {
    let known = [
        ("ex", Unit::Seconds, Since::Now),
        ("px", Unit::Milliseconds, Since::Now),
        ("exat", Unit::Seconds, Since::Epoch),
        ("pxat", Unit::Milliseconds, Since::Epoch),
    ];
    known.into_iter().find(|option| is_option(word, option.0)).map(|option| (option.1, option.2))
}

/// Milliseconds since the epoch for a time to live or a point in time; `None` when 64 bits do not hold it.
pub fn absolute_time(value: i64, unit: Unit, since: Since, now: Millis) -> Option<i64> {
    let milliseconds = match unit {
        Unit::Seconds => value.checked_mul(1000)?,
        Unit::Milliseconds => value,
    };
    match since {
        Since::Now => milliseconds.checked_add(i64::try_from(now).ok()?),
        Since::Epoch => Some(milliseconds),
    }
}

/// `invalid expire time in 'set' command`.
pub fn invalid_expire_time(context: &Context<'_>) -> Refusal {
    Refusal::built(format!("ERR invalid expire time in '{}' command", context.entry.full_name))
}
