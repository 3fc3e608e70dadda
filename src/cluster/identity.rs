//! Who a node is: a certificate authority that every node derives from the passphrase, and a key of its own, fresh at
//! each start, whose fingerprint is the node's id.
//!
//! Everything here is a function of its arguments: the entropy of the key and the time of issue are handed in, Ed25519
//! signs deterministically, and the authority's certificate has the same bytes at every node.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::passphrase::ClusterSecret;
use crate::effects::NodeId;
use crate::keyspace::Millis;

/// The name in every node's certificate. Which node it is says the key, not the name.
pub(super) const CLUSTER_NAME: &str = "cluster.swytch.internal";

/// A further name in the certificate of a node that serves clients. It is for those with another passphrase, who learn
/// nothing else of it: one that has yet to begin must not keep another one from beginning.
const SERVING_NAME: &str = "serving.cluster.swytch.internal";

const DAY: Millis = 24 * 60 * 60 * 1000;

/// A certificate is valid from this long before its issue, so that a peer whose clock is behind accepts it.
const BACKDATED: Millis = DAY;

/// A certificate is valid for this long after its issue.
const VALID: Millis = 7 * DAY;

/// A certificate is replaced when it is this old: long before it expires, even for a peer whose clock is ahead.
const RENEWED_AFTER: Millis = 2 * DAY;

/// The last moment that a certificate can name, the end of the year 9999, less the longest validity.
const LATEST_ISSUE: Millis = 253_402_300_799_000 - VALID;

/// What stands before the 32 bytes of an Ed25519 seed in a PKCS #8 document (RFC 8410, section 7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key or certificate could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make this node's certificate: {0}")]
pub struct IdentityError(String);

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> IdentityError {
        IdentityError(error.to_string())
    }
}

/// One start of a node: its key, the authority that vouches for it, and the authorities whose nodes it trusts.
pub struct Identity {
    node: NodeId,
    key: KeyPair,
    authority: Issuer<'static, KeyPair>,
    trusted: Vec<CertificateDer<'static>>,
    reset_key: [u8; 32],
}

impl Identity {
    /// Makes the key of one start out of 32 random bytes. `secret` signs for this node; nodes of the clusters in
    /// `also_accepted` are trusted as well. A passphrase is rotated in three rounds of restarts: accept the new one
    /// beside the old, then sign with the new and still accept the old, then forget the old. Two nodes of which neither
    /// is a round ahead by more than one accept each other.
    ///
    /// # Errors
    /// When the cryptographic library refuses a key, which no passphrase is known to cause.
    pub fn create(
        secret: &ClusterSecret,
        also_accepted: &[ClusterSecret],
        entropy: [u8; 32],
    ) -> Result<Identity, IdentityError> {
        let mut seed = entropy;
        let (node, key) = loop {
            let key = key_pair(&seed)?;
            match fingerprint(&rcgen::PublicKeyData::subject_public_key_info(&key)) {
                Some(node) => break (node, key),
                // Zero is no node. One key in 2^64 has that fingerprint; the next one does not.
                None => seed = Sha256::digest(seed).into(),
            }
        };
        let mut trusted = Vec::with_capacity(1 + also_accepted.len());
        for secret in std::iter::once(secret).chain(also_accepted) {
            let (parameters, key) = authority(secret)?;
            trusted.push(parameters.self_signed(&key)?.der().clone());
        }
        let (parameters, authority_key) = authority(secret)?;
        let authority = Issuer::new(parameters, authority_key);
        Ok(Identity { node, key, authority, trusted, reset_key: *secret.reset_key() })
    }

    /// The id of this start of the node: the fingerprint of its public key.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Issues a certificate for the node's key, valid around `wall`, that says whether the node serves clients. Any number
    /// of them name the same node.
    ///
    /// # Errors
    /// When the cryptographic library fails to sign.
    pub(super) fn issue(&self, wall: Millis, serving: bool) -> Result<CertificateDer<'static>, IdentityError> {
        let issued = wall.min(LATEST_ISSUE);
        let names = [CLUSTER_NAME].into_iter().chain(serving.then_some(SERVING_NAME));
        let mut parameters = CertificateParams::new(names.map(str::to_owned).collect::<Vec<_>>())?;
        parameters.not_before = date(issued.saturating_sub(BACKDATED));
        parameters.not_after = date(expires(wall));
        parameters.serial_number = Some(serial_number(issued));
        parameters.distinguished_name = common_name(&self.node.to_string());
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(parameters.signed_by(&self.key, &self.authority)?.der().clone())
    }

    /// The certificates of the authorities whose nodes this node trusts, its own first.
    pub(super) fn trusted(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    /// The node's private key.
    pub(super) fn private_key(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der())
    }

    /// The key of QUIC's stateless resets.
    pub(super) fn reset_key(&self) -> &[u8; 32] {
        &self.reset_key
    }
}

/// When a certificate expires that was issued at `issued`.
pub(super) fn expires(issued: Millis) -> Millis {
    issued.min(LATEST_ISSUE) + VALID
}

/// Is it time to replace a certificate that was issued at `issued`? Also when the clock has jumped to before its issue:
/// peers whose clocks were right all along may have to wait for it to become valid.
pub(super) fn renewal_due(issued: Millis, wall: Millis) -> bool {
    wall < issued || wall - issued >= RENEWED_AFTER
}

