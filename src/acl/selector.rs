//! What may be done: commands, keys and channels, as one set of rules.
//!
//! Commands are a bitmap over the ids of the table, beside the rules that led to it: those are what is printed, in the form of
//! Redis 7.2, which keeps them in their order and drops what a later one makes void.

use super::ChannelDefault;
use crate::commands::{Categories, Entry, table};
use crate::glob;

/// Why a rule is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No rule at all, or a pattern with spaces.
    #[error("Syntax error")]
    Syntax,
    /// `+`, `-` and what is neither a command nor a category.
    #[error("Unknown command or category name in ACL")]
    UnknownCommand,
    /// A first argument behind a subcommand.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
    /// A pattern where all keys are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// A pattern where all channels are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
         'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    /// A password is to go that is not there.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// Not the SHA-256 of anything.
    #[error("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")]
    BadHash,
    /// A selector that does not end. (Commands find that out before, see [`super::join_selectors`].)
    #[error("Unmatched parenthesis in selector definition")]
    Unmatched,
}

/// A set of commands, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandSet(Box<[u64]>);

impl CommandSet {
    fn new(all: bool) -> CommandSet {
        CommandSet(vec![if all { u64::MAX } else { 0 }; table().ids().div_ceil(64)].into())
    }

    fn has(&self, id: usize) -> bool {
        self.0[id / 64] & 1 << (id % 64) != 0
    }

    fn set(&mut self, id: usize, has: bool) {
        match has {
            true => self.0[id / 64] |= 1 << (id % 64),
            false => self.0[id / 64] &= !(1 << (id % 64)),
        }
    }

    fn has_all(&self) -> bool {
        (0..table().ids()).all(|id| self.has(id))
    }
}

/// Keys by a pattern, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    pattern: Vec<u8>,
    read: bool,
    write: bool,
}

/// One rule about commands, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allowed: bool,
    /// In lower case, `@` and all.
    name: Vec<u8>,
}

