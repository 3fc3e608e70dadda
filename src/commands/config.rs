//! Runtime parameters: what CONFIG GET shows and CONFIG SET changes.
//!
//! Each parameter is one row: how it is read, and how it is changed if it can be. Values that the hot path looks at are
//! atomics. Must not know how a request is parsed.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::client_eviction::{ClientMemory, ClientMemoryLimit};
use super::floats::parse_float;
use super::output_limits::{CurrentOutputLimits, OutputLimitChange};
use super::rewrite::{Defaults, defaults};
use super::state::ServerState;
use crate::acl::ChannelDefault;
use crate::keyspace::{Counting, EventClasses, EvictionPolicy, Limit, Limits, MAX_STRING_BYTES, integer};
use crate::observe::{LogLevel, set_log_level};
use crate::persistence::SavePoints;
use crate::pubsub::OutputLimit;
use crate::tls::{ClientAuth, MinVersion, Passphrase, TlsSettings};

/// The most input of a client that is kept before its request is complete, in bytes, whatever is asked for: what a parser can look at
/// has 4 GiB, and buffers double.
const MOST_INPUT: usize = 1 << 30;
/// Seconds after which a silent client is probed.
const DEFAULT_KEEPALIVE: u64 = 300;

/// The parameters of a running node.
#[derive(Debug)]
pub struct Config {
    max_clients: AtomicUsize,
    timeout: AtomicU64,
    /// As it was last set here, for CONFIG GET alone: who may log in is said by the users.
    password: RwLock<Vec<u8>>,
    output_limits: CurrentOutputLimits,
    keepalive: AtomicU64,
    log_level: AtomicUsize,
    client_memory: ClientMemoryLimit,
    /// As they were set, in bytes.
    longest_string: AtomicUsize,
    most_input: AtomicUsize,
    /// Held while parameters change: those of one CONFIG SET change together.
    pub changing: Mutex<()>,
    defaults: OnceLock<Defaults>,
}

impl Config {
    /// From what the process was started with: the password of the user `default` (if one is needed), how many
    /// connections may be open at once, and after how many seconds an idle one is closed (0: never).
    pub fn new(password: Option<String>, max_clients: usize, timeout: u64) -> Config {
        let password = password.unwrap_or_default().into_bytes();
        Config {
            max_clients: AtomicUsize::new(max_clients),
            timeout: AtomicU64::new(timeout),
            password: RwLock::new(password),
            output_limits: CurrentOutputLimits::default(),
            keepalive: AtomicU64::new(DEFAULT_KEEPALIVE),
            log_level: AtomicUsize::new(LogLevel::default() as usize),
            client_memory: ClientMemoryLimit::default(),
            longest_string: AtomicUsize::new(MAX_STRING_BYTES),
            most_input: AtomicUsize::new(MOST_INPUT),
            changing: Mutex::default(),
            defaults: OnceLock::new(),
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

    /// Clients that connect from now on are probed after so many silent seconds, 0: never.
    pub fn keepalive_seconds(&self) -> u64 {
        self.keepalive.load(Ordering::Relaxed)
    }

    /// The longest word of a request, and the longest string that one may make, in bytes. Not beyond what an effect has room for.
    pub fn longest_string(&self) -> usize {
        self.longest_string.load(Ordering::Relaxed).min(MAX_STRING_BYTES)
    }

    /// A client ends when so many bytes of its input wait for the rest of their request.
    pub fn most_input(&self) -> usize {
        self.most_input.load(Ordering::Relaxed).min(MOST_INPUT)
    }

    /// How much of replies a client may leave untaken, if that is limited.
    pub fn limit_of_replies(&self) -> Option<OutputLimit> {
        self.output_limits.of_replies()
    }

    /// How much memory clients may take together.
    pub fn client_memory(&self) -> &ClientMemoryLimit {
        &self.client_memory
    }

    /// What parameters are before anything was changed; none in a state that only tests made.
    pub fn defaults(&self) -> Option<&Defaults> {
        self.defaults.get()
    }

    /// Notes what parameters are before anything was changed. Only the first time counts.
    pub fn note_defaults(&self, defaults: Defaults) {
        let _ = self.defaults.set(defaults);
    }
}

/// A checked new value.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    MaxMemory(usize),
    Policy(EvictionPolicy),
    Samples(u32),
    Tenacity(u32),
    LogFactor(u32),
    DecayMinutes(u32),
    ClientMemory(ClientMemory),
    MaxClients(usize),
    Timeout(u64),
    Password(Vec<u8>),
    ChannelDefault(ChannelDefault),
    AclLogLength(usize),
    OutputLimits(OutputLimitChange),
    SlowerThan(i64),
    LogLength(usize),
    EventThreshold(u64),
    Tracking(bool),
    Percentiles(Vec<f64>),
    Events(EventClasses),
    TrackedKeys(usize),
    SavePoints(SavePoints),
    Tls(TlsChange),
    Limit(Limit, usize),
    ListChunk(i32),
    Keepalive(u64),
    LogLevel(LogLevel),
    BusyThreshold(u64),
    LongestString(usize),
    MostInput(usize),
}

/// One of the parameters of TLS. They take effect together: see [`super::configuration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsChange {
    CertFile(PathBuf),
    KeyFile(PathBuf),
    KeyPass(Passphrase),
    CaFile(Option<PathBuf>),
    AuthClients(ClientAuth),
    MinVersion(MinVersion),
}

