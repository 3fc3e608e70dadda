//! Room for clients: when the buffers of all of them take more than `maxmemory-clients`, those with the largest are disconnected
//! (Redis's documentation, "Client eviction").
//!
//! Looked at by the background work, ten times a second. Who has said CLIENT NO-EVICT is left alone, and not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::warn;

use super::clients::ClientRecord;
use super::config::parse_memory;
use super::state::ServerState;
use crate::keyspace::integer;

/// How much memory clients may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// Bytes; 0: any number.
    Bytes(usize),
    /// Percent of `maxmemory`, at least 1.
    Percent(u8),
}

/// Marks a percentage among what [`ClientMemoryLimit`] holds.
const PERCENT: u64 = 1 << 63;

/// A [`ClientMemory`] that changes at runtime.
#[derive(Debug, Default)]
pub struct ClientMemoryLimit(AtomicU64);

impl ClientMemory {
    /// Reads `maxmemory-clients`.
    pub fn parse(value: &[u8]) -> Result<ClientMemory, &'static str> {
        const WRONG: &str = "argument must be a memory or percent value";
        if let Some(digits) = value.strip_suffix(b"%") {
            let percent = integer::parse(digits).and_then(|percent| u64::try_from(percent).ok()).ok_or(WRONG)?;
            return match u8::try_from(percent) {
                Ok(0) => Ok(ClientMemory::Bytes(0)),
                Ok(percent @ 1..=100) => Ok(ClientMemory::Percent(percent)),
                _ => Err("percentage argument must be less or equal to 100"),
            };
        }
        let bytes = parse_memory(value).filter(|bytes| (*bytes as u64) < PERCENT);
        bytes.map(ClientMemory::Bytes).ok_or(WRONG)
    }

    /// As CONFIG GET shows it.
    pub fn text(self) -> String {
        match self {
            ClientMemory::Bytes(bytes) => bytes.to_string(),
            ClientMemory::Percent(percent) => format!("{percent}%"),
        }
    }
}

impl ClientMemoryLimit {
    /// Changes it.
    pub fn set(&self, memory: ClientMemory) {
        self.0.store(
            match memory {
                ClientMemory::Bytes(bytes) => bytes as u64,
                ClientMemory::Percent(percent) => PERCENT | u64::from(percent),
            },
            Relaxed,
        );
    }

    /// What it is.
    pub fn get(&self) -> ClientMemory {
        match self.0.load(Relaxed) {
            bytes if bytes < PERCENT => ClientMemory::Bytes(bytes as usize),
            percent => ClientMemory::Percent(percent as u8),
        }
    }
}

impl ServerState {
    /// Disconnects the largest clients until all of them take no more than they may.
    pub fn evict_clients(&self) {
        let limit = match self.config.client_memory().get() {
            ClientMemory::Bytes(bytes) => bytes,
            ClientMemory::Percent(percent) => self.keyspace.memory_limit() / 100 * usize::from(percent),
        };
        if limit == 0 {
            return;
        }
        let all = self.clients.all().into_iter().filter(|record| !record.is_killed() && !record.is_protected());
        let mut sizes: Vec<(usize, Arc<ClientRecord>)> = all.map(|record| (record.memory(), record)).collect();
        let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
        if total <= limit {
            return;
        }
        sizes.sort_unstable_by_key(|(size, record)| (*size, record.id));
        while total > limit
            && let Some((size, record)) = sizes.pop()
        {
            total -= size;
            warn!(
                client = record.id,
                bytes = size,
                limit,
                "disconnected a client: all together reached maxmemory-clients"
            );
            record.kill(&self.supervision.attention);
            self.clients.count_evicted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Fixture;
    use crate::commands::{BatchNote, Connected, Session};

    #[test]
    fn limits_are_bytes_or_percent() {
        let limit = ClientMemoryLimit::default();
        let known = [("0", "0"), ("1mb", "1048576"), ("5%", "5%"), ("100%", "100%"), ("0%", "0")];
        for (text, shown) in known {
            limit.set(ClientMemory::parse(text.as_bytes()).expect(text));
            assert_eq!(limit.get().text(), shown);
        }
        for text in ["x", "-1", "1.5%", "5%x", "-1%"] {
            assert_eq!(
                ClientMemory::parse(text.as_bytes()),
                Err("argument must be a memory or percent value"),
                "{text}"
            );
        }
        assert_eq!(ClientMemory::parse(b"101%"), Err("percentage argument must be less or equal to 100"));
    }

    #[test]
    fn the_largest_go_first_and_protected_ones_never() {
        let mut fixture = Fixture::new();
        let sessions: Vec<Session> = [1_000_000, 300_000, 500_000, 100_000]
            .into_iter()
            .map(|bytes| {
                let session = Session::open(&fixture.state, Connected::default(), 0, fixture.now, 2);
                session.record.note_batch(0, BatchNote { output_room: bytes, ..BatchNote::default() });
                session
            })
            .collect();
        sessions[0].record.note_no_evict(true);
        let mut killed = |limit: &str| {
            assert_eq!(fixture.run(&format!("config set maxmemory-clients {limit}")), "+OK\r\n");
            fixture.state.evict_clients();
            sessions.iter().map(|session| session.record.is_killed()).collect::<Vec<_>>()
        };
        assert_eq!(killed("0"), [false; 4]);
        assert_eq!(killed("2mb"), [false; 4]);
        assert_eq!(killed("10%"), [false; 4], "of nothing");
        assert_eq!(killed("450kb"), [false, false, true, false]);
        assert_eq!(killed("200kb"), [false, true, true, false]);
        assert!(fixture.run("info stats").contains("evicted_clients:2\r\n"));
        fixture.run("config resetstat");
        assert!(fixture.run("info stats").contains("evicted_clients:0\r\n"));
        sessions.into_iter().for_each(|session| session.close(&fixture.state, 0));
    }
}
