//! Verifying a token against one authority.

use std::time::Duration;

use const_oid::ObjectIdentifier as Oid;
use der::Decode;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use keys::{Algorithm, Digest, HashAlgorithm, KeyType, PublicKey};
use pki::{Certificate, PathError, Purpose, path, tlv};
use sha1::{Digest as _, Sha1};
use spki::AlgorithmIdentifierOwned;
use thiserror::Error;

use crate::request::{Request, read_imprint};
use crate::{
    CONTENT_TYPE, EC_PUBLIC_KEY, MESSAGE_DIGEST, Malformed, RSA_ENCRYPTION, RSA_SHA384, RSA_SHA512,
    SIGNED_DATA, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2, TST_INFO, hash_of, tag,
};

/// The largest response that is read: a token with a chain of several RSA certificates has 8 kB.
const MAX_RESPONSE: usize = 64 * 1024;
/// The most certificates in a token: a chain has two to four. Each of them is read, and strangers write tokens.
const MAX_CERTIFICATES: usize = 16;

/// Why a timestamp is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TspError {
    /// Not the structure.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The authority did not grant it.
    #[error("the timestamp response has status {0}, expected 0 (granted)")]
    Status(u8),
    /// It stamps something else.
    #[error("the timestamp is over other data than this signature")]
    Imprint,
    /// It has not the nonce of its request: an answer to another one, or an old one.
    #[error("the timestamp has not the nonce that was asked for")]
    Nonce,
    /// It is made under another policy than its request names.
    #[error("the timestamp is made under the policy {0}, which is not the one that was asked for")]
    Policy(Oid),
    /// It is signed by somebody else.
    #[error("the timestamp is not signed by this authority's certificate")]
    OtherSigner,
    /// The signature, or a hash that it covers, does not hold.
    #[error("the timestamp's {0} does not verify")]
    Signature(&'static str),
    /// The signature's algorithm is unknown, weak, or one of another kind of key.
    #[error("the timestamp's signature algorithm {0} does not go with the authority's key")]
    Algorithm(Oid),
    /// The authority's chain does not hold at the time that it states.
    #[error("the timestamp authority's certificate chain")]
    Path(#[source] PathError),
    /// The token carries no certificate of its signer.
    #[error("the timestamp carries no certificate of its signer: ask for one (certReq)")]
    NoCertificate,
    /// The authority has no certificate.
    #[error("the timestamp authority has no certificate in the trusted root")]
    NoAuthority,
}

/// A timestamp that holds. Only [`verify`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedTimestamp {
    time: Timestamp,
    accuracy: Option<Duration>,
}

impl VerifiedTimestamp {
    /// When the data existed.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// How far the time may be off, either way, where the authority says so (RFC 3161 2.4.2).
    pub const fn accuracy(&self) -> Option<Duration> {
        self.accuracy
    }
}

/// Verifies a `TimeStampResp` over `data` against an authority's chain, its own leaf first, the trusted certificate last.
pub fn verify(
    response: &[u8],
    data: &[u8],
    authority: &[Certificate],
) -> Result<VerifiedTimestamp, TspError> {
    let over = |imprint: &Digest| *imprint == Digest::of(imprint.algorithm(), data);
    check(response, authority, |info| {
        over(&info.imprint).then_some(()).ok_or(TspError::Imprint)
    })
}

/// [`verify`] of the answer to a request: its digest, nonce and policy come back as they were sent (RFC 3161 2.2). A nonce that was sent and
/// does not come back is as wrong as another one.
pub fn verify_answer(
    response: &[u8],
    request: &Request,
    authority: &[Certificate],
) -> Result<VerifiedTimestamp, TspError> {
    check(response, authority, |info| {
        if info.imprint != request.imprint {
            return Err(TspError::Imprint);
        }
        if info.nonce != request.nonce.as_deref() {
            return Err(TspError::Nonce);
        }
        match request.policy {
            Some(policy) if policy != info.policy => Err(TspError::Policy(info.policy)),
            _ => Ok(()),
        }
    })
}

