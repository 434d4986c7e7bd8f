//! Private keys under a password: PKCS#8 (RFC 5958, PBES2 of RFC 8018, scrypt of RFC 7914) and the box that cosign writes.
//!
//! What the file says about its key derivation is believed only within limits: whoever can write the file could else make the service use
//! up memory or time before it has looked at a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::pem;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{SignerError, random};

/// Blocks that scrypt may work through, N·r·p. Cosign writes 65536·8·1, OpenSSL 16384·8·1; this is four times the former, and at 128 bytes
/// a block the memory is at most 256 MiB.
const MAX_SCRYPT: u64 = 1 << 21;
/// Rounds of PBKDF2: OpenSSL writes 2048, and OWASP's advice of 2023 is 600,000. Ten millions are some seconds.
const MAX_PBKDF2: u32 = 10_000_000;
/// What cosign writes: N = 2^16, r = 8, p = 1. It refuses other parameters than its own.
const COSIGN_COST: Cost = Cost {
    n: 1 << 16,
    r: 8,
    p: 1,
};
/// Poly1305's tag, which NaCl puts before the ciphertext.
const TAG: usize = 16;

/// Opens an `EncryptedPrivateKeyInfo` (PEM label `ENCRYPTED PRIVATE KEY`); the PKCS#8 inside comes out.
pub(crate) fn open_pkcs8(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|error| unsupported(&error.to_string()))?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(unsupported("PBES1"));
    };
    match &parameters.kdf {
        Kdf::Scrypt(scrypt) => check_scrypt(
            scrypt.cost_parameter,
            scrypt.block_size.into(),
            scrypt.parallelization.into(),
        )?,
        Kdf::Pbkdf2(pbkdf2) if pbkdf2.iteration_count > MAX_PBKDF2 => {
            return Err(SignerError::Costly(format!(
                "{} rounds of PBKDF2, at most {MAX_PBKDF2}",
                pbkdf2.iteration_count
            )));
        }
        Kdf::Pbkdf2(_) => {}
        other => return Err(unsupported(&other.oid().to_string())),
    }
    match info.decrypt(password) {
        Ok(document) => Ok(document.to_bytes()),
        // With CBC a wrong password shows in the padding, or else (once in 256) in what should be a key.
        Err(
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)
            | pkcs8::Error::Asn1(_),
        ) => Err(SignerError::WrongPassword),
        Err(error) => Err(unsupported(&error.to_string())),
    }
}

/// Puts a PKCS#8 key under a password, as PEM: scrypt with the parameters that OpenSSL 3 has memory for, and AES-256 in CBC mode.
pub(crate) fn seal_pkcs8(der: &[u8], password: &[u8]) -> Result<Zeroizing<String>, SignerError> {
    let failed = |what: &str| SignerError::Encryption(what.to_owned());
    let cost = scrypt::Params::new(14, 8, 1).map_err(|error| failed(&error.to_string()))?;
    let (salt, iv): ([u8; 16], [u8; 16]) = (random::bytes()?, random::bytes()?);
    let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
        .map_err(|error| failed(&error.to_string()))?;
    let sealed = PrivateKeyInfoRef::try_from(der)
        .and_then(|info| info.encrypt_with_params(parameters, password))
        .map_err(|error| failed(&error.to_string()))?;
    Ok(Zeroizing::new(pem::encode(
        "ENCRYPTED PRIVATE KEY",
        sealed.as_bytes(),
    )))
}

/// Damaged, or from before PBES2: the parser cannot tell these apart.
fn unsupported(what: &str) -> SignerError {
    SignerError::Encryption(format!(
        "{what}; if openssl pkey reads it, openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 writes it as it is read here"
    ))
}

fn check_scrypt(n: u64, r: u64, p: u64) -> Result<(), SignerError> {
    let work = n.checked_mul(r).and_then(|nr| nr.checked_mul(p));
    if work.is_some_and(|work| (1..=MAX_SCRYPT).contains(&work)) {
        return Ok(());
    }
    Err(SignerError::Costly(format!(
        "scrypt with N={n}, r={r}, p={p}, and N·r·p may be 1 to {MAX_SCRYPT}"
    )))
}

