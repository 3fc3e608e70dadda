//! Streams, both ways.
//!
//! ```text
//! nodes: the id of the first entry (a string of 16 bytes, big endian), a listpack
//! number of entries, last id (ms, seq)
//! second form on: first id, highest deleted id, entries ever added
//! groups: name, last id, second form on: entries read
//!     pending entries: id (16 bytes), time of delivery (8 bytes), number of deliveries
//!     consumers: name, time seen (8 bytes), third form on: time active (8 bytes)
//!         pending entries: id (16 bytes)
//! ```
//!
//! Whatever is plural has its number in front; numbers are written like lengths, times are little endian. The listpack
//! of a node begins with a master entry: how many entries the node has and how many deleted ones besides, the number
//! of the master's fields, their names, and 0. An entry is: flags (1: deleted; 2: its fields are the master's), its id
//! less the node's (ms, seq), the fields and values with their number in front, or only the values if the fields are
//! the master's, and how many elements that was.
//!
//! Sources: the description of the format by rdbparser (`rdb.adoc`); groups and the second form as observed.

use super::listpack::{Listpack, ListpackWriter};
use super::reader::ELEMENT_OVERHEAD;
use super::writer::{write_blob, write_length, write_string};
use super::{
    PendingEntry, RdbError, Reader, Stream, StreamConsumer, StreamEntry, StreamGroup, StreamId, types, value::Millis,
};

const DELETED: u64 = 1;
const MASTER_FIELDS: u64 = 2;
/// At most this many entries, and no more after this many bytes of fields and values, go into one node: the defaults of
/// `stream-node-max-entries` and `stream-node-max-bytes`.
const NODE_ENTRIES: usize = 100;
const NODE_BYTES: usize = 4096;

/// Reads a stream in the form of `type_byte`.
pub(super) fn decode(type_byte: u8, reader: &mut Reader<'_>) -> Result<Stream, RdbError> {
    let mut stream = Stream::default();
    for _ in 0..reader.count()? {
        decode_node(reader, &mut stream.entries)?;
    }
    if reader.length()? != stream.entries.len() as u64 {
        return Err(RdbError::Invalid("a stream with another number of entries"));
    }
    stream.last_id = numbers(reader)?;
    if stream.entries.last().is_some_and(|last| last.id > stream.last_id) {
        return Err(RdbError::Invalid("a stream whose last id is not the last"));
    }
    if type_byte == types::STREAM_LISTPACKS {
        stream.entries_added = stream.entries.len() as u64;
    } else {
        // Follows from the entries.
        numbers(reader)?;
        stream.max_deleted_id = numbers(reader)?;
        stream.entries_added = reader.length()?;
    }
    for _ in 0..reader.count()? {
        let group = decode_group(type_byte, reader, &stream)?;
        stream.groups.push(group);
    }
    refuse_same_names(stream.groups.iter().map(|group| &group.name), "two consumer groups of one name")?;
    Ok(stream)
}