impl TlsChange {
    /// Enters it into the settings.
    pub fn enter(self, settings: &mut TlsSettings) {
        match self {
            TlsChange::CertFile(path) => settings.cert_file = path,
            TlsChange::KeyFile(path) => settings.key_file = path,
            TlsChange::KeyPass(passphrase) => settings.key_pass = passphrase,
            TlsChange::CaFile(path) => settings.ca_file = path,
            TlsChange::AuthClients(auth) => settings.auth_clients = Some(auth),
            TlsChange::MinVersion(version) => settings.min_version = version,
        }
    }
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

/// Like Redis, where clients may not say what is written where.
const fn protected(name: &'static str, read: fn(&ServerState) -> Vec<u8>) -> Parameter {
    Parameter { name, read, check: Some(|_| Err("can't set protected config")) }
}

/// A limit of the small form of a collection; a number, or a size with a unit.
macro_rules! limit {
    ($name:literal, $limit:expr, $kind:ident) => {
        Parameter {
            name: $name,
            read: |_| number($limit.get() as u64),
            check: Some(|value| $kind(value).map(|number| Change::Limit($limit, number))),
        }
    };
}

/// All parameters.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "maxmemory",
        read: |state| number(state.keyspace.memory_limit() as u64),
        check: Some(max_memory),
    },
    Parameter {
        name: "maxmemory-policy",
        read: |state| state.keyspace.eviction_policy().name().into(),
        check: Some(|value| {
            let wrong = "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, \
                         allkeys-lru, allkeys-lfu, allkeys-random, noeviction";
            EvictionPolicy::named(value).map(Change::Policy).ok_or(wrong)
        }),
    },
    Parameter {
        name: "maxmemory-samples",
        read: |state| number(state.keyspace.eviction_samples().into()),
        check: Some(|value| {
            let range = 1..=i64::from(i32::MAX);
            in_range(value, range, "argument must be between 1 and 2147483647 inclusive")
                .map(|number| Change::Samples(number as u32))
        }),
    },
    Parameter {
        name: "maxmemory-eviction-tenacity",
        read: |state| number(state.keyspace.eviction_tenacity().into()),
        check: Some(|value| {
            in_range(value, 0..=100, "argument must be between 0 and 100 inclusive")
                .map(|number| Change::Tenacity(number as u32))
        }),
    },
    Parameter {
        name: "maxmemory-clients",
        read: |state| state.config.client_memory.get().text().into_bytes(),
        check: Some(|value| ClientMemory::parse(value).map(Change::ClientMemory)),
    },
    Parameter {
        name: "lfu-log-factor",
        read: |_| number(Counting::current().log_factor.into()),
        check: Some(|value| not_negative(value).map(Change::LogFactor)),
    },
    Parameter {
        name: "lfu-decay-time",
        read: |_| number(Counting::current().decay_minutes.into()),
        check: Some(|value| not_negative(value).map(Change::DecayMinutes)),
    },
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
        read: |state| state.config.output_limits.get().text().into_bytes(),
        check: Some(|value| OutputLimitChange::parse(value).map(Change::OutputLimits)),
    },
    Parameter {
        name: "acl-pubsub-default",
        read: |state| match state.users.channel_default() {
            ChannelDefault::None => b"resetchannels".to_vec(),
            ChannelDefault::All => b"allchannels".to_vec(),
        },
        check: Some(channel_default),
    },
    Parameter {
        name: "acllog-max-len",
        read: |state| number(state.users.log().length() as u64),
        check: Some(acl_log_length),
    },
    fixed("aclfile", |state| {
        state.users.file().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).unwrap_or_default()
    }),
    Parameter {
        name: "notify-keyspace-events",
        read: |state| state.keyspace.event_classes().text().into_bytes(),
        check: Some(|value| {
            let classes = EventClasses::parse(value);
            classes.map(Change::Events).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        }),
    },
    Parameter {
        name: "tracking-table-max-keys",
        read: |state| number(state.keyspace.tracking_limit() as u64),
        check: Some(|value| count(value).map(Change::TrackedKeys)),
    },
    limit!("stream-node-max-bytes", Limit::NodeBytes, size),
    limit!("stream-node-max-entries", Limit::NodeEntries, count),
    Parameter { name: "tcp-keepalive", read: |state| number(state.config.keepalive_seconds()), check: Some(keepalive) },
    Parameter {
        name: "loglevel",
        read: |state| LogLevel::NAMES[state.config.log_level.load(Ordering::Relaxed)].into(),
        check: Some(log_level),
    },
    Parameter { name: "busy-reply-threshold", read: read_busy_threshold, check: Some(busy_threshold) },
    Parameter { name: "lua-time-limit", read: read_busy_threshold, check: Some(busy_threshold) },
    fixed("databases", |state| number(u64::from(state.keyspace.databases()))),
    fixed("port", |state| number(u64::from(state.facts.port))),
    fixed("bind", |state| state.facts.bind.clone().into_bytes()),
    fixed("tls-port", |state| number(u64::from(state.facts.tls_port))),
    Parameter {
        name: "tls-cert-file",
        read: |state| tls(state, |settings| settings.cert_file.into_os_string().into_vec()),
        check: Some(|value| Ok(Change::Tls(TlsChange::CertFile(path(value))))),
    },
    Parameter {
        name: "tls-key-file",
        read: |state| tls(state, |settings| settings.key_file.into_os_string().into_vec()),
        check: Some(|value| Ok(Change::Tls(TlsChange::KeyFile(path(value))))),
    },
    Parameter {
        name: "tls-key-file-pass",
        read: |state| tls(state, |settings| settings.key_pass.expose().to_vec()),
        check: Some(|value| Ok(Change::Tls(TlsChange::KeyPass(Passphrase::new(value.to_vec()))))),
    },
    Parameter {
        name: "tls-ca-cert-file",
        read: |state| tls(state, |settings| settings.ca_file.unwrap_or_default().into_os_string().into_vec()),
        check: Some(|value| Ok(Change::Tls(TlsChange::CaFile(Some(path(value)).filter(|_| !value.is_empty()))))),
    },
    Parameter {
        name: "tls-auth-clients",
        read: |state| match &state.tls {
            Some(certificates) => certificates.settings().client_auth().name().into(),
            // What Redis says when it has no certificates either.
            None => ClientAuth::Yes.name().into(),
        },
        check: Some(auth_clients),
    },
    Parameter {
        name: "tls-protocols",
        read: |state| tls(state, |settings| settings.min_version.protocols().into()),
        check: Some(tls_protocols),
    },
    fixed("unixsocket", |state| state.facts.unix_socket.clone().into_bytes()),
    fixed("io-threads", |state| number(state.facts.threads as u64)),
    Parameter {
        name: "proto-max-bulk-len",
        read: |state| number(state.config.longest_string.load(Ordering::Relaxed) as u64),
        check: Some(|value| at_least_a_mebibyte(value).map(Change::LongestString)),
    },
    limit!("hll-sparse-max-bytes", Limit::SparseBytes, size),
    // How far the small forms of collections go, under the names of today and those of Redis 6.
    limit!("hash-max-listpack-entries", Limit::HashFields, count),
    limit!("hash-max-ziplist-entries", Limit::HashFields, count),
    limit!("hash-max-listpack-value", Limit::HashBytes, size),
    limit!("hash-max-ziplist-value", Limit::HashBytes, size),
    limit!("set-max-intset-entries", Limit::SetIntegers, count),
    limit!("set-max-listpack-entries", Limit::SetMembers, count),
    limit!("set-max-listpack-value", Limit::SetBytes, size),
    limit!("zset-max-listpack-entries", Limit::SortedSetMembers, count),
    limit!("zset-max-ziplist-entries", Limit::SortedSetMembers, count),
    limit!("zset-max-listpack-value", Limit::SortedSetBytes, size),
    limit!("zset-max-ziplist-value", Limit::SortedSetBytes, size),
    Parameter { name: "list-max-listpack-size", read: read_list_chunk, check: Some(list_chunk) },
    Parameter { name: "list-max-ziplist-size", read: read_list_chunk, check: Some(list_chunk) },
    Parameter {
        name: "save",
        read: |state| state.persistence.save_points().to_string().into_bytes(),
        check: Some(|value| SavePoints::parse(value).map(Change::SavePoints).ok_or("Invalid save parameters")),
    },
    protected("dir", |state| state.persistence.directory().as_os_str().as_bytes().to_vec()),
    protected("dbfilename", |state| state.persistence.file_name().as_bytes().to_vec()),
    // There is no append-only file, and clients need no knowledge of shards: tools ask for these.
    fixed("appendonly", |_| b"no".to_vec()),
    fixed("cluster-enabled", |_| b"no".to_vec()),
    fixed("activedefrag", |_| b"no".to_vec()),
    fixed("tcp-backlog", |_| b"511".to_vec()),
    Parameter {
        name: "client-query-buffer-limit",
        read: |state| number(state.config.most_input.load(Ordering::Relaxed) as u64),
        check: Some(|value| at_least_a_mebibyte(value).map(Change::MostInput)),
    },
];

