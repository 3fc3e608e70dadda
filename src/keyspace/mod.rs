//! The data of one node: sharded, typed, with expiry and eviction, and the merge of effects into it.
//!
//! A [`Keyspace`] is split into shards, each behind its own short lock. A [`Transaction`] locks the shards of the keys
//! that one command touches, in order, and is the only way to read or write them: what it writes is one effect.
//! Effects of other nodes enter through [`Keyspace::apply`].
//!
//! Values at rest are plain. The metadata that merging needs (who wrote which element, and when) lives beside them in
//! `causality`, only for what is not yet stable, and not at all on a node without a cluster.
//!
//! Architecture invariant: the keyspace knows no client, no protocol and no peer. It reads no clock; callers pass the time.

pub mod integer;
mod kind;
pub mod long_double;
mod transaction;
mod value;

pub use kind::{Kind, WrongType};
pub use transaction::*;
pub use value::{HashValue, SetValue};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