fn check(
    response: &[u8],
    authority: &[Certificate],
    expected: impl FnOnce(&Info<'_>) -> Result<(), TspError>,
) -> Result<VerifiedTimestamp, TspError> {
    let (leaf, above) = authority.split_first().ok_or(TspError::NoAuthority)?;
    let (anchor, between) = above.split_last().ok_or(TspError::NoAuthority)?;
    let token = Token::parse(response)?;
    let info = Info::parse(token.info)?;
    expected(&info)?;
    token.check_signer(leaf, &token.readable())?;
    token.check_content()?;
    token.check_binding(leaf)?;
    token.check_signature(leaf.public_key(), Naming::OfSignature)?;
    path::verify(
        leaf,
        between,
        std::slice::from_ref(anchor),
        info.time,
        Purpose::TimeStamping,
    )
    .map_err(TspError::Path)?;
    Ok(VerifiedTimestamp {
        time: info.time,
        accuracy: info.accuracy,
    })
}

/// Checks that a response's token is signed by a certificate that it carries. That says nothing about whose certificate it is, nor about any data:
/// it is what a log may know about a token before it keeps it.
pub fn verify_embedded(response: &[u8]) -> Result<(), TspError> {
    let token = Token::parse(response)?;
    Info::parse(token.info)?;
    let mut outcome = TspError::NoCertificate;
    let certificates = token.readable();
    for certificate in &certificates {
        if token.check_signer(certificate, &certificates).is_err() {
            continue;
        }
        // Which certificate it is meant to be (`signingCertificate`) matters to whoever trusts one.
        let checked = token
            .check_content()
            .and_then(|()| token.check_signature(certificate.public_key(), Naming::OfKey));
        match checked {
            Ok(()) => return Ok(()),
            Err(error) => outcome = error,
        }
    }
    Err(outcome)
}

/// The parts of a token that are looked at, each the bytes as they came.
struct Token<'a> {
    info: &'a [u8],
    certificates: Vec<&'a [u8]>,
    signer: &'a [u8],
    hash: HashAlgorithm,
    attributes: &'a [u8],
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
}

fn sequence<'a>(der: &'a [u8], what: &'static str) -> Result<Vec<&'a [u8]>, Malformed> {
    tlv::contents(tag::SEQUENCE, der)
        .and_then(tlv::members)
        .map_err(|_| Malformed(what))
}

fn unwrap<'a>(identifier: u8, der: &'a [u8], what: &'static str) -> Result<&'a [u8], Malformed> {
    tlv::contents(identifier, der).map_err(|_| Malformed(what))
}

fn starts(der: &[u8], identifier: u8) -> bool {
    der.first() == Some(&identifier)
}

fn is_oid(der: &[u8], expected: Oid) -> bool {
    Oid::from_der(der) == Ok(expected)
}

