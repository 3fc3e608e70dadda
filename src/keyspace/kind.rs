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
