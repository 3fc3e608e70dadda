//! One shard: the keys whose hash falls into it, of every database, and what is not yet stable about them.
//!
//! Every change goes through [`Shard::apply`], whether a client of this node or a peer caused it.

use foldhash::fast::FixedState;

use super::Millis;
use super::access::Access;
use super::causality::{KeyCausality, Mark, Member};
use super::database::{Database, hash_key};
use super::edit::Edit;
use super::entry::{Entry, Value};
use super::merge::{KeyState, kind_of};
use super::register::{self, Change, Register};
use super::value::{HashValue, SetValue};
use crate::effects::{Action, Frontier};

/// See the module's text.
#[derive(Debug)]
pub struct Shard {
    pub databases: Vec<Database>,
    /// While a snapshot is being caught up with: what this shard had when it was exported.
    pub imported: Option<Frontier>,
    /// What the keyspace's counter was last told about `memory()`.
    pub reported_memory: usize,
    random: fastrand::Rng,
}

/// A key, and how to find it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub database: u32,
    pub key: &'a [u8],
    pub hash: u64,
}

impl Shard {
    /// An empty shard.
    pub fn new(seed: u64) -> Shard {
        Shard { databases: Vec::new(), imported: None, reported_memory: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.databases.clear();
    }

    /// Bytes of memory of the keys, about.
    pub fn memory(&self) -> usize {
        self.databases.iter().map(Database::memory).sum()
    }

    /// The entry of a key.
    pub fn entry(&self, place: &Place<'_>) -> Option<&Entry> {
        let database = self.databases.get(place.database as usize)?;
        Some(database.at(database.find(place.hash, place.key)?))
    }

    /// The entry of a key that is read: counts as a use.
    pub fn used_entry(&mut self, place: &Place<'_>, now: Millis) -> Option<&Entry> {
        let database = self.databases.get_mut(place.database as usize)?;
        let entry = database.entry_mut(database.find(place.hash, place.key)?);
        let access = entry.access();
        let touched = access.touched(now, self.random.u32(..));
        if touched != access {
            entry.set_access(touched);
        }
        Some(entry)
    }

    /// Does the key hold values of several types, created concurrently?
    pub fn has_hidden(&self, place: &Place<'_>) -> bool {
        let database = self.databases.get(place.database as usize);
        let causality = database.and_then(|database| database.unstable.get(place.key));
        causality.is_some_and(|causality| !causality.hidden.is_empty())
    }

    /// The database of that number, made when it is used for the first time.
    pub fn database_mut(&mut self, number: u32) -> &mut Database {
        let at = number as usize;
        if self.databases.len() <= at {
            self.databases.resize_with(at + 1, Database::default);
        }
        &mut self.databases[at]
    }

    /// A key's metadata, to be added to.
    fn causality_mut(&mut self, place: &Place<'_>, mark: &Mark<'_>) -> &mut KeyCausality {
        self.entry_and_causality(place, mark).1
    }

    fn entry_and_causality(&mut self, place: &Place<'_>, mark: &Mark<'_>) -> (Option<&Entry>, &mut KeyCausality) {
        let (entry, unstable) = self.database_mut(place.database).find_with_unstable(place.hash, place.key);
        let deadline = entry.and_then(Entry::deadline);
        let causality = unstable.entry(place.key.into()).or_insert_with(|| KeyCausality::resting(deadline));
        causality.summarize(mark.dot);
        (entry, causality)
    }

    /// Applies an action to a key. `result` is the new value of an addition, where the caller has computed it already.
    /// True when the action created or removed the key, the field or the member.
    pub fn apply(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        place: &Place<'_>,
        action: &Action<'_>,
        result: Option<&[u8]>,
        mark: Option<&Mark<'_>>,
    ) -> bool {
        if let Some(mark) = mark {
            // Metadata without a value is what a concurrent removal left of the key's life, for the value to inherit; a
            // value of another type lost an election at the effect's origin. Both are for the general case.
            let shown = self.entry(place).map(Entry::kind);
            let fits = match kind_of(action) {
                Some(kind) => shown == Some(kind) || matches!(action, Action::StringSet { .. }),
                None => shown.is_some(),
            };
            let within = match self.database_mut(place.database).unstable.get(place.key) {
                Some(causality) => fits && causality.is_within(&mark.seen),
                None => (fits || shown.is_none()) && mark.seen.stable,
            };
            if !within {
                return self.merge(hasher, now, place, action, mark);
            }
            self.note(place, action, mark);
        }
        let changed = self.apply_plainly(hasher, now, place, action, result);
        if let Some(mark) = mark
            && self.entry(place).is_none()
            && let Some(causality) = self.database_mut(place.database).unstable.get_mut(place.key)
        {
            // The removal of the last element took the value and left the key's life.
            causality.mourn(mark.applied);
        }
        changed
    }

    /// Notes an action that has seen everything there is about the key, before it is applied.
    fn note(&mut self, place: &Place<'_>, action: &Action<'_>, mark: &Mark<'_>) {
        match *action {
            Action::Remove => {
                self.database_mut(place.database).unstable.remove(place.key);
            }
            Action::Deadline { at } => {
                self.causality_mut(place, mark).life.change(at, mark);
            }
            Action::StringSet { deadline, .. } => {
                let mut causality = KeyCausality::resting(None);
                causality.string = Some(Register::set(mark, deadline));
                causality.summarize(mark.dot);
                self.database_mut(place.database).unstable.insert(place.key.into(), causality);
            }
            Action::StringAdd { .. }
            | Action::StringAddFloat { .. }
            | Action::StringAppend { .. }
            | Action::StringSetRange { .. }
            | Action::StringSetBits { .. }
            | Action::StringAddBits(_)
            | Action::StringRaiseRegisters(_) => {
                if let Some(change) = Change::of(action) {
                    let (entry, causality) = self.entry_and_causality(place, mark);
                    let current = entry.and_then(Entry::text);
                    let register = causality.string.get_or_insert_with(|| Register::resting(current, &change));
                    register.note(current, change, mark);
                }
            }
            Action::FieldSet { field, .. } => {
                let causality = self.causality_mut(place, mark);
                causality.fields.insert(field.into(), Register::set(mark, None));
            }
            Action::FieldAdd { field, .. } | Action::FieldAddFloat { field, .. } => {
                let current = match self.entry(place).and_then(Entry::collection) {
                    Some(Value::Hash(hash)) => hash.get(field).map(<[u8]>::to_vec),
                    _ => None,
                };
                if let Some(change) = Change::of(action) {
                    let fields = &mut self.causality_mut(place, mark).fields;
                    let register =
                        fields.entry(field.into()).or_insert_with(|| Register::resting(current.as_deref(), &change));
                    register.note(current.as_deref(), change, mark);
                }
            }
            Action::FieldRemove { field } => {
                self.causality_mut(place, mark).fields.remove(field);
            }
            Action::MemberAdd { member } => {
                let added = Member { stable: false, additions: vec![(mark.dot, mark.stamp)] };
                self.causality_mut(place, mark).members.insert(member.into(), added);
            }
            Action::MemberRemove { member } => {
                self.causality_mut(place, mark).members.remove(member);
            }
        }
    }

    /// Applies an action as a single node would. Only a SET meets a value of another type.
    fn apply_plainly(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        place: &Place<'_>,
        action: &Action<'_>,
        result: Option<&[u8]>,
    ) -> bool {
        let hash = place.hash;
        let database = self.database_mut(place.database);
        let found = database.find(hash, place.key);
        let insert = |database: &mut Database, entry| {
            database.insert(hasher, hash, entry);
            true
        };
        let access = Access::new(now);
        match (*action, found) {
            (Action::Remove, Some(at)) => {
                database.remove(hasher, at);
                true
            }
            (Action::Deadline { at: deadline }, Some(at)) => {
                database.update(at, |entry| entry.set_deadline(deadline));
                true
            }
            (Action::Remove | Action::Deadline { .. }, None) => false,
            (Action::StringSet { value, deadline }, Some(at)) => {
                database.update(at, |entry| entry.set_string(value, deadline));
                false
            }
            (Action::StringSet { value, deadline }, None) => {
                insert(database, Entry::string(place.key, value, deadline, access))
            }
            (Action::StringAdd { .. } | Action::StringAddFloat { .. }, _) => {
                let current = found.and_then(|at| database.at(at).text());
                let computed;
                let value = match result {
                    Some(value) => value,
                    None => match sum(current, action) {
                        Some(value) => {
                            computed = value;
                            &computed
                        }
                        None => return false,
                    },
                };
                match found {
                    Some(at) => {
                        database.update(at, |entry| entry.set_string(value, entry.deadline()));
                        false
                    }
                    None => insert(database, Entry::string(place.key, value, None, access)),
                }
            }
            (
                Action::StringAppend { .. }
                | Action::StringSetRange { .. }
                | Action::StringSetBits { .. }
                | Action::StringAddBits(_)
                | Action::StringRaiseRegisters(_),
                _,
            ) => {
                let edit = Edit::of(action).expect("these actions are edits");
                match found {
                    Some(at) => {
                        database.update(at, |entry| match result {
                            Some(result) => entry.edit_text(|text| {
                                text.clear();
                                text.extend_from_slice(result);
                            }),
                            None => entry.apply_edit(&edit),
                        });
                        false
                    }
                    None => {
                        let mut text = None;
                        edit.apply(&mut text);
                        let text = Value::Text(text.expect("an edit makes a string"));
                        insert(database, Entry::new(place.key, text, None, access))
                    }
                }
            }
            (Action::FieldSet { .. } | Action::FieldAdd { .. } | Action::FieldAddFloat { .. }, found) => {
                let edit = |hash: &mut HashValue| match *action {
                    Action::FieldSet { field, value } => hash.insert(field, value),
                    Action::FieldAdd { field, .. } | Action::FieldAddFloat { field, .. } => match result {
                        Some(value) => hash.insert(field, value),
                        None => sum(hash.get(field), action).is_some_and(|value| hash.insert(field, &value)),
                    },
                    _ => unreachable!("no other action edits fields"),
                };
                match found {
                    Some(at) => database.update(at, |entry| match entry.collection_mut() {
                        Some(Value::Hash(hash)) => edit(hash),
                        _ => unreachable!("an action meets its own type"),
                    }),
                    None => {
                        let mut fields = HashValue::new(hasher.clone());
                        edit(&mut fields);
                        insert(database, Entry::new(place.key, Value::Hash(fields), None, access))
                    }
                }
            }
            (Action::MemberAdd { member }, Some(at)) => database.update(at, |entry| match entry.collection_mut() {
                Some(Value::Set(set)) => set.insert(member),
                _ => unreachable!("an action meets its own type"),
            }),
            (Action::MemberAdd { member }, None) => {
                let mut members = SetValue::new(hasher.clone());
                members.insert(member);
                insert(database, Entry::new(place.key, Value::Set(members), None, access))
            }
            (Action::FieldRemove { .. } | Action::MemberRemove { .. }, Some(at)) => {
                let removed = database.update(at, |entry| match (entry.collection_mut(), *action) {
                    (Some(Value::Hash(hash)), Action::FieldRemove { field }) => hash.remove(field),
                    (Some(Value::Set(set)), Action::MemberRemove { member }) => set.remove(member),
                    _ => unreachable!("an action meets its own type"),
                });
                if database.at(at).collection().is_some_and(Value::is_empty_collection) {
                    database.remove(hasher, at);
                }
                removed
            }
            (Action::FieldRemove { .. } | Action::MemberRemove { .. }, None) => false,
        }
    }

    /// Merges an action that has not seen everything there is about the key.
    fn merge(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        place: &Place<'_>,
        action: &Action<'_>,
        mark: &Mark<'_>,
    ) -> bool {
        let database = self.database_mut(place.database);
        let entry = database.find(place.hash, place.key).map(|at| database.remove(hasher, at));
        let access = entry.as_ref().map_or(Access::new(now), Entry::access);
        let deadline = entry.as_ref().and_then(Entry::deadline);
        let existed = entry.is_some();
        let causality = database.unstable.remove(place.key).unwrap_or_else(|| KeyCausality::resting(deadline));
        let mut state = KeyState { shown: entry.map(Entry::into_value), deadline, causality };
        state.merge(action, mark, hasher);
        let exists = state.shown.is_some();
        if let Some(value) = state.shown {
            database.insert(hasher, place.hash, Entry::new(place.key, value, state.deadline, access));
        }
        if !exists {
            state.causality.mourn(mark.applied);
        }
        if !state.causality.is_settled(exists) {
            database.unstable.insert(place.key.into(), state.causality);
        }
        existed != exists
    }

    /// Flushes one database, or all.
    pub fn flush_databases(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        number: Option<u32>,
        mark: Option<&Mark<'_>>,
    ) -> usize {
        let all = 0..self.databases.len() as u32;
        let chosen = all.filter(|database| number.is_none_or(|number| number == *database));
        chosen.map(|database| self.flush(hasher, now, database, mark)).sum()
    }

    /// Removes what the flush of a database has seen; keys of the system stay. Returns how many keys went.
    fn flush(&mut self, hasher: &FixedState, now: Millis, number: u32, mark: Option<&Mark<'_>>) -> usize {
        if self.databases.len() <= number as usize {
            return 0;
        }
        let database = self.database_mut(number);
        let before = database.len();
        let all_seen = mark.is_none_or(|mark| mark.seen.stable) && database.unstable.is_empty();
        if all_seen && database.visible() == before {
            *database = Database::default();
            return before;
        }
        let mut keys: Vec<Box<[u8]>> = database.entries().iter().map(|entry| entry.key().into()).collect();
        // Keys without a value may have metadata that the flush has seen.
        keys.extend(database.unstable.keys().cloned());
        for key in keys.iter().filter(|key| !super::is_system_key(key)) {
            let place = Place { database: number, key, hash: hash_key(hasher, key) };
            self.apply(hasher, now, &place, &Action::Remove, None, mark);
        }
        before - self.databases[number as usize].len()
    }

    /// Drops the metadata of what is stable.
    pub fn fold(&mut self, hasher: &FixedState, stable: &Frontier) {
        for database in &mut self.databases {
            let mut unstable = std::mem::take(&mut database.unstable);
            unstable.retain(|key, causality| {
                causality.fold(stable);
                let has_value = database.find(hash_key(hasher, key), key).is_some();
                !(causality.is_settled(has_value) || causality.is_stable(stable))
            });
            database.unstable = unstable;
        }
    }
}

/// The value after an addition; `None` where the value is not a number.
fn sum(current: Option<&[u8]>, action: &Action<'_>) -> Option<Vec<u8>> {
    match *action {
        Action::StringAdd { increment } | Action::FieldAdd { increment, .. } => {
            register::add_integer(current, increment)
        }
        Action::StringAddFloat { increment } | Action::FieldAddFloat { increment, .. } => {
            register::add_float(current, increment)
        }
        _ => None,
    }
}