fn decode_node(reader: &mut Reader<'_>, entries: &mut Vec<StreamEntry>) -> Result<(), RdbError> {
    let first = reader.blob()?;
    let first = first.as_ref().try_into().map_err(|_| RdbError::Invalid("a stream id of another length"))?;
    let first = id_from_bytes(first);
    let listpack = reader.blob()?;
    let mut elements = Listpack::new(&listpack)?;
    let mut counted = [elements.expect()?.unsigned()?, elements.expect()?.unsigned()?];
    let mut master = Vec::new();
    for _ in 0..elements.expect()?.unsigned()? {
        reader.budget.spend(ELEMENT_OVERHEAD)?;
        master.push(elements.expect()?);
    }
    if elements.expect()?.integer()? != 0 {
        return Err(RdbError::Invalid("a stream node whose master entry does not end"));
    }
    while let Some(flags) = elements.next() {
        let flags = flags?.unsigned()?;
        let id = StreamId {
            ms: first.ms.wrapping_add_signed(elements.expect()?.integer()?),
            seq: first.seq.wrapping_add_signed(elements.expect()?.integer()?),
        };
        let deleted = flags & DELETED != 0;
        let budget = &mut reader.budget;
        let mut fields = Vec::new();
        let mut read = 3;
        if flags & MASTER_FIELDS != 0 {
            for field in &master {
                let value = elements.expect()?;
                read += 1;
                if !deleted {
                    fields.push((field.string(budget)?, value.string(budget)?));
                }
            }
        } else {
            let number = elements.expect()?.unsigned()?;
            read += 1;
            for _ in 0..number {
                let (field, value) = (elements.expect()?, elements.expect()?);
                read += 2;
                if !deleted {
                    fields.push((field.string(budget)?, value.string(budget)?));
                }
            }
        }
        if elements.expect()?.unsigned()? != read {
            return Err(RdbError::Invalid("a stream entry that cannot be found from behind"));
        }
        counted[usize::from(deleted)] = counted[usize::from(deleted)].wrapping_sub(1);
        if !deleted {
            if entries.last().is_some_and(|last| last.id >= id) {
                return Err(RdbError::Invalid("stream entries that are not in order"));
            }
            budget.spend(ELEMENT_OVERHEAD)?;
            entries.push(StreamEntry { id, fields });
        }
    }
    if counted == [0, 0] { Ok(()) } else { Err(RdbError::Invalid("a stream node with another number of entries")) }
}

fn decode_group(type_byte: u8, reader: &mut Reader<'_>, stream: &Stream) -> Result<StreamGroup, RdbError> {
    let name = reader.string()?;
    let last_id = numbers(reader)?;
    let entries_read = match type_byte {
        types::STREAM_LISTPACKS => entries_up_to(stream, last_id),
        // Written as -1 if it is not known.
        _ => Some(reader.length()?).filter(|&read| i64::try_from(read).is_ok()),
    };
    let mut pending = Vec::new();
    for _ in 0..reader.count()? {
        let (id, delivered_at) = (id_from_bytes(&reader.cursor.array()?), time(reader)?);
        reader.budget.spend(ELEMENT_OVERHEAD)?;
        pending.push(PendingEntry { id, delivered_at, deliveries: reader.length()? });
    }
    pending.sort_unstable_by_key(|entry| entry.id);
    let mut consumers = Vec::new();
    let mut owned = Vec::new();
    for _ in 0..reader.count()? {
        let consumer = decode_consumer(type_byte, reader)?;
        owned.extend_from_slice(&consumer.pending);
        consumers.push(consumer);
    }
    refuse_same_names(consumers.iter().map(|consumer| &consumer.name), "two consumers of one name in a group")?;
    owned.sort_unstable();
    if owned.windows(2).any(|pair| pair[0] == pair[1]) || !owned.iter().eq(pending.iter().map(|entry| &entry.id)) {
        return Err(RdbError::Invalid("a pending entry that is not with exactly one consumer"));
    }
    Ok(StreamGroup { name, last_id, entries_read, pending, consumers })
}

fn decode_consumer(type_byte: u8, reader: &mut Reader<'_>) -> Result<StreamConsumer, RdbError> {
    let name = reader.string()?;
    let seen_at = time(reader)?;
    // Written as -1 if it never was.
    let active_at = if type_byte == types::STREAM_LISTPACKS_3 { reader.millis()? } else { Some(seen_at) };
    let mut pending = Vec::new();
    for _ in 0..reader.count()? {
        reader.budget.spend(ELEMENT_OVERHEAD)?;
        pending.push(id_from_bytes(&reader.cursor.array()?));
    }
    pending.sort_unstable();
    Ok(StreamConsumer { name, seen_at, active_at, pending })
}

/// What Redis 7.0 assumes of a group that an older version wrote: the number of entries up to `id` where that is plain,
/// as observed.
fn entries_up_to(stream: &Stream, id: StreamId) -> Option<u64> {
    if stream.entries.is_empty() || id < stream.first_id() {
        Some(0)
    } else if id == stream.last_id {
        Some(stream.entries_added)
    } else if id == stream.first_id() {
        Some(1)
    } else {
        None
    }
}

fn refuse_same_names<'a>(names: impl Iterator<Item = &'a Vec<u8>>, what: &'static str) -> Result<(), RdbError> {
    let mut names: Vec<&Vec<u8>> = names.collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(RdbError::Invalid(what)) } else { Ok(()) }
}

