//! What the table says about a command: everything that others read (COMMAND, key extraction, the checks before a
//! command runs, statistics, access control) is data here; only the handler is code.
//!
//! Must not know how a command is found or run.

use super::{Context, Outcome};
use crate::resp::Arguments;

/// Carries a command out. Arity and all flags were checked before.
pub type Handler = fn(&mut Context<'_>) -> Outcome;

/// A set of properties of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No property.
    pub const NONE: Flags = Flags(0);
    /// May change data.
    pub const WRITE: Flags = Flags(1);
    /// Reads data and changes none.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need memory: refused when there is none left.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For operators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Not from scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 4);
    /// Allowed while this node is not serving yet.
    pub const LOADING: Flags = Flags(1 << 5);
    /// Allowed on a replica that has lost its master. Reported for clients' sake; there are no such replicas here.
    pub const STALE: Flags = Flags(1 << 6);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 7);
    /// Allowed before AUTH.
    pub const NO_AUTH: Flags = Flags(1 << 8);
    /// Keys are found by looking at the arguments: first, last and step do not tell all of them.
    pub const MOVABLEKEYS: Flags = Flags(1 << 9);
    /// Allowed while a script runs for too long.
    pub const ALLOW_BUSY: Flags = Flags(1 << 10);

    /// May wait for something to be there.
    pub const BLOCKING: Flags = Flags(1 << 11);
    /// About messages.
    pub const PUBSUB: Flags = Flags(1 << 12);
    /// Not between MULTI and EXEC.
    pub const NO_MULTI: Flags = Flags(1 << 18);
    /// Not while data is being loaded beside what is served. Reported for clients' sake.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 19);
    /// Other nodes or clients may learn of it, though it writes nothing: waits like a write when writes are paused. COMMAND does not
    /// report it.
    pub const MAY_REPLICATE: Flags = Flags(1 << 20);

    /// MONITOR shows it before it runs. It does so itself.
    pub const SKIP_MONITOR: Flags = Flags(1 << 21);
    /// May have keys, and may have none.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 22);
    /// Locks what turns up while it runs: EXEC with such a command in it runs alone. COMMAND does not report it.
    pub const ALONE: Flags = Flags(1 << 23);

    /// Takes as long as what it runs, which is counted by itself.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 13);

    /// Allowed to a client of RESP2 that listens to channels. COMMAND does not report it.
    pub const WHILE_SUBSCRIBED: Flags = Flags(1 << 16);
    /// Runs at once between MULTI and EXEC, where others are queued. COMMAND does not report it.
    pub const UNQUEUED: Flags = Flags(1 << 15);
    /// Works on all keys, whatever its arguments. COMMAND does not report it.
    pub const EVERYTHING: Flags = Flags(1 << 14);

    /// In the order in which Redis lists them.
    const NAMES: [(Flags, &'static str); 18] = [
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLEKEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
    ];

    /// All of both.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Has it all of these?
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names that COMMAND reports.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// A set of access control categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// None but those that follow from the flags.
    pub const NONE: Categories = Categories(0);
    /// About keys, whatever they hold.
    pub const KEYSPACE: Categories = Categories(1);
    /// Reads data.
    pub const READ: Categories = Categories(1 << 1);
    /// Changes data.
    pub const WRITE: Categories = Categories(1 << 2);
    /// Sorted sets.
    pub const SORTED_SET: Categories = Categories(1 << 11);
    /// Positions on the earth.
    pub const GEO: Categories = Categories(1 << 12);
    /// Sets.
    pub const SET: Categories = Categories(1 << 3);
    /// Hashes.
    pub const HASH: Categories = Categories(1 << 4);
    /// Strings.
    pub const STRING: Categories = Categories(1 << 5);
    /// For operators.
    pub const ADMIN: Categories = Categories(1 << 6);
    /// Constant or logarithmic time.
    pub const FAST: Categories = Categories(1 << 7);
    /// Everything that is not fast.
    pub const SLOW: Categories = Categories(1 << 8);
    /// Not to be left to everyone.
    pub const DANGEROUS: Categories = Categories(1 << 9);
    /// About the connection.
    pub const CONNECTION: Categories = Categories(1 << 10);
    /// Lists.
    pub const LIST: Categories = Categories(1 << 13);
    /// Strings as rows of bits.
    pub const BITMAP: Categories = Categories(1 << 14);
    /// HyperLogLogs.
    pub const HYPERLOGLOG: Categories = Categories(1 << 15);
    /// Messages.
    pub const PUBSUB: Categories = Categories(1 << 30);
    /// MULTI and its kin.
    pub const TRANSACTION: Categories = Categories(1 << 31);

    /// Streams.
    pub const STREAM: Categories = Categories(1 << 17);

    /// Scripts and functions.
    pub const SCRIPTING: Categories = Categories(1 << 18);

    /// May wait for something to be there.
    pub const BLOCKING: Categories = Categories(1 << 16);

    /// In the order in which Redis lists them.
    const NAMES: [(Categories, &'static str); 21] = [
        (Categories::KEYSPACE, "keyspace"),
        (Categories::READ, "read"),
        (Categories::WRITE, "write"),
        (Categories::SET, "set"),
        (Categories::SORTED_SET, "sortedset"),
        (Categories::LIST, "list"),
        (Categories::HASH, "hash"),
        (Categories::STRING, "string"),
        (Categories::BITMAP, "bitmap"),
        (Categories::HYPERLOGLOG, "hyperloglog"),
        (Categories::GEO, "geo"),
        (Categories::STREAM, "stream"),
        (Categories::PUBSUB, "pubsub"),
        (Categories::ADMIN, "admin"),
        (Categories::FAST, "fast"),
        (Categories::SLOW, "slow"),
        (Categories::BLOCKING, "blocking"),
        (Categories::DANGEROUS, "dangerous"),
        (Categories::CONNECTION, "connection"),
        (Categories::TRANSACTION, "transaction"),
        (Categories::SCRIPTING, "scripting"),
    ];

    /// All of both.
    pub const fn with(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    /// Has it all of these?
    pub const fn has(self, other: Categories) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, without `@`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Categories::NAMES.into_iter().filter(move |(category, _)| self.has(*category)).map(|(_, name)| name)
    }

    /// The names of all, without `@`.
    pub fn all_names() -> impl ExactSizeIterator<Item = &'static str> {
        Categories::NAMES.into_iter().map(|(_, name)| name)
    }

    /// The category of this name (without `@`, in lower or upper case).
    pub fn named(name: &[u8]) -> Option<Categories> {
        let found = Categories::NAMES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(category, _)| *category)
    }
}

