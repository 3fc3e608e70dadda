//! The table of all commands, and how one is found in it by name.
//!
//! The rows stand beside their handlers, one slice per family. A name is found without an allocation: it is put into
//! lower case in a small buffer and looked up by a fixed hash. Command names are not data of clients, so the hash needs
//! no seed.

use std::sync::LazyLock;

use super::spec::Command;
use super::timing::is_quick;
use super::{
    acl, bitfield, bitmaps, cluster_commands, configuration, connection, debug, expiry, functions, generic, geo,
    hash_expiry, hashes, hyperloglog, introspection, latency, list_moves, lists, memory, monitor, moving, object,
    operations, persistence, pubsub, scan, scripting, serialization, server, sets, slowlog, sort,
    sorted_set_operations, sorted_set_ranges, sorted_sets, stream_groups, stream_information, stream_reads, streams,
    strings, transactions,
};

/// Longer names belong to no command.
const MAX_NAME: usize = 32;
/// Slots of the index: a power of two, several times the number of commands.
const SLOTS: usize = 1024;
/// An index slot that holds no entry.
const EMPTY: u16 = u16::MAX;

/// A row of the table with what is computed from it once.
#[derive(Debug)]
pub struct Entry {
    /// The row.
    pub command: &'static Command,
    /// Names the entry in statistics: 0, 1, 2 …, subcommands included.
    pub id: usize,
    /// With the container's name in front for a subcommand: `config|get`.
    pub full_name: String,
    /// First key, last key (negative: from the end), step; zeros when they are not in one range.
    pub key_range: (usize, isize, usize),
    /// It takes no time to speak of: see [`super::timing`].
    pub quick: bool,
    /// The entries of its subcommands.
    pub subcommands: Vec<Entry>,
}

impl Entry {
    fn new(command: &'static Command, container: Option<&str>, next_id: &mut usize) -> Entry {
        let full_name = match container {
            Some(container) => format!("{container}|{}", command.name),
            None => command.name.to_string(),
        };
        let id = *next_id;
        *next_id += 1;
        let subcommands =
            command.subcommands.iter().map(|inner| Entry::new(inner, Some(&full_name), next_id)).collect();
        Entry { command, id, full_name, key_range: command.key_range(), quick: is_quick(command), subcommands }
    }

    /// The subcommand of this name, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&Entry> {
        self.subcommands.iter().find(|inner| name.eq_ignore_ascii_case(inner.command.name.as_bytes()))
    }
}

/// All commands.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    slots: Box<[u16; SLOTS]>,
    ids: usize,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::build);

/// The one table.
pub fn table() -> &'static Table {
    &TABLE
}

impl Table {
    fn build() -> Table {
        let families: [&'static [Command]; 41] = [
            connection::COMMANDS,
            acl::COMMANDS,
            introspection::COMMANDS,
            server::COMMANDS,
            monitor::COMMANDS,
            slowlog::COMMANDS,
            latency::COMMANDS,
            debug::COMMANDS,
            operations::COMMANDS,
            cluster_commands::COMMANDS,
            persistence::COMMANDS,
            configuration::COMMANDS,
            generic::COMMANDS,
            scan::COMMANDS,
            expiry::COMMANDS,
            strings::COMMANDS,
            hashes::COMMANDS,
            hash_expiry::COMMANDS,
            sets::COMMANDS,
            moving::COMMANDS,
            object::COMMANDS,
            sort::COMMANDS,
            memory::COMMANDS,
            serialization::COMMANDS,
            sorted_sets::COMMANDS,
            sorted_set_ranges::COMMANDS,
            sorted_set_operations::COMMANDS,
            geo::COMMANDS,
            lists::COMMANDS,
            list_moves::COMMANDS,
            bitmaps::COMMANDS,
            bitfield::COMMANDS,
            hyperloglog::COMMANDS,
            transactions::COMMANDS,
            scripting::COMMANDS,
            functions::COMMANDS,
            pubsub::COMMANDS,
            streams::COMMANDS,
            stream_reads::COMMANDS,
            stream_groups::COMMANDS,
            stream_information::COMMANDS,
        ];
        let mut ids = 0;
        let entries: Vec<Entry> =
            families.into_iter().flatten().map(|command| Entry::new(command, None, &mut ids)).collect();
        assert!(entries.len() * 2 < SLOTS, "the index is at most half full");
        let mut slots = Box::new([EMPTY; SLOTS]);
        for (at, entry) in entries.iter().enumerate() {
            let name = entry.command.name.as_bytes();
            assert!(name.len() <= MAX_NAME && !name.iter().any(u8::is_ascii_uppercase), "names as lookups form them");
            let mut slot = slot_of(name);
            while slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = u16::try_from(at).expect("there are fewer commands than slots");
        }
        Table { entries, slots, ids }
    }

    /// The command of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let mut buffer = [0; MAX_NAME];
        let lowered = buffer.get_mut(..name.len())?;
        lowered.copy_from_slice(name);
        lowered.make_ascii_lowercase();
        let mut slot = slot_of(lowered);
        while self.slots[slot] != EMPTY {
            let entry = &self.entries[usize::from(self.slots[slot])];
            if entry.command.name.as_bytes() == lowered {
                return Some(entry);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    /// The command or subcommand of this full name (`config|get`), in any case.
    pub fn find_full(&self, name: &[u8]) -> Option<&Entry> {
        match name.iter().position(|&byte| byte == b'|') {
            Some(at) => self.find(&name[..at])?.subcommand(&name[at + 1..]),
            None => self.find(name),
        }
    }

    /// All commands, without their subcommands.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many ids there are, subcommands included.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// The full name that belongs to an id.
    pub fn name_of(&self, id: usize) -> Option<&str> {
        let mut all = self.entries.iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
        all.find(|entry| entry.id == id).map(|entry| &*entry.full_name)
    }
}

/// The full names of all commands and subcommands, by the id that statistics know them by.
pub fn command_names() -> impl Iterator<Item = (usize, &'static str)> {
    let all = table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
    all.map(|entry| (entry.id, &*entry.full_name))
}

/// FNV-1a; its low bits are mixed well enough for a few hundred short words.
fn slot_of(name: &[u8]) -> usize {
    let hash = name.iter().fold(0x811c_9dc5u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 15)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::spec::{Coordination, Flags};

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for entry in table().entries() {
            for name in [entry.full_name.clone(), entry.full_name.to_uppercase()] {
                assert!(std::ptr::eq(table().find(name.as_bytes()).expect("it is in the table"), entry));
            }
            for inner in &entry.subcommands {
                let found = table().find_full(inner.full_name.as_bytes()).expect("it is in the table");
                assert!(std::ptr::eq(found, inner));
                assert_eq!(table().name_of(inner.id), Some(&*inner.full_name));
            }
        }
        for name in ["", "nosuch", "gett", "config|", "config|nosuch", "a name that is longer than any command's"] {
            assert!(table().find_full(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn the_rows_are_consistent() {
        let mut ids = vec![];
        for entry in table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands)) {
            let command = entry.command;
            ids.push(entry.id);
            assert!(!command.summary.is_empty() && command.arity != 0, "{}", entry.full_name);
            assert!(!(command.flags.has(Flags::WRITE) && command.flags.has(Flags::READONLY)), "{}", entry.full_name);
            let writes = command.flags.has(Flags::WRITE);
            assert_eq!(writes, command.coordination != Coordination::Local, "{}", entry.full_name);
        }
        assert_eq!(ids, (0..table().ids()).collect::<Vec<_>>());
    }
}
