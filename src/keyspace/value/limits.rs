//! How far the small forms of the collections go, and that of HyperLogLogs.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

/// A sparse HyperLogLog that would be longer than this becomes a dense one.
const DEFAULT_SPARSE_BYTES: usize = 3000;

/// Up to how many elements, and up to how many bytes in each of them, a collection keeps its small form. The names in
/// Redis's configuration are in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `hash-max-listpack-entries`
    pub hash_fields: usize,
    /// `hash-max-listpack-value`: of fields and values
    pub hash_bytes: usize,
    /// `set-max-intset-entries`
    pub set_integers: usize,
    /// `set-max-listpack-entries`
    pub set_members: usize,
    /// `set-max-listpack-value`
    pub set_bytes: usize,
    /// `zset-max-listpack-entries`
    pub sorted_set_members: usize,
    /// `zset-max-listpack-value`
    pub sorted_set_bytes: usize,
    /// `list-max-listpack-size`
    pub list_chunk: ChunkLimit,
    /// `stream-node-max-bytes` and `stream-node-max-entries`
    pub stream_node: NodeLimit,
}

/// How large a node of a stream may become. A single entry may always be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimit {
    bytes: usize,
    entries: usize,
}

impl NodeLimit {
    /// 4 KiB, 100 entries.
    pub const DEFAULT: NodeLimit = NodeLimit { bytes: 4096, entries: 100 };
    /// The most bytes that Redis lets a node have, whatever its configuration says.
    pub const MOST_BYTES: usize = 1 << 30;

    /// As Redis's configuration puts it: 0 stands for no limit.
    pub fn new(bytes: usize, entries: usize) -> NodeLimit {
        NodeLimit { bytes, entries }
    }

    /// The most bytes.
    pub fn bytes(self) -> usize {
        if self.bytes == 0 { NodeLimit::MOST_BYTES } else { self.bytes.min(NodeLimit::MOST_BYTES) }
    }

    /// The most entries.
    pub fn entries(self) -> usize {
        if self.entries == 0 { usize::MAX } else { self.entries }
    }
}

/// How large a chunk of a list may become. A single element may always be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimit(i32);

impl ChunkLimit {
    /// 8 KiB.
    pub const DEFAULT: ChunkLimit = ChunkLimit(-2);

    /// As Redis's configuration puts it: -1 to -5 for 4, 8, 16, 32, 64 KiB; a positive number for so many elements, if
    /// they fit into 8 KiB. Other numbers count as the nearest of these.
    pub fn new(size: i32) -> ChunkLimit {
        ChunkLimit(if size == 0 { 1 } else { size.max(-5) })
    }

    /// The most bytes.
    pub fn bytes(self) -> usize {
        match self.0 {
            size @ ..0 => 2048 << size.unsigned_abs(),
            _ => 8192,
        }
    }

