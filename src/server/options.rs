//! What an operator decides, checked: everything that [`super::run`] needs to know.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::acl::UserFile;
use crate::commands::DebugAccess;
use crate::keyspace::{EventClasses, EvictionPolicy};
use crate::persistence::PersistenceOptions;
use crate::tls::TlsSettings;
use crate::trace::Endpoint;

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// The address.
    pub address: IpAddr,
    /// It may be missing on this machine.
    pub optional: bool,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How to be part of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The root of trust.
    pub passphrase: String,
    /// Another one whose nodes are let in, while a cluster goes from one to the other.
    pub also_accepted: Option<String>,
    /// The DNS name of the nodes; without one, this node starts a cluster alone and accepts others.
    pub join: Option<String>,
    /// The UDP port, also of nodes whose DNS records name none.
    pub port: u16,
    /// The address that other nodes are to use, host and port; found out without it.
    pub advertise: Option<String>,
    /// Budget, in bytes, for the log of effects; as much again for its archive, and for the metadata of keys of nodes that are away.
    pub log_limit: usize,
    /// The DNS server to ask; the system's without it.
    pub dns_server: Option<SocketAddr>,
}

/// The share of commands that are traced: above 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRatio {
    billionths: u32,
}

impl SampleRatio {
    /// The smallest.
    pub const LEAST: f64 = 1e-9;

    /// `None`: it is none.
    pub fn new(ratio: f64) -> Option<SampleRatio> {
        // Checked to be within bounds that a u32 holds.
        (Self::LEAST..=1.0).contains(&ratio).then(|| SampleRatio { billionths: (ratio / Self::LEAST).round() as u32 })
    }

    /// As a number from 0 to 1.
    pub fn get(self) -> f64 {
        f64::from(self.billionths) * Self::LEAST
    }
}

/// Which commands are traced, and who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    /// The collector.
    pub endpoint: Endpoint,
    /// How many of the commands.
    pub ratio: SampleRatio,
}

/// How to speak TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The TCP port, other than 0.
    pub port: u16,
    /// The flag that says so.
    pub port_flag: &'static str,
    /// Certificates, and who has to present one.
    pub settings: TlsSettings,
}

/// How to run a node. Not printable: it holds secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The TCP port for clients without TLS; 0 for none.
    pub port: u16,
    /// TLS for clients, if there is to be any.
    pub tls: Option<TlsOptions>,
    /// The addresses for clients; none for no TCP at all.
    pub bind: Vec<BindAddress>,
    /// The path of a unix socket.
    pub unix_socket: Option<PathBuf>,
    /// Bytes of data above which keys are evicted; 0 for no limit.
    pub max_memory: usize,
    /// Which of them go first.
    pub eviction_policy: EvictionPolicy,
    /// How many databases SELECT can choose from.
    pub databases: u32,
    /// Server threads; 0 for one per CPU.
    pub threads: usize,
    /// What clients have to say first.
    pub password: Option<String>,
    /// The users of the ACL file, if there is one. They say who may log in, whatever `password` is.
    pub users: Option<UserFile>,
    /// How many clients may be connected at a time.
    pub max_clients: u64,
    /// Seconds after which silent clients are disconnected; 0 for never.
    pub timeout: u64,
    /// Who may use DEBUG.
    pub debug_access: DebugAccess,
    /// Which events of keys are published.
    pub event_classes: EventClasses,
    /// How to log.
    pub log_format: LogFormat,
    /// The TCP port for `/health`, `/metrics` and `/status`; none of it without.
    pub metrics_port: Option<u16>,
    /// Traces of some commands, if somebody collects them.
    pub tracing: Option<TracingSettings>,
    /// What people call this node; its address, if it is empty.
    pub node_name: String,
    /// The data in a file.
    pub persistence: PersistenceOptions,
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// Further parameters from it, with values that were checked.
    pub parameters: Vec<(String, Vec<u8>)>,
    /// What stands in it and means nothing here.
    pub passed_over: Vec<String>,
    /// Part of a cluster, or alone.
    pub cluster: Option<ClusterSettings>,
}

impl Options {
    /// The port that clients are told of: that without TLS, or else the one with TLS; 0 when there is no TCP.
    pub fn client_port(&self) -> u16 {
        match &self.tls {
            Some(tls) if self.port == 0 => tls.port,
            _ => self.port,
        }
    }
}
