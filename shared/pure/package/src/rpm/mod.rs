//! RPM packages, versions 3 and 4 of the format.
//!
//! ```text
//! package = lead (96 bytes)
//!           signature header, padded to 8 bytes     digests and signatures; nothing protects it
//!           header                                   name, version, digest of the payload, ...
//!           payload                                  a compressed archive, not looked into
//! ```
//!
//! This crate reads the package and checks every digest in it; OpenPGP is somebody else's business: [`Rpm::signature`] is what has to be verified.
//! Upstream verifies one signature over header and payload and looks at no digest at all; here the digests that go into the log, and those of
//! header and payload, must be right. Upstream's reading of a tag (its type, the first of several) is kept.

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
    pub(super) const PGP5: u32 = 1006;
    /// What upstream takes for SHA-1 and SHA-256 of the header. No version of rpm ever wrote these numbers.
    pub(super) const UPSTREAM_SHA1: u32 = 1012;
    pub(super) const UPSTREAM_SHA256: u32 = 1016;
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
    /// Everything behind the signature header (`RPMSIGTAG_PGP`, `RPMSIGTAG_PGP5`, `RPMSIGTAG_GPG`).
    HeaderAndPayload,
}

/// A signature of the package, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Its tag in the signature header.
    pub tag: u32,
    /// What it covers.
    pub covers: Covers,
    /// OpenPGP packets, binary: one signature, or several behind one another.
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
        Ok(Self {
            signatures: signatures(&signature, main.bytes, body),
            headers: headers(&signature, &main),
        })
    }

    /// The one signature that upstream verifies, over header and payload: of the tags PGP, PGP5 and GPG the first that is there.
    /// A package that is signed over its header alone, as `rpmsign` of rpm 4.18 does it unless told `--rpmv3`, has none.
    pub fn signature(&self) -> Result<&Signature<'a>, PackageError> {
        self.signatures
            .iter()
            .find(|signature| signature.covers == Covers::HeaderAndPayload)
            .ok_or(PackageError::Unsigned(
                "rpm: no signature over header and payload",
            ))
    }

    /// All signatures, those over header and payload first, in the order in which upstream looks for them.
    pub fn signatures(&self) -> impl Iterator<Item = &Signature<'a>> {
        self.signatures.iter()
    }

    /// The member `headers` of a log entry: `Name`, `Epoch` (`0` where the package has none), `Version`, `Release`, `Architecture`, each empty where
    /// the package lacks it, and, where the package has them, the digests `RPMSIGTAG_MD5`, `RPMSIGTAG_SHA1` and `RPMSIGTAG_SHA256` in hex.
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
    for (text, binary, hash, what) in [
        (
            signature_tag::SHA1,
            signature_tag::UPSTREAM_SHA1,
            Hash::Sha1,
            "the header (SHA-1)",
        ),
        (
            signature_tag::SHA256,
            signature_tag::UPSTREAM_SHA256,
            Hash::Sha256,
            "the header (SHA-256)",
        ),
    ] {
        let stated = [
            signature
                .text_of(text)
                .map(|text| hex::decode(text).unwrap_or_default()),
            signature.bytes_of(binary).map(<[u8]>::to_vec),
        ];
        for stated in stated.into_iter().flatten() {
            if stated != hash.digest(header).as_ref() {
                return Err(wrong(what));
            }
        }
    }
    if let Some(stated) = main.text_of(tag::PAYLOAD_DIGEST) {
        // The numbers of OpenPGP (RFC 9580 9.5).
        let hash = match main.integer_of(tag::PAYLOAD_DIGEST_ALGORITHM) {
            8 => Hash::Sha256,
            9 => Hash::Sha384,
            10 => Hash::Sha512,
            other => {
                return Err(PackageError::Unsupported(format!(
                    "rpm: a digest of the payload with algorithm {other}"
                )));
            }
        };
        if hex::decode(stated).unwrap_or_default() != hash.digest(payload).as_ref() {
            return Err(wrong("the payload"));
        }
    }
    Ok(())
}

fn signatures<'a>(header: &Header<'a>, main: &'a [u8], body: &'a [u8]) -> Vec<Signature<'a>> {
    use signature_tag::{DSA, GPG, PGP, PGP5, RSA};
    [
        (PGP, Covers::HeaderAndPayload),
        (PGP5, Covers::HeaderAndPayload),
        (GPG, Covers::HeaderAndPayload),
        (RSA, Covers::Header),
        (DSA, Covers::Header),
    ]
    .into_iter()
    .filter_map(|(tag, covers)| {
        Some(Signature {
            tag,
            covers,
            packets: header.bytes_of(tag)?,
            signed: match covers {
                Covers::Header => main,
                Covers::HeaderAndPayload => body,
            },
        })
    })
    .collect()
}

fn headers(signature: &Header<'_>, main: &Header<'_>) -> BTreeMap<&'static str, String> {
    let text = |tag| text::replacing(main.text_of(tag).unwrap_or_default());
    let mut headers = BTreeMap::from([
        ("Name", text(tag::NAME)),
        ("Epoch", main.integer_of(tag::EPOCH).to_string()),
        ("Version", text(tag::VERSION)),
        ("Release", text(tag::RELEASE)),
        ("Architecture", text(tag::ARCHITECTURE)),
    ]);
    for (name, tag) in [
        ("RPMSIGTAG_MD5", signature_tag::MD5),
        ("RPMSIGTAG_SHA1", signature_tag::UPSTREAM_SHA1),
        ("RPMSIGTAG_SHA256", signature_tag::UPSTREAM_SHA256),
    ] {
        if let Some(digest) = signature.bytes_of(tag) {
            headers.insert(name, hex::encode(digest));
        }
    }
    headers
}
