//! TLS for clients: from certificate files to a configuration that new connections take, and that can be replaced while
//! the node runs.
//!
//! It has nothing to do with the cluster's own certificates, which nobody hands out (`cluster`). Must not know sockets or
//! how a connection is served, nor who asks for a reload.

mod certificates;
mod files;
mod key;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use certificates::{Certificates, Prepared};
pub use files::TlsError;
pub use settings::{ClientAuth, MinVersion, Passphrase, TlsSettings};
