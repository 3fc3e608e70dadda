//! The types that a key can have.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A key's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    String,
    Hash,
    Set,
}

impl Kind {
    /// The name that TYPE reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Hash => "hash",
            Kind::Set => "set",
        }
    }
}

/// A command met a key of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
pub struct WrongType;

/// Keys of the system: clients read them and never write them, and they stay when a database is flushed.
pub fn is_system_key(key: &[u8]) -> bool {
    key.starts_with(b"__swytch:")
}
