//! Tokens: prepared here, signed elsewhere, closed here.

use std::sync::Arc;
use std::time::Duration;

use const_oid::ObjectIdentifier as Oid;
use der::Encode;
use jiff::Timestamp;
use keys::{Algorithm, Digest, HashAlgorithm, KeyType};
use pki::{Certificate, Purpose, path, tlv};

use crate::request::{Request, algorithm_to_der, imprint_to_der};
use crate::{
    CONTENT_TYPE, DEFAULT_POLICY, MESSAGE_DIGEST, Malformed, SIGNED_DATA, SIGNING_CERTIFICATE_V2,
    SIGNING_TIME, TST_INFO, hash_oid, tag,
};

/// A timestamp authority's side: its certificates and what it puts into tokens. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Held>);

#[derive(Debug)]
struct Held {
    chain: Vec<Certificate>,
    policy: Oid,
    algorithm: Algorithm,
    fixed: Fixed,
}

/// The parts of a token that are the same in each, encoded once.
#[derive(Debug)]
struct Fixed {
    /// tsa [0] of TSTInfo.
    name: Vec<u8>,
    /// Attributes contentType and signingCertificateV2.
    content_type: Vec<u8>,
    signing_certificate: Vec<u8>,
    /// Version, signer and digest algorithm: how SignerInfo begins.
    signer: Vec<u8>,
    signature_algorithm: Vec<u8>,
    /// Version and digest algorithms: how SignedData begins.
    data: Vec<u8>,
    /// The certificates [0] of SignedData.
    certificates: Vec<u8>,
}

/// A token that waits for its signature.
#[derive(Debug)]
pub struct Prepared {
    info: Vec<u8>,
    attributes: Vec<u8>,
    authority: Authority,
    certificates: bool,
}

/// How finely a token states its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Whole seconds, which every client reads.
    #[default]
    Seconds,
    /// Three digits behind the second, of which the last is not 0, or none.
    ///
    /// DER takes no 0 at the end of a fraction (RFC 3161 2.4.2), and sigstore-js reads a fraction of three digits only: where the last
    /// digit were 0, the time is stated one millisecond earlier.
    Milliseconds,
}

/// What a token says about time: when, and how far that may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    time: Timestamp,
    accuracy: Duration,
}

impl Stated {
    /// From a clock's reading, which may be off by `error` either way. The accuracy has what the cutting costs in it, and is rounded up to
    /// milliseconds.
    pub fn new(now: Timestamp, error: Duration, resolution: Resolution) -> Self {
        let (time, cut) = match resolution {
            Resolution::Seconds => (
                Timestamp::from_second(now.as_second()).unwrap_or(now),
                Duration::from_secs(1),
            ),
            Resolution::Milliseconds => {
                let whole = now.as_millisecond();
                let unreadable = whole % 10 == 0 && whole % 1000 != 0;
                let read = whole.saturating_sub(i64::from(unreadable));
                (
                    Timestamp::from_millisecond(read).unwrap_or(now),
                    Duration::from_millis(2),
                )
            }
        };
        let nanoseconds = cut.saturating_add(error).as_nanos();
        let milliseconds = u64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self {
            time,
            accuracy: Duration::from_millis(milliseconds),
        }
    }

    /// In whole seconds, from a clock that is right.
    pub fn seconds(now: Timestamp) -> Self {
        Self::new(now, Duration::ZERO, Resolution::Seconds)
    }

    /// What the token's genTime says.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// What its accuracy says.
    pub const fn accuracy(&self) -> Duration {
        self.accuracy
    }
}

/// Why a request gets no token: `PKIFailureInfo` of RFC 3161 2.4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// badAlg (0).
    BadAlgorithm,
    /// badRequest (2).
    BadRequest,
    /// badDataFormat (5).
    BadDataFormat,
    /// timeNotAvailable (14).
    TimeNotAvailable,
    /// unacceptedPolicy (15).
    UnacceptedPolicy,
    /// unacceptedExtension (16).
    UnacceptedExtension,
    /// systemFailure (25).
    SystemFailure,
}