/// What a command does with some of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u16);

impl Access {
    /// Reads the value.
    pub const READ: Access = Access(1);
    /// Reads the value and writes it.
    pub const READ_WRITE: Access = Access(1 << 1);
    /// Overwrites the value without looking.
    pub const OVERWRITE: Access = Access(1 << 2);
    /// Removes the key without looking.
    pub const REMOVE: Access = Access(1 << 3);
    /// Data of the value reaches the client or another key.
    pub const ACCESS: Access = Access(1 << 4);
    /// Data is changed.
    pub const UPDATE: Access = Access(1 << 5);
    /// Data is added, none is changed or removed.
    pub const INSERT: Access = Access(1 << 6);
    /// Data is removed.
    pub const DELETE: Access = Access(1 << 7);
    /// Some of this depends on the arguments.
    pub const VARIABLE: Access = Access(1 << 8);

    /// It is no key, though a cluster of Redis chooses the server by it: a shard channel.
    pub const NOT_KEY: Access = Access(1 << 9);

    /// The names that COMMAND and COMMAND GETKEYSANDFLAGS report, in their order.
    const NAMES: [(Access, &'static str); 10] = [
        (Access::READ, "RO"),
        (Access::READ_WRITE, "RW"),
        (Access::OVERWRITE, "OW"),
        (Access::REMOVE, "RM"),
        (Access::ACCESS, "access"),
        (Access::UPDATE, "update"),
        (Access::INSERT, "insert"),
        (Access::DELETE, "delete"),
        (Access::VARIABLE, "variable_flags"),
        (Access::NOT_KEY, "not_key"),
    ];

    /// All of both.
    pub const fn with(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// This without that.
    pub const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// Is all of that among it?
    pub const fn has(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names in Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Access::NAMES.into_iter().filter(move |(access, _)| self.0 & access.0 != 0).map(|(_, name)| name)
    }
}

/// Where some of a command's keys stand among its arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// What happens to them.
    pub access: Access,
    /// Where the search begins: the position of the first key, or of their number.
    pub begin: usize,
    /// How they are found from there.
    pub find: Find,
    /// A remark for readers of COMMAND's reply.
    pub note: &'static str,
}

/// How keys are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// From the beginning to `last` (relative to it, or to the end of the arguments when negative), every `step` words.
    Range { last: isize, step: usize },
    /// The number of keys stands at the beginning, the keys follow.
    Number,
    /// Behind the last of these options, wherever it stands among the options; `others` says how many words the other
    /// options take. COMMAND reports that it is unknown.
    Option { name: &'static str, others: &'static [(&'static str, usize)] },
    /// The request does not tell: they derive from data.
    Unknown,
    /// The key follows the last such word from the beginning on, if there is one.
    Word(&'static str),
    /// Behind the first such word from the beginning on: the first half of what follows.
    Half(&'static str),
}

impl KeySpec {
    /// One key at a position.
    pub const fn one(position: usize, access: Access) -> KeySpec {
        KeySpec { access, begin: position, find: Find::Range { last: 0, step: 1 }, note: "" }
    }

    /// Keys from a position to the end, every `step` words.
    pub const fn to_the_end(position: usize, step: usize, access: Access) -> KeySpec {
        KeySpec { access, begin: position, find: Find::Range { last: -1, step }, note: "" }
    }

    /// Does it stand for keys, and not for what only looks like them?
    pub fn is_of_keys(&self) -> bool {
        self.access != Access::NOT_KEY
    }

    /// The positions of the keys of this request, which has as many words as the command's arity asks for.
    /// `None`: the number of keys in the request makes no sense.
    pub fn positions(&self, arguments: &Arguments<'_>) -> Option<impl Iterator<Item = usize> + use<>> {
        const NONE: (usize, usize, usize) = (1, 0, 1);
        let (first, last, step) = match self.find {
            Find::Range { last, step } if last >= 0 => (self.begin, self.begin + last.unsigned_abs(), step),
            Find::Range { last, step } => (self.begin, arguments.len().saturating_sub(last.unsigned_abs()), step),
            Find::Number => {
                let number = crate::keyspace::integer::parse(arguments.get(self.begin)?)?;
                let number = usize::try_from(number).ok().filter(|&number| number > 0)?;
                (self.begin + 1, self.begin.checked_add(number)?, 1)
            }
            Find::Option { name, others } => {
                let (mut at, mut found) = (self.begin, NONE);
                while let Some(word) = arguments.get(at) {
                    let is = |option: &str| word.eq_ignore_ascii_case(option.as_bytes());
                    if is(name) && at + 1 < arguments.len() {
                        found = (at + 1, at + 1, 1);
                        at += 1;
                    } else if let Some((_, words)) = others.iter().find(|(option, _)| is(option)) {
                        at += words;
                    }
                    at += 1;
                }
                found
            }
            Find::Unknown => NONE,
            Find::Half(word) => {
                let is_it = |at: &usize| arguments[*at].eq_ignore_ascii_case(word.as_bytes());
                let at = (self.begin..arguments.len()).find(is_it)?;
                let number = (arguments.len() - at - 1) / 2;
                if number == 0 {
                    return None;
                }
                (at + 1, at + number, 1)
            }
            Find::Word(word) => {
                let is_it =
                    |at: &usize| arguments.get(*at).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()));
                match (self.begin..arguments.len().saturating_sub(1)).rev().find(is_it) {
                    Some(at) => (at + 1, at + 1, 1),
                    None => (1, 0, 1),
                }
            }
        };
        (last < arguments.len()).then(|| (first..=last).step_by(step))
    }
}

/// Which of its words are channels that a user must be allowed to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelUse {
    /// None.
    None,
    /// The first argument.
    First,
    /// All arguments.
    All,
    /// All arguments, and they are patterns.
    Patterns,
}

/// How a command's effect meets what other nodes do at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordination {
    /// Concerns this node alone, or only reads.
    Local,
    /// Its effect merges with any other: it never waits for anyone.
    Commutes,
    /// Its reply tells the client that it won something: one winner in the cluster.
    Decides,
    /// Decides when one of these words is among its options, else commutes.
    DecidesWith(&'static [&'static str]),
    /// Commutes when one of these words is among its options, else decides.
    DecidesWithout(&'static [&'static str]),
}

