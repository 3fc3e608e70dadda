//! Runtime parameters: what CONFIG GET shows and CONFIG SET changes.
//!
//! Each parameter is one row: how it is read, and how it is changed if it can be. Values that the hot path looks at are
//! atomics. Must not know how a request is parsed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::floats::parse_float;
use super::output_limits::{OutputLimitChange, OutputLimits};
use super::state::ServerState;
use super::strings::MAX_STRING_BYTES;
use crate::keyspace::hyperloglog::MAX_SPARSE_BYTES;
use crate::keyspace::{Limits, NodeLimit, integer};

/// The parameters of a running node.
#[derive(Debug)]
pub struct Config {
    max_clients: AtomicUsize,
    timeout: AtomicU64,
    password: RwLock<Vec<u8>>,
    password_required: AtomicBool,
    output_limits: RwLock<OutputLimits>,
}

impl Config {
    /// From what the process was started with: the password of the user `default` (if one is needed), how many
    /// connections may be open at once, and after how many seconds an idle one is closed (0: never).
    pub fn new(password: Option<String>, max_clients: usize, timeout: u64) -> Config {
        let password = password.unwrap_or_default().into_bytes();
        Config {
            max_clients: AtomicUsize::new(max_clients),
            timeout: AtomicU64::new(timeout),
            password_required: AtomicBool::new(!password.is_empty()),
            password: RwLock::new(password),
            output_limits: RwLock::default(),
        }
    }

    /// Connections that may be open at once.
    pub fn max_clients(&self) -> usize {
        self.max_clients.load(Ordering::Relaxed)
    }

    /// Idle connections are closed after so many seconds, 0: never.
    pub fn timeout_seconds(&self) -> u64 {
        self.timeout.load(Ordering::Relaxed)
    }

    /// Must clients say a password?
    pub fn password_required(&self) -> bool {
        self.password_required.load(Ordering::Relaxed)
    }

    /// Is this the password? Takes the same time for every wrong one of a length.
    pub fn is_password(&self, given: &[u8]) -> bool {
        let password = self.password.read();
        let difference = given.iter().zip(password.iter()).fold(0, |sum, (left, right)| sum | (left ^ right));
        given.len() == password.len() && std::hint::black_box(difference) == 0
    }

    fn set_password(&self, password: Vec<u8>) {
        self.password_required.store(!password.is_empty(), Ordering::Relaxed);
        *self.password.write() = password;
    }
}

/// A checked new value.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    MaxMemory(usize),
    MaxClients(usize),
    Timeout(u64),
    Password(Vec<u8>),
    OutputLimits(OutputLimitChange),
    SlowerThan(i64),
    LogLength(usize),
    EventThreshold(u64),
    Tracking(bool),
    Percentiles(Vec<f64>),
    /// The value that it has anyhow.
    Nothing,
}

/// Checks a new value; the error says what is wrong with it.
type Check = fn(&[u8]) -> Result<Change, &'static str>;

/// One parameter.
#[derive(Debug)]
pub struct Parameter {
    /// In lower case.
    pub name: &'static str,
    /// Its value as text.
    pub read: fn(&ServerState) -> Vec<u8>,
    /// How a new value is checked. `None`: it can not be changed.
    pub check: Option<Check>,
}

const fn fixed(name: &'static str, read: fn(&ServerState) -> Vec<u8>) -> Parameter {
    Parameter { name, read, check: None }
}

const EVICTION_POLICY: &str = "allkeys-lfu";

