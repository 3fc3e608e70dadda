//! Reading the key of the node's certificate, which may be encrypted (PKCS#8 with PBES2: PBKDF2 or scrypt, and AES).

use std::path::Path;

use pkcs8::der::{ErrorKind, Tag};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::pem::Pem;

use super::files::{KEY_FLAG, TlsError, damaged, read};
use super::settings::TlsSettings;

/// What an encrypted key is called in a PEM file.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The key of the settings, decrypted with their passphrase if it is encrypted.
pub(super) fn private_key(settings: &TlsSettings) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = &settings.key_file;
    let bytes = read(path, KEY_FLAG)?;
    let is_there = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if is_there("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::TraditionalEncryption(path.to_owned()));
    }
    if is_there(&format!("BEGIN {ENCRYPTED}")) {
        let passphrase = settings.key_pass.expose();
        return match passphrase.is_empty() {
            true => Err(TlsError::EncryptedKey(path.to_owned())),
            false => decrypt(path, &bytes, passphrase),
        };
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        error => damaged(path, KEY_FLAG, error),
    })
}

fn decrypt(path: &Path, bytes: &[u8], passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unsupported =
        |error: pkcs8::Error| TlsError::UnsupportedEncryption { path: path.to_owned(), cause: error.to_string() };
    for section in Pem::iter_from_buffer(bytes) {
        let section = section.map_err(|error| damaged(path, KEY_FLAG, error))?;
        if section.label != ENCRYPTED {
            continue;
        }
        let info = EncryptedPrivateKeyInfoRef::try_from(&*section.contents);
        let info =
            info.map_err(
                |error| if is_unsupported(&error) { unsupported(error) } else { damaged(path, KEY_FLAG, error) },
            )?;
        // Now and then a wrong passphrase yields something, and only what is in it makes no sense.
        let wrong = || TlsError::WrongPass(path.to_owned());
        let key = info
            .decrypt(passphrase)
            .map_err(|error| if is_unsupported(&error) { unsupported(error) } else { wrong() })?;
        PrivateKeyInfoRef::try_from(key.as_bytes()).map_err(|_| wrong())?;
        return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    Err(TlsError::NoKey(path.to_owned()))
}

/// Is it an algorithm that is not known, or not wanted?
fn is_unsupported(error: &pkcs8::Error) -> bool {
    match error {
        pkcs8::Error::Asn1(error) => {
            matches!(error.kind(), ErrorKind::OidUnknown { .. } | ErrorKind::Value { tag: Tag::ObjectIdentifier })
        }
        pkcs8::Error::EncryptedPrivateKey(error) => {
            !matches!(error, pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use pkcs8::pkcs5::pbes2::Parameters;

    use super::*;
    use crate::tls::testing::{Authority, Scratch};
    use crate::tls::{Passphrase, Prepared};

    /// As `openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES` wrote it.
    const OLD: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGxMBwGCiqGSIb3DQEMAQMwDgQIva4/lWF3GHcCAggABIGQRxTdZr3nbPGof1Ef
aARO4NHvY2oLzsR9kGo6gKPkQURbGhfvlr+2/JQUwkVOueuEdLcjZzKzGx/dI9GD
g+rwVwcaa3FDCYozdhXacK1vy7/wxbTlxWtlFItni+F3nzjVxEzYeAsfZUdnjyev
8GbvJyYt/G1bEVFw/gElb2KVWzPwM12cu//QA4QwEHqtiQDy
-----END ENCRYPTED PRIVATE KEY-----
";

    fn encrypt(pem: &str, passphrase: &str) -> String {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(10, b"12345678", [7; 16]).expect("in range");
        let info = PrivateKeyInfoRef::try_from(key.secret_der()).expect("PKCS#8");
        let encrypted = info.encrypt_with_params(parameters, passphrase).expect("supported");
        let text = BASE64_STANDARD.encode(encrypted.as_bytes());
        format!("with this text in front\n-----BEGIN {ENCRYPTED}-----\n{text}\n-----END {ENCRYPTED}-----\n")
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase() {
        let scratch = Scratch::new();
        let good = Authority::new().settings(&scratch);
        let encrypted = encrypt(&std::fs::read_to_string(&good.key_file).expect("written"), "secret");
        let prepared = |text: &str, passphrase: &str| {
            let key_pass = Passphrase::new(passphrase.into());
            let settings = TlsSettings { key_file: scratch.write("locked", text), key_pass, ..good.clone() };
            assert!(!format!("{settings:?}").contains("secret"));
            Prepared::new(settings).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(prepared(&encrypted, "secret"), Ok(()));
        for wrong in ["Secret", "secret ", "x"] {
            let text = prepared(&encrypted, wrong).expect_err("refused");
            assert!(text.contains("does not open the key in") && text.lines().count() == 1, "{text}");
        }
        assert!(
            prepared(&encrypted, "").is_err_and(|text| text.contains("give its passphrase with --tls-key-file-pass"))
        );
        let old = prepared(OLD, "x").expect_err("refused");
        assert!(old.contains("not supported") && old.contains("openssl pkcs8 -topk8"), "{old}");
        // A passphrase for a key that needs none does no harm.
        assert_eq!(prepared(&std::fs::read_to_string(&good.key_file).expect("written"), "x"), Ok(()));
    }
}
