//! What happens to keys, told to whoever wants to know: keyspace notifications.
//!
//! Handlers say what their command has done, by the names that Redis gives to it ([`Transaction::announce`]); expiry, eviction and
//! the effects of peers are announced here. A [`Transaction`] collects, and tells it right before it gives its locks back: so
//! what is told about one key comes in the order in which it happened. Who listens is not known here: the listener is a function.
//!
//! Without anybody who asked for a class of events, saying one costs a load and a branch.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Key, Keyspace, Millis, Transaction, is_system_key};
use crate::effects::{Action, End};

/// Classes of events, and the two forms in which they are published: the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventClasses(u32);

impl EventClasses {
    /// `K`: in channels named after the keys.
    pub const BY_KEY: EventClasses = EventClasses(1);
    /// `E`: in channels named after the events.
    pub const BY_EVENT: EventClasses = EventClasses(1 << 1);
    /// `g`: of any type.
    pub const GENERIC: EventClasses = EventClasses(1 << 2);
    /// `$`
    pub const STRING: EventClasses = EventClasses(1 << 3);
    /// `l`
    pub const LIST: EventClasses = EventClasses(1 << 4);
    /// `s`
    pub const SET: EventClasses = EventClasses(1 << 5);
    /// `h`
    pub const HASH: EventClasses = EventClasses(1 << 6);
    /// `z`
    pub const SORTED_SET: EventClasses = EventClasses(1 << 7);
    /// `x`
    pub const EXPIRED: EventClasses = EventClasses(1 << 8);
    /// `e`
    pub const EVICTED: EventClasses = EventClasses(1 << 9);
    /// `t`
    pub const STREAM: EventClasses = EventClasses(1 << 10);
    /// `d`: of modules, which there are none of.
    pub const MODULE: EventClasses = EventClasses(1 << 11);
    /// `n`: a key that was not there.
    pub const NEW: EventClasses = EventClasses(1 << 12);
    /// `m`: a read of a key that is not there.
    pub const KEY_MISS: EventClasses = EventClasses(1 << 13);

    /// `A`: all but `n` and `m`.
    pub const ALL: EventClasses = EventClasses(0b1111_1111_1100);

    /// The letters, in the order in which Redis shows them.
    const LETTERS: [(u8, EventClasses); 14] = [
        (b'g', EventClasses::GENERIC),
        (b'$', EventClasses::STRING),
        (b'l', EventClasses::LIST),
        (b's', EventClasses::SET),
        (b'h', EventClasses::HASH),
        (b'z', EventClasses::SORTED_SET),
        (b'x', EventClasses::EXPIRED),
        (b'e', EventClasses::EVICTED),
        (b't', EventClasses::STREAM),
        (b'd', EventClasses::MODULE),
        (b'n', EventClasses::NEW),
        (b'K', EventClasses::BY_KEY),
        (b'E', EventClasses::BY_EVENT),
        (b'm', EventClasses::KEY_MISS),
    ];

    /// Reads letters in any order. `None` when one is unknown.
    pub fn parse(letters: &[u8]) -> Option<EventClasses> {
        let mut classes = EventClasses::default();
        for letter in letters {
            let class = match letter {
                b'A' => EventClasses::ALL,
                letter => EventClasses::LETTERS.iter().find(|known| known.0 == *letter)?.1,
            };
            classes = EventClasses(classes.0 | class.0);
        }
        Some(classes)
    }

    /// The letters, as Redis shows them: `A` stands for its classes, and also hides `n`.
    pub fn text(self) -> String {
        let is_all = self.has(EventClasses::ALL);
        let hidden = EventClasses(if is_all { EventClasses::ALL.0 | EventClasses::NEW.0 } else { 0 });
        let shown = EventClasses::LETTERS.iter().filter(|known| self.has(known.1) && !hidden.has(known.1));
        is_all.then_some('A').into_iter().chain(shown.map(|known| char::from(known.0))).collect()
    }

    /// Are all of those among these?
    pub const fn has(self, those: EventClasses) -> bool {
        self.0 & those.0 == those.0
    }
}

/// Something that happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The number of its database.
    pub database: u32,
    /// Its name.
    pub key: &'a [u8],
    /// What happened, in Redis's words.
    pub name: &'static str,
    /// The forms in which it is to be published.
    pub forms: EventClasses,
    /// When.
    pub at: Millis,
}

