//! RPM packages, versions 3 and 4 of the format.
//!
//! ```text
//! package = lead (96 bytes)
//!           signature header, padded to 8 bytes     digests and signatures; nothing protects it
//!           header                                   name, version, digest of the payload, ...
//!           payload                                  a compressed archive, not looked into
//! ```
//!
//! This crate reads the package and checks every digest in it; OpenPGP is somebody else's business: each of [`Rpm::signatures`] has to be
//! verified. What they cover is the reading of go-rpmutils 0.4, which Rekor 1.5.5 has. It takes one digest of each part for enough; here all of them
//! must be right, MD5 alone protects no payload, and a tag that stands twice in a header is refused, as two readers would read two packages.

mod header;

use std::collections::BTreeMap;

use crate::crypto::{Hash, md5};
use crate::{PackageError, text};
use header::Header;

/// The deprecated beginning of a package.
const LEAD: usize = 96;
/// The most tags of one header, as rpm itself has it (`headerMaxTags`); upstream reads two million.
pub const MAX_TAGS: u32 = 65_535;
/// The largest store of one header, in bytes: upstream's limit; rpm's own is 256 MiB.
pub const MAX_STORE: u32 = 32 * 1024 * 1024;

/// Tags of the signature header.
mod signature_tag {
    pub(super) const DSA: u32 = 267;
    pub(super) const RSA: u32 = 268;
    pub(super) const SHA1: u32 = 269;
    pub(super) const SHA256: u32 = 273;
    pub(super) const PGP: u32 = 1002;
    pub(super) const MD5: u32 = 1004;
    pub(super) const GPG: u32 = 1005;
}

/// Tags of the main header.
mod tag {
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const EPOCH: u32 = 1003;
    pub(super) const ARCHITECTURE: u32 = 1022;
    pub(super) const PAYLOAD_DIGEST: u32 = 5092;
    pub(super) const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
}

/// What a signature of the package covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The main header alone (`RPMSIGTAG_RSA`, `RPMSIGTAG_DSA`); the payload through a digest in it.
    Header,
    /// Everything behind the signature header (`RPMSIGTAG_PGP`, `RPMSIGTAG_GPG`).
    HeaderAndPayload,
}

/// A signature of the package, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Its tag in the signature header.
    pub tag: u32,
    /// What it covers.
    pub covers: Covers,
    /// An OpenPGP packet, binary.
    pub packets: &'a [u8],
    /// The bytes that it covers.
    pub signed: &'a [u8],
}

/// A package whose digests are right. That says nothing about who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpm<'a> {
    signatures: Vec<Signature<'a>>,
    headers: BTreeMap<&'static str, String>,
}

impl<'a> Rpm<'a> {
    /// Takes a package apart and checks the digests in it: MD5 of header and payload, SHA-1 and SHA-256 of the header, and the header's digest of
    /// the payload, each where it is there.
    pub fn parse(package: &'a [u8]) -> Result<Self, PackageError> {
        let (lead, after) = package
            .split_at_checked(LEAD)
            .ok_or(PackageError::Malformed("rpm: lead"))?;
        check_lead(lead)?;
        let (signature, after) = Header::read(after, "rpm: signature header")?;
        let padding = signature.store.len().next_multiple_of(8) - signature.store.len();
        let body = after
            .get(padding..)
            .ok_or(PackageError::Malformed("rpm: signature header"))?;
        let (main, payload) = Header::read(body, "rpm: header")?;
        check_digests(&signature, &main, body, payload)?;
        let signatures = signatures(&signature, main.bytes, body)?;
        let of_payload = signatures
            .iter()
            .any(|signature| signature.covers == Covers::HeaderAndPayload);
        if signatures.is_empty() {
            return Err(PackageError::Unsigned("rpm: no signature"));
        }
        if !of_payload && main.text_of(tag::PAYLOAD_DIGEST).is_none() {
            return Err(PackageError::Unsigned(
                "rpm: the only signature is over the header, which has no digest of the payload",
            ));
        }
        Ok(Self {
            signatures,
            headers: headers(&signature, &main)?,
        })
    }

    /// What has to be verified, all of it: at least one signature, and each byte of header and payload is covered by one or by a digest
    /// that is.
    pub fn signatures(&self) -> &[Signature<'a>] {
        &self.signatures
    }