impl Authority {
    /// Checks the chain, leaf first: at least two certificates, a path that holds at `now`, and a leaf made for timestamps only.
    pub fn new(
        chain: Vec<Certificate>,
        policy: Option<Oid>,
        whole_chain: bool,
        now: Timestamp,
    ) -> Result<Self, pki::PathError> {
        let (leaf, above) = chain.split_first().ok_or(pki::PathError::NoAnchor)?;
        let (anchor, between) = above.split_last().ok_or(pki::PathError::NoAnchor)?;
        let path = path::verify(
            leaf,
            between,
            std::slice::from_ref(anchor),
            now,
            Purpose::TimeStamping,
        )?;
        // Clients get this chain as it is: a certificate out of order or out of place would be their problem.
        if path.certificates() != chain {
            return Err(pki::PathError::NoPath(
                "each certificate must be signed by the next".into(),
            ));
        }
        let algorithm = leaf.public_key().default_algorithm();
        let brought = if whole_chain { chain.len() } else { 1 };
        let brought = chain.get(..brought).unwrap_or_default();
        let fixed = Fixed::of(leaf, algorithm, brought);
        let fixed = fixed.map_err(|error| pki::PathError::NoPath(error.to_string()))?;
        Ok(Self(Arc::new(Held {
            policy: policy.unwrap_or(DEFAULT_POLICY),
            algorithm,
            fixed,
            chain,
        })))
    }

    /// Leaf first.
    pub fn chain(&self) -> &[Certificate] {
        &self.0.chain
    }

    /// The policy of tokens whose request names none.
    pub fn policy(&self) -> Oid {
        self.0.policy
    }

    fn leaf(&self) -> Result<&Certificate, Malformed> {
        self.0.chain.first().ok_or(Malformed("authority chain"))
    }
}

impl Fixed {
    fn of(
        leaf: &Certificate,
        algorithm: Algorithm,
        brought: &[Certificate],
    ) -> Result<Self, der::Error> {
        let hash = algorithm_to_der(hash_oid(signature_hash(algorithm)), true)?;
        let mut signer = vec![tag::INTEGER, 1, 1];
        signer.extend(issuer_and_serial(leaf)?);
        signer.extend(&hash);
        let mut data = vec![tag::INTEGER, 1, 3];
        data.extend(tlv::wrap(tag::SET, &hash)?);
        let mut certificates: Vec<&[u8]> = brought.iter().map(Certificate::der).collect();
        certificates.sort_unstable();
        Ok(Self {
            // tsa [0] EXPLICIT GeneralName, which is directoryName [4]
            name: tlv::wrap(tag::CONTEXT_0, &tlv::wrap(0xa4, leaf.subject_der())?)?,
            content_type: attribute(CONTENT_TYPE, &TST_INFO.to_der()?)?,
            signing_certificate: signing_certificate(leaf)?,
            signer,
            signature_algorithm: signature_algorithm(algorithm)?,
            data,
            certificates: tlv::wrap(tag::CONTEXT_0, &certificates.concat())?,
        })
    }
}

/// Prepares the token for a request. `serial` is the caller's randomness.
pub fn prepare(
    authority: &Authority,
    request: &Request,
    serial: [u8; 20],
    stated: Stated,
) -> Result<Prepared, Malformed> {
    build(authority, request, serial, stated).map_err(|_| Malformed("token"))
}

fn build(
    authority: &Authority,
    request: &Request,
    serial: [u8; 20],
    stated: Stated,
) -> Result<Prepared, der::Error> {
    let held = &authority.0;
    let mut info = vec![tag::INTEGER, 1, 1];
    info.extend(request.policy.unwrap_or(held.policy).to_der()?);
    info.extend(imprint_to_der(&request.imprint)?);
    info.extend(serial_number(serial)?);
    info.extend(gen_time(stated.time)?);
    info.extend(accuracy(stated.accuracy)?);
    if let Some(nonce) = &request.nonce {
        info.extend(tlv::wrap(tag::INTEGER, nonce)?);
    }
    info.extend_from_slice(&held.fixed.name);
    let info = tlv::wrap(tag::SEQUENCE, &info)?;
    let attributes = attributes(held, &info, stated.time)?;
    Ok(Prepared {
        info,
        attributes,
        authority: authority.clone(),
        certificates: request.certificates,
    })
}

/// GeneralizedTime with as many digits behind the second as are not 0 (RFC 3161 2.4.2).
fn gen_time(time: Timestamp) -> Result<Vec<u8>, der::Error> {
    let mut text = time.strftime("%Y%m%d%H%M%S").to_string();
    let fraction = format!("{:09}", time.subsec_nanosecond());
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text.push('Z');
    tlv::wrap(tag::GENERALIZED_TIME, text.as_bytes())
}

