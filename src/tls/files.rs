//! Reading certificates and keys, and what is said of those that do not serve.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::key::private_key;
use super::settings::{ClientAuth, MinVersion, TlsSettings};

/// No file of certificates is longer than this, in bytes; a bundle of all public authorities has a quarter of it.
const LONGEST_FILE: u64 = 1 << 20;

/// Why files do not serve for TLS. Displayed as one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not there, not readable, too long.
    #[error("cannot read {path}: {cause}; check --{flag}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
        /// The flag that named it.
        flag: &'static str,
    },
    /// There is no certificate in it.
    #[error("{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----); check --{flag}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// The flag that named it.
        flag: &'static str,
    },
    /// There is something in it that is not what it says it is.
    #[error("{path} is damaged or of an unsupported kind: {cause}; replace the file of --{flag}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// The flag that named it.
        flag: &'static str,
    },
    /// A certificate of the first version of X.509.
    #[error(
        "the certificate in {0} is of X.509 version 1: make it anew with an extension such as subjectAltName, which makes it version 3"
    )]
    VersionOne(PathBuf),
    /// Its time is over.
    #[error("the certificate in {path} expired at {when}: renew it and give the new one with --{flag}")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        when: String,
        /// The flag that named it.
        flag: &'static str,
    },
    /// Its time has not come.
    #[error("the certificate in {path} is not valid before {when}: check the clock of this machine, and --{flag}")]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// When it will be.
        when: String,
        /// The flag that named it.
        flag: &'static str,
    },
    /// There is no key in it.
    #[error("{0} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----); check --tls-key-file")]
    NoKey(PathBuf),
    /// The key needs a passphrase, and none was given.
    #[error("the key in {0} is encrypted: give its passphrase with --tls-key-file-pass")]
    EncryptedKey(PathBuf),
    /// The key needs another passphrase.
    #[error(
        "the passphrase of --tls-key-file-pass does not open the key in {0}: give the one that it was encrypted with"
    )]
    WrongPass(PathBuf),
    /// It is encrypted in a way of its own.
    #[error(
        "the key in {path} is encrypted in a way that is not supported ({cause}): encrypt it anew (openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …) and give that file with --tls-key-file"
    )]
    UnsupportedEncryption {
        /// The file.
        path: PathBuf,
        /// What is not supported.
        cause: String,
    },
    /// It is encrypted in the way that came before PKCS#8.
    #[error(
        "the key in {0} is encrypted in OpenSSL's traditional form: convert it (openssl pkcs8 -topk8 -v2 aes-256-cbc -in … -out …) and give that file with --tls-key-file"
    )]
    TraditionalEncryption(PathBuf),
    /// Certificate and key are not a pair.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}: give the two that were made together with --tls-cert-file and --tls-key-file"
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Clients are to be verified, and there is nothing to verify them with.
    #[error(
        "--tls-auth-clients={0} needs --tls-ca-cert-file, the authority from which clients have their certificates"
    )]
    NoAuthority(&'static str),
    /// The system has no randomness, for example.
    #[error("cannot set TLS up: {0}")]
    Setup(String),
}

/// What new connections need.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the node's certificate expires, in seconds since the epoch.
    pub(super) not_after: i64,
}

/// Reads all files. `now` is in seconds since the epoch.
pub(super) fn load(settings: &TlsSettings, now: i64) -> Result<Loaded, TlsError> {
    let crypto = Arc::new(ring::default_provider());
    let chain = certificates(&settings.cert_file, CERT_FLAG)?;
    let not_after = check_own(&settings.cert_file, &chain[0], now)?;
    let key = private_key(settings)?;
    let versions: &[_] = match settings.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match (settings.client_auth(), &settings.ca_file) {
        (ClientAuth::No, None) => builder.with_no_client_auth(),
        // Files that were named are checked, also when they are of no use.
        (ClientAuth::No, Some(path)) => {
            authorities(path, now)?;
            builder.with_no_client_auth()
        }
        (auth, None) => return Err(TlsError::NoAuthority(auth.name())),
        (auth, Some(path)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path, now)?), crypto);
            let verifier = if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Setup(error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: settings.cert_file.clone(), key: settings.key_file.clone() }
        }
        rustls::Error::InvalidCertificate(error) => damaged(&settings.cert_file, CERT_FLAG, error),
        error => damaged(&settings.key_file, KEY_FLAG, error),
    })?;
    // Made anew each time: a session begun under former authorities is not to be resumed under new ones.
    config.ticketer = ring::Ticketer::new().map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(Loaded { config: Arc::new(config), not_after })
}

const CERT_FLAG: &str = "tls-cert-file";
pub(super) const KEY_FLAG: &str = "tls-key-file";
const CA_FLAG: &str = "tls-ca-cert-file";

pub(super) fn damaged(path: &Path, flag: &'static str, cause: impl ToString) -> TlsError {
    TlsError::Damaged { path: path.to_owned(), cause: cause.to_string(), flag }
}

pub(super) fn read(path: &Path, flag: &'static str) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    let result = match result {
        Ok(length) if length as u64 > LONGEST_FILE => Err(io::Error::other("it has more than 1 MiB")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error),
    };
    result.map_err(|cause| TlsError::Unreadable { path: path.to_owned(), cause, flag })
}

/// At least one certificate.
fn certificates(path: &Path, flag: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path, flag)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| damaged(path, flag, error))?;
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned(), flag }) } else { Ok(found) }
}

/// When the node's own certificate expires.
fn check_own(path: &Path, certificate: &CertificateDer<'_>, now: i64) -> Result<i64, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| damaged(path, CERT_FLAG, error))?;
    if parsed.version() == X509Version::V1 {
        return Err(TlsError::VersionOne(path.to_owned()));
    }
    check_time(path, &parsed, now, CERT_FLAG)
}

/// The end of a certificate's time, if it has begun and is not over.
fn check_time(path: &Path, certificate: &X509Certificate<'_>, now: i64, flag: &'static str) -> Result<i64, TlsError> {
    let (begin, end) = (certificate.validity().not_before, certificate.validity().not_after);
    if end.timestamp() <= now {
        return Err(TlsError::Expired { path: path.to_owned(), when: end.to_string(), flag });
    }
    if begin.timestamp() > now {
        return Err(TlsError::NotYetValid { path: path.to_owned(), when: begin.to_string(), flag });
    }
    Ok(end.timestamp())
}

/// The authorities of clients. A bundle may hold some whose time is over, but not only such.
fn authorities(path: &Path, now: i64) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let mut untimely = None;
    for certificate in certificates(path, CA_FLAG)? {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| damaged(path, CA_FLAG, error))?;
        match check_time(path, &parsed, now, CA_FLAG) {
            Ok(_) => store.add(certificate.clone()).map_err(|error| damaged(path, CA_FLAG, error))?,
            Err(error) => untimely = Some(error),
        }
    }
    match untimely {
        Some(error) if store.is_empty() => Err(error),
        _ => Ok(store),
    }
}
