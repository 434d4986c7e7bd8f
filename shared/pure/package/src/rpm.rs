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

use std::collections::BTreeMap;

use crate::crypto::{Hash, md5};
use crate::{PackageError, text};

/// The deprecated beginning of a package.
const LEAD: usize = 96;
/// The beginning of a header: magic, version, reserved bytes, number of tags, length of the store.
const INTRO: usize = 16;
/// One tag in a header's index.
const INDEX_ENTRY: usize = 16;
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
    /// A package that is signed over its header alone, as rpm has it by default since 4.20, has none.
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

/// How a tag's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    /// `CHAR` and `BIN`: bytes.
    Bytes,
    /// An integer of so many bytes.
    Integer(u8),
    /// `STRING`, `STRING_ARRAY`, `I18NSTRING`: texts that end in NUL.
    Text,
}

struct Tag {
    number: u32,
    kind: Kind,
    offset: usize,
    count: usize,
}

/// A header structure, each tag of which lies within its store.
struct Header<'a> {
    /// All of it, from magic to the end of the store: what header signatures and header digests are over.
    bytes: &'a [u8],
    store: &'a [u8],
    tags: Vec<Tag>,
}

impl<'a> Header<'a> {
    /// Reads a header; what follows it is returned too.
    fn read(input: &'a [u8], what: &'static str) -> Result<(Self, &'a [u8]), PackageError> {
        let malformed = PackageError::Malformed(what);
        let (intro, after) = input.split_at_checked(INTRO).ok_or(malformed.clone())?;
        if !intro.starts_with(&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]) {
            return Err(malformed);
        }
        let (count, length) = (word(intro, 8), word(intro, 12));
        for (number, limit) in [(count, MAX_TAGS), (length, MAX_STORE)] {
            if number > limit {
                return Err(PackageError::TooLarge {
                    what,
                    limit: limit.into(),
                });
            }
        }
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let index_length = size(count).saturating_mul(INDEX_ENTRY);
        let (index, after) = after
            .split_at_checked(index_length)
            .ok_or(malformed.clone())?;
        let (store, rest) = after
            .split_at_checked(size(length))
            .ok_or(malformed.clone())?;
        let bytes = input
            .get(..input.len().saturating_sub(rest.len()))
            .unwrap_or_default();
        let mut header = Self {
            bytes,
            store,
            tags: Vec::with_capacity(size(count)),
        };
        // Values lie side by side in the store, but for the entry that marks a region. Twice its length is enough for any honest header, and
        // texts that are pointed at again and again cost no more than that.
        let mut budget = store.len().saturating_mul(2);
        for entry in index.chunks_exact(INDEX_ENTRY) {
            let tag = Tag {
                number: word(entry, 0),
                kind: kind(word(entry, 4)).ok_or(malformed.clone())?,
                offset: size(word(entry, 8)),
                count: size(word(entry, 12)),
            };
            let length = header.length_of(&tag).ok_or(malformed.clone())?;
            budget = budget.checked_sub(length).ok_or(malformed.clone())?;
            header.tags.push(tag);
        }
        Ok((header, rest))
    }

    /// The length of a value, if it lies within the store and has at least one item.
    fn length_of(&self, tag: &Tag) -> Option<usize> {
        let value = self.store.get(tag.offset..)?;
        if value.is_empty() || tag.count == 0 {
            return None;
        }
        let length = match tag.kind {
            Kind::Null => 0,
            Kind::Bytes => tag.count,
            Kind::Integer(width) => tag.count.checked_mul(width.into())?,
            Kind::Text => {
                let mut left = tag.count;
                let last = value.iter().position(|byte| {
                    left = left.saturating_sub((*byte == 0).into());
                    left == 0
                })?;
                last.checked_add(1)?
            }
        };
        (length <= value.len()).then_some(length)
    }

    /// The first tag of that number, as upstream finds it; another one behind it is passed over whatever its type.
    fn find(&self, number: u32) -> Option<(&Tag, &'a [u8])> {
        let tag = self.tags.iter().find(|tag| tag.number == number)?;
        Some((tag, self.store.get(tag.offset..)?))
    }

    fn bytes_of(&self, number: u32) -> Option<&'a [u8]> {
        let (tag, value) = self.find(number)?;
        value.get(..tag.count).filter(|_| tag.kind == Kind::Bytes)
    }

    /// The first text, without its NUL.
    fn text_of(&self, number: u32) -> Option<&'a [u8]> {
        let (tag, value) = self.find(number)?;
        value
            .split(|byte| *byte == 0)
            .next()
            .filter(|_| tag.kind == Kind::Text)
    }

    /// The first integer, signed as upstream reads it; 0 where there is none.
    fn integer_of(&self, number: u32) -> i64 {
        let Some((tag, value)) = self.find(number) else {
            return 0;
        };
        let Kind::Integer(width) = tag.kind else {
            return 0;
        };
        let bytes = value.get(..width.into()).unwrap_or_default();
        let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            u64::MAX
        } else {
            0
        };
        bytes
            .iter()
            .fold(fill, |number, byte| (number << 8) | u64::from(*byte))
            .cast_signed()
    }
}

const fn kind(number: u32) -> Option<Kind> {
    Some(match number {
        0 => Kind::Null,
        1 | 7 => Kind::Bytes,
        2 => Kind::Integer(1),
        3 => Kind::Integer(2),
        4 => Kind::Integer(4),
        5 => Kind::Integer(8),
        6 | 8 | 9 => Kind::Text,
        _ => return None,
    })
}

/// A big-endian number of four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}