impl<'a> Token<'a> {
    fn parse(response: &'a [u8]) -> Result<Self, TspError> {
        if response.len() > MAX_RESPONSE {
            return Err(Malformed("timestamp response: too large").into());
        }
        let outer = sequence(response, "timestamp response")?;
        let status = sequence(
            outer.first().copied().unwrap_or_default(),
            "timestamp status",
        )?;
        match status.first() {
            Some([tag::INTEGER, 1, 0]) => {}
            Some([tag::INTEGER, 1, status]) => return Err(TspError::Status(*status)),
            _ => return Err(Malformed("timestamp status").into()),
        }
        let [_, token] = outer.as_slice() else {
            return Err(Malformed("timestamp response: no token").into());
        };
        let content = sequence(token, "timestamp token")?;
        let [kind, data] = content.as_slice() else {
            return Err(Malformed("timestamp token").into());
        };
        if !is_oid(kind, SIGNED_DATA) {
            return Err(Malformed("timestamp token: not SignedData").into());
        }
        let mut members = sequence(
            unwrap(tag::CONTEXT_0, data, "timestamp token")?,
            "SignedData",
        )?
        .into_iter()
        .peekable();
        let (_version, _hashes) = (members.next(), members.next());
        let content = sequence(members.next().unwrap_or_default(), "SignedData content")?;
        let [kind, octets] = content.as_slice() else {
            return Err(Malformed("SignedData content").into());
        };
        if !is_oid(kind, TST_INFO) {
            return Err(Malformed("SignedData content: not TSTInfo").into());
        }
        let info = unwrap(
            tag::OCTET_STRING,
            unwrap(tag::CONTEXT_0, octets, "SignedData content")?,
            "SignedData content",
        )?;
        // certificates [0], crls [1], signerInfos: each once at most and in this order (RFC 5652 5.1).
        let certificates = match members.next_if(|member| starts(member, tag::CONTEXT_0)) {
            Some(set) => tlv::members(unwrap(tag::CONTEXT_0, set, "certificates")?)
                .map_err(|_| Malformed("certificates"))?,
            None => Vec::new(),
        };
        if certificates.len() > MAX_CERTIFICATES {
            return Err(Malformed("certificates: more than any chain has").into());
        }
        let _crls = members.next_if(|member| starts(member, tag::CONTEXT_1));
        let (Some(signers), None) = (members.next(), members.next()) else {
            return Err(Malformed("SignedData").into());
        };
        let signers = tlv::members(unwrap(tag::SET, signers, "signers")?)
            .map_err(|_| Malformed("signers"))?;
        // RFC 3161 2.4.2: the token contains exactly one signer info.
        let [signer] = signers.as_slice() else {
            return Err(Malformed("SignedData: not exactly one signer").into());
        };
        let parts = sequence(signer, "SignerInfo")?;
        // The unsigned attributes at the end prove nothing and are passed over.
        let [
            _version,
            signer,
            hash,
            attributes,
            algorithm,
            signature,
            unsigned @ ..,
        ] = parts.as_slice()
        else {
            return Err(Malformed("SignerInfo: signed attributes are needed").into());
        };
        if !matches!(unsigned, [] | [[tag::CONTEXT_1, ..]]) {
            return Err(Malformed("SignerInfo").into());
        }
        let identifier = |der: &[u8]| {
            AlgorithmIdentifierOwned::from_der(der).map_err(|_| Malformed("SignerInfo algorithm"))
        };
        Ok(Self {
            info,
            certificates,
            signer,
            hash: hash_of(identifier(hash)?.oid)
                .ok_or(Malformed("SignerInfo: digest algorithm is not SHA-2"))?,
            attributes: unwrap(tag::CONTEXT_0, attributes, "signed attributes")?,
            signature_algorithm: identifier(algorithm)?,
            signature: unwrap(tag::OCTET_STRING, signature, "SignerInfo signature")?,
        })
    }

    /// The certificates that it brings along, but for those that nobody here can read.
    fn readable(&self) -> Vec<Certificate> {
        let read = |der: &&[u8]| Certificate::from_der(der).ok();
        self.certificates.iter().filter_map(read).collect()
    }

    /// The signer must be named as the authority's leaf, and a certificate in the token that claims to be the signer's must be that very leaf.
    fn check_signer(&self, leaf: &Certificate, among: &[Certificate]) -> Result<(), TspError> {
        let named = if let Ok(identifier) = tlv::contents(tag::CONTEXT_0_PRIMITIVE, self.signer) {
            leaf.subject_key_id().as_deref() == Some(identifier)
        } else {
            let parts = sequence(self.signer, "SignerInfo signer")?;
            let [issuer, serial] = parts.as_slice() else {
                return Err(Malformed("SignerInfo signer").into());
            };
            *issuer == leaf.issuer_der()
                && unwrap(tag::INTEGER, serial, "SignerInfo serial")? == leaf.serial()
        };
        let impostor = among.iter().any(|certificate| {
            certificate != leaf
                && certificate.serial() == leaf.serial()
                && certificate.issuer_der() == leaf.issuer_der()
        });
        if named && !impostor {
            Ok(())
        } else {
            Err(TspError::OtherSigner)
        }
    }