/// The node that a certificate speaks for; `None` when it cannot be read or names no node. Says nothing about trust: only
/// ask it about a certificate that the handshake has verified.
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    fingerprint(&certificate.subject_public_key_info())
}

/// Does a certificate say that its node serves clients? Whoever signed it: see [`SERVING_NAME`].
pub(super) fn says_serving(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return false };
    certificate.valid_dns_names().any(|name| name == SERVING_NAME)
}

/// The first 64 bits of a public key's SHA-256; `None` for the fingerprint that is no node.
fn fingerprint(subject_public_key_info: &[u8]) -> Option<NodeId> {
    let digest = Sha256::digest(subject_public_key_info);
    let first = digest.first_chunk().expect("a digest has 32 bytes");
    Some(NodeId(u64::from_be_bytes(*first))).filter(|node| *node != NodeId(0))
}

fn key_pair(seed: &[u8; 32]) -> Result<KeyPair, IdentityError> {
    let document = PrivatePkcs8KeyDer::from([&PKCS8_ED25519[..], seed].concat());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&document, &PKCS_ED25519)?)
}

/// The authority of one passphrase. Its name contains its key's fingerprint, so that a node of another cluster is known
/// by its issuer, and is not mistaken for a forgery of this one.
fn authority(secret: &ClusterSecret) -> Result<(CertificateParams, KeyPair), IdentityError> {
    let key = key_pair(secret.authority_seed())?;
    let digest = Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key));
    let first = digest.first_chunk().expect("a digest has 32 bytes");
    let mut parameters = CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    parameters.serial_number = Some(serial_number(1));
    parameters.distinguished_name = common_name(&format!("swytch cluster {:016x}", u64::from_be_bytes(*first)));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok((parameters, key))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A serial number as X.509 wants it: positive.
fn serial_number(number: u64) -> SerialNumber {
    SerialNumber::from(number.max(1))
}

fn date(wall: Millis) -> OffsetDateTime {
    let seconds = i64::try_from(wall / 1000).expect("the moment was limited to four-digit years");
    OffsetDateTime::from_unix_timestamp(seconds).expect("the moment was limited to four-digit years")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of the year 2026.
    const WALL: Millis = 1_780_000_000_000;

    /// The secret of a passphrase, without the time it takes to stretch one.
    fn secret(passphrase: u8) -> ClusterSecret {
        ClusterSecret::separate(&[passphrase; 32])
    }

    fn identity(passphrase: u8, entropy: u8) -> Identity {
        Identity::create(&secret(passphrase), &[], [entropy; 32]).unwrap()
    }

    #[test]
    fn every_node_derives_the_same_authority_and_has_a_key_of_its_own() {
        let (one, other) = (identity(b'p', 1), identity(b'p', 2));
        assert_eq!(one.trusted(), other.trusted());
        assert_ne!(one.node(), other.node());
        assert_eq!(one.node(), identity(b'p', 1).node());
        assert_eq!(one.issue(WALL, false), identity(b'p', 1).issue(WALL, false));
        assert_ne!(one.trusted(), identity(b'q', 1).trusted());
    }

    #[test]
    fn a_certificate_names_its_node_and_so_does_the_next() {
        let identity = identity(b'p', 1);
        let first = identity.issue(WALL, false).unwrap();
        let second = identity.issue(WALL + RENEWED_AFTER, true).unwrap();
        assert_ne!(first, second);
        assert_eq!(node_of(&first), Some(identity.node()));
        assert_eq!(node_of(&second), Some(identity.node()));
        assert_eq!((says_serving(&first), says_serving(&second)), (false, true));
        assert_eq!(node_of(&CertificateDer::from(vec![1, 2, 3])), None);
        assert!(!says_serving(&CertificateDer::from(vec![1, 2, 3])));
    }

    #[test]
    fn certificates_can_be_issued_whatever_the_clock_says() {
        let identity = identity(b'p', 1);
        for wall in [0, 1, WALL, u64::MAX] {
            let certificate = identity.issue(wall, false).unwrap();
            assert_eq!(node_of(&certificate), Some(identity.node()));
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
            let seconds = i64::try_from(wall.min(LATEST_ISSUE) / 1000).unwrap();
            assert!(parsed.validity().not_before.timestamp() <= seconds);
            assert!(parsed.validity().not_after.timestamp() > seconds);
            assert_eq!(parsed.validity().not_after.timestamp(), i64::try_from(expires(wall) / 1000).unwrap());
        }
    }

    #[test]
    fn a_second_passphrase_is_trusted_but_does_not_sign() {
        let (old, new) = (secret(b'o'), secret(b'n'));
        let both = Identity::create(&old, std::slice::from_ref(&new), [1; 32]).unwrap();
        let only_old = Identity::create(&old, &[], [1; 32]).unwrap();
        let only_new = Identity::create(&new, &[], [1; 32]).unwrap();
        assert_eq!(both.trusted(), [only_old.trusted(), only_new.trusted()].concat());
        assert_eq!(both.issue(WALL, false), only_old.issue(WALL, false));
    }

    #[test]
    fn a_certificate_is_replaced_when_it_is_old_or_from_the_future() {
        assert!(!renewal_due(WALL, WALL));
        assert!(!renewal_due(WALL, WALL + RENEWED_AFTER - 1));
        assert!(renewal_due(WALL, WALL + RENEWED_AFTER));
        assert!(renewal_due(WALL, WALL - 1));
    }
}