/// Seconds, and milliseconds `[0]` where there are some.
fn accuracy(accuracy: Duration) -> Result<Vec<u8>, der::Error> {
    let mut body = Vec::new();
    // 68 years are inaccurate enough, and fit into the four octets that are read.
    let seconds = accuracy.as_secs().min(u64::from(u32::MAX >> 1));
    if seconds > 0 {
        body.extend(seconds.to_der()?);
    }
    let milliseconds = accuracy.subsec_millis().to_der()?;
    if accuracy.subsec_millis() > 0 {
        body.extend(tlv::wrap(
            tag::CONTEXT_0_PRIMITIVE,
            tlv::contents(tag::INTEGER, &milliseconds)?,
        )?);
    }
    tlv::wrap(tag::SEQUENCE, &body)
}

impl Prepared {
    /// What the authority's key signs, with its default algorithm: the DER of the signed attributes as a SET.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.attributes
    }

    /// Checks the signature and closes the `TimeStampResp`.
    pub fn seal(self, signature: &[u8]) -> Result<Vec<u8>, Malformed> {
        let leaf = self.authority.leaf()?;
        leaf.public_key()
            .verify(self.authority.0.algorithm, &self.attributes, signature)
            .map_err(|_| Malformed("signature"))?;
        self.seal_unchecked(signature)
    }

    /// [`seal`](Self::seal) without its check, which costs more than all the rest of a token: for a signature that somebody has verified already,
    /// or one of a series of which some are.
    pub fn seal_unchecked(self, signature: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.close(signature).map_err(|_| Malformed("token"))
    }

    fn close(&self, signature: &[u8]) -> Result<Vec<u8>, der::Error> {
        let fixed = &self.authority.0.fixed;
        let mut signer = fixed.signer.clone();
        signer.extend(tlv::wrap(
            tag::CONTEXT_0,
            tlv::contents(tag::SET, &self.attributes)?,
        )?);
        signer.extend_from_slice(&fixed.signature_algorithm);
        signer.extend(tlv::wrap(tag::OCTET_STRING, signature)?);
        let signer = tlv::wrap(tag::SEQUENCE, &signer)?;

        let mut content = TST_INFO.to_der()?;
        content.extend(tlv::wrap(
            tag::CONTEXT_0,
            &tlv::wrap(tag::OCTET_STRING, &self.info)?,
        )?);
        let mut data = fixed.data.clone();
        data.extend(tlv::wrap(tag::SEQUENCE, &content)?);
        if self.certificates {
            data.extend_from_slice(&fixed.certificates);
        }
        data.extend(tlv::wrap(tag::SET, &signer)?);

        let mut token = SIGNED_DATA.to_der()?;
        token.extend(tlv::wrap(
            tag::CONTEXT_0,
            &tlv::wrap(tag::SEQUENCE, &data)?,
        )?);
        // PKIStatusInfo { granted }
        let mut response = tlv::wrap(tag::SEQUENCE, &[tag::INTEGER, 1, 0])?;
        response.extend(tlv::wrap(tag::SEQUENCE, &token)?);
        tlv::wrap(tag::SEQUENCE, &response)
    }
}

/// A `TimeStampResp` that says no: status rejection, a reason for people and one for programs.
pub fn rejection(why: Rejection, text: &str) -> Result<Vec<u8>, der::Error> {
    let bit = match why {
        Rejection::BadAlgorithm => 0_usize,
        Rejection::BadRequest => 2,
        Rejection::BadDataFormat => 5,
        Rejection::TimeNotAvailable => 14,
        Rejection::UnacceptedPolicy => 15,
        Rejection::UnacceptedExtension => 16,
        Rejection::SystemFailure => 25,
    };
    // A named bit list (X.690 11.2.2): no bits behind the last one that is set.
    let mut bits = vec![0_u8; (bit / 8).saturating_add(1)];
    if let Some(last) = bits.last_mut() {
        *last = 0x80_u8 >> (bit % 8);
    }
    let unused = u8::try_from(7_usize.saturating_sub(bit % 8)).unwrap_or(0);
    let text: String = text.chars().take(200).collect();
    let mut status = vec![tag::INTEGER, 1, 2];
    status.extend(tlv::wrap(
        tag::SEQUENCE,
        &tlv::wrap(0x0c, text.as_bytes())?,
    )?);
    status.extend(tlv::wrap(0x03, &[&[unused][..], &bits].concat())?);
    tlv::wrap(tag::SEQUENCE, &tlv::wrap(tag::SEQUENCE, &status)?)
}

