//! From a type byte and what follows it to a value, for every type but streams.

use super::listpack::Listpack;
use super::packed::{Element, Ziplist, Zipmap, intset};
use super::reader::Budget;
use super::{HashField, RdbError, RdbValue, Reader, stream, types};

/// Redis packs the expiry of a field into 48 bits.
pub(super) const LATEST_FIELD_EXPIRY: u64 = (1 << 48) - 1;
/// The kinds of nodes in a list's second form.
const NODE_PLAIN: u64 = 1;
const NODE_LISTPACK: u64 = 2;

/// Reads the value of type `type_byte` at which `reader` stands.
///
/// # Errors
/// An unknown type, anything malformed, a collection without elements (Redis has none, a stream excepted), a member or
/// field that is there twice, or a value beyond the reader's limit.
pub fn decode_value(type_byte: u8, reader: &mut Reader<'_>) -> Result<RdbValue, RdbError> {
    match type_byte {
        types::STRING => reader.string().map(RdbValue::String),
        types::LIST | types::LIST_ZIPLIST | types::LIST_QUICKLIST | types::LIST_QUICKLIST_2 => {
            let list = decode_list(type_byte, reader)?;
            refuse_empty(list.len())?;
            Ok(RdbValue::List(list))
        }
        types::SET | types::SET_INTSET | types::SET_LISTPACK => {
            let set = decode_set(type_byte, reader)?;
            refuse_empty(set.len())?;
            refuse_twice(set.iter().map(Vec::as_slice), "a member that is in a set twice")?;
            Ok(RdbValue::Set(set))
        }
        types::SORTED_SET | types::SORTED_SET_2 | types::SORTED_SET_ZIPLIST | types::SORTED_SET_LISTPACK => {
            let set = decode_sorted_set(type_byte, reader)?;
            refuse_empty(set.len())?;
            refuse_twice(set.iter().map(|member| member.0.as_slice()), "a member that is in a sorted set twice")?;
            Ok(RdbValue::SortedSet(set))
        }
        types::HASH
        | types::HASH_ZIPMAP
        | types::HASH_ZIPLIST
        | types::HASH_LISTPACK
        | types::HASH_METADATA
        | types::HASH_LISTPACK_EX => {
            let hash = decode_hash(type_byte, reader)?;
            refuse_empty(hash.len())?;
            refuse_twice(hash.iter().map(|field| field.field.as_slice()), "a field that is in a hash twice")?;
            Ok(RdbValue::Hash(hash))
        }
        types::STREAM_LISTPACKS | types::STREAM_LISTPACKS_2 | types::STREAM_LISTPACKS_3 => {
            stream::decode(type_byte, reader).map(RdbValue::Stream)
        }
        unknown => Err(RdbError::UnknownType(unknown)),
    }
}

