//! A user as a value: state, passwords and selectors, and the rules that change them.

use std::borrow::Cow;

use super::ChannelDefault;
use super::password::Digest;
use super::selector::{RuleError, Selector, c_string};
use crate::resp::split_words;

/// What a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// One can log in as this user.
    enabled: bool,
    /// Any password is right.
    no_password: bool,
    /// Payloads of RESTORE are checked in depth; here they always are, so this is only kept.
    sanitizes: bool,
    passwords: Vec<Digest>,
    /// The user's own permissions, then those in parentheses. One that allows a request is enough.
    selectors: Vec<Selector>,
}

impl Definition {
    /// A user that cannot log in and may do nothing.
    pub fn new(channels: ChannelDefault) -> Definition {
        Definition {
            enabled: false,
            no_password: false,
            sanitizes: true,
            passwords: Vec::new(),
            selectors: vec![Selector::new(channels)],
        }
    }

    /// What the user `default` is as long as nobody says otherwise: it may do everything, and needs no password.
    pub fn unlimited() -> Definition {
        let mut definition = Definition::new(ChannelDefault::All);
        for rule in ["+@all", "~*", "on", "nopass"] {
            definition.apply(rule.as_bytes(), ChannelDefault::All).expect("these rules are right");
        }
        definition
    }

    /// Applies one rule; a selector is one with its parentheses.
    pub fn apply(&mut self, rule: &[u8], channels: ChannelDefault) -> Result<(), RuleError> {
        let name = c_string(rule).to_ascii_lowercase();
        match (&*name, rule) {
            (b"", _) => {}
            (b"on", _) => self.enabled = true,
            (b"off", _) => self.enabled = false,
            (b"nopass", _) => {
                self.no_password = true;
                self.passwords.clear();
            }
            (b"resetpass", _) => {
                self.no_password = false;
                self.passwords.clear();
            }
            (b"sanitize-payload", _) => self.sanitizes = true,
            (b"skip-sanitize-payload", _) => self.sanitizes = false,
            (b"clearselectors", _) => self.selectors.truncate(1),
            (b"reset", _) => *self = Definition::new(channels),
            (_, [b'>', password @ ..]) => self.add_password(Digest::of(password)),
            (_, [b'#', hash @ ..]) => self.add_password(Digest::parse(hash).ok_or(RuleError::BadHash)?),
            (_, [b'<', password @ ..]) => self.remove_password(Digest::of(password))?,
            (_, [b'!', hash @ ..]) => self.remove_password(Digest::parse(hash).ok_or(RuleError::BadHash)?)?,
            (_, [b'(', inner @ .., b')']) => {
                // Words may be in quotes, as when a person types a request; where quotes are not closed, Redis sees no word.
                let mut selector = Selector::new(channels);
                for rule in split_words(inner).unwrap_or_default() {
                    selector.apply(&rule)?;
                }
                self.selectors.push(selector);
            }
            _ => self.selectors[0].apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, digest: Digest) {
        self.no_password = false;
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
    }

    fn remove_password(&mut self, digest: Digest) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| *known == digest).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// Can one log in without a password?
    pub fn is_open(&self) -> bool {
        self.enabled && self.no_password
    }

    /// Is any password right?
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// May one log in with this password? Looks at all passwords, whichever it is.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let digest = Digest::of(password);
        let known = self.passwords.iter().fold(false, |found, known| found | known.matches(&digest));
        self.enabled && (self.no_password || known)
    }

    /// All its permissions; the first are the user's own.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// May it do everything?
    pub(super) fn is_unlimited(&self) -> bool {
        self.selectors[0].is_unlimited()
    }

    /// Has `other` at least the channels that this one has, by the same rules?
    pub fn keeps_channels(&self, other: &Definition) -> bool {
        let theirs = || other.selectors.iter();
        if theirs().any(Selector::allows_all_channels) {
            return true;
        }
        self.selectors.iter().all(|mine| {
            let mut patterns = mine.channel_patterns().iter();
            let is_there = |pattern: &Vec<u8>| theirs().any(|their| their.channel_patterns().contains(pattern));
            !mine.allows_all_channels() && patterns.all(is_there)
        })
    }

    /// May it listen to this channel, or to this pattern of channels?
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors.iter().any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// The words for its state, as ACL GETUSER shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        flags.push(if self.sanitizes { "sanitize-payload" } else { "skip-sanitize-payload" });
        flags
    }

    /// The SHA-256 of its passwords, each as 64 hexadecimal digits.
    pub fn passwords(&self) -> Vec<String> {
        self.passwords.iter().map(Digest::text).collect()
    }

    /// All its rules, as ACL LIST shows them and a file has them.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords.iter().map(|digest| format!("#{}", digest.text()).into_bytes()));
        parts.push(self.selectors[0].describe());
        parts.extend(self.selectors[1..].iter().map(|selector| [b"(", &*selector.describe(), b")"].concat()));
        parts.join(&b' ')
    }
}

/// Puts the words of a selector together: from one that begins with `(` to one that ends with `)`. One that begins before the last has ended takes
/// its place, as in Redis. The error is the word where one begins that does not end.
pub fn join_selectors<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Cow<'a, [u8]>>, &'a [u8]> {
    let mut rules = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        let ends = word.last() == Some(&b')');
        match &mut open {
            _ if word.first() == Some(&b'(') && !ends => open = Some((word, word.to_vec())),
            None => rules.push(Cow::Borrowed(word)),
            Some((_, joined)) => {
                joined.push(b' ');
                joined.extend_from_slice(word);
            }
        }
        if ends && let Some((_, joined)) = open.take() {
            rules.push(Cow::Owned(joined));
        }
    }
    match open {
        None => Ok(rules),
        Some((start, _)) => Err(start),
    }
}