/// All parameters.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "maxmemory",
        read: |state| number(state.keyspace.memory_limit() as u64),
        check: Some(max_memory),
    },
    Parameter { name: "maxmemory-policy", read: |_| EVICTION_POLICY.into(), check: Some(policy) },
    Parameter { name: "maxclients", read: |state| number(state.config.max_clients() as u64), check: Some(max_clients) },
    Parameter { name: "timeout", read: |state| number(state.config.timeout_seconds()), check: Some(timeout) },
    Parameter {
        name: "requirepass",
        read: |state| state.config.password.read().clone(),
        check: Some(|value| Ok(Change::Password(value.to_vec()))),
    },
    Parameter {
        name: "slowlog-log-slower-than",
        read: |state| state.supervision.timing.slower_than_parameter().to_string().into_bytes(),
        check: Some(slower_than),
    },
    Parameter {
        name: "slowlog-max-len",
        read: |state| number(state.supervision.timing.log_length() as u64),
        check: Some(|value| {
            positive(value).map(|length| Change::LogLength(usize::try_from(length).unwrap_or(usize::MAX)))
        }),
    },
    Parameter {
        name: "latency-monitor-threshold",
        read: |state| number(state.supervision.timing.event_threshold().unwrap_or(0)),
        check: Some(|value| positive(value).map(Change::EventThreshold)),
    },
    Parameter {
        name: "latency-tracking",
        read: |state| yes_or_no(state.supervision.timing.tracking()),
        check: Some(|value| parse_yes_or_no(value).map(Change::Tracking)),
    },
    Parameter {
        name: "latency-tracking-info-percentiles",
        read: |state| percentile_text(&state.supervision.timing.percentiles()).into_bytes(),
        check: Some(percentiles),
    },
    fixed("enable-debug-command", |state| state.supervision.debug_access.name().into()),
    Parameter {
        name: "client-output-buffer-limit",
        read: |state| state.config.output_limits.read().text().into_bytes(),
        check: Some(|value| OutputLimitChange::parse(value).map(Change::OutputLimits)),
    },
    fixed("stream-node-max-bytes", |_| number(NodeLimit::DEFAULT.bytes() as u64)),
    fixed("stream-node-max-entries", |_| number(NodeLimit::DEFAULT.entries() as u64)),
    fixed("databases", |state| number(u64::from(state.keyspace.databases()))),
    fixed("port", |state| number(u64::from(state.facts.port))),
    fixed("bind", |state| state.facts.bind.clone().into_bytes()),
    fixed("unixsocket", |state| state.facts.unix_socket.clone().into_bytes()),
    fixed("io-threads", |state| number(state.facts.threads as u64)),
    fixed("proto-max-bulk-len", |_| number(MAX_STRING_BYTES as u64)),
    fixed("hll-sparse-max-bytes", |_| number(MAX_SPARSE_BYTES as u64)),
    // How far the small forms of collections go, under the names of today and those of Redis 6.
    fixed("hash-max-listpack-entries", |_| number(Limits::DEFAULT.hash_fields as u64)),
    fixed("hash-max-ziplist-entries", |_| number(Limits::DEFAULT.hash_fields as u64)),
    fixed("hash-max-listpack-value", |_| number(Limits::DEFAULT.hash_bytes as u64)),
    fixed("hash-max-ziplist-value", |_| number(Limits::DEFAULT.hash_bytes as u64)),
    fixed("set-max-intset-entries", |_| number(Limits::DEFAULT.set_integers as u64)),
    fixed("set-max-listpack-entries", |_| number(Limits::DEFAULT.set_members as u64)),
    fixed("set-max-listpack-value", |_| number(Limits::DEFAULT.set_bytes as u64)),
    fixed("zset-max-listpack-entries", |_| number(Limits::DEFAULT.sorted_set_members as u64)),
    fixed("zset-max-ziplist-entries", |_| number(Limits::DEFAULT.sorted_set_members as u64)),
    fixed("zset-max-listpack-value", |_| number(Limits::DEFAULT.sorted_set_bytes as u64)),
    fixed("zset-max-ziplist-value", |_| number(Limits::DEFAULT.sorted_set_bytes as u64)),
    fixed("list-max-listpack-size", |_| Limits::DEFAULT.list_chunk.to_string().into_bytes()),
    fixed("list-max-ziplist-size", |_| Limits::DEFAULT.list_chunk.to_string().into_bytes()),
    // Nothing is ever written to disk, and clients need no knowledge of shards: tools ask for these.
    fixed("save", |_| Vec::new()),
    fixed("appendonly", |_| b"no".to_vec()),
    fixed("cluster-enabled", |_| b"no".to_vec()),
];