type Listener = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// Which events are wanted, and who hears them.
#[derive(Default)]
pub struct Events {
    /// What was configured.
    configured: AtomicU32,
    /// The classes of these that are published in any form.
    wanted: AtomicU32,
    listener: OnceLock<Listener>,
}

impl fmt::Debug for Events {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Events").field("classes", &self.classes().text()).finish_non_exhaustive()
    }
}

impl Events {
    fn classes(&self) -> EventClasses {
        EventClasses(self.configured.load(Relaxed))
    }

    /// Are events of this class wanted?
    #[inline]
    pub(super) fn wants(&self, class: EventClasses) -> bool {
        self.wanted.load(Relaxed) & class.0 != 0
    }

    /// Are any events wanted?
    #[inline]
    pub(super) fn wants_any(&self) -> bool {
        self.wanted.load(Relaxed) != 0
    }

    #[cold]
    fn tell(&self, at: Millis, database: u32, key: &[u8], name: &'static str) {
        if let Some(listener) = self.listener.get() {
            listener(&Event { database, key, name, forms: self.classes(), at });
        }
    }
}

impl Keyspace {
    /// Which events are announced; in which forms the listener is told with each of them.
    pub fn set_event_classes(&self, classes: EventClasses) {
        let forms = EventClasses::BY_KEY.0 | EventClasses::BY_EVENT.0;
        let wanted = if classes.0 & forms == 0 { 0 } else { classes.0 & !forms };
        self.events.configured.store(classes.0, Relaxed);
        self.events.wanted.store(wanted, Relaxed);
    }

    /// Which events are announced.
    pub fn event_classes(&self) -> EventClasses {
        self.events.classes()
    }

    /// Calls `listener` with every event that is wanted, under the locks of its key. It must be quick and take no locks of the
    /// keyspace.
    pub fn on_event(&self, listener: Box<dyn Fn(&Event<'_>) + Send + Sync>) {
        assert!(self.events.listener.set(listener).is_ok(), "the listener is set once");
    }

    /// Somebody wanted to read a key that is not there.
    #[inline]
    pub fn announce_miss(&self, now: Millis, database: u32, key: &[u8]) {
        if self.events.wants(EventClasses::KEY_MISS) {
            self.events.tell(now, database, key, "keymiss");
        }
    }
}

/// An event that a transaction is going to tell.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    database: u32,
    key: Box<[u8]>,
    name: &'static str,
}

const NEW: &str = "new";

impl Transaction<'_> {
    /// Something happened to a key of the current database.
    #[inline]
    pub fn announce(&mut self, class: EventClasses, name: &'static str, key: Key<'_>) {
        if self.keyspace().events.wants(class) {
            self.note(name, key);
        }
    }

    /// Something happened to a key of another database.
    pub fn announce_at(&mut self, class: EventClasses, name: &'static str, (database, key): super::Located<'_>) {
        let current = self.database();
        self.select(database);
        self.announce(class, name, key);
        self.select(current);
    }

    /// Something was taken out of what a key holds; if that was the last of it, the key is gone.
    #[inline]
    pub fn announce_taken(&mut self, class: EventClasses, name: &'static str, key: Key<'_>) {
        if self.keyspace().events.wants_any() {
            self.announce(class, name, key);
            if self.kind(key).is_none() {
                self.announce(EventClasses::GENERIC, "del", key);
            }
        }
    }

    /// What a key held was replaced by the result of a command, by none if that is empty; `existed`: it held something.
    pub fn announce_stored(&mut self, class: EventClasses, name: &'static str, key: Key<'_>, existed: bool) {
        if !self.keyspace().events.wants_any() {
            return;
        }
        if self.kind(key).is_some() {
            if existed {
                self.forget_new(key);
            }
            self.announce(class, name, key);
        } else if existed {
            self.announce(EventClasses::GENERIC, "del", key);
        }
    }

    /// A whole value was put at a key: to Redis, which removes the former one first, that is a new key.
    pub(super) fn announce_put(&mut self, key: Key<'_>) {
        self.forget_new(key);
        self.announce(EventClasses::NEW, NEW, key);
    }

    fn forget_new(&mut self, key: Key<'_>) {
        let database = self.database();
        self.noted().retain(|noted| noted.name != NEW || noted.database != database || *noted.key != *key.bytes);
    }

    /// Before a key is written, if events are wanted: what has ended there is over now. Is nothing there?
    #[cold]
    pub(super) fn announce_absence(&mut self, key: Key<'_>, removes: bool) -> bool {
        if self.has_expired(key) && !removes {
            self.announce_end(key);
        }
        self.kind(key).is_none()
    }

    /// After it was written.
    #[cold]
    pub(super) fn announce_presence(&mut self, key: Key<'_>) {
        if self.kind(key).is_some() {
            self.announce(EventClasses::NEW, NEW, key);
        }
    }

    /// A key goes whose time is over, or that of all its fields.
    pub(super) fn announce_end(&mut self, key: Key<'_>) {
        if !self.keyspace().events.wants_any() {
            return;
        }
        let by_fields = self.ended_by_fields(key);
        self.announce_end_of(key, by_fields);
    }

    fn announce_end_of(&mut self, key: Key<'_>, by_fields: bool) {
        if by_fields {
            self.announce(EventClasses::HASH, "hexpired", key);
            self.announce(EventClasses::GENERIC, "del", key);
        } else {
            self.announce(EventClasses::EXPIRED, "expired", key);
        }
    }

    #[cold]
    fn note(&mut self, name: &'static str, key: Key<'_>) {
        // What the system keeps for itself is nobody's business.
        if is_system_key(key.bytes) {
            return;
        }
        let database = self.database();
        self.noted().push(Noted { database, key: key.bytes.into(), name });
    }

    /// Tells what was noted, under the locks of the keys.
    #[cold]
    pub(super) fn tell_noted(&mut self) {
        let (at, events) = (self.now(), &self.keyspace().events);
        for Noted { database, key, name } in std::mem::take(self.noted()) {
            events.tell(at, database, &key, name);
        }
    }
}

