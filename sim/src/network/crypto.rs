//! The transport's cryptography with all randomness from the simulation's seed: ring for everything that is a function
//! of its input, and an X25519 key exchange of our own, as ring's draws its keys where nobody can hand them in.

use std::sync::Arc;

use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup, ring,
};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};

use super::entropy;

/// A provider whose keys and random values repeat with the seed of the simulation that uses it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { secure_random: &Seeded, kx_groups: vec![&SeededX25519], ..ring::default_provider() })
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        if entropy::fill(bytes) { Ok(()) } else { Err(GetRandomFailed) }
    }
}

#[derive(Debug)]
struct SeededX25519;

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut bytes = [0; 32];
        Seeded.fill(&mut bytes)?;
        let secret = StaticSecret::from(bytes);
        let public = PublicKey::from(&secret);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: StaticSecret,
    public: PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer: [u8; 32] = peer.try_into().map_err(|_| Error::from(PeerMisbehaved::InvalidKeyShare))?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(shared.as_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanged(peer: &dyn SupportedKxGroup) -> Vec<u8> {
        let ours = SeededX25519.start().unwrap();
        let public = ours.pub_key().to_vec();
        let theirs = peer.start().unwrap();
        let shared = ours.complete(theirs.pub_key()).unwrap();
        assert_eq!(shared.secret_bytes(), theirs.complete(&public).unwrap().secret_bytes());
        shared.secret_bytes().to_vec()
    }

    #[test]
    fn both_sides_agree_and_a_seed_repeats() {
        let agree = |seed| entropy::on_fresh_thread(seed, || exchanged(&SeededX25519));
        assert_eq!(agree(1), agree(1));
        assert_ne!(agree(1), agree(2));
    }

    #[test]
    fn it_is_the_exchange_that_ring_does() {
        entropy::on_fresh_thread(1, || exchanged(ring::kx_group::X25519));
    }

    #[test]
    fn bad_shares_are_refused() {
        entropy::on_fresh_thread(1, || {
            assert!(SeededX25519.start().unwrap().complete(&[0; 32]).is_err());
            assert!(SeededX25519.start().unwrap().complete(&[1; 31]).is_err());
        });
    }
}
