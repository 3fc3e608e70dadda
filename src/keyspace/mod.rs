//! The data of one node: sharded, typed, with expiry and eviction, and the merge of effects into it.
//!
//! A [`Keyspace`] is split into shards, each behind its own short lock. A [`Transaction`] locks the shards of the keys
//! that one command touches, in order, and is the only way to read or write them: what it writes is one effect.
//! Effects of other nodes enter through [`Keyspace::apply`].
//!
//! Values at rest are plain. The metadata that merging needs (who wrote which element, and when) lives beside them in
//! `causality`, only for what is not yet stable, and not at all on a node without a cluster.
//!
//! Reading order: `gates`, `exclusive`, `space` and `transaction` (who may do what), `entry`, `value` and `database` (how keys lie in memory),
//! `shard` (how an action is applied), then `causality`, `register`, `edit` and `merge` (what happens when writes are
//! concurrent), `sequence` (the same for lists), `types` (what each type adds to all that), `waiting`, `watching`, `tracking`, `events`, `remote`, `snapshot`, `imported`,
//! `takeover`, `cut`, `upkeep`, `eviction`. `bits` and `hyperloglog` know what strings can hold besides text.
//!
//! Architecture invariant: the keyspace knows no client, no protocol and no peer. It reads no clock; callers pass the time.

mod access;
pub mod bits;
mod causality;
mod conflicts;
mod cut;
mod database;
mod edit;
mod entry;
mod events;
mod eviction;
mod exclusive;
mod gates;
pub mod hyperloglog;
mod imported;
pub mod integer;
mod kind;
mod libraries;
pub mod long_double;
mod made_again;
mod merge;
mod options;
mod register;
mod remote;
mod scan;
mod score_register;
mod sequence;
mod shard;
mod slot;
mod snapshot;
mod space;
mod takeover;
mod tracking;
mod transaction;
mod types;
mod upkeep;
mod value;
mod waiting;
mod warming;
mod watching;

#[cfg(test)]
mod tests;

pub use access::Counting;
pub use cut::{Cut, CutError, CutForm, CutKey, CutSize, CutValue};
pub use edit::MAX_STRING_BYTES;
pub use events::{Event, EventClasses};
pub use eviction::EvictionPolicy;
pub use exclusive::Exclusive;
pub use gates::{Gates, Inside, Overdue};
pub use kind::{Kind, WrongType, is_system_key};
pub use libraries::Libraries;
pub use options::KeyspaceOptions;
pub use remote::MAX_DATABASES;
pub use scan::ScanPage;
pub use space::Keyspace;
pub use takeover::Takeover;
pub use tracking::{Readers, Stale, StaleListener};
pub use transaction::{Contents, GroupOf, Held, Key, KeyFacts, Life, Located, Taken, Transaction, WriteError};
pub use value::{
    Choice, ChunkLimit, Collection, Consumer, Element, Fields, Group, HashValue, HashView, Limit, Limits, ListValue,
    NodeLimit, Pending, SetValue, SortedSetValue, StreamEntry, StreamValue, Trim, TrimTo, Value,
};
pub use waiting::{Verdict, Waiter};
pub use warming::{MOST_WARMED, Reach};
pub use watching::{Watched, Watcher};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