/// The chapter of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    List,
    HyperLogLog,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// As COMMAND DOCS reports it.
    pub fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::List => "list",
            Group::HyperLogLog => "hyperloglog",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }
}

/// One command, or one subcommand.
#[derive(Debug)]
pub struct Command {
    /// In lower case; of a subcommand without its container's name.
    pub name: &'static str,
    /// Words of a request, the name (and the subcommand's) included; negative: at least that many.
    pub arity: isize,
    /// Its properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Which of its words are channels.
    pub channels: ChannelUse,
    /// Categories that do not follow from the flags.
    pub categories: Categories,
    /// How it meets what other nodes do.
    pub coordination: Coordination,
    /// The Redis version that introduced it.
    pub since: &'static str,
    /// The chapter of the documentation.
    pub group: Group,
    /// Time complexity; empty: nothing is said of it.
    pub complexity: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// The Redis version that deprecated it, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// The documentation calls it one for the system itself, and not for its users.
    pub is_internal: bool,
    /// Hints for clients of several nodes.
    pub hints: &'static [&'static str],
    /// Its subcommands. One that has any and no arity for itself is only their container.
    pub subcommands: &'static [Command],
    /// What it does.
    pub handler: Handler,
}

impl Command {
    /// A command that touches no key. The rest is said by the functions below.
    pub const fn new(group: Group, name: &'static str, arity: isize, handler: Handler) -> Command {
        Command {
            name,
            arity,
            flags: Flags::NONE,
            keys: &[],
            channels: ChannelUse::None,
            categories: Categories::NONE,
            coordination: Coordination::Local,
            since: "1.0.0",
            group,
            complexity: "O(1)",
            summary: "",
            deprecated: None,
            is_internal: false,
            hints: &[],
            subcommands: &[],
            handler,
        }
    }