    /// The most elements.
    pub fn elements(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Limits {
    /// Redis's defaults.
    pub const DEFAULT: Limits = Limits {
        hash_fields: 512,
        hash_bytes: 64,
        set_integers: 512,
        set_members: 128,
        set_bytes: 64,
        sorted_set_members: 128,
        sorted_set_bytes: 64,
        list_chunk: ChunkLimit::DEFAULT,
        stream_node: NodeLimit::DEFAULT,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// The limits of the whole process, as CONFIG SET may change them. How a node keeps its collections is its own affair, and
/// a limit takes effect when a collection next grows, so each may change by itself.
#[repr(align(128))]
struct Live {
    hash_fields: AtomicUsize,
    hash_bytes: AtomicUsize,
    set_integers: AtomicUsize,
    set_members: AtomicUsize,
    set_bytes: AtomicUsize,
    sorted_set_members: AtomicUsize,
    sorted_set_bytes: AtomicUsize,
    node_bytes: AtomicUsize,
    node_entries: AtomicUsize,
    sparse_bytes: AtomicUsize,
    list_chunk: AtomicI32,
}

static LIVE: Live = Live {
    hash_fields: AtomicUsize::new(Limits::DEFAULT.hash_fields),
    hash_bytes: AtomicUsize::new(Limits::DEFAULT.hash_bytes),
    set_integers: AtomicUsize::new(Limits::DEFAULT.set_integers),
    set_members: AtomicUsize::new(Limits::DEFAULT.set_members),
    set_bytes: AtomicUsize::new(Limits::DEFAULT.set_bytes),
    sorted_set_members: AtomicUsize::new(Limits::DEFAULT.sorted_set_members),
    sorted_set_bytes: AtomicUsize::new(Limits::DEFAULT.sorted_set_bytes),
    node_bytes: AtomicUsize::new(Limits::DEFAULT.stream_node.bytes),
    node_entries: AtomicUsize::new(Limits::DEFAULT.stream_node.entries),
    sparse_bytes: AtomicUsize::new(DEFAULT_SPARSE_BYTES),
    list_chunk: AtomicI32::new(Limits::DEFAULT.list_chunk.0),
};

/// A limit that can be changed, under the name that it has in Redis's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `hash-max-listpack-entries`
    HashFields,
    /// `hash-max-listpack-value`
    HashBytes,
    /// `set-max-intset-entries`
    SetIntegers,
    /// `set-max-listpack-entries`
    SetMembers,
    /// `set-max-listpack-value`
    SetBytes,
    /// `zset-max-listpack-entries`
    SortedSetMembers,
    /// `zset-max-listpack-value`
    SortedSetBytes,
    /// `stream-node-max-bytes`
    NodeBytes,
    /// `stream-node-max-entries`
    NodeEntries,
    /// `hll-sparse-max-bytes`
    SparseBytes,
}

impl Limit {
    /// What it is for the whole process.
    pub fn get(self) -> usize {
        self.live().load(Ordering::Relaxed)
    }

    /// Changes it for the whole process.
    pub fn set(self, value: usize) {
        self.live().store(value, Ordering::Relaxed);
    }

    fn live(self) -> &'static AtomicUsize {
        match self {
            Limit::HashFields => &LIVE.hash_fields,
            Limit::HashBytes => &LIVE.hash_bytes,
            Limit::SetIntegers => &LIVE.set_integers,
            Limit::SetMembers => &LIVE.set_members,
            Limit::SetBytes => &LIVE.set_bytes,
            Limit::SortedSetMembers => &LIVE.sorted_set_members,
            Limit::SortedSetBytes => &LIVE.sorted_set_bytes,
            Limit::NodeBytes => &LIVE.node_bytes,
            Limit::NodeEntries => &LIVE.node_entries,
            Limit::SparseBytes => &LIVE.sparse_bytes,
        }
    }
}

impl Limits {
    /// Those of the whole process.
    #[inline]
    pub fn current() -> Limits {
        Limits {
            hash_fields: Limit::HashFields.get(),
            hash_bytes: Limit::HashBytes.get(),
            set_integers: Limit::SetIntegers.get(),
            set_members: Limit::SetMembers.get(),
            set_bytes: Limit::SetBytes.get(),
            sorted_set_members: Limit::SortedSetMembers.get(),
            sorted_set_bytes: Limit::SortedSetBytes.get(),
            list_chunk: ChunkLimit::new(Limits::list_chunk_parameter()),
            stream_node: NodeLimit::new(Limit::NodeBytes.get(), Limit::NodeEntries.get()),
        }
    }

    /// `list-max-listpack-size` of the whole process, as it was set. See [`ChunkLimit::new`].
    #[inline]
    pub fn list_chunk_parameter() -> i32 {
        LIVE.list_chunk.load(Ordering::Relaxed)
    }

    /// Changes it: how large a chunk of a list that is made from now on may become.
    pub fn set_list_chunk(size: i32) {
        LIVE.list_chunk.store(size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_limits_are_read_as_in_redis() {
        let limits = [-6, -5, -1, 0, 7].map(ChunkLimit::new).map(|limit| (limit.bytes(), limit.elements()));
        assert_eq!(limits[..3], [(65_536, usize::MAX), (65_536, usize::MAX), (4_096, usize::MAX)]);
        assert_eq!(limits[3..], [(8_192, 1), (8_192, 7)]);
        assert_eq!(ChunkLimit::DEFAULT.bytes(), 8_192);
    }
}
