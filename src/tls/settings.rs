//! What an operator decides about TLS.

use std::fmt;
use std::path::PathBuf;

/// Which clients have to present a certificate; Redis's `tls-auth-clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    No,
    /// Who presents one must have it from the authority; who presents none is let in.
    Optional,
    /// Every client has to have one from the authority.
    Yes,
}

impl ClientAuth {
    /// All of them with their names in flags and parameters.
    pub const NAMES: [(&'static str, ClientAuth); 3] =
        [("no", ClientAuth::No), ("yes", ClientAuth::Yes), ("optional", ClientAuth::Optional)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ClientAuth::No => "no",
            ClientAuth::Optional => "optional",
            ClientAuth::Yes => "yes",
        }
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// 1.2, and 1.3.
    #[default]
    Tls12,
    /// Only 1.3.
    Tls13,
}

impl MinVersion {
    /// All of them with their names in flags and parameters.
    pub const NAMES: [(&'static str, MinVersion); 2] = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

    /// As Redis's `tls-protocols` puts it.
    pub fn protocols(self) -> &'static str {
        match self {
            MinVersion::Tls12 => "TLSv1.2 TLSv1.3",
            MinVersion::Tls13 => "TLSv1.3",
        }
    }
}

/// What a key is encrypted with; empty: nothing. No log shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// Of these bytes.
    pub fn new(bytes: Vec<u8>) -> Passphrase {
        Passphrase(bytes)
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// The files, and who has to present what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The node's certificate, and behind it those that lead to its authority, as PEM.
    pub cert_file: PathBuf,
    /// The key of the certificate, as PEM.
    pub key_file: PathBuf,
    /// What it is encrypted with.
    pub key_pass: Passphrase,
    /// The authorities from which clients have their certificates, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Which clients have to present one; by default those of a node that knows authorities.
    pub auth_clients: Option<ClientAuth>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
}

impl TlsSettings {
    /// Which clients have to present a certificate, everything considered.
    pub fn client_auth(&self) -> ClientAuth {
        let default = if self.ca_file.is_some() { ClientAuth::Yes } else { ClientAuth::No };
        self.auth_clients.unwrap_or(default)
    }
}
