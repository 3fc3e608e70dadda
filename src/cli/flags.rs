//! The flags of `swytch redis`. Each has an environment variable of the same name, with `SWYTCH_` in front.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::values;
use super::values::{BindList, OtelEndpoint};
use crate::acl::{ChannelDefault, UserFile};
use crate::commands::{DebugAccess, REDIS_VERSION};
use crate::keyspace::{EventClasses, EvictionPolicy};
use crate::persistence::{PersistenceOptions, SavePoints};
use crate::server::{ClusterSettings, LogFormat, Options, SampleRatio, TlsOptions, TracingSettings};
use crate::tls::{ClientAuth, MinVersion, Passphrase, TlsSettings};

/// How far above the client port the cluster port is, unless it is given.
const CLUSTER_PORT_OFFSET: u16 = 1000;
/// A shorter passphrase could be guessed.
const SHORTEST_PASSPHRASE: usize = 16;

#[derive(Args)]
pub(super) struct RedisFlags {
    /// Configuration file in the form of redis.conf; flags and environment variables override it
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// TCP port for clients, with TLS if there is a certificate and no --tls-port; 0 for none
    #[arg(long, env = "SWYTCH_PORT", hide_env_values = true, default_value = "6379", value_parser = values::port_or_none)]
    port: u16,