/// Carries a checked change out; not those of TLS.
pub fn apply(state: &ServerState, change: Change) {
    match change {
        Change::MaxMemory(bytes) => state.keyspace.set_memory_limit(bytes),
        Change::Policy(policy) => state.keyspace.set_eviction_policy(policy),
        Change::Samples(keys) => state.keyspace.set_eviction_samples(keys),
        Change::Tenacity(tenacity) => state.keyspace.set_eviction_tenacity(tenacity),
        Change::LogFactor(log_factor) => Counting { log_factor, ..Counting::current() }.set(),
        Change::DecayMinutes(decay_minutes) => Counting { decay_minutes, ..Counting::current() }.set(),
        Change::ClientMemory(memory) => state.config.client_memory.set(memory),
        Change::MaxClients(number) => state.config.max_clients.store(number, Ordering::Relaxed),
        Change::Timeout(seconds) => state.config.timeout.store(seconds, Ordering::Relaxed),
        Change::SlowerThan(microseconds) => state.supervision.set_slower_than(microseconds),
        Change::LogLength(length) => state.supervision.set_log_length(length),
        Change::EventThreshold(milliseconds) => state.supervision.set_event_threshold(milliseconds),
        Change::Tracking(tracking) => state.supervision.set_tracking(tracking),
        Change::Percentiles(percentiles) => state.supervision.set_percentiles(percentiles),
        Change::Password(password) => {
            state.users.set_default_password(&password);
            *state.config.password.write() = password;
        }
        Change::ChannelDefault(channels) => state.users.set_channel_default(channels),
        Change::AclLogLength(length) => state.users.log().set_length(length),
        Change::OutputLimits(change) => {
            state.channels.set_limit(state.config.output_limits.change(&change).pubsub());
        }
        Change::Events(classes) => state.keyspace.set_event_classes(classes),
        Change::TrackedKeys(keys) => state.keyspace.set_tracking_limit(keys),
        Change::SavePoints(points) => state.persistence.set_save_points(points),
        Change::Limit(limit, value) => limit.set(value),
        Change::ListChunk(size) => Limits::set_list_chunk(size),
        Change::Keepalive(seconds) => state.config.keepalive.store(seconds, Ordering::Relaxed),
        Change::LogLevel(level) => {
            state.config.log_level.store(level as usize, Ordering::Relaxed);
            set_log_level(level);
        }
        Change::BusyThreshold(milliseconds) => state.scripting.set_threshold(milliseconds),
        Change::LongestString(bytes) => state.config.longest_string.store(bytes, Ordering::Relaxed),
        Change::MostInput(bytes) => state.config.most_input.store(bytes, Ordering::Relaxed),
        Change::Tls(_) => {}
    }
}

