//! Keys and certificates of a stack: made on the first start, read on every later one.
//!
//! The roots of the certificate authority and of the timestamp authority are made, sign one certificate each and are forgotten: what
//! is not on the disk cannot leak from it, and a development stack never needs a second intermediate.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, KeyType};
use pki::cert::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use signer::Signer;

use crate::state::{Addresses, Name, State};

/// How long the authorities live: beyond any development machine.
const LIFE: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);

/// id-kp-timeStamping alone, as the content of an extKeyUsage extension. RFC 3161 2.3 wants it critical, which rcgen's own field
/// does not write.
const TIME_STAMPING: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08,
];

/// Everything secret, and the certificates that go with it.
#[derive(Clone, Debug)]
pub struct Material {
    /// Signs leaf certificates (P-384, as the public instance).
    pub fulcio: Signer,
    /// The intermediate that has that key, and its root.
    pub fulcio_chain: Vec<Certificate>,
    /// Signs SCTs and the CT log's checkpoints (P-256: RFC 6962 2.1.4).
    pub ctlog: Signer,
    /// Signs Rekor's checkpoints (Ed25519).
    pub rekor: Signer,
    /// Signs promises and checkpoints of the Rekor v1 log (P-256, as clients believe no other key there).
    pub rekor_v1: Signer,
    /// Signs timestamps (P-256).
    pub tsa: Signer,
    /// The certificate that has that key, and its root.
    pub tsa_chain: Vec<Certificate>,
    /// Signs identity tokens (RSA, because cosign takes nothing else).
    pub issuer: Signer,
    /// Signs TUF metadata.
    pub tuf: crate::repository::Signers,
}

/// The files, in the state folder.
pub mod file {
    /// Private key of the certificate authority.
    pub const FULCIO: &str = "fulcio/key.pem";
    /// Its intermediate and root.
    pub const FULCIO_CHAIN: &str = "fulcio/chain.pem";
    /// Private key of the CT log.
    pub const CTLOG: &str = "ctlog/key.pem";
    /// Private key of the transparency log.
    pub const REKOR: &str = "rekor/key.pem";
    /// Private key of its v1 log.
    pub const REKOR_V1: &str = "rekor/v1.pem";
    /// Private key of the timestamp authority.
    pub const TSA: &str = "tsa/key.pem";
    /// Its certificate and root.
    pub const TSA_CHAIN: &str = "tsa/chain.pem";
    /// Private key of the identity provider.
    pub const ISSUER: &str = "issuer/key.pem";
    /// Private key of TUF root and targets.
    pub const TUF_OFFLINE: &str = "tuf/offline.pem";
    /// Private key of TUF snapshot and timestamp.
    pub const TUF_ONLINE: &str = "tuf/online.pem";
}

impl Material {
    /// Reads what is there and makes what is missing. Each file is there as a whole or not at all, and a certificate is made after
    /// its key, so a first start that was cut short is simply continued by the next one.
    pub fn load_or_make(state: &State, now: Timestamp) -> Result<Self> {
        for name in Name::ALL {
            state.make_folder(name.as_str())?;
        }
        // A key is made only while nothing was made with it: a lost one would else be replaced, and all that it signed be lost.
        let key = |file: &str, algorithm: Algorithm, made_with_it: &str| {
            let path: PathBuf = state.path(file);
            ensure!(
                path.exists() || !state.path(made_with_it).exists(),
                "{file} is missing, and {made_with_it} was made with it: restore the key, or begin a new stack with another --state"
            );
            let signer =
                Signer::load_or_create(&path, algorithm).with_context(|| file.to_owned())?;
            let wanted = algorithm.key_type();
            ensure!(
                signer.public_key().key_type() == wanted,
                "{file} holds another kind of key than this service uses ({wanted:?})"
            );
            Ok(signer)
        };
        let fulcio = key(file::FULCIO, Algorithm::EcdsaP384Sha384, file::FULCIO_CHAIN)?;
        let tsa = key(file::TSA, Algorithm::EcdsaP256Sha256, file::TSA_CHAIN)?;
        Ok(Self {
            fulcio_chain: chain(
                state,
                file::FULCIO_CHAIN,
                &fulcio,
                Authority::Certificates,
                now,
            )?,
            fulcio,
            ctlog: key(file::CTLOG, Algorithm::EcdsaP256Sha256, "ctlog/log")?,
            rekor: key(file::REKOR, Algorithm::Ed25519, "rekor/log")?,
            rekor_v1: key(file::REKOR_V1, Algorithm::EcdsaP256Sha256, "rekor/v1")?,
            tsa_chain: chain(state, file::TSA_CHAIN, &tsa, Authority::Timestamps, now)?,
            tsa,
            issuer: key(
                file::ISSUER,
                Algorithm::RsaPkcs1Sha256_2048,
                Addresses::FILE,
            )?,
            tuf: crate::repository::Signers {
                offline: key(
                    file::TUF_OFFLINE,
                    Algorithm::EcdsaP256Sha256,
                    "tuf/published",
                )?,
                online: key(
                    file::TUF_ONLINE,
                    Algorithm::EcdsaP256Sha256,
                    "tuf/published",
                )?,
            },
        })
    }

