//! Requests of a pipeline that need the same shard, carried out under one taking of its lock.
//!
//! A long pipeline often works on one key: a queue is filled, a sorted set is built. When several threads do so at once,
//! each command would hand the lock of the shard, and the memory that it protects, from one processor to another. Here
//! a thread does up to [`MOST_BUNDLED`] commands while it has them. A thread that serves alone gains, too, where
//! collections are large: what all these commands need is brought into the caches together. Nothing else changes: each
//! command is checked, counted and answered by itself, and fails by itself.
//!
//! Only what works on exactly one key, that of its first argument, is bundled: such a command locks nothing else. Nodes of a
//! cluster do not bundle: there one command is one effect.

use std::ops::Range;

use smallvec::SmallVec;

use super::context::Context;
use super::spec::Flags;
use super::{Entry, ServerState, Session, call, check, check_memory, find};
use crate::keyspace::{Choice, Held, MOST_WARMED, Millis, Reach};
use crate::resp::{Arguments, Protocol, Reply};

/// The most requests in a bundle: others wait for its end.
pub const MOST_BUNDLED: usize = MOST_WARMED;

/// Words of usual requests.
const USUAL_WORDS: usize = 4;

/// Requests that were checked and lie one behind the other at the start of a connection's input.
#[derive(Debug)]
pub struct Bundle<'i> {
    input: &'i [u8],
    requests: SmallVec<[Request; MOST_BUNDLED]>,
    ranges: SmallVec<[Range<u32>; MOST_BUNDLED * USUAL_WORDS]>,
    shard: Option<usize>,
    /// Where the next request begins.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    entry: &'static Entry,
    /// How many words of all come before, and how many there are with those of this request.
    words: (usize, usize),
    /// Where in the input the request ends.
    end: usize,
}

/// How far a bundle was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many requests,
    pub requests: usize,
    /// which are so many bytes of the input.
    pub bytes: usize,
}

/// May requests of this connection be bundled at all, as things are?
pub fn may_bundle(state: &ServerState, session: &Session) -> bool {
    // Who is to attend to something else does not hurry.
    let nothing_else = state.supervision.attention.get() == 0;
    // Who keeps copies hears of what it changes itself right behind that reply.
    let keeps_copies = session.tracking.is_some();
    nothing_else
        && !keeps_copies
        && session.authenticated
        && session.queue.is_none()
        && !session.is_blocked()
        && state.cluster.is_none()
}

impl<'i> Bundle<'i> {
    /// No request yet. The input begins where the first one does.
    pub fn new(input: &'i [u8]) -> Bundle<'i> {
        Bundle { input, requests: SmallVec::new(), ranges: SmallVec::new(), shard: None, end: 0 }
    }

    /// Where the next request begins.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Adds the next request, of so many bytes, whose words lie in the input from [`Bundle::end`] on. False when it must be
    /// carried out by itself, or after the bundle: it is to be read again then.
    pub fn add(
        &mut self,
        state: &ServerState,
        session: &mut Session,
        arguments: &Arguments<'_>,
        bytes: usize,
        protocol: Protocol,
        now: Millis,
    ) -> bool {
        if self.requests.len() == MOST_BUNDLED {
            return false;
        }
        // What is refused is told and logged when the request is carried out by itself.
        if !session.user.is_unlimited() {
            return false;
        }
        let Some(entry) = arguments.get(0).and_then(|name| find(session, name, arguments).ok()) else { return false };
        if !works_on_one_key(entry) || check(state, session, entry, arguments, protocol, now, false).is_err() {
            return false;
        }
        if check_memory(state, entry, now).is_err() {
            return false;
        }
        let shard = state.keyspace.key(&arguments[1]).shard();
        if *self.shard.get_or_insert(shard) != shard {
            return false;
        }
        // The input is far below what 32 bits can tell.
        let offset = self.end as u32;
        let before = self.ranges.len();
        let (_, ranges) = arguments.parts();
        self.ranges.extend(ranges.iter().map(|range| range.start + offset..range.end + offset));
        self.end += bytes;
        self.requests.push(Request { entry, words: (before, self.ranges.len()), end: self.end });
        true
    }

    /// Carries the requests out, until so many bytes of replies are there.
    pub fn run(
        &self,
        state: &ServerState,
        session: &mut Session,
        reply: &mut Reply,
        now: Millis,
        limit: usize,
    ) -> Progress {
        let mut progress = Progress { requests: 0, bytes: 0 };
        let Some(first) = self.requests.first() else { return progress };
        let arguments = self.arguments(first);
        // All keys are in the shard of the first one.
        let transaction = state.keyspace.lock_one(now, session.database, state.keyspace.key(&arguments[1]));
        if self.requests.len() > 1 {
            let targets = self.requests.iter().map(|request| {
                let arguments = self.arguments(request);
                (state.keyspace.key(arguments.get(1).unwrap_or_default()), reach(request.entry, &arguments))
            });
            transaction.warm_in_turn(targets, session.random.clone());
        }
        let held = Held::new(transaction);
        let mut context =
            Context { state, session, arguments, reply, now, entry: first.entry, held: Some(held.clone()) };
        for request in &self.requests {
            (context.arguments, context.entry) = (self.arguments(request), request.entry);
            let start = context.reply.bytes().len();
            call(&mut context);
            if !context.session.wants_reply() {
                context.reply.bytes_mut().truncate(start);
            }
            progress = Progress { requests: progress.requests + 1, bytes: request.end };
            if context.reply.bytes().len() >= limit {
                break;
            }
        }
        drop(held.take().expect("each command gives the locks back"));
        progress
    }

    fn arguments(&self, request: &Request) -> Arguments<'_> {
        Arguments::new(self.input, &self.ranges[request.words.0..request.words.1])
    }
}