fn number(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn tls(state: &ServerState, read: fn(TlsSettings) -> Vec<u8>) -> Vec<u8> {
    state.tls.as_ref().map(|certificates| read(certificates.settings())).unwrap_or_default()
}

fn path(value: &[u8]) -> PathBuf {
    OsStr::from_bytes(value).into()
}

fn auth_clients(value: &[u8]) -> Result<Change, &'static str> {
    let known = ClientAuth::NAMES.iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()));
    let (_, auth) = known.ok_or("argument(s) must be one of the following: no, yes, optional")?;
    Ok(Change::Tls(TlsChange::AuthClients(*auth)))
}

fn tls_protocols(value: &[u8]) -> Result<Change, &'static str> {
    let words: Vec<Vec<u8>> = value.split(|byte| *byte == b' ').map(<[u8]>::to_ascii_lowercase).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).filter(|word| !word.is_empty()).collect();
    let version = match words[..] {
        [] | [b"tlsv1.2", b"tlsv1.3"] | [b"tlsv1.3", b"tlsv1.2"] => MinVersion::Tls12,
        [b"tlsv1.3"] => MinVersion::Tls13,
        _ => return Err("argument must be 'TLSv1.2 TLSv1.3' or 'TLSv1.3'"),
    };
    Ok(Change::Tls(TlsChange::MinVersion(version)))
}

