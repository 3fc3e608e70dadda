//! Everything in QUIC that has to be random, drawn from one seed: random bytes in production, so that all of it is
//! unpredictable; a trial's seed in simulation, so that all of it repeats.

use quinn::{ConnectionId, ConnectionIdGenerator};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac::{self, HMAC_SHA256};

use super::error::TransportError;

/// The length of this node's connection ids. The same at every start: a node that was restarted must be able to find the
/// connection id in a packet for its former life, to answer it with a reset.
const CONNECTION_ID_BYTES: usize = 8;

/// The length of the connection id that a dialer makes up for the peer; RFC 9000 (section 7.2) wants eight at least.
const FIRST_CONNECTION_ID_BYTES: usize = 16;

/// One seed, from which any number of independent secrets can be drawn.
pub(super) struct Seed(Prk);

impl Seed {
    pub(super) fn new(seed: &[u8; 32]) -> Seed {
        Seed(Salt::new(HKDF_SHA256, b"swytch quic").extract(seed))
    }

    /// The secret for one purpose.
    pub(super) fn secret(&self, purpose: &str) -> Result<[u8; 32], TransportError> {
        let mut secret = [0; 32];
        let info = [purpose.as_bytes()];
        let output = self.0.expand(&info, HKDF_SHA256).map_err(TransportError::setup)?;
        output.fill(&mut secret).map_err(TransportError::setup)?;
        Ok(secret)
    }

    /// The key that seals the address-validation tokens of this start.
    pub(super) fn token_key(&self) -> Result<Prk, TransportError> {
        Ok(Salt::new(HKDF_SHA256, b"swytch quic tokens").extract(&self.secret("tokens")?))
    }

    /// The ids of this start's connections.
    pub(super) fn connection_ids(&self) -> Result<ConnectionIds, TransportError> {
        Ok(ConnectionIds::new(&self.secret("connection ids")?, CONNECTION_ID_BYTES))
    }

    /// The ids that this start's dialed connections begin with.
    pub(super) fn first_connection_ids(&self) -> Result<ConnectionIds, TransportError> {
        Ok(ConnectionIds::new(&self.secret("first connection ids")?, FIRST_CONNECTION_ID_BYTES))
    }
}

/// Connection ids: a counter under a keyed hash. Nobody without the key can tell which belong together, or what the next
/// one will be.
#[derive(Clone)]
pub(super) struct ConnectionIds {
    key: hmac::Key,
    counter: u64,
    length: usize,
}

impl ConnectionIds {
    fn new(key: &[u8; 32], length: usize) -> ConnectionIds {
        ConnectionIds { key: hmac::Key::new(HMAC_SHA256, key), counter: 0, length }
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.counter += 1;
        let tag = hmac::sign(&self.key, &self.counter.to_le_bytes());
        ConnectionId::new(&tag.as_ref()[..self.length])
    }

    fn cid_len(&self) -> usize {
        self.length
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_secrets_are_independent() {
        let (seed, same, other) = (Seed::new(&[1; 32]), Seed::new(&[1; 32]), Seed::new(&[2; 32]));
        assert_eq!(seed.secret("a").unwrap(), same.secret("a").unwrap());
        assert_ne!(seed.secret("a").unwrap(), seed.secret("b").unwrap());
        assert_ne!(seed.secret("a").unwrap(), other.secret("a").unwrap());
    }

    #[test]
    fn connection_ids_repeat_and_differ_from_each_other() {
        let mut ids = Seed::new(&[1; 32]).connection_ids().unwrap();
        let mut same = Seed::new(&[1; 32]).connection_ids().unwrap();
        let first = ids.generate_cid();
        assert_eq!(first.len(), CONNECTION_ID_BYTES);
        assert_eq!(first, same.generate_cid());
        assert_ne!(first, ids.generate_cid());
    }
}
