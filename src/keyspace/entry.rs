//! One key with its value, as compact as it can be.
//!
//! A string is one allocation: a four-byte header, the key's length, the time to live if there is one, the key and the
//! value. Everything else is a boxed [`Object`] of 48 bytes: the value, and the key with its time to live, which lie behind
//! a pointer of their own if they are long. An entry is 16 bytes in its table.
//!
//! ```text
//! flag of a deadline 1 bit | access 31 bits | key length varint | deadline 8, if flagged | key | value
//! ```

use std::borrow::Cow;

use super::access::Access;
use super::edit::Edit;
use super::value::{Value, allocation};
use super::{Kind, Millis, integer};

const FLAG_DEADLINE: u8 = 1;
const HEADER: usize = 4;

/// Strings that grow in place (APPEND, SETRANGE) above this size get a buffer with spare capacity.
const PACKED_GROWTH_LIMIT: usize = 256;

/// Redis calls a string up to this size embedded, if it was not changed in place since it was set.
const EMBEDDED_LIMIT: usize = 44;

/// A key with a value that is not packed.
#[derive(Clone, Debug)]
pub struct Object {
    name: Name,
    value: Value,
}

/// A key's name, and what else is known of it, beside a value that is not packed. Its bytes are the deadline, if there is one,
/// and the key; most are so few that they lie here.
#[derive(Clone, Debug)]
enum Name {
    Inline { header: [u8; HEADER], length: u8, bytes: [u8; INLINE_NAME] },
    Heap { header: [u8; HEADER], bytes: Box<[u8]> },
}

/// Bytes of a name that fit beside the value.
const INLINE_NAME: usize = 18;
const DEADLINE_BYTES: usize = 8;

/// Whether there is a deadline, and the access, in bytes that may lie anywhere.
fn header(has_deadline: bool, access: Access) -> [u8; HEADER] {
    (access.bits() << 1 | u32::from(has_deadline)).to_le_bytes()
}

/// The access in a header.
fn access_of(header: [u8; HEADER]) -> Access {
    Access::from_bits(u32::from_le_bytes(header) >> 1)
}

impl Name {
    fn new(key: &[u8], deadline: Option<Millis>, access: Access) -> Name {
        let header = header(deadline.is_some(), access);
        let deadline = deadline.map(Millis::to_le_bytes);
        let deadline = deadline.as_ref().map_or(&[][..], |deadline| deadline);
        let length = deadline.len() + key.len();
        if length > INLINE_NAME {
            return Name::Heap { header, bytes: [deadline, key].concat().into_boxed_slice() };
        }
        let mut bytes = [0; INLINE_NAME];
        bytes[..deadline.len()].copy_from_slice(deadline);
        bytes[deadline.len()..length].copy_from_slice(key);
        Name::Inline { header, length: length as u8, bytes }
    }

    fn header(&self) -> [u8; HEADER] {
        let (Name::Inline { header, .. } | Name::Heap { header, .. }) = self;
        *header
    }

    fn bytes(&self) -> (&[u8], bool) {
        let has_deadline = self.header()[0] & FLAG_DEADLINE != 0;
        match self {
            Name::Inline { length, bytes, .. } => (&bytes[..usize::from(*length)], has_deadline),
            Name::Heap { bytes, .. } => (bytes, has_deadline),
        }
    }

    fn key(&self) -> &[u8] {
        let (bytes, has_deadline) = self.bytes();
        &bytes[if has_deadline { DEADLINE_BYTES } else { 0 }..]
    }

    fn deadline(&self) -> Option<Millis> {
        let (bytes, has_deadline) = self.bytes();
        bytes.first_chunk().filter(|_| has_deadline).map(|bytes| Millis::from_le_bytes(*bytes))
    }

    fn set_deadline(&mut self, deadline: Option<Millis>) {
        if deadline != self.deadline() {
            *self = Name::new(self.key(), deadline, self.access());
        }
    }