    fn attribute(&self, wanted: Oid) -> Result<Option<&'a [u8]>, Malformed> {
        let mut found = None;
        for attribute in
            tlv::members(self.attributes).map_err(|_| Malformed("signed attributes"))?
        {
            let parts = sequence(attribute, "signed attribute")?;
            let [id, values] = parts.as_slice() else {
                return Err(Malformed("signed attribute"));
            };
            if is_oid(id, wanted) {
                let values = tlv::members(unwrap(tag::SET, values, "signed attribute")?)
                    .map_err(|_| Malformed("signed attribute"))?;
                // RFC 5652 11: each of these has exactly one value and stands there once.
                let [value] = values.as_slice() else {
                    return Err(Malformed("signed attribute"));
                };
                if found.replace(*value).is_some() {
                    return Err(Malformed("signed attribute: twice"));
                }
            }
        }
        Ok(found)
    }

    /// The signed attributes are those of this content.
    fn check_content(&self) -> Result<(), TspError> {
        let kind = self
            .attribute(CONTENT_TYPE)?
            .ok_or(Malformed("signed attributes: no contentType"))?;
        if !is_oid(kind, TST_INFO) {
            return Err(TspError::Signature("content type"));
        }
        let digest = self
            .attribute(MESSAGE_DIGEST)?
            .ok_or(Malformed("signed attributes: no messageDigest"))?;
        if unwrap(tag::OCTET_STRING, digest, "messageDigest")?
            != self.hash.digest(self.info).bytes()
        {
            return Err(TspError::Signature("message digest"));
        }
        Ok(())
    }

    /// The signed attributes name the signer's certificate.
    fn check_binding(&self, leaf: &Certificate) -> Result<(), TspError> {
        // RFC 3161 2.4.1, RFC 5816: the token is bound to the signer's certificate, in one way or in both.
        let one = self.attribute(SIGNING_CERTIFICATE)?;
        let two = self.attribute(SIGNING_CERTIFICATE_V2)?;
        if one.is_none() && two.is_none() {
            return Err(Malformed("signed attributes: no signingCertificate").into());
        }
        let one = one
            .map(|value| is_certificate_v1(value, leaf))
            .transpose()?;
        let two = two
            .map(|value| is_certificate_v2(value, leaf))
            .transpose()?;
        if one == Some(false) || two == Some(false) {
            return Err(TspError::OtherSigner);
        }
        Ok(())
    }

    fn check_signature(&self, key: &PublicKey, naming: Naming) -> Result<(), TspError> {
        // RFC 5652 5.4: what is signed is the DER of a SET, not the [0] that stands in the message.
        let signed =
            tlv::wrap(tag::SET, self.attributes).map_err(|_| Malformed("signed attributes"))?;
        let verified = match signer_algorithm(self.signature_algorithm.oid, self.hash, key, naming)
        {
            Some(SignerAlgorithm::Rsa(hash)) => key.verify_rsa(hash, &signed, self.signature),
            Some(SignerAlgorithm::Listed(algorithm)) => {
                key.verify(algorithm, &signed, self.signature)
            }
            None => return Err(TspError::Algorithm(self.signature_algorithm.oid)),
        };
        verified.map_err(|_| TspError::Signature("signature"))
    }
}

/// The parts of the first ESSCertID or ESSCertIDv2.
fn certificate_id(value: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let outer = sequence(value, "signingCertificate")?;
    let list = sequence(
        outer.first().copied().unwrap_or_default(),
        "signingCertificate",
    )?;
    sequence(
        list.first().copied().unwrap_or_default(),
        "signingCertificate",
    )
}

/// SHA-1 is good enough here: the certificate is the authority's own, and nobody can choose it to fit a hash.
fn is_certificate_v1(value: &[u8], leaf: &Certificate) -> Result<bool, Malformed> {
    let parts = certificate_id(value)?;
    let first = parts.first().copied().unwrap_or_default();
    let hash = unwrap(tag::OCTET_STRING, first, "signingCertificate")?;
    Ok(hash == Sha1::digest(leaf.der()).as_slice())
}

