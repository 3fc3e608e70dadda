//! The values of keys. Plain data: no metadata of replication, no keys, no clock.
//!
//! Each type has a small form, one contiguous [`packed::Packed`] buffer that is searched from end to end, and a large
//! one, which finds an element in constant or logarithmic time. A value grows from the one into the other when it
//! exceeds its [`Limits`]; only a list comes back.
//!
//! Reading order: `element` (what readers get), `encoded`, `packed`, then the types.

mod chunks;
mod compact;
mod deadlines;
mod element;
mod encoded;
mod hash;
mod hash_view;
mod integers;
mod limits;
mod list;
mod ordered;
mod packed;
mod set;
mod sorted_set;
mod stream;
mod table;
#[cfg(test)]
mod testing;
mod weight;

pub use element::Element;
pub use hash::HashValue;
pub use hash_view::HashView;
pub use limits::{ChunkLimit, Limit, Limits, NodeLimit};
pub use list::ListValue;
pub use set::SetValue;
pub use sorted_set::SortedSetValue;
pub use stream::{Consumer, Fields, Group, Pending, StreamEntry, StreamValue, Trim, TrimTo};
pub use table::seed_elements;

use super::{Kind, Millis};

/// The value of a key that is not a packed string.
///
/// Three words: what a type needs beyond two of them lies behind a pointer.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string with room to grow.
    Text(Box<Vec<u8>>),
    Hash(HashValue),
    Set(SetValue),
    SortedSet(SortedSetValue),
    List(ListValue),
    Stream(Box<StreamValue>),
}

/// Which element a command takes that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one with the lowest score.
    Lowest,
    /// The one with the highest score.
    Highest,
    /// Any.
    Random,
}

impl Value {
    /// A string with room to grow.
    pub fn text(text: Vec<u8>) -> Value {
        Value::Text(Box::new(text))
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Text(_) => Kind::String,
            Value::Hash(_) => Kind::Hash,
            Value::Set(_) => Kind::Set,
            Value::SortedSet(_) => Kind::SortedSet,
            Value::List(_) => Kind::List,
            Value::Stream(_) => Kind::Stream,
        }
    }

    /// A collection without elements: the key is to go. An empty string is a value, and so is a stream without entries.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Value::Text(_) => false,
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::SortedSet(set) => set.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Stream(_) => false,
        }
    }

    /// Where in a large collection one of the words most likely is, which follow its key in a request, judged without a
    /// look at the elements.
    pub fn candidate(&self, words: &[&[u8]; 2]) -> Option<usize> {
        match self {
            Value::Hash(hash) => hash.candidate(words[0]),
            Value::Set(set) => set.candidate(words[0]),
            // A score may stand in front of the member.
            Value::SortedSet(set) => set.candidate(if words[1].is_empty() { words[0] } else { words[1] }),
            Value::Text(_) | Value::List(_) | Value::Stream(_) => None,
        }
    }

    /// The first byte of the element at a position that `candidate` named: reading it brings the element into the
    /// processor's caches.
    pub fn first_byte(&self, position: usize) -> u8 {
        match self {
            Value::Hash(hash) => hash.first_byte(position),
            Value::Set(set) => set.first_byte(position),
            Value::SortedSet(set) => set.first_byte(position),
            Value::Text(_) | Value::List(_) | Value::Stream(_) => 0,
        }
    }

    /// Where in a large collection the element is that a command will take out which names none, when `before` others
    /// have been taken before it.
    pub fn candidate_to_take(&self, choice: Choice, before: usize, random: &mut fastrand::Rng) -> Option<usize> {
        match (self, choice) {
            (Value::SortedSet(set), Choice::Lowest) => set.position(before),
            (Value::SortedSet(set), Choice::Highest) => set.position(set.len().checked_sub(before + 1)?),
            (Value::Set(set), Choice::Random) if !set.is_scanned_whole() && set.len() > before => {
                Some(random.usize(..set.len() - before))
            }
            _ => None,
        }
    }

    /// Where in a large collection the element is that will be moved into the gap of the one taken then.
    pub fn candidate_to_move(&self, before: usize) -> Option<usize> {
        match self {
            Value::SortedSet(set) => set.len().checked_sub(before + 1),
            Value::Set(set) => set.len().checked_sub(before + 1),
            _ => None,
        }
    }

    /// Reads what the removal of the element at a position of a large collection will read, so that it is in the
    /// processor's caches.
    pub fn warm_removal(&self, position: usize) -> usize {
        match self {
            Value::SortedSet(set) => set.warm_removal(position),
            Value::Set(set) => set.warm_removal(position),
            _ => 0,
        }
    }

    /// When the first of its elements ends, where elements end by themselves.
    #[inline]
    pub fn earliest_deadline(&self) -> Option<Millis> {
        if let Value::Hash(hash) = self { hash.earliest_deadline() } else { None }
    }

    /// Have all of its elements ended? Then the key is to go.
    #[inline]
    pub fn is_over(&self, now: Millis) -> bool {
        if let Value::Hash(hash) = self { hash.is_over(now) } else { false }
    }

    /// How it lies in memory, in Redis's words.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Text(_) => "raw",
            Value::Hash(hash) => hash.encoding(),
            Value::Set(set) => set.encoding(),
            Value::SortedSet(set) => set.encoding(),
            Value::List(list) => list.encoding(),
            Value::Stream(stream) => stream.encoding(),
        }
    }

    /// Bytes of memory behind the value, about.
    pub fn memory(&self) -> usize {
        match self {
            Value::Text(text) => allocation(size_of::<Vec<u8>>()) + allocation(text.capacity()),
            Value::Hash(hash) => hash.memory(),
            Value::Set(set) => set.memory(),
            Value::SortedSet(set) => set.memory(),
            Value::List(list) => list.memory(),
            Value::Stream(stream) => stream.memory(),
        }
    }
}

/// A value that consists of elements, and that goes with the last of them (a stream does not).
pub trait Collection: Sized {
    /// Without elements.
    fn empty() -> Self;

    /// The collection of this type that a value is.
    fn of(value: &Value) -> Option<&Self>;

    /// The collection of this type that a value is, for changes.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// The collection of this type that a value is, by itself.
    fn from_value(value: Value) -> Option<Self>;

    /// As a value of any type.
    fn into_value(self) -> Value;
}

macro_rules! collection {
    ($variant:ident, $type:ty) => {
        impl Collection for $type {
            fn empty() -> Self {
                <$type>::new()
            }

            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(collection) = value { Some(collection) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(collection) = value { Some(collection) } else { None }
            }

            fn from_value(value: Value) -> Option<Self> {
                if let Value::$variant(collection) = value { Some(collection) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    };
}

collection!(Hash, HashValue);
collection!(Set, SetValue);
collection!(SortedSet, SortedSetValue);
collection!(List, ListValue);

/// It is large: the value has a box.
impl Collection for StreamValue {
    fn empty() -> Self {
        StreamValue::new()
    }

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Stream(stream) = value { Some(stream) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Stream(stream) = value { Some(stream) } else { None }
    }

    fn from_value(value: Value) -> Option<Self> {
        if let Value::Stream(stream) = value { Some(*stream) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Stream(Box::new(self))
    }
}

/// What the allocator spends for a request of this size, in bytes: the size classes of jemalloc, which are 16 bytes
/// apart up to 128, then four to a doubling (its manual page has the table).
pub const fn allocation(bytes: usize) -> usize {
    match bytes {
        0..=8 => bytes.next_multiple_of(8),
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}
