//! The types that a key can have.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::effects::{Action, Family};

macro_rules! kinds {
    ($($kind:ident: $name:literal,)*) => {
        /// A key's type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// Every type.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// The name that TYPE reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    String: "string",
    Hash: "hash",
    Set: "set",
    SortedSet: "zset",
    List: "list",
    Stream: "stream",
}

impl Kind {
    /// The type of value that an action makes; `None` for what acts on any type.
    #[inline]
    pub fn of(action: &Action<'_>) -> Option<Kind> {
        match action.family() {
            Family::Key => None,
            Family::String => Some(Kind::String),
            Family::Hash => Some(Kind::Hash),
            Family::Set => Some(Kind::Set),
            Family::SortedSet => Some(Kind::SortedSet),
            Family::List => Some(Kind::List),
            Family::Stream => Some(Kind::Stream),
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