/// Is this a value that the parameter can have when a node begins? `None`: no parameter of this name can be changed.
pub fn check_parameter(name: &str, value: &[u8]) -> Option<Result<(), &'static str>> {
    let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name)?;
    parameter.check.map(|check| check(value).map(drop))
}

/// Notes the defaults, and gives parameters the values that the configuration file has for them, which are checked.
pub fn begin_with(state: &ServerState, values: &[(String, Vec<u8>)]) {
    state.config.note_defaults(defaults(state));
    for (name, value) in values {
        let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name);
        let check = parameter.and_then(|parameter| parameter.check);
        if let Some(Ok(change)) = check.map(|check| check(value)) {
            apply(state, change);
        }
    }
}

fn count(value: &[u8]) -> Result<usize, &'static str> {
    let number = in_range(value, 0..=i64::MAX, "argument must be between 0 and 9223372036854775807 inclusive")?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn keepalive(value: &[u8]) -> Result<Change, &'static str> {
    not_negative(value).map(|seconds| Change::Keepalive(seconds.into()))
}

/// A number of 31 bits.
fn not_negative(value: &[u8]) -> Result<u32, &'static str> {
    let range = 0..=i64::from(i32::MAX);
    in_range(value, range, "argument must be between 0 and 2147483647 inclusive").map(|number| number as u32)
}

