use super::*;
use crate::config::ALGORITHMS;

fn verifies(pem: &str) -> Result<Vec<Algorithm>, KeyError> {
    let all = crate::auth::known(&ALGORITHMS);
    let key = VerifyingKey::new(&Secret::new(pem.to_owned()), &all)?;
    Ok(key.algorithms)
}

#[test]
fn every_form_of_a_key_is_read_and_never_verifies_hmac() {
    use Algorithm::*;
    let rsa = vec![RS256, RS384, RS512, PS256, PS384, PS512];
    let table = [
        (key!("rsa.pub.pem"), rsa.clone()),
        (key!("rsa.pub.pkcs1.pem"), rsa.clone()),
        (key!("rsa.crt.pem"), rsa.clone()),
        (key!("rsa.p12.pem"), rsa.clone()),
        (key!("rsa.pem"), rsa.clone()),
        (key!("rsa.pkcs1.pem"), rsa),
        (key!("es256.pub.pem"), vec![ES256]),
        (key!("es256.crt.pem"), vec![ES256]),
        (key!("es256.pem"), vec![ES256]),
        (key!("es256.sec1.pem"), vec![ES256]),
        (key!("es384.pub.pem"), vec![ES384]),
        (key!("es384.pem"), vec![ES384]),
        (key!("ed25519.pub.pem"), vec![EdDSA]),
        (key!("ed25519.crt.pem"), vec![EdDSA]),
        (key!("ed25519.pem"), vec![EdDSA]),
    ];
    for (pem, expected) in table {
        assert_eq!(verifies(pem), Ok(expected.clone()), "{pem}");
        let one_line = pem.trim_end().replace('\n', "\\n");
        assert_eq!(verifies(&one_line), Ok(expected), "{one_line}");
        let windows = pem.replace('\n', "\r\n");
        assert!(verifies(&windows).is_ok(), "{windows}");
    }
}

#[test]
fn a_plain_secret_verifies_only_hmac() {
    use Algorithm::*;
    assert_eq!(verifies("secret"), Ok(vec![HS256, HS384, HS512]));
}

#[test]
fn a_pem_without_a_usable_key_is_an_error_and_not_a_plain_secret() {
    let truncated = &key!("rsa.pub.pem")[..200];
    assert_eq!(verifies(truncated), Err(KeyError::Unreadable));
    let block =
        |tag: &str, lines: &str| format!("-----BEGIN {tag}-----\n{lines}\n-----END {tag}-----\n");
    let encrypted = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA";
    for (pem, expected) in [
        (block("PUBLIC KEY", "AAAA"), KeyError::Unsupported),
        (block("PRIVATE KEY", "AAAA"), KeyError::Unsupported),
        (block("RSA PUBLIC KEY", "AAAA"), KeyError::Unsupported),
        (block("EC PRIVATE KEY", "AAAA"), KeyError::Unsupported),
        (block("OPENSSH PRIVATE KEY", "AAAA"), KeyError::Unsupported),
        (block("CERTIFICATE", "MIIF"), KeyError::Certificate),
        (
            block("X509 CRL", "AAAA"),
            KeyError::NoKey("X509 CRL".into()),
        ),
        (block("RSA PRIVATE KEY", encrypted), KeyError::Encrypted),
        (key!("rsa.encrypted.pem").into(), KeyError::Encrypted),
    ] {
        assert_eq!(verifies(&pem), Err(expected), "{pem}");
    }
}

#[test]
fn a_key_that_would_verify_nothing_is_an_error() {
    for (pem, expected) in [
        (key!("rsa1024.pub.pem"), KeyError::RsaSize(1024)),
        (key!("rsa1024.pem"), KeyError::Unsupported),
        (key!("es512.pub.pem"), KeyError::Unsupported),
        (key!("es512.pem"), KeyError::Unsupported),
        // Its points are as long as those of P-256.
        (key!("secp256k1.pub.pem"), KeyError::Unsupported),
        // jsonwebtoken reports the kind of the issuer's key, not of the certified one.
        (key!("rsa.by-ed25519.crt.pem"), KeyError::Certificate),
    ] {
        assert_eq!(verifies(pem), Err(expected), "{pem}");
    }
    for pem in [key!("es256.pub.pem"), key!("es384.pub.pem")] {
        let whole = pem::parse(pem).unwrap();
        let mut damaged = whole.contents().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let damaged = pem::encode(&Pem::new(whole.tag(), damaged));
        assert_eq!(verifies(&damaged), Err(KeyError::Unsupported), "{pem}");
    }
}

#[test]
fn both_forms_of_an_ed25519_key_sign_and_verify() {
    let with_public_half = Ed25519KeyPair::generate().unwrap().to_pkcs8().unwrap();
    let pem = pem::encode(&Pem::new("PRIVATE KEY", with_public_half.as_ref()));
    for pem in [&pem, key!("ed25519.pem")] {
        let secret = Secret::new(pem.to_owned());
        let signature = SigningKey::new(&secret, Algorithm::EdDSA).unwrap();
        let signature = signature.sign("message").unwrap();
        let key = VerifyingKey::new(&secret, &[Algorithm::EdDSA]).unwrap();
        assert!(key.verifies(Algorithm::EdDSA, "message", &signature));
        assert!(!key.verifies(Algorithm::EdDSA, "massage", &signature));
    }
}

#[test]
fn a_key_signs_although_its_certificate_comes_before_it() {
    let exported = Secret::new(key!("rsa.p12.pem").to_owned());
    let signature = SigningKey::new(&exported, Algorithm::RS256).unwrap();
    let signature = signature.sign("message").unwrap();
    let public = Secret::new(key!("rsa.pub.pem").to_owned());
    let key = VerifyingKey::new(&public, &[Algorithm::RS256]).unwrap();
    assert!(key.verifies(Algorithm::RS256, "message", &signature));
}

#[test]
fn a_public_key_or_one_of_another_kind_cannot_sign() {
    let sign =
        |pem: &str, algorithm| SigningKey::new(&Secret::new(pem.to_owned()), algorithm).err();
    assert_eq!(
        sign(key!("rsa.pub.pem"), Algorithm::RS256),
        Some(KeyError::NotPrivate)
    );
    for (pem, algorithm) in [
        (key!("rsa.pem"), Algorithm::ES256),
        (key!("rsa.pem"), Algorithm::HS256),
        (key!("es256.pem"), Algorithm::ES384),
        (key!("ed25519.pem"), Algorithm::RS256),
        ("secret", Algorithm::RS256),
        ("secret", Algorithm::EdDSA),
    ] {
        assert_eq!(
            sign(pem, algorithm),
            Some(KeyError::WrongAlgorithm(algorithm))
        );
    }
    for pem in [key!("es512.pem"), key!("rsa1024.pem")] {
        assert_eq!(sign(pem, Algorithm::ES384), Some(KeyError::Unsupported));
    }
}