/// What a request does with a key, as far as permissions go. Neither: it only has to be a key that one may touch at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// A set of permissions: the user's own, or one in parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    commands: CommandSet,
    /// `+@all` was the last of `+@all` and `-@all`.
    from_all: bool,
    rules: Vec<CommandRule>,
    /// Allowed first arguments of commands that are not allowed otherwise.
    first_arguments: Vec<(usize, Vec<u8>)>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    /// Nothing is allowed, but what is by default.
    pub fn new(channels: ChannelDefault) -> Selector {
        Selector {
            commands: CommandSet::new(false),
            from_all: false,
            rules: Vec::new(),
            first_arguments: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: channels == ChannelDefault::All,
            channels: Vec::new(),
        }
    }

    /// Applies a rule about commands, keys or channels.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let name = c_string(rule).to_ascii_lowercase();
        match (&*name, rule) {
            (b"allkeys" | b"~*", _) => {
                self.all_keys = true;
                self.keys.clear();
            }
            (b"resetkeys", _) => {
                self.all_keys = false;
                self.keys.clear();
            }
            (b"allchannels" | b"&*", _) => {
                self.all_channels = true;
                self.channels.clear();
            }
            (b"resetchannels", _) => {
                self.all_channels = false;
                self.channels.clear();
            }
            (b"allcommands" | b"+@all", _) => self.set_all_commands(true),
            (b"nocommands" | b"-@all", _) => self.set_all_commands(false),
            (_, [b'~' | b'%', ..]) if self.all_keys => return Err(RuleError::AfterAllKeys),
            (_, [b'~', pattern @ ..]) => self.add_keys(pattern, true, true)?,
            (_, [b'%', access @ ..]) => {
                let (pattern, read, write) = key_access(access)?;
                self.add_keys(pattern, read, write)?;
            }
            (_, [b'&', pattern @ ..]) => self.add_channels(pattern)?,
            ([sign @ (b'+' | b'-'), b'@', category @ ..], _) => self.set_category(*sign == b'+', category)?,
            ([b'+', command @ ..], _) => self.allow_command(command)?,
            ([b'-', command @ ..], _) => {
                let entry = table().find_full(command).ok_or(RuleError::UnknownCommand)?;
                self.set_command(entry, false);
                self.note_rule(false, command);
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.commands = CommandSet::new(allowed);
        self.from_all = allowed;
        self.rules.clear();
        self.first_arguments.clear();
    }

    fn set_category(&mut self, allowed: bool, name: &[u8]) -> Result<(), RuleError> {
        let category = Categories::named(name).ok_or(RuleError::UnknownCommand)?;
        let all = table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
        for entry in all.filter(|entry| entry.command.all_categories().has(category)) {
            self.set_one(entry, allowed);
        }
        self.note_rule(allowed, &[b"@", name].concat());
        Ok(())
    }

    fn allow_command(&mut self, name: &[u8]) -> Result<(), RuleError> {
        if let Some(entry) = table().find_full(name) {
            self.set_command(entry, true);
        } else {
            let at = name.iter().rposition(|&byte| byte == b'|').ok_or(RuleError::UnknownCommand)?;
            let (command, argument) = (&name[..at], &name[at + 1..]);
            let entry = table().find_full(command).ok_or(RuleError::UnknownCommand)?;
            if command.contains(&b'|') {
                return Err(RuleError::FirstArgumentOfSubcommand);
            }
            if argument.is_empty() {
                return Err(RuleError::Syntax);
            }
            if !entry.subcommands.is_empty() {
                return Err(RuleError::UnknownCommand);
            }
            // In lower case already: arguments are compared in any case.
            let allowed = (entry.id, argument.to_vec());
            if !self.first_arguments.contains(&allowed) {
                self.first_arguments.push(allowed);
            }
        }
        self.note_rule(true, name);
        Ok(())
    }

    fn set_one(&mut self, entry: &Entry, allowed: bool) {
        self.commands.set(entry.id, allowed);
        self.first_arguments.retain(|(id, _)| *id != entry.id);
    }

    /// A command with all its subcommands.
    fn set_command(&mut self, entry: &Entry, allowed: bool) {
        self.set_one(entry, allowed);
        entry.subcommands.iter().for_each(|inner| self.set_one(inner, allowed));
    }

    /// Keeps a rule to be printed. Former ones about the same, or about a part of it, are void.
    fn note_rule(&mut self, allowed: bool, name: &[u8]) {
        self.rules.retain(|rule| {
            let rest = rule.name.strip_prefix(name);
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push(CommandRule { allowed, name: name.to_vec() });
    }

    fn add_keys(&mut self, pattern: &[u8], read: bool, write: bool) -> Result<(), RuleError> {
        if !is_pattern(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), read, write }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if !is_pattern(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// May everything be done?
    pub(super) fn is_unlimited(&self) -> bool {
        self.all_keys && self.all_channels && self.commands.has_all()
    }

    /// May this command run, whatever its keys and channels are? `first` is its first argument.
    pub(super) fn allows_command(&self, entry: &Entry, first: Option<&[u8]>) -> bool {
        let by_argument = |first: &[u8]| {
            let mut allowed = self.first_arguments.iter().filter(|(id, _)| *id == entry.id);
            allowed.any(|(_, argument)| argument.eq_ignore_ascii_case(first))
        };
        self.commands.has(entry.id) || first.is_some_and(by_argument)
    }

    /// Are all keys allowed, whatever is done with them?
    pub(super) fn allows_all_keys(&self) -> bool {
        self.all_keys
    }

    /// May every key be read?
    pub(super) fn may_read_all_keys(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.pattern == b"*" && known.read)
    }

    /// May this be done with this key?
    pub(super) fn allows_key(&self, key: &[u8], need: Need) -> bool {
        let mut fitting = self.keys.iter().filter(|known| (known.read || !need.read) && (known.write || !need.write));
        self.all_keys || fitting.any(|known| matches(&known.pattern, key))
    }

    /// May this channel be used? Of a pattern, only what is among the rules as it is.
    pub(super) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let fits = |known: &Vec<u8>| if is_pattern { known == channel } else { matches(known, channel) };
        self.all_channels || self.channels.iter().any(fits)
    }

    /// Are all channels allowed?
    pub(super) fn allows_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The patterns of allowed channels.
    pub(super) fn channel_patterns(&self) -> &[Vec<u8>] {
        &self.channels
    }

    /// The rules about commands, as ACL GETUSER shows them.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = if self.from_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allowed { b" +" } else { b" -" });
            text.extend_from_slice(&rule.name);
        }
        text
    }

    /// The rules about keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let one = |(at, known): (usize, &KeyPattern)| {
            let is_last = at + 1 == self.keys.len();
            let access: &[u8] = match (known.read, known.write) {
                // Behind `~*` no other pattern is allowed. Redis prints it nevertheless, and cannot read that again.
                (true, true) if known.pattern == b"*" && !is_last => b"%RW~",
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [access, &known.pattern].concat()
        };
        self.keys.iter().enumerate().map(one).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules about channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|known| [b"&", &**known].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// All rules, as ACL LIST shows them.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        if self.all_keys || !self.keys.is_empty() {
            parts.push(self.describe_keys());
        }
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        if self.all_channels || !self.channels.is_empty() {
            parts.push(self.describe_channels());
        }
        parts.push(self.describe_commands());
        parts.join(&b' ')
    }
}

/// Does the pattern match? The empty name only if it is empty, too: among rules, Redis's matcher takes no star for nothing at all.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.is_empty() { pattern.is_empty() } else { glob::matches(pattern, name) }
}

/// What stands behind `%`: letters, and behind `~` the pattern. Without `~` the pattern is empty.
fn key_access(text: &[u8]) -> Result<(&[u8], bool, bool), RuleError> {
    let letters = text.iter().position(|&byte| byte == b'~').unwrap_or(text.len());
    let (mut read, mut write) = (false, false);
    for letter in &text[..letters] {
        let known = match letter {
            b'R' | b'r' => &mut read,
            b'W' | b'w' => &mut write,
            _ => return Err(RuleError::Syntax),
        };
        if std::mem::replace(known, true) {
            return Err(RuleError::Syntax);
        }
    }
    match read || write {
        true => Ok((text.get(letters + 1..).unwrap_or_default(), read, write)),
        false => Err(RuleError::Syntax),
    }
}

/// A pattern can be printed among others: it has no space and no zero byte.
fn is_pattern(text: &[u8]) -> bool {
    !text.iter().any(|&byte| is_space(byte) || byte == 0)
}

/// What counts as space in C.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Redis reads the names of rules up to their first zero byte.
pub(super) fn c_string(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}
