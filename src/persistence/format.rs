//! The frame of an RDB file: what stands between the values.
//!
//! ```text
//! "REDIS" and the version as four digits
//! 250 name value                   something about the file
//! 254 number                       the keys that follow are in this database
//! 251 keys with-deadline           how large it is
//! [252 8 bytes | 253 4 bytes] [248 seconds | 249 1 byte] type key value
//! 245 library                      functions
//! 247 module's data
//! 255 and, from version 5 on, the CRC-64 of everything before (8 bytes, little endian; 0: none)
//! ```
//!
//! Sources: those of `rdb`, and what redis-server 7.0.15 writes and accepts.

use crate::rdb::NEWEST_VERSION;

pub const MAGIC: &[u8] = b"REDIS";
/// With the version.
pub const HEADER_BYTES: usize = 9;
/// Files of versions below this have no checksum.
pub const FIRST_WITH_CHECKSUM: u16 = 5;

/// The version that a header names, if it is one that is known.
pub fn version_of(header: &[u8]) -> Option<u16> {
    let digits = header.strip_prefix(MAGIC).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let version: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=NEWEST_VERSION).contains(&version).then_some(version)
}

/// The bytes that are no types of values.
pub mod opcode {
    /// How many keys each slot of a Redis Cluster has.
    pub const SLOT_SIZES: u8 = 244;
    /// A library of functions.
    pub const FUNCTIONS: u8 = 245;
    /// The same, as only release candidates of Redis 7.0 wrote it.
    pub const FUNCTIONS_OF_CANDIDATES: u8 = 246;
    /// What a module keeps beside the keys.
    pub const OF_MODULE: u8 = 247;
    /// For how many seconds the key was not used.
    pub const IDLE: u8 = 248;
    /// How often the key is used, on the logarithmic scale of LFU.
    pub const FREQUENCY: u8 = 249;
    /// A name and a value.
    pub const ABOUT: u8 = 250;
    /// The number of keys of the database, and of those with a deadline.
    pub const SIZES: u8 = 251;
    /// The key's deadline in milliseconds.
    pub const DEADLINE_MILLISECONDS: u8 = 252;
    /// The key's deadline in seconds.
    pub const DEADLINE_SECONDS: u8 = 253;
    /// The number of a database.
    pub const DATABASE: u8 = 254;
    /// The end.
    pub const END: u8 = 255;
    /// Types of values that modules have made.
    pub const MODULE_VALUES: [u8; 2] = [6, 7];
}

/// What a module's data consists of.
pub mod module_part {
    pub const END: u64 = 0;
    pub const SIGNED: u64 = 1;
    pub const UNSIGNED: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}
