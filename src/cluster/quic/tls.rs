//! Both ends of the TLS handshake: either side presents this node's current certificate and takes only a peer whose
//! certificate is signed by a trusted authority, by this node's clock.
//!
//! Session tickets and early data are off on both sides: they would let a recorded handshake be replayed, and keep a
//! peer's proof valid beyond its certificate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::error::TransportError;
use crate::cluster::identity::{Identity, says_serving};
use crate::cluster::seams::Clock;
use crate::keyspace::Millis;

/// The certificate that this node presents, replaceable under running connections.
pub(super) struct CurrentCertificate {
    key: Arc<dyn SigningKey>,
    certified: RwLock<Arc<CertifiedKey>>,
}

impl CurrentCertificate {
    /// Issues a first certificate, of a node that does not serve yet.
    pub(super) fn new(
        identity: &Identity,
        crypto: &CryptoProvider,
        wall: Millis,
    ) -> Result<CurrentCertificate, TransportError> {
        let private_key = PrivateKeyDer::from(identity.private_key());
        let key = crypto.key_provider.load_private_key(private_key).map_err(TransportError::setup)?;
        let certificate = identity.issue(wall, false).map_err(TransportError::setup)?;
        let certified = RwLock::new(Arc::new(CertifiedKey::new(vec![certificate], key.clone())));
        Ok(CurrentCertificate { key, certified })
    }

    /// From the next handshake on, this certificate is presented. It has to be for the same key.
    pub(super) fn replace(&self, certificate: CertificateDer<'static>) {
        *self.certified.write() = Arc::new(CertifiedKey::new(vec![certificate], self.key.clone()));
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CurrentCertificate")
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.read().clone())
    }
}

impl ResolvesClientCert for CurrentCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.read().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Decides about the certificate of a peer that was dialed, and remembers whether it says that the peer serves: that is all
/// there is to know of a peer that is refused.
#[derive(Debug)]
pub(super) struct Witness {
    verifier: Arc<WebPkiServerVerifier>,
    serving: AtomicBool,
}

impl Witness {
    /// For one dialed peer.
    pub(super) fn new(verifier: Arc<WebPkiServerVerifier>) -> Witness {
        Witness { verifier, serving: AtomicBool::new(false) }
    }

    /// Does the peer, if it got as far as to show a certificate, say that it serves?
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.serving.store(says_serving(end_entity), Ordering::Relaxed);
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// This node's wall clock, as TLS and QUIC want to see it.
pub(super) struct WallClock(pub(super) Arc<dyn Clock>);

impl WallClock {
    fn since_epoch(&self) -> Duration {
        Duration::from_millis(self.0.wall())
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("WallClock")
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.since_epoch()))
    }
}

impl quinn::TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        // A clock beyond what the system can represent only ever makes retry tokens stale.
        UNIX_EPOCH.checked_add(self.since_epoch()).unwrap_or(UNIX_EPOCH)
    }
}

/// The side that is dialed.
pub(super) fn server(
    identity: &Identity,
    crypto: Arc<CryptoProvider>,
    clock: Arc<WallClock>,
    certificate: Arc<CurrentCertificate>,
    protocols: &[&str],
) -> Result<ServerConfig, TransportError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(identity)?), crypto.clone())
        // Naming the authorities would tell anyone who asks which cluster this is.
        .clear_root_hint_subjects()
        .build()
        .map_err(TransportError::setup)?;
    let mut config = ServerConfig::builder_with_details(crypto, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(TransportError::setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    // The dialed side chooses, by its own order: the newest that both speak.
    config.alpn_protocols = names(protocols);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The side that dials.
pub(super) struct Dialing {
    config: ClientConfig,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Dialing {
    /// What it takes to dial one peer, and what will have been seen of it.
    pub(super) fn one(&self) -> (ClientConfig, Arc<Witness>) {
        let witness = Arc::new(Witness::new(self.verifier.clone()));
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(witness.clone());
        (config, witness)
    }
}

/// The side that dials.
pub(super) fn client(
    identity: &Identity,
    crypto: Arc<CryptoProvider>,
    clock: Arc<WallClock>,
    certificate: Arc<CurrentCertificate>,
    protocols: &[&str],
) -> Result<Dialing, TransportError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(identity)?), crypto.clone())
        .build()
        .map_err(TransportError::setup)?;
    let mut config = ClientConfig::builder_with_details(crypto, clock)
        .with_protocol_versions(&[&TLS13])
        .map_err(TransportError::setup)?
        .with_webpki_verifier(verifier.clone())
        .with_client_cert_resolver(certificate);
    config.alpn_protocols = names(protocols);
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The name is the same for every node and travels in clear: nobody needs it.
    config.enable_sni = false;
    Ok(Dialing { config, verifier })
}

fn names(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

fn roots(identity: &Identity) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in identity.trusted() {
        roots.add(certificate.clone()).map_err(TransportError::setup)?;
    }
    Ok(roots)
}