fn decode_list(type_byte: u8, reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, RdbError> {
    let mut list = Vec::new();
    match type_byte {
        types::LIST => {
            for _ in 0..reader.count()? {
                list.push(reader.string()?);
            }
        }
        types::LIST_ZIPLIST => {
            let ziplist = reader.blob()?;
            strings(Ziplist::new(&ziplist)?, &mut reader.budget, &mut list)?;
        }
        types::LIST_QUICKLIST => {
            for _ in 0..reader.count()? {
                let ziplist = reader.blob()?;
                strings(Ziplist::new(&ziplist)?, &mut reader.budget, &mut list)?;
            }
        }
        _ => {
            for _ in 0..reader.count()? {
                match reader.length()? {
                    NODE_PLAIN => list.push(reader.string()?),
                    NODE_LISTPACK => {
                        let listpack = reader.blob()?;
                        strings(Listpack::new(&listpack)?, &mut reader.budget, &mut list)?;
                    }
                    _ => return Err(RdbError::Invalid("a node of a list of an unknown kind")),
                }
            }
        }
    }
    Ok(list)
}

fn decode_set(type_byte: u8, reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, RdbError> {
    let mut set = Vec::new();
    match type_byte {
        types::SET => {
            for _ in 0..reader.count()? {
                set.push(reader.string()?);
            }
        }
        types::SET_INTSET => {
            let integers = reader.blob()?;
            strings(intset(&integers)?, &mut reader.budget, &mut set)?;
        }
        _ => {
            let listpack = reader.blob()?;
            strings(Listpack::new(&listpack)?, &mut reader.budget, &mut set)?;
        }
    }
    Ok(set)
}

fn decode_sorted_set(type_byte: u8, reader: &mut Reader<'_>) -> Result<Vec<(Vec<u8>, f64)>, RdbError> {
    let mut set = Vec::new();
    match type_byte {
        types::SORTED_SET | types::SORTED_SET_2 => {
            for _ in 0..reader.count()? {
                let member = reader.string()?;
                let score = if type_byte == types::SORTED_SET { reader.text_double()? } else { reader.double()? };
                set.push((member, score));
            }
        }
        _ => {
            let packed = reader.blob()?;
            let budget = &mut reader.budget;
            let each = |[member, score]: [Element<'_>; 2]| {
                set.push((member.string(budget)?, score.score()?));
                Ok(())
            };
            match type_byte {
                types::SORTED_SET_ZIPLIST => groups(Ziplist::new(&packed)?, each)?,
                _ => groups(Listpack::new(&packed)?, each)?,
            }
        }
    }
    Ok(set)
}

fn decode_hash(type_byte: u8, reader: &mut Reader<'_>) -> Result<Vec<HashField>, RdbError> {
    let mut hash = Vec::new();
    match type_byte {
        types::HASH => {
            for _ in 0..reader.count()? {
                let (field, value) = (reader.string()?, reader.string()?);
                hash.push(HashField { field, value, expires_at: None });
            }
        }
        types::HASH_METADATA => {
            let earliest = reader.millis()?;
            for _ in 0..reader.count()? {
                // 0: does not expire; n: n - 1 milliseconds after the earliest of all.
                let expires_at = match (reader.length()?, earliest) {
                    (0, _) => None,
                    (after, Some(earliest)) => Some(field_expiry(earliest.saturating_add(after - 1))?),
                    (_, None) => return Err(RdbError::Invalid("a field that expires before 1970")),
                };
                let (field, value) = (reader.string()?, reader.string()?);
                hash.push(HashField { field, value, expires_at });
            }
        }
        types::HASH_LISTPACK_EX => {
            // The earliest of all; the fields say it again.
            reader.millis()?;
            let packed = reader.blob()?;
            let budget = &mut reader.budget;
            groups(Listpack::new(&packed)?, |[field, value, expiry]| {
                let expires_at = match expiry.unsigned()? {
                    0 => None,
                    at => Some(field_expiry(at)?),
                };
                hash.push(HashField { field: field.string(budget)?, value: value.string(budget)?, expires_at });
                Ok(())
            })?;
        }
        _ => {
            let packed = reader.blob()?;
            let budget = &mut reader.budget;
            let each = |[field, value]: [Element<'_>; 2]| {
                hash.push(HashField { field: field.string(budget)?, value: value.string(budget)?, expires_at: None });
                Ok(())
            };
            match type_byte {
                types::HASH_ZIPMAP => groups(Zipmap::new(&packed)?, each)?,
                types::HASH_ZIPLIST => groups(Ziplist::new(&packed)?, each)?,
                _ => groups(Listpack::new(&packed)?, each)?,
            }
        }
    }
    Ok(hash)
}

fn field_expiry(at: u64) -> Result<u64, RdbError> {
    if at > LATEST_FIELD_EXPIRY { Err(RdbError::Invalid("a field that expires too late")) } else { Ok(at) }
}

/// Appends all elements as strings.
fn strings<'a>(
    elements: impl Iterator<Item = Result<Element<'a>, RdbError>>,
    budget: &mut Budget,
    out: &mut Vec<Vec<u8>>,
) -> Result<(), RdbError> {
    for element in elements {
        out.push(element?.string(budget)?);
    }
    Ok(())
}

/// Hands the elements on in groups of `N`.
fn groups<'a, const N: usize>(
    mut elements: impl Iterator<Item = Result<Element<'a>, RdbError>>,
    mut each: impl FnMut([Element<'a>; N]) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    while let Some(first) = elements.next() {
        let mut group = [first?; N];
        for place in &mut group[1..] {
            *place = elements.next().ok_or(RdbError::Invalid("a collection whose last element is incomplete"))??;
        }
        each(group)?;
    }
    Ok(())
}

fn refuse_empty(length: usize) -> Result<(), RdbError> {
    if length == 0 { Err(RdbError::Invalid("a collection without elements")) } else { Ok(()) }
}

/// By sorting, which no choice of names makes slow, as it would a hash table.
fn refuse_twice<'a>(names: impl Iterator<Item = &'a [u8]>, what: &'static str) -> Result<(), RdbError> {
    let mut names: Vec<&[u8]> = names.collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(RdbError::Invalid(what)) } else { Ok(()) }
}
