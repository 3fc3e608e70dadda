//! The certificates of a running node, and their replacement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use rustls::{AlertDescription, InvalidMessage, ServerConfig};
use tracing::{info, warn};

use super::files::{Loaded, TlsError, load};
use super::settings::TlsSettings;

/// One line about failed handshakes in this time, not one for each.
const QUIET: Duration = Duration::from_secs(10);

/// What clients of a node with TLS are shown, and are to show. New connections take what is current; those that are there
/// keep what they began with.
#[derive(Debug)]
pub struct Certificates {
    current: RwLock<Prepared>,
    failures: Failures,
}

/// Files that have been read and checked.
#[derive(Clone, Debug)]
pub struct Prepared {
    settings: TlsSettings,
    loaded: Loaded,
}

impl Prepared {
    /// Reads and checks the files.
    pub fn new(settings: TlsSettings) -> Result<Prepared, TlsError> {
        let loaded = load(&settings, now())?;
        Ok(Prepared { settings, loaded })
    }
}

impl Certificates {
    /// Begins with these.
    pub fn new(prepared: Prepared) -> Certificates {
        Certificates { current: RwLock::new(prepared), failures: Failures::default() }
    }

    /// What a new connection takes.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().loaded.config)
    }

    /// Which files these are.
    pub fn settings(&self) -> TlsSettings {
        self.current.read().settings.clone()
    }

    /// When the node's certificate expires, in seconds since the epoch.
    pub fn not_after(&self) -> u64 {
        u64::try_from(self.current.read().loaded.not_after).unwrap_or(0)
    }

    /// From now on, new connections take these.
    pub fn install(&self, prepared: Prepared) {
        let expires = prepared.loaded.not_after;
        *self.current.write() = prepared;
        info!(expires, "new connections get the TLS certificate that was read now");
    }

    /// Reads the same files again. When they do not serve, what was current stays, and the log says why.
    pub fn reload(&self) {
        match Prepared::new(self.settings()) {
            Ok(prepared) => self.install(prepared),
            Err(error) => warn!("the TLS certificates stay as they were: {error}"),
        }
    }

    /// Handshakes that clients failed so far.
    pub fn failed_handshakes(&self) -> u64 {
        self.failures.count.load(Ordering::Relaxed)
    }

    /// A client was not let in. Counted, and now and then a line in the log.
    pub fn note_failure(&self, address: &str, error: &std::io::Error) {
        if let Some(failed) = self.failures.note(Instant::now()) {
            warn!(client = address, failed, "a client was not let in over TLS: {}", explain(error));
        }
    }
}

/// The reason in an operator's words, where there are better ones than the library's.
fn explain(error: &std::io::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidMessage as Message, NoCertificatesPresented};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(Message(InvalidMessage::InvalidContentType)) => "what it sent is not TLS".to_string(),
        Some(NoCertificatesPresented) => "it presented no certificate, which tls-auth-clients demands".to_string(),
        Some(AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate)) => {
            "it does not trust the authority of this node's certificate".to_string()
        }
        _ => error.to_string(),
    }
}

/// Counts, and says when it is time for a line in the log.
#[derive(Debug, Default)]
struct Failures {
    count: AtomicU64,
    /// When the last line was written, and how many there had been by then.
    told: Mutex<Option<(Instant, u64)>>,
}

impl Failures {
    /// How many there were since the last line, if it is time for another.
    fn note(&self, now: Instant) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.told.lock();
        let before = match *told {
            Some((when, _)) if now.saturating_duration_since(when) < QUIET => return None,
            Some((_, before)) => before,
            None => 0,
        };
        *told = Some((now, count));
        Some(count.saturating_sub(before))
    }
}

/// Seconds since the epoch.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_all_counted_and_seldom_told() {
        let failures = Failures::default();
        let start = Instant::now();
        assert_eq!(failures.note(start), Some(1));
        assert_eq!(failures.note(start + QUIET / 2), None);
        assert_eq!(failures.note(start + QUIET), Some(2));
        assert_eq!(failures.count.load(Ordering::Relaxed), 3);
    }
}