    /// Adds properties.
    pub const fn flags(mut self, flags: Flags) -> Command {
        self.flags = self.flags.with(flags);
        self
    }

    /// Says where the keys are.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Command {
        self.keys = keys;
        self
    }

    /// Says where channels are.
    pub const fn channels(mut self, channels: ChannelUse) -> Command {
        self.channels = channels;
        self
    }

    /// Adds categories.
    pub const fn categories(mut self, categories: Categories) -> Command {
        self.categories = self.categories.with(categories);
        self
    }

    /// Says how it meets what other nodes do.
    pub const fn coordination(mut self, coordination: Coordination) -> Command {
        self.coordination = coordination;
        self
    }

    /// The documentation: since when, how long it takes, what it does.
    pub const fn docs(mut self, since: &'static str, complexity: &'static str, summary: &'static str) -> Command {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    /// Says since when it is deprecated, and what to use instead.
    pub const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Command {
        self.deprecated = Some((since, instead));
        self
    }

    /// Says that it is for the system itself.
    pub const fn internal(mut self) -> Command {
        self.is_internal = true;
        self
    }

    /// Adds hints for clients.
    pub const fn hints(mut self, hints: &'static [&'static str]) -> Command {
        self.hints = hints;
        self
    }

    /// Adds subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// Has a request with this many words (all counted) the right number of them?
    pub fn accepts(&self, words: usize) -> bool {
        if self.arity >= 0 { words == self.arity.unsigned_abs() } else { words >= self.arity.unsigned_abs() }
    }

    /// All categories, those that follow from the flags included.
    pub fn all_categories(&self) -> Categories {
        let mut all = self.categories;
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::READONLY, Categories::READ),
            (Flags::BLOCKING, Categories::BLOCKING),
            (Flags::ADMIN, Categories::ADMIN.with(Categories::DANGEROUS)),
        ];
        // What a script does is up to the script.
        let runs_scripts = self.categories.has(Categories::SCRIPTING);
        for (flag, category) in implied {
            if self.flags.has(flag) && !(runs_scripts && category == Categories::READ) {
                all = all.with(category);
            }
        }
        all.with(if self.flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW })
    }

    /// The first and last key's position and the step between keys, as far as these three can say it; zeros when not.
    pub fn key_range(&self) -> (usize, isize, usize) {
        let mut range: Option<(usize, isize, usize)> = None;
        for spec in self.keys {
            let Find::Range { last, step } = spec.find else { break };
            let last = if last >= 0 { last + spec.begin as isize } else { last };
            range = match range {
                None => Some((spec.begin, last, step)),
                Some((first, end, _)) if end >= 0 && spec.begin as isize == end + 1 => Some((first, last, step)),
                other => other,
            };
        }
        range.unwrap_or((0, 0, 0))
    }

    /// How this request meets what other nodes do.
    pub fn coordination_of(&self, arguments: &Arguments<'_>) -> Coordination {
        // The options follow the command's mandatory words.
        let has_one = |words: &[&str]| {
            let is_one = |argument: &[u8]| words.iter().any(|word| argument.eq_ignore_ascii_case(word.as_bytes()));
            arguments.from(self.arity.unsigned_abs()).iter().any(is_one)
        };
        let decides = match self.coordination {
            Coordination::DecidesWith(words) => has_one(words),
            Coordination::DecidesWithout(words) => !has_one(words),
            fixed => return fixed,
        };
        if decides { Coordination::Decides } else { Coordination::Commutes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_and_flag_is_a_bit_of_its_own() {
        for (at, (category, name)) in Categories::NAMES.iter().enumerate() {
            assert_eq!(category.0.count_ones(), 1, "{name}");
            assert!(Categories::NAMES[..at].iter().all(|(other, _)| other != category), "{name}");
        }
        for (at, (flag, name)) in Flags::NAMES.iter().enumerate() {
            assert_eq!(flag.0.count_ones(), 1, "{name}");
            assert!(Flags::NAMES[..at].iter().all(|(other, _)| other != flag), "{name}");
            let unnamed =
                [Flags::ALONE, Flags::UNQUEUED, Flags::EVERYTHING, Flags::WHILE_SUBSCRIBED, Flags::MAY_REPLICATE];
            assert!(unnamed.iter().all(|other| other != flag), "{name}");
        }
    }
}
