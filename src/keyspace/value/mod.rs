//! The values of the collection types. Plain data: no metadata of replication, no keys, no time.

mod hash;
mod set;

pub use hash::HashValue;
pub use set::SetValue;

use foldhash::fast::FixedState;

/// Up to this many elements a removal keeps the order of the rest, as Redis's small encodings do; above it, it is O(1).
const KEEP_ORDER_UP_TO: usize = 128;

/// The hasher of elements, seeded by the keyspace so that clients cannot choose collisions.
pub type ElementHasher = FixedState;
