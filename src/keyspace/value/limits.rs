//! How far the small forms of the collections go.

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
}

impl Limits {
    /// Redis's defaults.
    pub const DEFAULT: Limits = Limits {
        hash_fields: 128,
        hash_bytes: 64,
        set_integers: 512,
        set_members: 128,
        set_bytes: 64,
        sorted_set_members: 128,
        sorted_set_bytes: 64,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
