//! The cluster passphrase, the only root of trust, and the secrets that every node derives from it.
//!
//! The passphrase is stretched once with Argon2id, so that a guess costs the guesser what it costs a node at start;
//! HKDF then separates the result into one secret per purpose. Both are deterministic: two nodes that were given the same
//! passphrase need nothing else to trust each other. This module knows nothing of certificates or sockets.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;

/// Names the protocol and the version of this derivation. It has to be the same at every node, so it is no secret; what
/// it prevents is that tables made for other systems help against this one. Changing it makes clusters strangers.
const SALT: &[u8] = b"swytch cluster passphrase, derivation 1";

/// Memory of Argon2id in KiB: 64 MiB.
const MEMORY_KIB: u32 = 64 * 1024;

/// Passes of Argon2id over that memory.
const PASSES: u32 = 3;

/// Lanes of Argon2id.
const LANES: u32 = 1;

/// Why a passphrase cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing but white space.
    #[error("the cluster passphrase is empty; `swytch gen-passphrase` prints a fresh one")]
    Empty,
    /// Longer than Argon2 takes (4 GiB).
    #[error("the cluster passphrase cannot be used: {0}")]
    Unusable(String),
}

/// What one passphrase yields.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret {
    authority_seed: [u8; 32],
    reset_key: [u8; 32],
    hash_seed: u64,
}

impl ClusterSecret {
    /// Stretches a passphrase; takes about a tenth of a second and 64 MiB. White space around it does not count: secrets
    /// that come from files tend to end in a line break at some nodes and not at others.
    ///
    /// # Errors
    /// When there is nothing to stretch.
    pub fn derive(passphrase: &str) -> Result<ClusterSecret, PassphraseError> {
        let passphrase = passphrase.trim();
        if passphrase.is_empty() {
            return Err(PassphraseError::Empty);
        }
        let parameters = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("the constants are within bounds");
        let mut stretched = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_into(passphrase.as_bytes(), SALT, &mut stretched)
            .map_err(|error| PassphraseError::Unusable(error.to_string()))?;
        Ok(ClusterSecret::separate(&stretched))
    }

    /// Draws the secrets, one per purpose, from a stretched passphrase.
    pub(super) fn separate(stretched: &[u8; 32]) -> ClusterSecret {
        let separator = Hkdf::<Sha256>::new(Some(SALT), stretched);
        ClusterSecret {
            authority_seed: expand(&separator, "certificate authority"),
            reset_key: expand(&separator, "stateless reset"),
            hash_seed: u64::from_le_bytes(expand(&separator, "keyspace hash")),
        }
    }

    /// The private key of the cluster's certificate authority, an Ed25519 seed.
    pub(super) fn authority_seed(&self) -> &[u8; 32] {
        &self.authority_seed
    }

    /// The key of QUIC's stateless resets. As it survives a restart, a node that has come back can tell the peers of its
    /// former life at once that it knows nothing of their connections.
    pub(super) fn reset_key(&self) -> &[u8; 32] {
        &self.reset_key
    }

    /// The seed of the hash that spreads keys over shards: unknown to clients, who could otherwise choose keys that all
    /// fall into one shard. Nodes with different passphrases have different ones; snapshots say by which they were made.
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClusterSecret(…)")
    }
}

fn expand<const N: usize>(separator: &Hkdf<Sha256>, purpose: &str) -> [u8; N] {
    let mut secret = [0; N];
    separator.expand(purpose.as_bytes(), &mut secret).expect("a few bytes are within what HKDF can give");
    secret
}

/// A fresh passphrase: 32 random bytes as 43 characters of base64url.
pub fn generate_passphrase(entropy: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(entropy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_yields_the_same_secrets_everywhere_and_always() {
        let secret = ClusterSecret::derive("correct horse battery staple").unwrap();
        assert_eq!(secret, ClusterSecret::derive(" correct horse battery staple\n").unwrap());
        // A change of these values makes nodes of different builds strangers to each other.
        assert_eq!(secret.hash_seed(), 2_867_018_420_012_865_972);
        assert_ne!(secret.authority_seed(), secret.reset_key());
        assert_ne!(secret, ClusterSecret::derive("correct horse battery stapler").unwrap());
    }

    #[test]
    fn an_empty_passphrase_is_refused() {
        assert_eq!(ClusterSecret::derive(" \n"), Err(PassphraseError::Empty));
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", ClusterSecret::separate(&[0; 32])), "ClusterSecret(…)");
    }

    #[test]
    fn a_fresh_passphrase_has_43_characters_that_need_no_quoting() {
        let passphrase = generate_passphrase([0xfb; 32]);
        assert_eq!(passphrase.len(), 43);
        assert!(passphrase.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }
}
