//! Users as a file: one per line, `user`, the name and the rules, separated by single spaces. No comments, as in Redis.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::ChannelDefault;
use super::definition::{Definition, join_selectors};
use super::selector::{RuleError, is_space};

/// A user of a file: name and definition.
pub type NamedUser = (Box<[u8]>, Definition);

/// The users of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its users.
    pub users: Vec<NamedUser>,
}

/// Why a file has no users.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// What is wrong with its lines; at least one.
    Mistakes(PathBuf, Vec<(usize, Mistake)>),
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It does not begin with `user` and a name.
    NoUser,
    /// A name with spaces or zero bytes.
    BadName(String),
    /// The name of an earlier line.
    Duplicate(String),
    /// A rule.
    Rule(String, RuleError),
}

impl FileError {
    /// The text of Redis, for clients: all mistakes.
    pub fn for_client(&self) -> String {
        let (path, mistakes) = match self {
            FileError::Io(path, error) => {
                return format!("Error loading ACLs, opening file '{}': {}", path.display(), plain(error));
            }
            FileError::Mistakes(path, mistakes) => (path.display(), mistakes),
        };
        let mut text = String::new();
        for (line, mistake) in mistakes {
            let written = match mistake {
                Mistake::NoUser => {
                    write!(text, "{path}:{line} should start with user keyword followed by the username. ")
                }
                Mistake::BadName(name) => {
                    write!(text, "'{path}:{line}: username '{name}' contains invalid characters. ")
                }
                Mistake::Duplicate(name) => write!(text, "WARNING: Duplicate user '{name}' found on line {line}. "),
                Mistake::Rule(rule, error @ RuleError::UnknownCommand) => {
                    write!(text, "{path}:{line}: Error in applying operation '{rule}': {error}. ")
                }
                Mistake::Rule(_, error) => write!(text, "{path}:{line}: {error}. "),
            };
            written.expect("a text takes everything");
        }
        text + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    }

    /// One line for the operator: the first mistake, and what to do.
    pub fn for_operator(&self) -> String {
        let (path, mistakes) = match self {
            FileError::Io(path, error) => return format!("cannot read {}: {}", path.display(), plain(error)),
            FileError::Mistakes(path, mistakes) => (path.display(), mistakes),
        };
        let Some((line, mistake)) = mistakes.first() else { return format!("{path}: no users") };
        let what = match mistake {
            Mistake::NoUser => "expected `user`, a name and rules, separated by single spaces".to_string(),
            Mistake::BadName(name) => format!("the name '{name}' has spaces or zero bytes"),
            Mistake::Duplicate(name) => format!("the user '{name}' is there already"),
            Mistake::Rule(rule, error) => {
                // Who mistypes a rule may have written a password.
                let secret = rule.starts_with(['>', '<', '#', '!']);
                let shown = if secret { &rule[..1] } else { rule };
                format!("rule '{shown}': {error}")
            }
        };
        let more = match mistakes.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{path}, line {line}: {what}{more}")
    }
}

/// An error of the system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

impl UserFile {
    /// Reads a file.
    pub fn read(path: &Path, channels: ChannelDefault) -> Result<UserFile, FileError> {
        let text = fs::read(path).map_err(|error| FileError::Io(path.to_owned(), error))?;
        let users = parse(&text, channels).map_err(|mistakes| FileError::Mistakes(path.to_owned(), mistakes))?;
        Ok(UserFile { path: path.to_owned(), users })
    }
}

/// Reads the text of a file.
fn parse(text: &[u8], channels: ChannelDefault) -> Result<Vec<NamedUser>, Vec<(usize, Mistake)>> {
    let mut users: Vec<NamedUser> = Vec::new();
    let mut names = BTreeSet::new();
    let mut mistakes = Vec::new();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let mut note = |mistake| mistakes.push((line, mistake));
        let text = trim(text);
        if text.is_empty() {
            continue;
        }
        let mut words = text.split(|&byte| byte == b' ');
        let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
            note(Mistake::NoUser);
            continue;
        };
        if name.iter().any(|&byte| is_space(byte) || byte == 0) {
            note(Mistake::BadName(shown(name)));
            continue;
        }
        if !names.insert(name) {
            note(Mistake::Duplicate(shown(name)));
            continue;
        }
        let mut definition = Definition::new(channels);
        match join_selectors(words.map(trim)) {
            Ok(rules) => {
                // As in Redis: every unknown command, and the first of all other mistakes.
                let mut is_noted = false;
                for rule in rules {
                    if let Err(error) = definition.apply(&rule, channels)
                        && (error == RuleError::UnknownCommand || !std::mem::replace(&mut is_noted, true))
                    {
                        note(Mistake::Rule(shown(&rule), error));
                    }
                }
            }
            Err(start) => note(Mistake::Rule(shown(start), RuleError::Unmatched)),
        }
        users.push((name.into(), definition));
    }
    if mistakes.is_empty() { Ok(users) } else { Err(mistakes) }
}

/// Without spaces, tabs and line ends around it.
fn trim(text: &[u8]) -> &[u8] {
    let is_kept = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(start) = text.iter().position(is_kept) else { return &[] };
    let end = text.iter().rposition(is_kept).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Writes a file in the place of another: at any moment one of both is there as a whole, also if the machine stops.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    // Passwords are nobody else's business, even as digests. What the file's owner allowed before, stays.
    let permissions = fs::metadata(path).map(|metadata| metadata.permissions()).ok();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, text, permissions).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, text: &[u8], permissions: Option<fs::Permissions>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.write_all(text)?;
    file.sync_all()
}
