//! The values of the collection types. Plain data: no metadata of replication, no keys, no time.
//!
//! Each type has a small form, one contiguous [`packed::Packed`] buffer that is searched from end to end, and a large
//! one, which finds an element in constant or logarithmic time. A value grows from the one into the other when it
//! exceeds its [`Limits`]; only a list comes back.
//!
//! Reading order: `element` (what readers get), `encoded`, `packed`, then the types.

mod chunks;
mod compact;
mod element;
mod encoded;
mod hash;

mod limits;
mod list;
mod ordered;
mod packed;
mod set;
mod sorted_set;
mod table;
#[cfg(test)]
mod testing;

pub use element::Element;
pub use hash::HashValue;
pub use limits::{ChunkLimit, Limits};
pub use list::ListValue;
pub use set::SetValue;
pub use sorted_set::SortedSetValue;

use foldhash::fast::FixedState;

/// Up to this many elements a removal keeps the order of the rest, as Redis's small encodings do; above it, it is O(1).
const KEEP_ORDER_UP_TO: usize = 128;

/// The hasher of elements, seeded by the keyspace so that clients cannot choose collisions.
pub type ElementHasher = FixedState;

/// What the allocator spends for a request of this size, in bytes: the size classes of jemalloc, which are 16 bytes
/// apart up to 128, then four to a doubling (its manual page has the table).
const fn size_class(bytes: usize) -> usize {
    match bytes {
        0..=8 => bytes.next_multiple_of(8),
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}