/// Which element of its key's value a command most likely needs.
fn reach<'a>(entry: &Entry, arguments: &Arguments<'a>) -> Reach<'a> {
    let word = |at: usize| arguments.get(at).unwrap_or_default();
    match (entry.command.name, arguments.len()) {
        ("zpopmin", 2) => Reach::Taken(Choice::Lowest),
        ("zpopmax", 2) => Reach::Taken(Choice::Highest),
        ("spop", 2) => Reach::Taken(Choice::Random),
        _ => Reach::Named([word(2), word(3)]),
    }
}

/// Does the command lock the key of its first argument, and nothing else?
fn works_on_one_key(entry: &Entry) -> bool {
    let Entry { command, key_range, subcommands, .. } = entry;
    let flags = command.flags;
    *key_range == (1, 1, 1)
        && command.keys.len() == 1
        && subcommands.is_empty()
        && (flags.has(Flags::READONLY) || flags.has(Flags::WRITE))
        && !flags.has(Flags::BLOCKING)
        && !flags.has(Flags::EVERYTHING)
        && !flags.has(Flags::MOVABLEKEYS)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;
    use crate::resp::{Parsed, Parser};

    /// Bundles what it can of a pipeline, and runs it. The replies, and how many requests were bundled.
    fn run(fixture: &mut Fixture, requests: &[&str]) -> (String, usize) {
        run_until(fixture, requests, usize::MAX)
    }

    fn run_until(fixture: &mut Fixture, requests: &[&str], limit: usize) -> (String, usize) {
        let encode = |request: &&str| {
            let words: Vec<_> = request.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
            format!("*{}\r\n{}", words.len(), words.concat())
        };
        let input: String = requests.iter().map(encode).collect();
        let (input, mut parser) = (input.as_bytes(), Parser::default());
        let mut bundle = Bundle::new(input);
        while let Parsed::Request { consumed } = parser.parse(&input[bundle.end()..], true) {
            let arguments = parser.arguments(&input[bundle.end()..]);
            if !bundle.add(&fixture.state, &mut fixture.session, &arguments, consumed, Protocol::Resp2, fixture.now) {
                break;
            }
        }
        let mut reply = Reply::new(Protocol::Resp2);
        let progress = bundle.run(&fixture.state, &mut fixture.session, &mut reply, fixture.now, limit);
        let done: usize = requests[..progress.requests].iter().map(|request| encode(request).len()).sum();
        assert_eq!(progress.bytes, done);
        (String::from_utf8_lossy(reply.bytes()).into_owned(), progress.requests)
    }

    #[test]
    fn each_command_is_answered_by_itself() {
        let mut fixture = Fixture::new();
        let requests = ["rpush l a b", "set l x ex", "lpop l", "incr l", "lpop l", "lpop l", "get l"];
        let (replies, bundled) = run(&mut fixture, &requests);
        let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let expected =
            [":2\r\n", "-ERR syntax error\r\n", "$1\r\na\r\n", wrong_type, "$1\r\nb\r\n", "$-1\r\n", "$-1\r\n"];
        assert_eq!((replies, bundled), (expected.concat(), 7));
        assert_eq!(fixture.run("exists l"), ":0\r\n", "the lock is free again");
    }

    #[test]
    fn a_bundle_ends_before_what_may_lock_anything_else() {
        let mut fixture = Fixture::new();
        let others = [
            "mget k k",
            "del k",
            "rename k k",
            "blpop k 0",
            "ping",
            "get",
            "nonsense k",
            "multi",
            "sort k",
            "flushall",
            "scan 0",
            "keys *",
            "spublish k x",
            "publish k x",
            "subscribe k",
            "wait 0 0",
            "object encoding k",
            "lmove k k left left",
            "xread streams k 0",
            "zadd",
            "eval x 1 k",
            "watch k",
            "copy k k",
            "sintercard 1 k",
            "geosearchstore k k",
        ];
        for other in others {
            let (_, bundled) = run(&mut fixture, &["incr k", other, "incr k"]);
            assert_eq!(bundled, 1, "{other}");
        }
        let far = (0..100).map(|number| format!("incr k{number}"));
        let shard = |key: &str| fixture.state.keyspace.key(key.as_bytes()).shard();
        let far = far.filter(|request| shard(&request[5..]) != shard("k")).collect::<Vec<_>>();
        assert_eq!(run(&mut fixture, &["incr k", &far[0], "incr k"]).1, 1);
        assert_eq!(run(&mut fixture, &["incr k"; 100]).1, MOST_BUNDLED);
    }

    #[test]
    fn a_bundle_stops_when_the_replies_are_many() {
        let mut fixture = Fixture::new();
        fixture.run("set k 0123456789");
        let (replies, bundled) = run_until(&mut fixture, &["get k"; 10], 20);
        assert_eq!((replies.as_str(), bundled), ("$10\r\n0123456789\r\n$10\r\n0123456789\r\n", 2));
    }

    #[test]
    fn who_wants_no_replies_gets_none() {
        let mut fixture = Fixture::new();
        fixture.run("client reply off");
        assert_eq!(run(&mut fixture, &["incr k", "incr k"]), (String::new(), 2));
        fixture.run("client reply on");
        assert_eq!(fixture.run("get k"), "$1\r\n2\r\n");
    }
}