    /// The member `headers` of a log entry: `Name`, `Epoch` (`0` where the package has none), `Version`, `Release`, `Architecture`, and
    /// `RPMSIGTAG_MD5` in hex where the package has it.
    pub fn headers(&self) -> &BTreeMap<&'static str, String> {
        &self.headers
    }
}

fn check_lead(lead: &[u8]) -> Result<(), PackageError> {
    let byte = |at: usize| lead.get(at).copied().unwrap_or_default();
    if !lead.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        return Err(PackageError::Malformed("rpm: lead"));
    }
    if !matches!(byte(4), 3 | 4) {
        return Err(PackageError::Unsupported(format!(
            "rpm version {}",
            byte(4)
        )));
    }
    // RPMSIGTYPE_HEADERSIG: the signature is a header, the only kind since rpm 3.
    if (byte(78), byte(79)) != (0, 5) {
        return Err(PackageError::Unsupported(
            "rpm: the signature's type".into(),
        ));
    }
    Ok(())
}

fn check_digests(
    signature: &Header<'_>,
    main: &Header<'_>,
    body: &[u8],
    payload: &[u8],
) -> Result<(), PackageError> {
    let wrong = |what: &str| PackageError::Digest(what.to_owned());
    let header = main.bytes;
    if let Some(stated) = signature.bytes_of(signature_tag::MD5)
        && stated != md5(body)
    {
        return Err(wrong("header and payload (MD5)"));
    }
    for (tag, hash, what) in [
        (signature_tag::SHA1, Hash::Sha1, "the header (SHA-1)"),
        (signature_tag::SHA256, Hash::Sha256, "the header (SHA-256)"),
    ] {
        if let Some(stated) = signature.text_of(tag)
            && hex::decode(stated).unwrap_or_default() != hash.digest(header).as_ref()
        {
            return Err(wrong(what));
        }
    }
    if let Some(stated) = main.text_of(tag::PAYLOAD_DIGEST) {
        // The numbers of OpenPGP (RFC 9580 9.5).
        let hash = match main.integer_of(tag::PAYLOAD_DIGEST_ALGORITHM) {
            Some(8) => Hash::Sha256,
            Some(9) => Hash::Sha384,
            Some(10) => Hash::Sha512,
            other => {
                return Err(PackageError::Unsupported(format!(
                    "rpm: a digest of the payload with algorithm {}",
                    other.unwrap_or_default()
                )));
            }
        };
        if hex::decode(stated).unwrap_or_default() != hash.digest(payload).as_ref() {
            return Err(wrong("the payload"));
        }
    }
    Ok(())
}

fn signatures<'a>(
    header: &Header<'a>,
    main: &'a [u8],
    body: &'a [u8],
) -> Result<Vec<Signature<'a>>, PackageError> {
    use signature_tag::{DSA, GPG, PGP, RSA};
    let mut signatures = Vec::new();
    for (tag, covers, signed) in [
        (RSA, Covers::Header, main),
        (DSA, Covers::Header, main),
        (PGP, Covers::HeaderAndPayload, body),
        (GPG, Covers::HeaderAndPayload, body),
    ] {
        if !header.has(tag) {
            continue;
        }
        let packets = header.bytes_of(tag);
        let packets = packets.ok_or(PackageError::Malformed("rpm: signature"))?;
        signatures.push(Signature {
            tag,
            covers,
            packets,
            signed,
        });
    }
    Ok(signatures)
}

fn headers(
    signature: &Header<'_>,
    main: &Header<'_>,
) -> Result<BTreeMap<&'static str, String>, PackageError> {
    let text = |tag, malformed| {
        let text = main.text_of(tag).map(text::replacing);
        text.ok_or(PackageError::Malformed(malformed))
    };
    let epoch = if main.has(tag::EPOCH) {
        let epoch = main.integer_of(tag::EPOCH);
        epoch.ok_or(PackageError::Malformed("rpm: epoch"))?
    } else {
        0
    };
    let mut headers = BTreeMap::from([
        ("Name", text(tag::NAME, "rpm: name")?),
        ("Epoch", epoch.to_string()),
        ("Version", text(tag::VERSION, "rpm: version")?),
        ("Release", text(tag::RELEASE, "rpm: release")?),
        (
            "Architecture",
            text(tag::ARCHITECTURE, "rpm: architecture")?,
        ),
    ]);
    if let Some(digest) = signature.bytes_of(signature_tag::MD5) {
        headers.insert("RPMSIGTAG_MD5", hex::encode(digest));
    }
    Ok(headers)
}