fn list_chunk(value: &[u8]) -> Result<Change, &'static str> {
    let size = integer::parse(value).ok_or("argument couldn't be parsed into an integer")?;
    let size = i32::try_from(size).map_err(|_| "argument must be between -2147483648 and 2147483647 inclusive")?;
    Ok(Change::ListChunk(size))
}

fn read_list_chunk(_: &ServerState) -> Vec<u8> {
    Limits::list_chunk_parameter().to_string().into_bytes()
}

fn size(value: &[u8]) -> Result<usize, &'static str> {
    let bytes = parse_memory(value).ok_or("argument must be a memory value")?;
    match i64::try_from(bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err("argument must be between 0 and 9223372036854775807 inclusive"),
    }
}

fn at_least_a_mebibyte(value: &[u8]) -> Result<usize, &'static str> {
    let bytes = parse_memory(value).ok_or("argument must be a memory value")?;
    match i64::try_from(bytes) {
        Ok(1_048_576..) => Ok(bytes),
        _ => Err("argument must be between 1048576 and 9223372036854775807 inclusive"),
    }
}

fn log_level(value: &[u8]) -> Result<Change, &'static str> {
    let known = LogLevel::NAMES.iter().position(|name| value.eq_ignore_ascii_case(name.as_bytes()));
    let level = known.and_then(LogLevel::from_place);
    level.map(Change::LogLevel).ok_or("argument(s) must be one of the following: debug, verbose, notice, warning")
}

fn max_memory(value: &[u8]) -> Result<Change, &'static str> {
    parse_memory(value).map(Change::MaxMemory).ok_or("argument must be a memory value")
}

/// Bytes: digits and a unit in any case. `k` is 1000, `kb` is 1024. As in Redis, no digits are 0, and too many of them
/// the largest number.
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
    let add = |sum: usize, digit: &u8| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
    digits.iter().fold(0, add).checked_mul(factor)
}

fn channel_default(value: &[u8]) -> Result<Change, &'static str> {
    match &*value.to_ascii_lowercase() {
        b"allchannels" => Ok(Change::ChannelDefault(ChannelDefault::All)),
        b"resetchannels" => Ok(Change::ChannelDefault(ChannelDefault::None)),
        _ => Err("argument(s) must be one of the following: allchannels, resetchannels"),
    }
}

fn acl_log_length(value: &[u8]) -> Result<Change, &'static str> {
    let range = 0..=i64::MAX;
    let length = in_range(value, range, "argument must be between 0 and 9223372036854775807 inclusive")?;
    Ok(Change::AclLogLength(usize::try_from(length).unwrap_or(usize::MAX)))
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

fn read_busy_threshold(state: &ServerState) -> Vec<u8> {
    number(state.scripting.threshold())
}

fn busy_threshold(value: &[u8]) -> Result<Change, &'static str> {
    positive(value).map(Change::BusyThreshold)
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
        assert_eq!(parse_memory(b""), Some(0));
        assert_eq!(parse_memory(b"99999999999999999999"), Some(usize::MAX));
        for text in ["-1", "1.5gb", "1xb", "1 ", "+1", "99999999999999999999kb", "99999999999tb"] {
            assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
        }
    }
}