/// The signed attributes: contentType, messageDigest, signingTime, signingCertificateV2, in the order of a DER SET.
fn attributes(held: &Held, info: &[u8], now: Timestamp) -> Result<Vec<u8>, der::Error> {
    // RFC 5652 11.3: UTCTime through 2049, GeneralizedTime from 2050
    let (time_tag, format) = if now.strftime("%Y").to_string().as_str() < "2050" {
        (tag::UTC_TIME, "%y%m%d%H%M%SZ")
    } else {
        (tag::GENERALIZED_TIME, "%Y%m%d%H%M%SZ")
    };
    let time = now.strftime(format).to_string();
    let digest = signature_hash(held.algorithm).digest(info);
    let signing_time = attribute(SIGNING_TIME, &tlv::wrap(time_tag, time.as_bytes())?)?;
    let message_digest = attribute(
        MESSAGE_DIGEST,
        &tlv::wrap(tag::OCTET_STRING, digest.bytes())?,
    )?;
    let mut all = [
        held.fixed.content_type.as_slice(),
        &signing_time,
        &message_digest,
        &held.fixed.signing_certificate,
    ];
    all.sort_unstable();
    tlv::wrap(tag::SET, &all.concat())
}

fn attribute(id: Oid, value: &[u8]) -> Result<Vec<u8>, der::Error> {
    let mut body = id.to_der()?;
    body.extend(tlv::wrap(tag::SET, value)?);
    tlv::wrap(tag::SEQUENCE, &body)
}

/// The attribute signingCertificateV2.
fn signing_certificate(leaf: &Certificate) -> Result<Vec<u8>, der::Error> {
    let certificate = Digest::of(HashAlgorithm::Sha256, leaf.der());
    // ESSCertIDv2 (RFC 5816) with SHA-256, whose name is left out as the default, and issuerSerial
    let mut id = tlv::wrap(tag::OCTET_STRING, certificate.bytes())?;
    let name = tlv::wrap(tag::SEQUENCE, &tlv::wrap(0xa4, leaf.issuer_der())?)?;
    id.extend(tlv::wrap(
        tag::SEQUENCE,
        &[name, tlv::wrap(tag::INTEGER, leaf.serial())?].concat(),
    )?);
    let signing_certificate = tlv::wrap(
        tag::SEQUENCE,
        &tlv::wrap(tag::SEQUENCE, &tlv::wrap(tag::SEQUENCE, &id)?)?,
    )?;
    attribute(SIGNING_CERTIFICATE_V2, &signing_certificate)
}

fn issuer_and_serial(leaf: &Certificate) -> Result<Vec<u8>, der::Error> {
    tlv::wrap(
        tag::SEQUENCE,
        &[leaf.issuer_der(), &tlv::wrap(tag::INTEGER, leaf.serial())?].concat(),
    )
}

/// The hash of the signed attributes and of the content.
fn signature_hash(algorithm: Algorithm) -> HashAlgorithm {
    // RFC 8419: Ed25519 in CMS goes with SHA-512.
    algorithm.hash().unwrap_or(HashAlgorithm::Sha512)
}

fn signature_algorithm(algorithm: Algorithm) -> Result<Vec<u8>, der::Error> {
    match algorithm.key_type() {
        KeyType::EcdsaP256 => algorithm_to_der(pki::oid::ECDSA_SHA256, false),
        KeyType::EcdsaP384 => algorithm_to_der(pki::oid::ECDSA_SHA384, false),
        KeyType::EcdsaP521 => algorithm_to_der(pki::oid::ECDSA_SHA512, false),
        KeyType::Ed25519 => algorithm_to_der(pki::oid::ED25519, false),
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            algorithm_to_der(pki::oid::RSA_SHA256, true)
        }
    }
}

/// A positive INTEGER of 160 bits at most.
fn serial_number(random: [u8; 20]) -> Result<Vec<u8>, der::Error> {
    let mut serial = random;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    tlv::wrap(tag::INTEGER, &serial)
}