    fn access(&self) -> Access {
        access_of(self.header())
    }

    fn set_access(&mut self, access: Access) {
        let has_deadline = self.bytes().1;
        let (Name::Inline { header: old, .. } | Name::Heap { header: old, .. }) = self;
        *old = header(has_deadline, access);
    }

    /// Bytes of memory behind it.
    fn memory(&self) -> usize {
        match self {
            Name::Inline { .. } => 0,
            Name::Heap { bytes, .. } => allocation(bytes.len()),
        }
    }
}

/// One key of a database.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A string: see the module's text.
    Packed(Box<[u8]>),
    /// Anything else.
    Object(Box<Object>),
}

struct Parts {
    deadline_at: usize,
    key_at: usize,
    value_at: usize,
}

fn parts(packed: &[u8]) -> Parts {
    let mut length = 0usize;
    let mut at = HEADER;
    let mut shift = 0;
    loop {
        let byte = packed[at];
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let key_at = at + if packed[0] & FLAG_DEADLINE != 0 { 8 } else { 0 };
    Parts { deadline_at: at, key_at, value_at: key_at + length }
}

impl Entry {
    /// A string.
    pub fn string(key: &[u8], value: &[u8], deadline: Option<Millis>, access: Access) -> Entry {
        let mut packed = Vec::with_capacity(HEADER + 10 + 8 + key.len() + value.len());
        packed.extend_from_slice(&header(deadline.is_some(), access));
        crate::effects::write_varint(&mut packed, key.len() as u64);
        if let Some(deadline) = deadline {
            packed.extend_from_slice(&deadline.to_le_bytes());
        }
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
        Entry::Packed(packed.into_boxed_slice())
    }

    /// Any value; a small text is packed.
    pub fn new(key: &[u8], value: Value, deadline: Option<Millis>, access: Access) -> Entry {
        match value {
            Value::Text(text) if text.len() <= PACKED_GROWTH_LIMIT => Entry::string(key, &text, deadline, access),
            value => Entry::Object(Box::new(Object { name: Name::new(key, deadline, access), value })),
        }
    }

    /// The key's name.
    pub fn key(&self) -> &[u8] {
        match self {
            Entry::Packed(packed) => {
                let parts = parts(packed);
                &packed[parts.key_at..parts.value_at]
            }
            Entry::Object(object) => object.name.key(),
        }
    }

    /// The first byte of what is behind the entry: reading it brings that into the processor's caches.
    pub fn first_byte(&self) -> u8 {
        match self {
            Entry::Packed(packed) => packed[0],
            Entry::Object(object) => object.name.header()[0],
        }
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Entry::Packed(_) => Kind::String,
            Entry::Object(object) => object.value.kind(),
        }
    }

    /// The bytes of a string.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Entry::Packed(packed) => Some(&packed[parts(packed).value_at..]),
            Entry::Object(object) => match &object.value {
                Value::Text(text) => Some(text),
                _ => None,
            },
        }
    }

    /// When it ends, if ever.
    pub fn deadline(&self) -> Option<Millis> {
        match self {
            Entry::Packed(packed) if packed[0] & FLAG_DEADLINE == 0 => None,
            Entry::Packed(packed) => {
                let at = parts(packed).deadline_at;
                Some(u64::from_le_bytes(packed[at..at + 8].try_into().expect("eight bytes")))
            }
            Entry::Object(object) => object.name.deadline(),
        }
    }

    /// Is it there at this time? Its own time may be over, or that of all its elements.
    #[inline]
    pub fn is_live(&self, now: Millis) -> bool {
        self.deadline().is_none_or(|deadline| deadline > now)
            && !self.collection().is_some_and(|value| value.is_over(now))
    }

    /// When one of its elements ends for the first time, if ever.
    #[inline]
    pub fn earliest_element_end(&self) -> Option<Millis> {
        self.collection().and_then(Value::earliest_deadline)
    }

    /// When it or one of its elements ends for the first time, if ever.
    #[inline]
    pub fn earliest_end(&self) -> Option<Millis> {
        self.deadline().into_iter().chain(self.earliest_element_end()).min()
    }

    /// Changes when it ends.
    pub fn set_deadline(&mut self, deadline: Option<Millis>) {
        let access = self.access();
        match self {
            Entry::Packed(packed) => {
                let parts = parts(packed);
                match deadline {
                    Some(deadline) if packed[0] & FLAG_DEADLINE != 0 => {
                        packed[parts.deadline_at..parts.deadline_at + 8].copy_from_slice(&deadline.to_le_bytes());
                    }
                    None if packed[0] & FLAG_DEADLINE == 0 => {}
                    _ => {
                        let (key, value) = (&packed[parts.key_at..parts.value_at], &packed[parts.value_at..]);
                        *self = Entry::string(key, value, deadline, access);
                    }
                }
            }
            Entry::Object(object) => object.name.set_deadline(deadline),
        }
    }

    /// Replaces the value by a string; in place where the sizes allow it.
    pub fn set_string(&mut self, value: &[u8], deadline: Option<Millis>) {
        if let Entry::Packed(packed) = self {
            let parts = parts(packed);
            if packed.len() - parts.value_at == value.len() && (packed[0] & FLAG_DEADLINE != 0) == deadline.is_some() {
                if let Some(deadline) = deadline {
                    packed[parts.deadline_at..parts.deadline_at + 8].copy_from_slice(&deadline.to_le_bytes());
                }
                packed[parts.value_at..].copy_from_slice(value);
                return;
            }
        }
        *self = Entry::string(self.key(), value, deadline, self.access());
    }

    /// The bytes of a string, for changes that keep their number.
    pub fn text_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Entry::Packed(packed) => {
                let value_at = parts(packed).value_at;
                Some(&mut packed[value_at..])
            }
            Entry::Object(object) => match &mut object.value {
                Value::Text(text) => Some(text),
                _ => None,
            },
        }
    }

    /// Changes a part of a string; in place where its length stays. Must be a string.
    pub fn apply_edit(&mut self, edit: &Edit<&[u8]>) {
        if !self.text_mut().is_some_and(|text| edit.apply_in_place(text)) {
            self.edit_text(|text| edit.apply_to(text));
        }
    }

    /// Changes a string through a growable buffer. Must be a string.
    pub fn edit_text(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Entry::Object(object) = self
            && let Value::Text(text) = &mut object.value
        {
            edit(text);
            return;
        }
        let mut text = self.text().expect("edit_text is for strings").to_vec();
        edit(&mut text);
        *self = Entry::new(self.key(), Value::text(text), self.deadline(), self.access());
    }

    /// The collection, for changes. `None` for a string.
    pub fn collection_mut(&mut self) -> Option<&mut Value> {
        match self {
            Entry::Packed(_) => None,
            Entry::Object(object) => Some(&mut object.value),
        }
    }

    /// The collection. `None` for a packed string.
    pub fn collection(&self) -> Option<&Value> {
        match self {
            Entry::Packed(_) => None,
            Entry::Object(object) => Some(&object.value),
        }
    }

    /// The value; that of a packed string is copied.
    pub fn value(&self) -> Cow<'_, Value> {
        match self {
            Entry::Packed(packed) => Cow::Owned(Value::text(packed[parts(packed).value_at..].to_vec())),
            Entry::Object(object) => Cow::Borrowed(&object.value),
        }
    }

    /// The same under another name.
    pub fn renamed(self, key: &[u8]) -> Entry {
        match self {
            Entry::Packed(ref packed) => {
                Entry::string(key, &packed[parts(packed).value_at..], self.deadline(), self.access())
            }
            Entry::Object(mut object) => {
                object.name = Name::new(key, object.name.deadline(), object.name.access());
                Entry::Object(object)
            }
        }
    }

    /// How the value lies in memory, in Redis's words: `OBJECT ENCODING`.
    pub fn encoding(&self) -> &'static str {
        match self {
            Entry::Packed(packed) => match &packed[parts(packed).value_at..] {
                text if integer::parse(text).is_some() => "int",
                text if text.len() <= EMBEDDED_LIMIT => "embstr",
                _ => "raw",
            },
            Entry::Object(object) => object.value.encoding(),
        }
    }

    /// The value, out of its entry.
    pub fn into_value(self) -> Value {
        match self {
            Entry::Packed(packed) => Value::text(packed[parts(&packed).value_at..].to_vec()),
            Entry::Object(object) => object.value,
        }
    }

    /// How often and when it was used.
    pub fn access(&self) -> Access {
        match self {
            Entry::Packed(packed) => access_of([packed[0], packed[1], packed[2], packed[3]]),
            Entry::Object(object) => object.name.access(),
        }
    }

    /// Notes how often and when it was used.
    pub fn set_access(&mut self, access: Access) {
        match self {
            Entry::Packed(packed) => {
                let has_deadline = packed[0] & FLAG_DEADLINE != 0;
                packed[..HEADER].copy_from_slice(&header(has_deadline, access));
            }
            Entry::Object(object) => object.name.set_access(access),
        }
    }

    /// Bytes of memory behind the entry, about.
    pub fn memory(&self) -> usize {
        match self {
            Entry::Packed(packed) => allocation(packed.len()),
            Entry::Object(object) => allocation(size_of::<Object>()) + object.name.memory() + object.value.memory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::value::SetValue;

    #[test]
    fn an_entry_is_sixteen_bytes() {
        assert_eq!((size_of::<Entry>(), size_of::<Value>(), size_of::<Object>()), (16, 24, 48));
    }

    #[test]
    fn names_of_any_length_keep_key_deadline_and_access() {
        let access = Access::new(77_000).with_counter(200);
        for length in [0, 1, 9, 10, 11, 17, 18, 19, 300] {
            let key = vec![b'k'; length];
            let mut entry = Entry::new(&key, Value::Set(SetValue::new()), None, access);
            for deadline in [None, Some(77), Some(78), None] {
                entry.set_deadline(deadline);
                assert_eq!((entry.key(), entry.deadline(), entry.access()), (&key[..], deadline, access));
            }
            let used = Access::new(99_000).with_counter(1);
            entry.set_access(used);
            let other = entry.renamed(b"another name");
            assert_eq!((other.key(), other.access()), (&b"another name"[..], used));
        }
    }

    #[test]
    fn packed_strings_keep_key_value_deadline_and_access() {
        let access = Access::new(1_700_000_000_000).with_counter(u8::MAX);
        let key = vec![b'k'; 200];
        let mut entry = Entry::string(&key, b"value", None, access);
        assert_eq!((entry.key(), entry.text(), entry.deadline()), (&key[..], Some(&b"value"[..]), None));
        entry.set_deadline(Some(77));
        assert_eq!((entry.key(), entry.text(), entry.deadline()), (&key[..], Some(&b"value"[..]), Some(77)));
        entry.set_string(b"other", Some(78));
        assert_eq!((entry.text(), entry.deadline()), (Some(&b"other"[..]), Some(78)));
        entry.edit_text(|text| text.extend_from_slice(&[b'x'; 1000]));
        assert!(matches!(entry, Entry::Object(_)));
        entry.set_string(b"", None);
        assert_eq!((entry.key(), entry.text(), entry.deadline()), (&key[..], Some(&b""[..]), None));
        assert_eq!(entry.access(), access);
        entry.set_deadline(Some(5));
        entry.set_access(Access::new(0));
        assert_eq!((entry.access(), entry.deadline()), (Access::new(0), Some(5)));
    }
}
