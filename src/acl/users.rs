//! The users of a running node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::definition::Definition;
use super::file::{FileError, UserFile};
use super::log::{Event, Log, LogReason};
use super::selector::RuleError;
use super::{ChannelDefault, file};
use crate::keyspace::Millis;

/// The user that a connection has before it logs in. It always exists.
pub const DEFAULT_USER: &[u8] = b"default";

/// A user, as connections hold it.
#[derive(Debug)]
pub struct User {
    /// Its definition allows everything. Looked at with every command; what it says holds for the next one.
    unlimited: AtomicBool,
    /// It was deleted: whoever is logged in as this user is to be disconnected.
    removed: AtomicBool,
    /// Counts its definitions.
    version: AtomicU64,
    definition: RwLock<Arc<Definition>>,
    name: Box<[u8]>,
}

impl User {
    fn new(name: &[u8], definition: Definition) -> Arc<User> {
        Arc::new(User {
            unlimited: AtomicBool::new(definition.is_unlimited()),
            removed: AtomicBool::new(false),
            version: AtomicU64::new(0),
            definition: RwLock::new(Arc::new(definition)),
            name: name.into(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// May it do everything? Then nothing has to be checked.
    pub fn is_unlimited(&self) -> bool {
        self.unlimited.load(Ordering::Acquire)
    }

    /// Was it deleted?
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Another number: another definition.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What it is at the moment.
    pub fn definition(&self) -> Arc<Definition> {
        Arc::clone(&self.definition.read())
    }

    fn define(&self, definition: Definition) {
        // Before the definition is there, what it forbids is looked at already; what it allows, only afterwards.
        let unlimited = definition.is_unlimited();
        self.unlimited.fetch_and(unlimited, Ordering::AcqRel);
        *self.definition.write() = Arc::new(definition);
        self.version.fetch_add(1, Ordering::AcqRel);
        self.unlimited.store(unlimited, Ordering::Release);
    }

    /// From now on nobody can do anything as this user.
    fn remove(&self) {
        self.define(Definition::new(ChannelDefault::None));
        self.removed.store(true, Ordering::Release);
    }
}

/// A user whose rules were changed.
#[derive(Debug)]
pub struct Changed {
    /// The user.
    pub user: Arc<User>,
    /// It may not listen to everything any longer that it could listen to before.
    pub has_lost_channels: bool,
}

/// Why the users were not written to their file.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is no such file.
    #[error("no ACL file is configured")]
    NoFile,
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

type Named = BTreeMap<Box<[u8]>, Arc<User>>;

/// All users of a node, and the log of what they were refused.
#[derive(Debug)]
pub struct Users {
    named: RwLock<Named>,
    default: Arc<User>,
    /// A new connection has to log in.
    login_required: AtomicBool,
    all_channels_by_default: AtomicBool,
    file: Option<std::path::PathBuf>,
    log: Mutex<Log>,
    denials: [AtomicU64; LogReason::COUNT],
}

impl Users {
    /// `password` is that of the user `default` (none: it needs none). With a file, its users are all there is, and the password counts
    /// for nothing, as in Redis.
    pub fn new(password: Option<&[u8]>, file: Option<UserFile>) -> Users {
        let default = User::new(DEFAULT_USER, Definition::unlimited());
        let users = Users {
            named: RwLock::new(Named::from([(DEFAULT_USER.into(), Arc::clone(&default))])),
            default,
            login_required: AtomicBool::new(false),
            all_channels_by_default: AtomicBool::new(false),
            file: file.as_ref().map(|file| file.path.clone()),
            log: Mutex::default(),
            denials: Default::default(),
        };
        match file {
            Some(file) => drop(users.replace(file)),
            None => users.set_default_password(password.unwrap_or_default()),
        }
        users
    }

    /// The user `default`.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Must a new connection log in before it can do anything?
    pub fn login_required(&self) -> bool {
        self.login_required.load(Ordering::Relaxed)
    }

    /// The file of the users, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What new users may listen to.
    pub fn channel_default(&self) -> ChannelDefault {
        match self.all_channels_by_default.load(Ordering::Relaxed) {
            true => ChannelDefault::All,
            false => ChannelDefault::None,
        }
    }

    /// Changes what new users may listen to.
    pub fn set_channel_default(&self, channels: ChannelDefault) {
        self.all_channels_by_default.store(channels == ChannelDefault::All, Ordering::Relaxed);
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        self.named.read().get(name).map(Arc::clone)
    }

    /// All users in the order of their names.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.named.read().values().map(Arc::clone).collect()
    }

    /// The user of this name, if one may log in with this password.
    pub fn log_in(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let Some(user) = self.find(name) else {
            // Takes about as long as for a user that exists.
            std::hint::black_box(Definition::new(ChannelDefault::None).accepts(password));
            return None;
        };
        user.definition().accepts(password).then_some(user)
    }

    /// Applies rules to a user, who is created if need be: all rules or none. The error is the rule that was refused, and why.
    pub fn change<'r>(
        &self,
        name: &[u8],
        rules: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<Changed, (&'r [u8], RuleError)> {
        let channels = self.channel_default();
        let mut named = self.named.write();
        let old = named.get(name).map(|user| user.definition());
        let mut definition = old.as_deref().map_or_else(|| Definition::new(channels), Definition::clone);
        for rule in rules {
            definition.apply(rule, channels).map_err(|error| (rule, error))?;
        }
        let has_lost = old.is_some_and(|old| !old.keeps_channels(&definition));
        let user = match named.get(name) {
            Some(user) => {
                user.define(definition);
                Arc::clone(user)
            }
            None => {
                let user = User::new(name, definition);
                named.insert(name.into(), Arc::clone(&user));
                user
            }
        };
        self.note_default();
        Ok(Changed { user, has_lost_channels: has_lost })
    }

    /// Deletes a user; who is logged in as it is to be disconnected. `default` is none that can be deleted.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT_USER {
            return None;
        }
        let user = self.named.write().remove(name)?;
        user.remove();
        Some(user)
    }

    /// What `requirepass` does: the only password of `default`, or none for the empty one.
    pub fn set_default_password(&self, password: &[u8]) {
        let rule = [b">", password].concat();
        let rules: [&[u8]; 2] = if password.is_empty() { [b"nopass", b""] } else { [b"resetpass", &rule] };
        let changed = self.change(DEFAULT_USER, rules);
        debug_assert!(changed.is_ok(), "a password can be anything");
    }

    /// Reads the file again. Returns the users that are no more, whoever has taken their names; on an error all stays as it was.
    /// `None`: there is no file.
    pub fn load(&self) -> Option<Result<Vec<Arc<User>>, FileError>> {
        let path = self.file.as_ref()?;
        Some(UserFile::read(path, self.channel_default()).map(|file| self.replace(file)))
    }

    /// Writes all users to the file.
    pub fn save(&self) -> Result<(), SaveError> {
        let path = self.file.as_ref().ok_or(SaveError::NoFile)?;
        let mut text = Vec::new();
        // Under the lock, so that of two savings the later one has the later users.
        let named = self.named.write();
        for user in named.values() {
            text.extend_from_slice(&user.describe());
            text.push(b'\n');
        }
        Ok(file::write(path, &text)?)
    }

    fn replace(&self, file: UserFile) -> Vec<Arc<User>> {
        let mut named = self.named.write();
        let mut default = Definition::unlimited();
        let mut new = Named::from([(DEFAULT_USER.into(), Arc::clone(&self.default))]);
        for (name, definition) in file.users {
            if &*name == DEFAULT_USER {
                default = definition;
            } else {
                let user = User::new(&name, definition);
                new.insert(name, user);
            }
        }
        self.default.define(default);
        let old = std::mem::replace(&mut *named, new);
        self.note_default();
        let gone: Vec<Arc<User>> = old.into_values().filter(|user| !Arc::ptr_eq(user, &self.default)).collect();
        gone.iter().for_each(|user| user.remove());
        gone
    }

    fn note_default(&self) {
        self.login_required.store(!self.default.definition().is_open(), Ordering::Relaxed);
    }

    /// Notes that something was refused.
    pub fn note_denial(&self, event: Event, now: Millis) {
        self.denials[event.reason as usize].fetch_add(1, Ordering::Relaxed);
        self.log.lock().add(event, now);
    }

    /// How many times something was refused for this reason.
    pub fn denials(&self, reason: LogReason) -> u64 {
        self.denials[reason as usize].load(Ordering::Relaxed)
    }

    /// Sets the counts to zero.
    pub fn reset_denials(&self) {
        self.denials.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// The log, to read it or to change its length.
    pub fn log(&self) -> parking_lot::MutexGuard<'_, Log> {
        self.log.lock()
    }
}

impl User {
    /// One line of ACL LIST and of the file.
    pub fn describe(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.definition().describe()].concat()
    }
}
