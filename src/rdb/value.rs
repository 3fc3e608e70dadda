//! What is encoded. Values are complete and plain: how they lie in memory elsewhere is nobody's concern here.

/// Milliseconds since the Unix epoch.
pub(super) type Millis = u64;

/// One value of any type. A decoded collection other than a stream is never empty, and no member or field is in it
/// twice; whoever encodes one has to keep to that too, or RESTORE refuses it.
#[derive(Clone, Debug, PartialEq)]
pub enum RdbValue {
    /// A string.
    String(Vec<u8>),
    /// The elements from the head on.
    List(Vec<Vec<u8>>),
    /// The members, in no order.
    Set(Vec<Vec<u8>>),
    /// The members with their scores, none of them NaN, in no order.
    SortedSet(Vec<(Vec<u8>, f64)>),
    /// The fields, in no order.
    Hash(Vec<HashField>),
    /// A stream with its consumer groups.
    Stream(Stream),
}

/// A field of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashField {
    /// Its name.
    pub field: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires, if it does (Redis 7.4). Redis knows no time of 2^48 or later; such a time is written as the last
    /// one that it knows.
    pub expires_at: Option<Millis>,
}

/// The id of an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Usually milliseconds since the Unix epoch.
    pub ms: u64,
    /// Counts entries with the same `ms`.
    pub seq: u64,
}

/// A stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// In ascending order of their ids.
    pub entries: Vec<StreamEntry>,
    /// The highest id that the stream ever had, or was told to have had. Not below the last entry's.
    pub last_id: StreamId,
    /// The highest id of a deleted entry; 0-0 if there was none.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added. XSETID can make this any number.
    pub entries_added: u64,
    /// The consumer groups; no two have the same name.
    pub groups: Vec<StreamGroup>,
}

impl Stream {
    /// The id of the first entry; 0-0 if there is none.
    pub fn first_id(&self) -> StreamId {
        self.entries.first().map_or(StreamId::default(), |entry| entry.id)
    }
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Fields and values, as they were given: a field can be there more than once.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamGroup {
    /// Its name.
    pub name: Vec<u8>,
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// The logical count of entries up to `last_id`, where that is known.
    pub entries_read: Option<u64>,
    /// What was delivered and not yet acknowledged, in ascending order of ids. Entries can be deleted and still pend.
    pub pending: Vec<PendingEntry>,
    /// The consumers; no two have the same name. Each pending entry is with exactly one of them.
    pub consumers: Vec<StreamConsumer>,
}

/// An entry that was delivered and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entry.
    pub id: StreamId,
    /// When it was last delivered.
    pub delivered_at: Millis,
    /// How often.
    pub deliveries: u64,
}

/// A consumer in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last tried anything.
    pub seen_at: Millis,
    /// When it last got something; `None`: never. Before Redis 7.2 nobody kept this: then it is `seen_at`.
    pub active_at: Option<Millis>,
    /// Its pending entries, in ascending order.
    pub pending: Vec<StreamId>,
}