/// Carries a checked change out.
pub fn apply(state: &ServerState, change: Change) {
    match change {
        Change::MaxMemory(bytes) => state.keyspace.set_memory_limit(bytes),
        Change::MaxClients(number) => state.config.max_clients.store(number, Ordering::Relaxed),
        Change::Timeout(seconds) => state.config.timeout.store(seconds, Ordering::Relaxed),
        Change::Password(password) => state.config.set_password(password),
        Change::SlowerThan(microseconds) => state.supervision.set_slower_than(microseconds),
        Change::LogLength(length) => state.supervision.set_log_length(length),
        Change::EventThreshold(milliseconds) => state.supervision.set_event_threshold(milliseconds),
        Change::Tracking(tracking) => state.supervision.set_tracking(tracking),
        Change::Percentiles(percentiles) => state.supervision.set_percentiles(percentiles),
        Change::OutputLimits(change) => {
            let mut limits = state.config.output_limits.write();
            limits.change(&change);
            state.channels.set_limit(limits.pubsub());
        }
        Change::Nothing => {}
    }
}

fn number(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn max_memory(value: &[u8]) -> Result<Change, &'static str> {
    parse_memory(value).map(Change::MaxMemory).ok_or("argument must be a memory value")
}

/// Bytes: digits and a unit in any case. `k` is 1000, `kb` is 1024.
pub fn parse_memory(value: &[u8]) -> Option<usize> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = value.split_at(digits);
    let factor: usize = match &*unit.to_ascii_lowercase() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        b"t" => 1_000_000_000_000,
        b"tb" => 1 << 40,
        _ => return None,
    };
    std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?.checked_mul(factor)
}

fn policy(value: &[u8]) -> Result<Change, &'static str> {
    match value.eq_ignore_ascii_case(EVICTION_POLICY.as_bytes()) {
        true => Ok(Change::Nothing),
        false => Err("argument(s) must be one of the following: allkeys-lfu"),
    }
}

fn max_clients(value: &[u8]) -> Result<Change, &'static str> {
    let range = 1..=i64::from(u32::MAX);
    let number = in_range(value, range, "argument must be between 1 and 4294967295 inclusive")?;
    Ok(Change::MaxClients(usize::try_from(number).unwrap_or(usize::MAX)))
}

fn timeout(value: &[u8]) -> Result<Change, &'static str> {
    let range = 0..=i64::from(i32::MAX);
    let seconds = in_range(value, range, "argument must be between 0 and 2147483647 inclusive")?;
    Ok(Change::Timeout(seconds))
}

fn slower_than(value: &[u8]) -> Result<Change, &'static str> {
    let number = integer::parse(value).ok_or("argument couldn't be parsed into an integer")?;
    match number >= -1 {
        true => Ok(Change::SlowerThan(number)),
        false => Err("argument must be between -1 and 9223372036854775807 inclusive"),
    }
}

fn positive(value: &[u8]) -> Result<u64, &'static str> {
    in_range(value, 0..=i64::MAX, "argument must be between 0 and 9223372036854775807 inclusive")
}

fn yes_or_no(value: bool) -> Vec<u8> {
    if value { b"yes".to_vec() } else { b"no".to_vec() }
}

fn parse_yes_or_no(value: &[u8]) -> Result<bool, &'static str> {
    match &*value.to_ascii_lowercase() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'"),
    }
}

fn percentiles(value: &[u8]) -> Result<Change, &'static str> {
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let numbers: Option<Vec<f64>> = words.map(parse_float).collect();
    let numbers = numbers.ok_or("Invalid latency-tracking-info-percentiles parameters")?;
    if numbers.iter().any(|number| !(0.0..=100.0).contains(number)) {
        return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
    }
    Ok(Change::Percentiles(numbers))
}

/// Percentiles as CONFIG GET shows them.
fn percentile_text(percentiles: &[f64]) -> String {
    percentiles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn in_range(value: &[u8], range: std::ops::RangeInclusive<i64>, error: &'static str) -> Result<u64, &'static str> {
    let number = integer::parse(value).ok_or("argument couldn't be parsed into an integer")?;
    if !range.contains(&number) {
        return Err(error);
    }
    u64::try_from(number).map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let known = [("0", 0), ("100", 100), ("1k", 1000), ("1KB", 1024), ("2mb", 2 << 20), ("3Gb", 3 << 30)];
        for (text, bytes) in known {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["", "kb", "-1", "1.5gb", "1xb", "99999999999999999999", "99999999999tb"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_the_password_is_the_password() {
        let config = Config::new(Some("secret".to_string()), 10, 0);
        assert!(config.is_password(b"secret"));
        for wrong in ["", "secre", "secret1", "Secret"] {
            assert!(!config.is_password(wrong.as_bytes()));
        }
    }
}