    /// Addresses for clients, separated by commas or spaces; empty for no TCP; a leading - makes one optional
    #[arg(
        long,
        env = "SWYTCH_BIND",
        hide_env_values = true,
        default_value = "127.0.0.1",
        value_name = "ADDRESSES",
        allow_hyphen_values = true,
        value_parser = values::bind_list
    )]
    bind: BindList,

    /// Path of a unix socket for clients
    #[arg(long, env = "SWYTCH_UNIXSOCKET", hide_env_values = true, value_name = "PATH")]
    unixsocket: Option<PathBuf>,

    /// Memory for data; beyond it, keys are evicted by --maxmemory-policy; 0 for no limit; units b, kb, mb, gb, tb
    #[arg(
        long,
        env = "SWYTCH_MAXMEMORY",
        hide_env_values = true,
        default_value = "64mb",
        value_name = "SIZE",
        value_parser = values::size
    )]
    maxmemory: usize,

    /// Which keys are evicted first: allkeys-lfu, allkeys-lru, allkeys-random, volatile-lfu, volatile-lru, volatile-random,
    /// volatile-ttl or noeviction
    #[arg(
        long,
        env = "SWYTCH_MAXMEMORY_POLICY",
        hide_env_values = true,
        default_value = "allkeys-lfu",
        value_name = "POLICY",
        value_parser = values::eviction_policy
    )]
    maxmemory_policy: EvictionPolicy,

    /// Number of databases
    #[arg(
        long,
        env = "SWYTCH_DATABASES",
        hide_env_values = true,
        default_value = "16",
        value_name = "NUMBER",
        value_parser = |text: &str| values::whole_number(text, 1..=16384)
    )]
    databases: u64,

    /// Server threads; 0 for one per CPU
    #[arg(
        long,
        env = "SWYTCH_THREADS",
        hide_env_values = true,
        default_value = "0",
        value_name = "NUMBER",
        value_parser = |text: &str| values::whole_number(text, 0..=1024)
    )]
    threads: u64,

    /// Password that clients must give
    #[arg(
        long,
        env = "SWYTCH_REQUIREPASS",
        hide_env_values = true,
        value_name = "PASSWORD",
        allow_hyphen_values = true
    )]
    requirepass: Option<String>,

    /// File of the users, as ACL SAVE writes it; read at the start and by ACL LOAD
    #[arg(long, env = "SWYTCH_ACLFILE", hide_env_values = true, value_name = "PATH")]
    aclfile: Option<PathBuf>,

    /// Clients that may be connected at a time
    #[arg(
        long,
        env = "SWYTCH_MAXCLIENTS",
        hide_env_values = true,
        default_value = "10000",
        value_name = "NUMBER",
        value_parser = |text: &str| values::whole_number(text, 1..=1_000_000)
    )]
    maxclients: u64,

    /// Seconds after which silent clients are disconnected; 0 for never
    #[arg(
        long,
        env = "SWYTCH_TIMEOUT",
        hide_env_values = true,
        default_value = "0",
        value_name = "SECONDS",
        value_parser = |text: &str| values::whole_number(text, 0..=u64::from(u32::MAX / 2))
    )]
    timeout: u64,

    /// Who may use the command DEBUG: no (nobody), local (clients of this machine) or yes
    #[arg(
        long,
        env = "SWYTCH_ENABLE_DEBUG_COMMAND",
        hide_env_values = true,
        default_value = "no",
        value_name = "WHO",
        value_parser = values::debug_access
    )]
    enable_debug_command: DebugAccess,

    /// Events of keys that are published to subscribers: letters as in Redis, for example KEA; empty for none
    #[arg(
        long,
        env = "SWYTCH_NOTIFY_KEYSPACE_EVENTS",
        hide_env_values = true,
        default_value = "",
        value_name = "CLASSES",
        value_parser = values::event_classes
    )]
    notify_keyspace_events: EventClasses,

    /// How to log to standard error: text or json
    #[arg(
        long,
        env = "SWYTCH_LOG_FORMAT",
        hide_env_values = true,
        default_value = "text",
        value_name = "FORMAT",
        value_parser = values::log_format
    )]
    log_format: LogFormat,

    /// TCP port for /health, /metrics and /status
    #[arg(long, env = "SWYTCH_METRICS_PORT", hide_env_values = true, value_name = "PORT", value_parser = values::port)]
    metrics_port: Option<u16>,

    /// Collector of traces, OTLP over HTTP, such as http://127.0.0.1:4318; without one nothing is traced
    #[arg(
        long,
        env = "SWYTCH_OTEL_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        value_parser = values::otel_endpoint
    )]
    otel_endpoint: Option<OtelEndpoint>,

    /// Share of commands that are traced, up to 1
    #[arg(
        long,
        env = "SWYTCH_OTEL_SAMPLE_RATIO",
        hide_env_values = true,
        default_value = "0.001",
        value_name = "RATIO",
        value_parser = values::sample_ratio
    )]
    otel_sample_ratio: SampleRatio,

    /// Directory of the file with the data
    #[arg(long, env = "SWYTCH_DIR", hide_env_values = true, default_value = ".", value_name = "PATH", value_parser = values::directory)]
    dir: PathBuf,

    /// Name of the file with the data, in Redis's RDB format: loaded at the start, written by SAVE and BGSAVE
    #[arg(
        long,
        env = "SWYTCH_DBFILENAME",
        hide_env_values = true,
        default_value = "dump.rdb",
        value_name = "NAME",
        value_parser = values::file_name
    )]
    dbfilename: String,

    /// When to save by itself, also at the end: pairs of seconds and changes, as in "3600 1 300 100"; empty for never
    #[arg(
        long,
        env = "SWYTCH_SAVE",
        hide_env_values = true,
        default_value = "",
        value_name = "PAIRS",
        value_parser = values::save_points
    )]
    save: SavePoints,

    /// Certificate for clients that use TLS, a PEM file, with those that lead to its authority behind it
    #[arg(long, env = "SWYTCH_TLS_CERT_FILE", hide_env_values = true, value_name = "FILE")]
    tls_cert_file: Option<PathBuf>,

    /// Key of the certificate, a PEM file
    #[arg(long, env = "SWYTCH_TLS_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    tls_key_file: Option<PathBuf>,

    /// Passphrase of an encrypted key
    #[arg(
        long,
        env = "SWYTCH_TLS_KEY_FILE_PASS",
        hide_env_values = true,
        value_name = "PASSPHRASE",
        allow_hyphen_values = true
    )]
    tls_key_file_pass: Option<String>,

    /// Authorities from which clients must have certificates (mutual TLS), a PEM file
    #[arg(long, env = "SWYTCH_TLS_CA_CERT_FILE", hide_env_values = true, value_name = "FILE")]
    tls_ca_cert_file: Option<PathBuf>,

    /// Must clients present a certificate: yes, no or optional; by default yes if there is --tls-ca-cert-file
    #[arg(
        long,
        env = "SWYTCH_TLS_AUTH_CLIENTS",
        hide_env_values = true,
        value_name = "WHO",
        value_parser = values::client_auth
    )]
    tls_auth_clients: Option<ClientAuth>,

    /// Oldest version of TLS that is spoken: 1.2 or 1.3
    #[arg(
        long,
        env = "SWYTCH_TLS_MIN_VERSION",
        hide_env_values = true,
        default_value = "1.2",
        value_name = "VERSION",
        value_parser = values::tls_version
    )]
    tls_min_version: MinVersion,

    /// TCP port for clients that use TLS, beside --port for those that do not; 0 for none
    #[arg(
        long,
        env = "SWYTCH_TLS_PORT",
        hide_env_values = true,
        value_name = "PORT",
        value_parser = values::port_or_none
    )]
    tls_port: Option<u16>,

    /// Passphrase that all nodes of the cluster share, at least 16 characters; see `swytch gen-passphrase`
    #[arg(
        long,
        env = "SWYTCH_CLUSTER_PASSPHRASE",
        hide_env_values = true,
        value_name = "PASSPHRASE",
        allow_hyphen_values = true
    )]
    cluster_passphrase: Option<String>,

    /// Another passphrase whose nodes are accepted, while a cluster goes from one to the other
    #[arg(
        long,
        env = "SWYTCH_CLUSTER_PASSPHRASE_ALSO",
        hide_env_values = true,
        value_name = "PASSPHRASE",
        allow_hyphen_values = true
    )]
    cluster_passphrase_also: Option<String>,

    /// DNS name under which the nodes of the cluster find each other
    #[arg(long, env = "SWYTCH_JOIN", hide_env_values = true, value_name = "NAME", value_parser = values::name)]
    join: Option<String>,

    /// UDP port for the cluster; by default the client port + 1000
    #[arg(long, env = "SWYTCH_CLUSTER_PORT", hide_env_values = true, value_name = "PORT", value_parser = values::port)]
    cluster_port: Option<u16>,

    /// Address that other nodes are to use for this one; found out by default
    #[arg(
        long,
        env = "SWYTCH_CLUSTER_ADVERTISE",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_parser = values::host_and_port
    )]
    cluster_advertise: Option<String>,

    /// Memory for effects that other nodes lack; as much again for what still matters of older ones, and for what is known of their keys
    #[arg(
        long,
        env = "SWYTCH_CLUSTER_LOG_LIMIT",
        hide_env_values = true,
        default_value = "128mb",
        value_name = "SIZE",
        value_parser = values::log_limit
    )]
    cluster_log_limit: usize,

    /// What people call this node, in status, metrics and traces; its host name by default
    #[arg(long, env = "SWYTCH_NODE_NAME", hide_env_values = true, value_name = "NAME", value_parser = values::node_name)]
    node_name: Option<String>,

    /// DNS server to ask for --join; the system's by default
    #[arg(long, env = "SWYTCH_DNS_SERVER", hide_env_values = true, value_name = "IP:PORT", value_parser = values::dns_server)]
    dns_server: Option<SocketAddr>,
}

