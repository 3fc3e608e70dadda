//! Access control: users, what each may do, and the check of a request against that.
//!
//! Reading order: `selector` (which commands, keys and channels), `definition` (a user: state, passwords, selectors, and the
//! rules that change them), `check` (one request), `users` (the users of a running node), `file` (users as text), `log` (who was
//! refused what).
//!
//! A [`Definition`] is a value: it is made from rules and never changes. A [`User`] is what connections hold: it points to
//! its definition of the moment and says in one atomic whether there is anything to check at all, so that a user who may do
//! everything costs a command one branch.
//!
//! Users belong to a node, as in Redis: each node of a cluster has its own file, and nothing here is replicated.
//!
//! Architecture invariant: knows the table of commands, but no connection, no socket and no peer, and reads no clock. The one thing
//! that it reads and writes is the ACL file.

mod check;
mod definition;
mod file;
mod log;
mod password;
mod selector;
#[cfg(test)]
mod tests;
mod users;

pub use check::{Denial, Denied, access_of};
pub use definition::{Definition, join_selectors};
pub use file::{FileError, NamedUser, UserFile};
pub use log::{Event, Log, LogContext, LogEntry, LogReason};
pub use selector::{RuleError, Selector};
pub use users::{Changed, DEFAULT_USER, SaveError, User, Users};

/// What new users and selectors may listen to (`acl-pubsub-default`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelDefault {
    /// No channel.
    #[default]
    None,
    /// All channels.
    All,
}
