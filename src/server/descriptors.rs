//! The limit on open files, which every client needs one of.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors for everything but clients: listeners, event loops, peers, logs.
const RESERVED: u64 = 128;

/// Raises this process's limit on open files so that `clients` fit, as far as the system allows. How many clients fit.
pub(super) fn make_room(clients: u64) -> u64 {
    let wanted = clients + RESERVED;
    let mut limit = getrlimit(Resource::Nofile);
    let enough = |current: Option<u64>| current.is_none_or(|current| current >= wanted);
    if enough(limit.current) {
        return clients;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| wanted.min(maximum)));
    // A refusal shows in the limit that is read again.
    let _ = setrlimit(Resource::Nofile, limit);
    let limit = getrlimit(Resource::Nofile);
    if enough(limit.current) {
        return clients;
    }
    let fitting = limit.current.unwrap_or(wanted).saturating_sub(RESERVED).max(1);
    warn!(
        asked = clients,
        fitting, "--maxclients is more than the limit on open files allows; raise it with `ulimit -n`"
    );
    fitting
}