fn is_certificate_v2(value: &[u8], leaf: &Certificate) -> Result<bool, Malformed> {
    let parts = certificate_id(value)?;
    let mut parts = parts.iter().copied();
    let mut first = parts.next().unwrap_or_default();
    let mut hash = HashAlgorithm::Sha256;
    if first.first() == Some(&tag::SEQUENCE) {
        let identifier = AlgorithmIdentifierOwned::from_der(first)
            .map_err(|_| Malformed("signingCertificateV2"))?;
        hash = hash_of(identifier.oid).ok_or(Malformed("signingCertificateV2: not SHA-2"))?;
        first = parts.next().unwrap_or_default();
    }
    Ok(
        unwrap(tag::OCTET_STRING, first, "signingCertificateV2")?
            == hash.digest(leaf.der()).bytes(),
    )
}

/// What a signer signs with. RSA is apart: the registry has it with SHA-256 alone.
enum SignerAlgorithm {
    Listed(Algorithm),
    Rsa(HashAlgorithm),
}

/// How a signer of ECDSA may name its algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// As RFC 5754 3.3 has it.
    OfSignature,
    /// Or by the algorithm of its key, as authorities did whose tokens are in logs.
    OfKey,
}

/// Signers name the algorithm of the signature; with RSA also that of the key alone, and then the hash is that of the digest (RFC 5754 3.2).
fn signer_algorithm(
    named: Oid,
    hash: HashAlgorithm,
    key: &PublicKey,
    naming: Naming,
) -> Option<SignerAlgorithm> {
    use HashAlgorithm as H;
    let (rsa, hash) = match named {
        pki::oid::ECDSA_SHA256 => (false, H::Sha256),
        pki::oid::ECDSA_SHA384 => (false, H::Sha384),
        pki::oid::ECDSA_SHA512 => (false, H::Sha512),
        EC_PUBLIC_KEY if naming == Naming::OfKey => (false, hash),
        pki::oid::RSA_SHA256 => (true, H::Sha256),
        RSA_SHA384 => (true, H::Sha384),
        RSA_SHA512 => (true, H::Sha512),
        RSA_ENCRYPTION => (true, hash),
        pki::oid::ED25519 if key.key_type() == KeyType::Ed25519 => {
            return Some(SignerAlgorithm::Listed(Algorithm::Ed25519));
        }
        _ => return None,
    };
    match (key.key_type(), rsa, hash) {
        (KeyType::EcdsaP256, false, H::Sha256) => Some(Algorithm::EcdsaP256Sha256),
        (KeyType::EcdsaP384, false, H::Sha256) => Some(Algorithm::EcdsaP384Sha256),
        (KeyType::EcdsaP384, false, H::Sha384) => Some(Algorithm::EcdsaP384Sha384),
        (KeyType::EcdsaP521, false, H::Sha256) => Some(Algorithm::EcdsaP521Sha256),
        (KeyType::EcdsaP521, false, H::Sha512) => Some(Algorithm::EcdsaP521Sha512),
        (KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096, true, hash) => {
            return Some(SignerAlgorithm::Rsa(hash));
        }
        _ => None,
    }
    .map(SignerAlgorithm::Listed)
}

/// The parts of a `TSTInfo` that are looked at.
struct Info<'a> {
    policy: Oid,
    imprint: Digest,
    nonce: Option<&'a [u8]>,
    time: Timestamp,
    accuracy: Option<Duration>,
}

impl<'a> Info<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let members = sequence(der, "TSTInfo")?;
        let [version, policy, imprint, serial, time, rest @ ..] = members.as_slice() else {
            return Err(Malformed("TSTInfo"));
        };
        if *version != [tag::INTEGER, 1, 1] {
            return Err(Malformed("TSTInfo: version is not 1"));
        }
        let policy = Oid::from_der(policy).map_err(|_| Malformed("TSTInfo policy"))?;
        if !starts(serial, tag::INTEGER) {
            return Err(Malformed("TSTInfo"));
        }
        let mut rest = rest.iter().copied().peekable();
        let accuracy = rest
            .next_if(|member| starts(member, tag::SEQUENCE))
            .map(accuracy_of)
            .transpose()?;
        // Ordering compares tokens of one authority, and the authority's name stands in its certificate.
        let _ordering = rest.next_if(|member| starts(member, tag::BOOLEAN));
        let nonce = rest
            .next_if(|member| starts(member, tag::INTEGER))
            .map(|nonce| unwrap(tag::INTEGER, nonce, "nonce"))
            .transpose()?;
        let _authority = rest.next_if(|member| starts(member, tag::CONTEXT_0));
        if let Some(extensions) = rest.next_if(|member| starts(member, tag::CONTEXT_1)) {
            check_extensions(unwrap(tag::CONTEXT_1, extensions, "TSTInfo extensions")?)?;
        }
        if rest.next().is_some() {
            return Err(Malformed("TSTInfo: members that do not belong there"));
        }
        Ok(Self {
            policy,
            imprint: read_imprint(imprint)?,
            nonce,
            time: time_of(unwrap(tag::GENERALIZED_TIME, time, "genTime")?)?,
            accuracy,
        })
    }
}