fn numbers(reader: &mut Reader<'_>) -> Result<StreamId, RdbError> {
    Ok(StreamId { ms: reader.length()?, seq: reader.length()? })
}

fn time(reader: &mut Reader<'_>) -> Result<Millis, RdbError> {
    reader.millis()?.ok_or(RdbError::Invalid("a time before 1970"))
}

fn id_from_bytes(bytes: &[u8; 16]) -> StreamId {
    let both = u128::from_be_bytes(*bytes);
    StreamId { ms: (both >> 64) as u64, seq: both as u64 }
}

fn id_to_bytes(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// Appends a stream in its second form.
pub(super) fn encode(stream: &Stream, out: &mut Vec<u8>) {
    let nodes: Vec<&[StreamEntry]> = nodes(&stream.entries).collect();
    write_length(out, nodes.len() as u64);
    for entries in nodes {
        encode_node(entries, out);
    }
    write_length(out, stream.entries.len() as u64);
    for id in [stream.last_id, stream.first_id(), stream.max_deleted_id] {
        write_numbers(out, id);
    }
    write_length(out, stream.entries_added);
    write_length(out, stream.groups.len() as u64);
    for group in &stream.groups {
        write_string(out, &group.name);
        write_numbers(out, group.last_id);
        write_length(out, group.entries_read.unwrap_or(u64::MAX));
        write_length(out, group.pending.len() as u64);
        for entry in &group.pending {
            out.extend_from_slice(&id_to_bytes(entry.id));
            out.extend_from_slice(&entry.delivered_at.to_le_bytes());
            write_length(out, entry.deliveries);
        }
        write_length(out, group.consumers.len() as u64);
        for consumer in &group.consumers {
            write_string(out, &consumer.name);
            out.extend_from_slice(&consumer.seen_at.to_le_bytes());
            write_length(out, consumer.pending.len() as u64);
            for &id in &consumer.pending {
                out.extend_from_slice(&id_to_bytes(id));
            }
        }
    }
}

/// Cuts entries into the nodes that they are written in.
fn nodes(mut entries: &[StreamEntry]) -> impl Iterator<Item = &[StreamEntry]> {
    std::iter::from_fn(move || {
        let (mut count, mut bytes) = (0, 0);
        while count < entries.len().min(NODE_ENTRIES) && bytes < NODE_BYTES {
            bytes += entries[count].fields.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>();
            count += 1;
        }
        let (node, rest) = entries.split_at(count);
        entries = rest;
        (count > 0).then_some(node)
    })
}

fn encode_node(entries: &[StreamEntry], out: &mut Vec<u8>) {
    let [first, ..] = entries else { unreachable!("a node has an entry") };
    let mut listpack = ListpackWriter::new();
    let number = |number: usize| i64::try_from(number).expect("less than memory can hold");
    listpack.integer(number(entries.len()));
    listpack.integer(0);
    listpack.integer(number(first.fields.len()));
    for (field, _) in &first.fields {
        listpack.string(field);
    }
    listpack.integer(0);
    for entry in entries {
        let same = entry.fields.iter().map(|field| &field.0).eq(first.fields.iter().map(|field| &field.0));
        listpack.integer(if same { MASTER_FIELDS as i64 } else { 0 });
        listpack.integer(entry.id.ms.wrapping_sub(first.id.ms) as i64);
        listpack.integer(entry.id.seq.wrapping_sub(first.id.seq) as i64);
        if same {
            entry.fields.iter().for_each(|(_, value)| listpack.string(value));
            listpack.integer(number(entry.fields.len() + 3));
        } else {
            listpack.integer(number(entry.fields.len()));
            for (field, value) in &entry.fields {
                listpack.string(field);
                listpack.string(value);
            }
            listpack.integer(number(2 * entry.fields.len() + 4));
        }
    }
    write_blob(out, &id_to_bytes(first.id));
    write_blob(out, &listpack.finish());
}

fn write_numbers(out: &mut Vec<u8>, id: StreamId) {
    write_length(out, id.ms);
    write_length(out, id.seq);
}
