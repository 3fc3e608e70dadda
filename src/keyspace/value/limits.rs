//! How far the small forms of the collections go.

use std::fmt;

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

/// As Redis's configuration puts it.
impl fmt::Display for ChunkLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
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