/// What an effect of a peer does to one key, in the words of this node's own commands.
#[derive(Debug)]
pub(super) struct Heard<'e> {
    database: u32,
    key: Key<'e>,
    existed: bool,
    had_deadline: bool,
    /// It was over before; whether that was by the ends of all its fields.
    ended: Option<bool>,
    names: Vec<(EventClasses, &'static str)>,
}

impl<'e> Heard<'e> {
    /// Before the effect's first action on the key.
    pub(super) fn before(transaction: &mut Transaction<'_>, (database, key): super::Located<'e>) -> Heard<'e> {
        transaction.select(database);
        let deadline = transaction.deadline(key);
        let ended = transaction.has_expired(key).then(|| transaction.ended_by_fields(key));
        let existed = deadline.is_some();
        let had_deadline = deadline.flatten().is_some();
        Heard { database, key, existed, had_deadline, ended, names: Vec::new() }
    }

    /// Is this about that key?
    pub(super) fn is_about(&self, database: u32, key: &[u8]) -> bool {
        self.database == database && self.key.bytes == key
    }

    /// One of its actions was applied.
    pub(super) fn note(&mut self, action: &Action<'_>) {
        if matches!(action, Action::Deadline { at: None }) && !self.had_deadline {
            return;
        }
        if matches!(action, Action::FieldAdd { .. } | Action::FieldAddFloat { .. })
            && self.names.last().is_some_and(|last| last.1 == "hdel")
        {
            // It only cleared the way for the addition.
            self.names.pop();
        }
        for name in names_of(action).into_iter().flatten() {
            if self.names.last() != Some(&name) {
                self.names.push(name);
            }
        }
    }

    /// After its last action on the key.
    pub(super) fn announce(self, transaction: &mut Transaction<'_>) {
        let Heard { key, existed, ended, names, .. } = self;
        transaction.select(self.database);
        let exists = transaction.kind(key).is_some();
        if let Some(by_fields) = ended.filter(|_| !transaction.has_expired(key)) {
            transaction.announce_end_of(key, by_fields);
        }
        if exists && !existed {
            transaction.announce(EventClasses::NEW, NEW, key);
        }
        names.into_iter().for_each(|(class, name)| transaction.announce(class, name, key));
        if existed && !exists {
            transaction.announce(EventClasses::GENERIC, "del", key);
        }
    }
}

