//! Redis's RDB format of values, both ways: bytes in, values out, and back.
//!
//! DUMP and RESTORE use it, and `persistence`, which reads and writes files with the same values behind the same type
//! bytes. Reading order: `value` (what is encoded), `reader` (lengths and strings), `listpack` and `packed` (the
//! compact forms of small collections), `decode`, `stream`, `encode`, `payload`, `extent` (values that are not in memory yet).
//!
//! **What is read**: every type and encoding that Redis 1.0 to 7.2 writes, and Redis 7.4's hashes whose fields expire.
//! Values of modules are not.
//!
//! **What is written**: the forms that every version since 7.0 reads: tables instead of ziplists (gone since 7.0),
//! listpacks or intsets (whose limits are the receiver's own configuration; it converts while it reads), and streams
//! as Redis 7.0 writes them, without the time at which a consumer was last active, which came with 7.2. Hence the
//! version of a payload is 10, that of Redis 7.0: a server refuses payloads of a version above its own. The exception
//! is a hash with fields that expire, which only Redis 7.4 understands; its payload has version 12. Strings that are
//! integers are written as such; LZF is read, never written: a receiver has to take strings as they are too.
//!
//! **What nobody trusts**: input. All of it is checked, also what is redundant; nothing is allocated because a length
//! claims it; and what one value may take in memory is bounded ([`MAX_DECODED_BYTES`]), since compression and small
//! elements make values many times larger than their payload.
//!
//! Sources: the listpack specification (antirez/listpack, `listpack.md`), the descriptions of the format by the projects
//! redis-rdb-tools, redis-replicator and rdbparser, the pull requests that describe Redis 7.4's types (redis/redis 13391
//! and 13438), and what redis-server 7.0.15 writes, accepts and refuses; for what is newer, what 8.0.2 does.
//!
//! Architecture invariant: a leaf. Nothing here knows a key, a command, a file or a clock; there is no I/O.

mod decode;
mod encode;
mod extent;
mod listpack;
mod lzf;
mod packed;
mod payload;
mod reader;
mod stream;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use decode::decode_value;
pub use encode::{encode_value, field_expiry, type_byte};
pub use extent::{Source, copy_string, copy_value, read_length};
pub use payload::{
    CHECKSUM, LIBRARY, NEWEST_VERSION, WRITTEN_VERSION, dump_libraries, dump_payload, load_libraries, load_payload,
};
pub use reader::{MAX_DECODED_BYTES, MAX_STRING_BYTES, Reader};
pub use value::{HashField, PendingEntry, RdbValue, Stream, StreamConsumer, StreamEntry, StreamGroup, StreamId};
pub use writer::{write_blob, write_length, write_string};

/// Why bytes are not a value. RESTORE has one text for [`RdbError::Version`] and [`RdbError::Checksum`], and another one
/// for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RdbError {
    /// The payload is of a version that is not known.
    #[error("version {0} of the RDB format is not known")]
    Version(u16),
    /// The checksum is another one, or there is no room for it.
    #[error("the checksum is wrong")]
    Checksum,
    /// The input ends inside a value.
    #[error("the input ends inside a value")]
    Truncated,
    /// A type that is not known, or a module's.
    #[error("the value type {0} is not known")]
    UnknownType(u8),
    /// The value takes more memory than it may.
    #[error("the value is too large")]
    TooLarge,
    /// A value that breaks a rule of the format.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The bytes that say which type a value is of, and how it is encoded.
pub mod types {
    /// The only form of a string.
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const SORTED_SET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores as binary doubles.
    pub const SORTED_SET_2: u8 = 5;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    /// Nodes that are ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    /// Nodes that are listpacks, or single large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// With the first id, the highest deleted one, the number of entries ever added and the numbers of entries read.
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    /// With the time at which a consumer was active.
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// Redis 7.4: a table with expiry of fields.
    pub const HASH_METADATA: u8 = 24;
    /// Redis 7.4: a listpack with expiry of fields.
    pub const HASH_LISTPACK_EX: u8 = 25;
}