    /// The number of the Rekor v1 tree. It follows from the key, so that there is nothing else to keep.
    pub fn rekor_v1_tree(&self) -> u64 {
        let id = self.rekor_v1.public_key().key_id();
        let number = id.first_chunk().copied().map_or(1, u64::from_be_bytes);
        // 1 to 2^63 - 1.
        (number >> 1).max(1)
    }

    /// When this stack began: the first moment of every validity in its trust root.
    pub fn since(&self) -> Timestamp {
        let starts = self
            .fulcio_chain
            .iter()
            .chain(&self.tsa_chain)
            .map(Certificate::not_before);
        starts.min().unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[derive(Clone, Copy)]
enum Authority {
    Certificates,
    Timestamps,
}

/// The certificate chain of `signer`, read or made: its certificate, then the root.
fn chain(
    state: &State,
    file: &str,
    signer: &Signer,
    authority: Authority,
    now: Timestamp,
) -> Result<Vec<Certificate>> {
    let text = if let Some(text) = state.read(file)? {
        String::from_utf8(text).with_context(|| format!("{file} is not PEM"))?
    } else {
        let text = make_chain(signer, authority, now).context("making certificates")?;
        state.write(file, text.as_bytes())?;
        text
    };
    let chain = Certificate::chain_from_pem(&text).with_context(|| file.to_owned())?;
    let first = chain.first().with_context(|| format!("{file} is empty"))?;
    ensure!(
        first.public_key() == signer.public_key(),
        "{file} is not the certificate of the key beside it"
    );
    Ok(chain)
}

fn make_chain(signer: &Signer, authority: Authority, now: Timestamp) -> Result<String> {
    let (organization, root_name, name) = match authority {
        Authority::Certificates => (
            "sigstack development",
            "sigstack root",
            "sigstack intermediate",
        ),
        Authority::Timestamps => (
            "sigstack development",
            "sigstack timestamp root",
            "sigstack timestamp authority",
        ),
    };
    let root_key = Signer::generate(Algorithm::EcdsaP384Sha384)?;
    let mut root = parameters(organization, root_name, now)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(match authority {
        Authority::Certificates => 1,
        Authority::Timestamps => 0,
    }));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

    let mut certificate = parameters(organization, name, now)?;
    certificate.use_authority_key_identifier_extension = true;
    match authority {
        Authority::Certificates => {
            certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        }
        Authority::Timestamps => {
            certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let mut purpose =
                CustomExtension::from_oid_content(&[2, 5, 29, 37], TIME_STAMPING.to_vec());
            purpose.set_criticality(true);
            certificate.custom_extensions = vec![purpose];
        }
    }
    let root_certificate = root.self_signed(&Key(&root_key))?;
    let issued =
        certificate.signed_by(&Key(signer), &Issuer::from_params(&root, Key(&root_key)))?;
    let pem = |der: &[u8]| Ok::<_, anyhow::Error>(Certificate::from_der(der)?.to_pem());
    Ok(format!(
        "{}{}",
        pem(issued.der())?,
        pem(root_certificate.der())?
    ))
}

fn parameters(organization: &str, name: &str, now: Timestamp) -> Result<CertificateParams> {
    let date = |at: Timestamp| time::OffsetDateTime::from_unix_timestamp(at.as_second());
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organization);
    subject.push(DnType::CommonName, name);
    let mut serial = signer::random::bytes::<16>()?;
    // RFC 5280 4.1.2.2: positive, so the first bit is clear; and not zero.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    let mut parameters = CertificateParams::default();
    parameters.not_before = date(now)?;
    parameters.not_after = date(now + LIFE)?;
    parameters.distinguished_name = subject;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

/// A signer as rcgen wants it: the private key stays where it is.
struct Key<'a>(&'a Signer);

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.public_key().key_type() {
            KeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            _ => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0
            .sign_local(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::path::{self, Purpose};

    fn now() -> Timestamp {
        "2026-11-22T10:00:00.9Z".parse().unwrap()
    }

    #[test]
    fn made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let first = Material::load_or_make(&state, now()).unwrap();
        let second = Material::load_or_make(&state, now() + SignedDuration::from_hours(1)).unwrap();
        assert_eq!(first.fulcio.public_key(), second.fulcio.public_key());
        assert_eq!(first.issuer.public_key(), second.issuer.public_key());
        let der = |chain: &[Certificate]| {
            chain
                .iter()
                .map(|certificate| certificate.der().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(der(&first.fulcio_chain), der(&second.fulcio_chain));
        assert_eq!(der(&first.tsa_chain), der(&second.tsa_chain));
        assert_eq!(first.since(), "2026-11-22T10:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_start_that_was_cut_short_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let first = Material::load_or_make(&state, now()).unwrap();
        state.remove(file::FULCIO_CHAIN).unwrap();
        state.remove(file::TUF_ONLINE).unwrap();
        let second = Material::load_or_make(&state, now()).unwrap();
        assert_eq!(first.fulcio.public_key(), second.fulcio.public_key());
        assert_ne!(
            first.tuf.online.public_key(),
            second.tuf.online.public_key()
        );
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        Material::load_or_make(&state, now()).unwrap();
        state.make_folder("rekor/log").unwrap();
        for (file, made_with_it) in [
            (file::FULCIO, "fulcio/chain.pem"),
            (file::REKOR, "rekor/log"),
        ] {
            let key = state.read(file).unwrap().unwrap();
            state.remove(file).unwrap();
            let error = Material::load_or_make(&state, now()).unwrap_err();
            assert!(error.to_string().contains(made_with_it), "{error}");
            assert!(!state.path(file).exists(), "{file}");
            Signer::from_pkcs8_pem(std::str::from_utf8(&key).unwrap()).unwrap();
            std::fs::write(state.path(file), &key).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(state.path(file), private).unwrap();
        }
        Material::load_or_make(&state, now()).unwrap();
    }

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        Material::load_or_make(&state, now()).unwrap();
        state.remove(file::FULCIO).unwrap();
        Signer::create(&state.path(file::FULCIO), Algorithm::EcdsaP384Sha384).unwrap();
        let error = Material::load_or_make(&state, now()).unwrap_err();
        assert!(error.to_string().contains("fulcio/chain.pem"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.make_folder("tsa").unwrap();
        state.write(file::TSA, b"nonsense").unwrap();
        let error = format!("{:#}", Material::load_or_make(&state, now()).unwrap_err());
        assert!(error.starts_with("tsa/key.pem: "), "{error}");
    }

    #[test]
    fn the_timestamp_authority_is_one_by_the_rules_of_the_verifier() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let material = Material::load_or_make(&state, now()).unwrap();
        let [leaf, root] = &material.tsa_chain[..] else {
            panic!("two certificates")
        };
        path::verify(
            leaf,
            &[],
            std::slice::from_ref(root),
            now(),
            Purpose::TimeStamping,
        )
        .unwrap();
        let [intermediate, root] = &material.fulcio_chain[..] else {
            panic!("two certificates")
        };
        assert!(intermediate.is_ca() && intermediate.is_signed_by(root.public_key()));
        assert!(root.is_ca() && root.is_signed_by(root.public_key()));
    }
}
