//! Files that serve, and one line for each that does not.

use super::testing::{Authority, Scratch};
use super::*;

fn refusal(settings: &TlsSettings) -> String {
    let text = Prepared::new(settings.clone()).expect_err("refused").to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn good_files_serve_one_way_and_mutual() {
    let scratch = Scratch::new();
    let mut settings = Authority::new().settings(&scratch);
    for min_version in [MinVersion::Tls12, MinVersion::Tls13] {
        settings.min_version = min_version;
        assert!(Prepared::new(settings.clone()).is_ok());
    }
    assert_eq!(settings.client_auth(), ClientAuth::No);
    settings.ca_file = Some(scratch.path("ca"));
    assert_eq!(settings.client_auth(), ClientAuth::Yes);
    for auth in [None, Some(ClientAuth::No), Some(ClientAuth::Optional), Some(ClientAuth::Yes)] {
        settings.auth_clients = auth;
        assert!(Prepared::new(settings.clone()).is_ok(), "{auth:?}");
    }
    settings.ca_file = None;
    assert!(refusal(&settings).contains("--tls-ca-cert-file"));
}

#[test]
fn bad_files_are_named() {
    let scratch = Scratch::new();
    let authority = Authority::new();
    let good = authority.settings(&scratch);
    let garbled = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                       -----END RSA PRIVATE KEY-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (expired, expired_key) = authority.issue_for(-2, -1);
    let (early, early_key) = authority.issue_for(1, 2);
    let (_, other_key) = authority.issue();
    scratch.write("good-key", &std::fs::read_to_string(&good.key_file).expect("written"));
    scratch.write("expired-key", &expired_key);
    scratch.write("early-key", &early_key);
    let certificates = [
        ("", "good-key", "no certificate"),
        (garbled, "good-key", "damaged"),
        (not_der, "good-key", "damaged"),
        (&expired, "expired-key", "expired at"),
        (&early, "early-key", "not valid before"),
    ];
    for (text, key, said) in certificates {
        let settings =
            TlsSettings { cert_file: scratch.write("bad", text), key_file: scratch.path(key), ..good.clone() };
        let text = refusal(&settings);
        assert!(text.contains(said) && text.contains("/bad") && text.contains("--tls-cert-file"), "{text}");
    }
    let keys = [
        ("", "no private key"),
        (encrypted, "is encrypted"),
        (traditional, "is encrypted"),
        (broken_key, "damaged"),
        (&other_key, "does not belong to"),
    ];
    for (text, said) in keys {
        let text = refusal(&TlsSettings { key_file: scratch.write("bad", text), ..good.clone() });
        assert!(text.contains(said) && text.contains("/bad") && text.contains("--tls-key-file"), "{text}");
    }
    let missing = scratch.path("missing");
    let ca = |path| TlsSettings { ca_file: Some(path), ..good.clone() };
    let unreadable = [
        TlsSettings { cert_file: missing.clone(), ..good.clone() },
        TlsSettings { key_file: missing.clone(), ..good.clone() },
        ca(missing.clone()),
    ];
    for settings in unreadable {
        let text = refusal(&settings);
        assert!(text.starts_with(&format!("cannot read {}: ", missing.display())), "{text}");
    }
    let text = refusal(&TlsSettings { cert_file: "/dev/zero".into(), ..good.clone() });
    assert!(text.contains("more than 1 MiB"), "{text}");
    let text = refusal(&ca(scratch.write("bad", &expired)));
    assert!(text.contains("expired at") && text.contains("--tls-ca-cert-file"), "{text}");
    let both = format!("{expired}{}", authority.pem);
    assert!(Prepared::new(ca(scratch.write("bundle", &both))).is_ok(), "one of them serves");
}

#[test]
fn a_reload_takes_new_files_and_keeps_the_old_when_they_are_bad() {
    let scratch = Scratch::new();
    let authority = Authority::new();
    let settings = authority.settings(&scratch);
    let certificates = Certificates::new(Prepared::new(settings).expect("good"));
    let (first, expires) = (certificates.config(), certificates.not_after());
    scratch.write("key", "");
    certificates.reload();
    assert!(std::sync::Arc::ptr_eq(&first, &certificates.config()));
    let (certificate, key) = authority.issue_for(-1, 60);
    scratch.write("cert", &certificate);
    scratch.write("key", &key);
    certificates.reload();
    assert!(!std::sync::Arc::ptr_eq(&first, &certificates.config()));
    assert!(certificates.not_after() > expires);
}