impl RedisFlags {
    /// What the flags mean together, or what is wrong with them.
    pub(super) fn check(self) -> Result<Options, String> {
        let cluster = self.cluster()?;
        let tls = self.tls()?;
        let no_port = self.port == 0 && tls.is_none();
        if self.unixsocket.is_none() && (no_port || self.bind.0.is_empty()) {
            return Err("nothing to listen on: --bind is empty or --port is 0; give --unixsocket=PATH".into());
        }
        let read = |path: &PathBuf| UserFile::read(path, ChannelDefault::None);
        let users = self.aclfile.as_ref().map(read).transpose();
        let users = users.map_err(|error| format!("--aclfile: {}", error.for_operator()))?;
        let endpoint = self.otel_endpoint.as_ref().and_then(|endpoint| endpoint.0.clone());
        let tracing = endpoint.map(|endpoint| TracingSettings { endpoint, ratio: self.otel_sample_ratio });
        // An empty one is none, as a variable may be there without a value.
        let node_name = self.node_name.filter(|name| !name.is_empty());
        let is_tls = |port| tls.as_ref().is_some_and(|tls| tls.port == port);
        Ok(Options {
            port: if self.bind.0.is_empty() || is_tls(self.port) { 0 } else { self.port },
            tls,
            bind: self.bind.0,
            unix_socket: self.unixsocket,
            max_memory: self.maxmemory,
            eviction_policy: self.maxmemory_policy,
            databases: self.databases as u32,
            threads: self.threads as usize,
            // As in Redis, an empty password is none.
            password: self.requirepass.filter(|password| !password.is_empty()),
            users,
            max_clients: self.maxclients,
            timeout: self.timeout,
            debug_access: self.enable_debug_command,
            event_classes: self.notify_keyspace_events,
            log_format: self.log_format,
            metrics_port: self.metrics_port,
            tracing,
            node_name: node_name.unwrap_or_else(values::host_name),
            persistence: PersistenceOptions {
                directory: self.dir,
                file_name: self.dbfilename,
                save_points: self.save,
                redis_version: REDIS_VERSION,
            },
            config_file: None,
            parameters: Vec::new(),
            passed_over: Vec::new(),
            cluster,
        })
    }

