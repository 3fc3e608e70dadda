use super::value::*;
use super::*;
use std::marker::PhantomData;

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

/// What becomes of the time to live when a string is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Forever,
    Keep,
    Until(Millis),
}

/// Why an arithmetic command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR hash value is not an integer")]
    HashValueNotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR hash value is not a float")]
    HashValueNotAFloat,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
}

pub struct Keyspace;
pub struct Transaction<'k>(PhantomData<&'k ()>);

impl Keyspace {
    pub fn databases(&self) -> u32 {
        todo!()
    }
    pub fn key<'a>(&self, _bytes: &'a [u8]) -> Key<'a> {
        todo!()
    }
    /// Locks the shard of one key.
    pub fn lock_one(&self, _now: Millis, _database: u32, _key: Key<'_>) -> Transaction<'_> {
        todo!()
    }
    /// Locks the shards of several keys.
    pub fn lock_keys<'a>(&self, _now: Millis, _database: u32, _keys: impl Iterator<Item = Key<'a>>) -> Transaction<'_> {
        todo!()
    }
    /// Locks everything.
    pub fn lock_all(&self, _now: Millis, _database: u32) -> Transaction<'_> {
        todo!()
    }
    /// Keys in a database, those with a deadline, (system keys not counted).
    pub fn size(&self, _database: u32) -> (usize, usize) {
        todo!()
    }
    /// Continues a scan: appends keys (not expired, not of the system) until `count` were visited; returns the next cursor, 0 at the end.
    pub fn scan(
        &self,
        _now: Millis,
        _database: u32,
        _cursor: u64,
        _count: usize,
        _each: &mut dyn FnMut(&[u8], Kind),
    ) -> u64 {
        todo!()
    }
    /// A key picked at random.
    pub fn random_key(&self, _now: Millis, _database: u32) -> Option<Vec<u8>> {
        todo!()
    }
    /// Bytes of data.
    pub fn memory(&self) -> usize {
        todo!()
    }
    /// Sets the limit (bytes, 0: none).
    pub fn set_memory_limit(&self, _bytes: usize) {
        todo!()
    }
    pub fn memory_limit(&self) -> usize {
        todo!()
    }
    /// Evicts until the data is within the limit; false: impossible (-> OOM error).
    pub fn make_room(&self, _now: Millis) -> bool {
        todo!()
    }
}

impl Transaction<'_> {
    /// The keyspace's clock for this command.
    pub fn now(&self) -> Millis {
        todo!()
    }
    /// The type, None when absent or expired. Does not count as access.
    pub fn kind(&self, _key: Key<'_>) -> Option<Kind> {
        todo!()
    }
    pub fn string(&mut self, _key: Key<'_>) -> Result<Option<&[u8]>, WrongType> {
        todo!()
    }
    pub fn hash(&mut self, _key: Key<'_>) -> Result<Option<&HashValue>, WrongType> {
        todo!()
    }
    pub fn set(&mut self, _key: Key<'_>) -> Result<Option<&SetValue>, WrongType> {
        todo!()
    }
    /// None: no such key; Some(None): lives for ever.
    pub fn deadline(&self, _key: Key<'_>) -> Option<Option<Millis>> {
        todo!()
    }
    /// Counts an access (TOUCH). True when the key is there.
    pub fn touch(&mut self, _key: Key<'_>) -> bool {
        todo!()
    }
    /// All keys of the database (KEYS): not expired, not of the system. Only after lock_all.
    pub fn for_each_key(&self, _each: &mut dyn FnMut(&[u8], Kind)) {
        todo!()
    }

    // Writes. Each acts on the value whatever its type is unless it says WrongType.
    pub fn string_set(&mut self, _key: Key<'_>, _value: &[u8], _life: Life) {
        todo!()
    }
    pub fn string_add(&mut self, _key: Key<'_>, _increment: i64) -> Result<i64, WriteError> {
        todo!()
    }
    /// Returns the new value's text.
    pub fn string_add_float(&mut self, _key: Key<'_>, _increment: &[u8]) -> Result<Vec<u8>, WriteError> {
        todo!()
    }
    /// Returns the new length. (Size limits are checked by the command before.)
    pub fn string_append(&mut self, _key: Key<'_>, _bytes: &[u8]) -> Result<usize, WrongType> {
        todo!()
    }
    pub fn string_set_range(&mut self, _key: Key<'_>, _offset: usize, _bytes: &[u8]) -> Result<usize, WrongType> {
        todo!()
    }
    /// True when the field is new.
    pub fn hash_set(&mut self, _key: Key<'_>, _field: &[u8], _value: &[u8]) -> Result<bool, WrongType> {
        todo!()
    }
    pub fn hash_add(&mut self, _key: Key<'_>, _field: &[u8], _increment: i64) -> Result<i64, WriteError> {
        todo!()
    }
    pub fn hash_add_float(&mut self, _key: Key<'_>, _field: &[u8], _increment: &[u8]) -> Result<Vec<u8>, WriteError> {
        todo!()
    }
    pub fn hash_remove(&mut self, _key: Key<'_>, _field: &[u8]) -> Result<bool, WrongType> {
        todo!()
    }
    pub fn set_add(&mut self, _key: Key<'_>, _member: &[u8]) -> Result<bool, WrongType> {
        todo!()
    }
    pub fn set_remove(&mut self, _key: Key<'_>, _member: &[u8]) -> Result<bool, WrongType> {
        todo!()
    }
    pub fn remove(&mut self, _key: Key<'_>) -> bool {
        todo!()
    }
    /// Only after lock_all. `None`: all databases. Returns how many keys went.
    pub fn flush(&mut self, _database: Option<u32>) -> usize {
        todo!()
    }
    /// False when there is no such key.
    pub fn set_deadline(&mut self, _key: Key<'_>, _deadline: Option<Millis>) -> bool {
        todo!()
    }
    /// Ends the command's write: (also on drop). The seq of its effect in a cluster, if it wrote.
    pub fn commit(self) -> Option<u64> {
        todo!()
    }
}