/// What is below the PEM labels `ENCRYPTED SIGSTORE PRIVATE KEY` and `ENCRYPTED COSIGN PRIVATE KEY`: JSON, as go-securesystemslib's
/// package `encrypted` writes it.
#[derive(Serialize, Deserialize)]
struct Envelope {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Derivation {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Opens cosign's box; the PKCS#8 inside comes out.
pub(crate) fn open_cosign(json: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let malformed = |what: &str| SignerError::Encryption(format!("cosign's box: {what}"));
    let envelope: Envelope =
        serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))?;
    if envelope.kdf.name != "scrypt" || envelope.cipher.name != "nacl/secretbox" {
        return Err(malformed("expected scrypt and nacl/secretbox"));
    }
    let bytes = |name: &str, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| malformed(&format!("{name} is not base64")))
    };
    let salt = bytes("the salt", &envelope.kdf.salt)?;
    let key = derive(&envelope.kdf.params, &salt, password)?;
    let nonce = bytes("the nonce", &envelope.cipher.nonce)?;
    let nonce: [u8; 24] = nonce
        .try_into()
        .map_err(|_| malformed("the nonce has not 24 bytes"))?;
    let boxed = bytes("the ciphertext", &envelope.ciphertext)?;
    let (tag, ciphertext) = boxed
        .split_first_chunk::<TAG>()
        .ok_or_else(|| malformed("the ciphertext is shorter than its tag"))?;
    open_secretbox(&key, &nonce, tag, ciphertext).ok_or(SignerError::WrongPassword)
}

/// Puts a PKCS#8 into cosign's box: the JSON below the PEM label.
pub(crate) fn seal_cosign(pkcs8: &[u8], password: &[u8]) -> Result<Vec<u8>, SignerError> {
    let salt = random::bytes::<32>()?;
    let nonce = random::bytes::<24>()?;
    let key = derive(&COSIGN_COST, &salt, password)?;
    let envelope = Envelope {
        kdf: Derivation {
            name: "scrypt".to_owned(),
            params: COSIGN_COST,
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher {
            name: "nacl/secretbox".to_owned(),
            nonce: STANDARD.encode(nonce),
        },
        ciphertext: STANDARD.encode(seal_secretbox(&key, &nonce, pkcs8)),
    };
    serde_json::to_vec(&envelope).map_err(|_| SignerError::Failed)
}

/// The key of the box: scrypt over the password, within limits.
fn derive(
    &Cost { n, r, p }: &Cost,
    salt: &[u8],
    password: &[u8],
) -> Result<Zeroizing<[u8; 32]>, SignerError> {
    let malformed = |what: &str| SignerError::Encryption(format!("cosign's box: {what}"));
    check_scrypt(n, r.into(), p.into())?;
    if !n.is_power_of_two() || n < 2 {
        return Err(malformed("scrypt's N is no power of two"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let wrong = || malformed("scrypt does not work with such parameters");
    let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| wrong())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &parameters, &mut *key).map_err(|_| wrong())?;
    Ok(key)
}

/// NaCl's `crypto_secretbox`: the tag, then the ciphertext.
fn seal_secretbox(key: &[u8; 32], nonce: &[u8; 24], plain: &[u8]) -> Vec<u8> {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut once = Zeroizing::new([0; 32]);
    stream.apply_keystream(&mut *once);
    let mut ciphertext = plain.to_vec();
    stream.apply_keystream(&mut ciphertext);
    let tag = Poly1305::new((&*once).into()).compute_unpadded(&ciphertext);
    [tag.as_slice(), &ciphertext].concat()
}

/// NaCl's `crypto_secretbox_open`: the first 32 bytes of the XSalsa20 stream are the key of Poly1305 over the ciphertext.
fn open_secretbox(
    key: &[u8; 32],
    nonce: &[u8; 24],
    tag: &[u8; TAG],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut once = Zeroizing::new([0; 32]);
    stream.apply_keystream(&mut *once);
    let found = Poly1305::new((&*once).into()).compute_unpadded(ciphertext);
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(&found, tag);
    same.ok()?;
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    stream.apply_keystream(&mut plain);
    Some(plain)
}