    fn tls(&self) -> Result<Option<TlsOptions>, String> {
        let (cert_file, key_file) = match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(cert_file), Some(key_file)) => (cert_file.clone(), key_file.clone()),
            (Some(_), None) => {
                return Err("--tls-cert-file needs --tls-key-file=FILE, the key of that certificate".into());
            }
            (None, Some(_)) => {
                return Err("--tls-key-file needs --tls-cert-file=FILE, the certificate of that key".into());
            }
            (None, None) => {
                let others = [
                    ("--tls-key-file-pass", self.tls_key_file_pass.as_ref().is_some_and(|pass| !pass.is_empty())),
                    ("--tls-ca-cert-file", self.tls_ca_cert_file.is_some()),
                    ("--tls-auth-clients", self.tls_auth_clients.is_some_and(|auth| auth != ClientAuth::No)),
                    ("--tls-port", self.tls_port.is_some_and(|port| port != 0)),
                ];
                return match others.iter().find(|(_, given)| *given) {
                    Some((flag, _)) => Err(format!("{flag} needs --tls-cert-file=FILE and --tls-key-file=FILE")),
                    None => Ok(None),
                };
            }
        };
        let (port, port_flag) = match self.tls_port {
            Some(port) if port != 0 => (port, "--tls-port"),
            _ => (self.port, "--port"),
        };
        if port == 0 || self.bind.0.is_empty() {
            return Err("--tls-cert-file needs a port to serve TLS on: give --bind and --tls-port=PORT".into());
        }
        if port_flag == "--tls-port" && port == self.port {
            return Err(format!(
                "--tls-port={port} is the same as --port: give another, or leave --tls-port out and --port is served with TLS"
            ));
        }
        let settings = TlsSettings {
            cert_file,
            key_file,
            key_pass: Passphrase::new(self.tls_key_file_pass.clone().unwrap_or_default().into_bytes()),
            ca_file: self.tls_ca_cert_file.clone(),
            auth_clients: self.tls_auth_clients,
            min_version: self.tls_min_version,
        };
        if settings.client_auth() != ClientAuth::No && settings.ca_file.is_none() {
            let auth = settings.client_auth().name();
            return Err(format!(
                "--tls-auth-clients={auth} needs --tls-ca-cert-file=FILE, whose certificates clients have"
            ));
        }
        Ok(Some(TlsOptions { port, port_flag, settings }))
    }

    fn cluster(&self) -> Result<Option<ClusterSettings>, String> {
        // An empty one is none: a variable may stay where it is when the change of the passphrase is done.
        let also = self.cluster_passphrase_also.as_ref().filter(|also| !also.trim().is_empty());
        let Some(passphrase) = &self.cluster_passphrase else {
            return match (&self.join, also) {
                (Some(join), _) => Err(format!("--join={join} needs --cluster-passphrase, the same one at every node")),
                (None, Some(_)) => {
                    Err("--cluster-passphrase-also needs --cluster-passphrase, that of this node itself".into())
                }
                (None, None) => Ok(None),
            };
        };
        let given = [("--cluster-passphrase", Some(passphrase)), ("--cluster-passphrase-also", also)];
        let is_short = |passphrase: &String| passphrase.chars().count() < SHORTEST_PASSPHRASE;
        if let Some((flag, _)) = given.iter().find(|(_, passphrase)| passphrase.is_some_and(is_short)) {
            return Err(format!(
                "the passphrase of {flag} is too short: expected at least {SHORTEST_PASSPHRASE} characters, \
                 `swytch gen-passphrase` prints a good one"
            ));
        }
        if also.is_some_and(|also| also.trim() == passphrase.trim()) {
            return Err(
                "--cluster-passphrase-also is the same as --cluster-passphrase: leave it out, or give the other one"
                    .into(),
            );
        }
        let (flag, client_port) = match self.tls_port {
            Some(port) if self.port == 0 => ("--tls-port", port),
            _ => ("--port", self.port),
        };
        let port = match (self.cluster_port, client_port) {
            (Some(port), _) => port,
            (None, 0) => return Err("with --port=0, a cluster node needs --cluster-port=PORT".into()),
            (None, port) => port.checked_add(CLUSTER_PORT_OFFSET).ok_or_else(|| {
                format!(
                    "{flag}={port} leaves no room for the cluster port, which is {CLUSTER_PORT_OFFSET} above it: give \
                     --cluster-port=PORT, 1 to 65535"
                )
            })?,
        };
        Ok(Some(ClusterSettings {
            passphrase: passphrase.clone(),
            also_accepted: also.cloned(),
            join: self.join.clone(),
            port,
            advertise: self.cluster_advertise.clone(),
            log_limit: self.cluster_log_limit,
            dns_server: self.dns_server,
        }))
    }
}
