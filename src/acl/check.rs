//! One request against the permissions of a user.

use smallvec::SmallVec;

use super::definition::Definition;
use super::selector::{Need, Selector};
use crate::commands::{Access, ChannelUse, Entry, Flags, KeySpec};
use crate::resp::Arguments;

/// What a request was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command.
    Command,
    /// The key at this position.
    Key(usize),
    /// The channel at this position.
    Channel(usize),
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What for. Of several selectors, what the one says that came farthest.
    pub denied: Denied,
    /// The command, key or channel.
    pub object: Vec<u8>,
}

impl Denial {
    /// What the client is told, without the code `NOPERM`.
    pub fn message(&self, user: &[u8]) -> Vec<u8> {
        match self.denied {
            Denied::Command => {
                [b"User ", user, b" has no permissions to run the '", &*self.object, b"' command"].concat()
            }
            Denied::Key(_) => b"No permissions to access a key".to_vec(),
            Denied::Channel(_) => b"No permissions to access a channel".to_vec(),
        }
    }

    /// The same with the name of the key or channel.
    pub fn detailed_message(&self, user: &[u8]) -> Vec<u8> {
        let kind: &[u8] = match self.denied {
            Denied::Command => return self.message(user),
            Denied::Key(_) => b"key",
            Denied::Channel(_) => b"channel",
        };
        [b"User ", user, b" has no permissions to access the '", &*self.object, b"' ", kind].concat()
    }

    /// What EXEC says of a request that was allowed when it was queued.
    pub fn late_reason(&self) -> &'static str {
        match self.denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        }
    }
}

/// The keys of a request and what it does with each.
type Keys = SmallVec<[(usize, Need); 4]>;

impl Definition {
    /// May this request run? Its number of words has been checked.
    pub fn check(&self, entry: &Entry, arguments: &Arguments<'_>) -> Result<(), Denial> {
        // What one needs to log in or to leave is nobody's privilege.
        if entry.command.flags.has(Flags::NO_AUTH) {
            return Ok(());
        }
        let mut keys = None;
        let mut farthest = Denied::Command;
        for selector in self.selectors() {
            match check_selector(selector, entry, arguments, &mut keys) {
                None => return Ok(()),
                Some(denied) => farthest = farthest.max(denied),
            }
        }
        let object = match farthest {
            Denied::Command => entry.full_name.as_bytes().to_vec(),
            Denied::Key(at) | Denied::Channel(at) => arguments[at].to_vec(),
        };
        Err(Denial { denied: farthest, object })
    }

    /// May this request run, and read keys besides that it does not name?
    pub fn may_read_all_keys(&self, entry: &Entry, arguments: &Arguments<'_>) -> bool {
        let mut keys = None;
        self.selectors().iter().any(|selector| {
            selector.may_read_all_keys() && check_selector(selector, entry, arguments, &mut keys).is_none()
        })
    }
}

fn check_selector(
    selector: &Selector,
    entry: &Entry,
    arguments: &Arguments<'_>,
    keys: &mut Option<Keys>,
) -> Option<Denied> {
    // Of a subcommand, rules about first arguments are refused.
    if !selector.allows_command(entry, arguments.get(1)) {
        return Some(Denied::Command);
    }
    if !selector.allows_all_keys() && !entry.command.keys.is_empty() {
        let keys = keys.get_or_insert_with(|| keys_of(entry, arguments));
        let refused = keys.iter().find(|(at, need)| !selector.allows_key(&arguments[*at], *need));
        if let Some((at, _)) = refused {
            return Some(Denied::Key(*at));
        }
    }
    let (last, is_pattern) = match entry.command.channels {
        ChannelUse::None => return None,
        ChannelUse::First => (1, false),
        ChannelUse::All => (arguments.len() - 1, false),
        ChannelUse::Patterns => (arguments.len() - 1, true),
    };
    (1..=last).find(|&at| !selector.allows_channel(&arguments[at], is_pattern)).map(Denied::Channel)
}

/// The keys that the request names. None if their number makes no sense: then the command refuses the request.
fn keys_of(entry: &Entry, arguments: &Arguments<'_>) -> Keys {
    let mut keys = Keys::new();
    for spec in entry.command.keys.iter().filter(|spec| spec.is_of_keys()) {
        let Some(positions) = spec.positions(arguments) else { return Keys::new() };
        let need = need_of(access_of(entry, spec, arguments));
        keys.extend(positions.filter(|&at| at < arguments.len()).map(|at| (at, need)));
    }
    keys
}

fn need_of(access: Access) -> Need {
    let changes = [Access::UPDATE, Access::INSERT, Access::DELETE];
    Need { read: access.has(Access::ACCESS), write: changes.into_iter().any(|change| access.has(change)) }
}

/// What this request does with keys of which that depends on the options.
pub fn access_of(entry: &Entry, spec: &KeySpec, arguments: &Arguments<'_>) -> Access {
    if !spec.access.has(Access::VARIABLE) {
        return spec.access;
    }
    let all = spec.access.without(Access::VARIABLE);
    let is = |word: &[u8], option: &str| word.eq_ignore_ascii_case(option.as_bytes());
    match entry.command.name {
        "set" => match arguments.from(3).iter().any(|word| is(word, "get")) {
            true => all,
            false => Access::OVERWRITE.with(Access::UPDATE),
        },
        "bitfield" => {
            // Only GET (two words more) and OVERFLOW (one): what is neither changes something, or is a mistake.
            let mut at = 2;
            while let Some(word) = arguments.get(at) {
                let following = arguments.len() - at - 1;
                at += match () {
                    () if is(word, "get") && following >= 2 => 3,
                    () if is(word, "overflow") && following >= 1 => 2,
                    () => return all,
                };
            }
            Access::READ.with(Access::ACCESS)
        }
        _ => all,
    }
}
