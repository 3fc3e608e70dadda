//! For tests: authorities and certificates, made on the spot.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;

use super::{MinVersion, Passphrase, TlsSettings};

/// A directory that goes when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("swytch-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the temporary directory is writable");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("randomness");
        let pem = params.self_signed(&key).expect("signs").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, valid for these days from now.
    pub fn issue_for(&self, from: i64, to: i64) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
        let now = OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::days(from);
        params.not_after = now + time::Duration::days(to);
        let key = KeyPair::generate().expect("randomness");
        (params.signed_by(&key, &self.issuer).expect("signs").pem(), key.serialize_pem())
    }

    pub fn issue(&self) -> (String, String) {
        self.issue_for(-1, 30)
    }

    /// Settings for one-way TLS with a certificate of this authority, with the authority's own certificate in `ca`.
    pub fn settings(&self, scratch: &Scratch) -> TlsSettings {
        let (certificate, key) = self.issue();
        scratch.write("ca", &self.pem);
        TlsSettings {
            cert_file: scratch.write("cert", &certificate),
            key_file: scratch.write("key", &key),
            key_pass: Passphrase::default(),
            ca_file: None,
            auth_clients: None,
            min_version: MinVersion::Tls12,
        }
    }
}