/// `Accuracy`: seconds, milliseconds `[0]` and microseconds `[1]`, each where it is not zero.
fn accuracy_of(der: &[u8]) -> Result<Duration, Malformed> {
    let wrong = Malformed("accuracy");
    let mut parts = sequence(der, "accuracy")?.into_iter().peekable();
    let mut total = Duration::ZERO;
    let units = [
        (tag::INTEGER, Duration::from_secs(1), u32::MAX),
        (tag::CONTEXT_0_PRIMITIVE, Duration::from_millis(1), 999),
        (tag::CONTEXT_1_PRIMITIVE, Duration::from_micros(1), 999),
    ];
    for (identifier, unit, most) in units {
        let Some(part) = parts.next_if(|part| starts(part, identifier)) else {
            continue;
        };
        // Four octets with the sign: 68 years are inaccurate enough.
        let octets = unwrap(identifier, part, "accuracy")?;
        if octets.len() > 4 || octets.first().is_none_or(|first| *first >= 0x80) {
            return Err(wrong);
        }
        let number = octets
            .iter()
            .fold(0_u32, |number, octet| number << 8 | u32::from(*octet));
        if number > most {
            return Err(wrong);
        }
        total = total.saturating_add(unit.saturating_mul(number));
    }
    if parts.next().is_some() {
        return Err(wrong);
    }
    Ok(total)
}

/// None is known here, so none may be critical (RFC 5280 4.2).
fn check_extensions(list: &[u8]) -> Result<(), Malformed> {
    let wrong = Malformed("TSTInfo extensions");
    for extension in tlv::members(list).map_err(|_| wrong)? {
        let parts = sequence(extension, "TSTInfo extensions")?;
        // critical is DEFAULT FALSE, so whoever writes it means TRUE
        if parts.len() != 2 {
            return Err(Malformed("TSTInfo: a critical extension"));
        }
    }
    Ok(())
}

/// RFC 3161 2.4.2: `YYYYMMDDhhmmss[.s...]Z`, in UTC, with a fraction that does not end in 0.
fn time_of(text: &[u8]) -> Result<Timestamp, Malformed> {
    let wrong = Malformed("genTime");
    let text = std::str::from_utf8(text).map_err(|_| wrong)?;
    let text = text.strip_suffix('Z').ok_or(wrong)?;
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) {
        return Err(wrong);
    }
    let nanoseconds = match fraction {
        None => 0,
        Some(fraction)
            if (1..=9).contains(&fraction.len())
                && digits(fraction)
                && !fraction.ends_with('0') =>
        {
            format!("{fraction:0<9}").parse().map_err(|_| wrong)?
        }
        Some(_) => return Err(wrong),
    };
    let number = |range: std::ops::Range<usize>| {
        whole
            .get(range)
            .and_then(|part| part.parse::<i8>().ok())
            .ok_or(wrong)
    };
    let year = whole
        .get(..4)
        .and_then(|part| part.parse().ok())
        .ok_or(wrong)?;
    let time = DateTime::new(
        year,
        number(4..6)?,
        number(6..8)?,
        number(8..10)?,
        number(10..12)?,
        number(12..14)?,
        nanoseconds,
    )
    .map_err(|_| wrong)?;
    TimeZone::UTC.to_timestamp(time).map_err(|_| wrong)
}