/// What an action is called. A removal of the whole key is told from what is left.
fn names_of(action: &Action<'_>) -> [Option<(EventClasses, &'static str)>; 2] {
    let generic = |name| Some((EventClasses::GENERIC, name));
    let string = |name| Some((EventClasses::STRING, name));
    let hash = |name| Some((EventClasses::HASH, name));
    let list = |name| Some((EventClasses::LIST, name));
    let sorted_set = |name| Some((EventClasses::SORTED_SET, name));
    let stream = |name| Some((EventClasses::STREAM, name));
    let name = match action {
        Action::Remove => None,
        Action::Deadline { at: Some(_) } => generic("expire"),
        Action::Deadline { at: None } => generic("persist"),
        Action::StringSet { deadline, .. } => {
            return [string("set"), deadline.and_then(|_| generic("expire"))];
        }
        Action::StringAdd { .. } => string("incrby"),
        Action::StringAddFloat { .. } => string("incrbyfloat"),
        Action::StringAppend { .. } => string("append"),
        Action::StringSetRange { .. } => string("setrange"),
        Action::StringSetBits { .. } | Action::StringAddBits(_) => string("setbit"),
        Action::StringRaiseRegisters(_) => string("pfadd"),
        Action::FieldSet { deadline, .. } => {
            return [hash("hset"), deadline.and_then(|_| hash("hexpire"))];
        }
        Action::FieldAdd { .. } => hash("hincrby"),
        Action::FieldAddFloat { .. } => hash("hincrbyfloat"),
        Action::FieldRemove { .. } => hash("hdel"),
        Action::FieldDeadline { at: Some(_), .. } => hash("hexpire"),
        Action::FieldDeadline { at: None, .. } => hash("hpersist"),
        Action::MemberAdd { .. } => Some((EventClasses::SET, "sadd")),
        Action::MemberRemove { .. } => Some((EventClasses::SET, "srem")),
        Action::ScoreSet { .. } | Action::ScoreMax { .. } | Action::ScoreMin { .. } => sorted_set("zadd"),
        Action::ScoreAdd { .. } => sorted_set("zincr"),
        Action::ScoreRemove { .. } => sorted_set("zrem"),
        Action::ListPush { end: End::Left, .. } => list("lpush"),
        Action::ListPush { end: End::Right, .. } => list("rpush"),
        Action::ListInsert { .. } => list("linsert"),
        Action::ListSet { .. } => list("lset"),
        Action::ListRemove { .. } => list("lrem"),
        Action::StreamAdd { .. } => stream("xadd"),
        Action::StreamRemove { .. } => stream("xdel"),
        Action::StreamTrim { .. } => stream("xtrim"),
        Action::StreamSetId { .. } => stream("xsetid"),
        Action::GroupCreate { .. } => stream("xgroup-create"),
        Action::GroupSetPosition { .. } => stream("xgroup-setid"),
        Action::GroupDestroy { .. } => stream("xgroup-destroy"),
        Action::ConsumerCreate { .. } => stream("xgroup-createconsumer"),
        Action::ConsumerRemove { .. } => stream("xgroup-delconsumer"),
        Action::GroupDeliver { .. } | Action::GroupClaim { .. } | Action::GroupAcknowledge { .. } => None,
    };
    [name, None]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_in_the_order_of_redis() {
        let known = [
            ("", ""),
            ("KEA", "AKE"),
            ("AKEmn", "AKEm"),
            ("Eg$", "g$E"),
            ("nm", "nm"),
            ("KElshzxet$gd", "AKE"),
            ("g$lshzxet", "g$lshzxet"),
            ("Kd", "dK"),
            ("KKK", "K"),
        ];
        for (letters, shown) in known {
            assert_eq!(EventClasses::parse(letters.as_bytes()).map(EventClasses::text).as_deref(), Some(shown));
        }
        assert_eq!(EventClasses::parse(b"KQ"), None);
    }

    #[test]
    fn without_a_form_nothing_is_wanted() {
        let keyspace = Keyspace::new(super::super::KeyspaceOptions::default());
        for (letters, wanted) in [("A", false), ("K", false), ("Kx", true), ("Ex", true), ("Kg", false), ("", false)] {
            keyspace.set_event_classes(EventClasses::parse(letters.as_bytes()).expect("known letters"));
            assert_eq!(keyspace.events.wants(EventClasses::EXPIRED), wanted, "{letters}");
            assert_eq!(keyspace.event_classes().text(), letters);
        }
    }
}
