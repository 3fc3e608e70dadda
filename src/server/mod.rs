//! The front end: listeners, server threads, and the loop that serves one connection.
//!
//! A connection lives on one thread at a time (`balance` says on which). What it sends is read in one go, every complete
//! request in it is executed in place, and all answers leave with one write: no task, channel, allocation or clock call
//! per command.
//!
//! [`serve`] knows no sockets: it runs on anything that can be accepted, read and written, also inside a simulation. [`run`] is the process around them.
//!
//! Architecture invariant: the server knows how bytes travel and when a connection ends, and nothing of what a command
//! does.

#[cfg(test)]
mod acl_tests;
mod balance;
#[cfg(test)]
mod balance_tests;
#[cfg(test)]
mod blocking_tests;
mod clustering;
mod connection;
mod descriptors;
mod front;
mod handle;
mod listener;
mod options;
#[cfg(test)]
mod pubsub_tests;
mod readiness;
#[cfg(test)]
mod script_tests;
mod serve;
mod socket;
mod start;
#[cfg(test)]
mod stream_blocking_tests;
#[cfg(test)]
mod supervision_tests;
#[cfg(test)]
mod tests;
mod threads;
mod tls;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod tracking_tests;
#[cfg(test)]
mod transaction_tests;

pub use front::Front;
pub use listener::BindError;
pub use options::{BindAddress, ClusterSettings, LogFormat, Options, SampleRatio, TlsOptions, TracingSettings};
pub use serve::{Accepted, ClientListener, keep_up, serve};
pub use start::{StartError, follow_cluster, run};
