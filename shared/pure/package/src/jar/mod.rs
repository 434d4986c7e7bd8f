//! Signed JAR files (JAR File Specification, "Signed JAR File").
//!
//! ```text
//! META-INF/MANIFEST.MF    digests of the files
//! META-INF/X.SF           a digest of the whole manifest, or of each of its sections
//! META-INF/X.RSA          PKCS#7 SignedData over X.SF  (.DSA, .EC, or any name that begins with SIG-)
//! ```
//!
//! What upstream takes is taken: one signature, by anybody, and **files that no manifest names may stand beside the signed ones**; where the signature file
//! has no digest of the whole manifest, sections that were added to the manifest are no concern of the signature either. So an entry says "this signature
//! is in this archive and holds for what it covers", not "all of this archive was signed".
//!
//! Refused, although upstream takes it: an archive of which a second reader could see another one (see `zip`), a signature block that is not the one
//! that was verified (upstream verifies by name and then logs the first block that it finds, and looks for PEM in it), and digests of MD5 and SHA-224.

mod algorithm;
mod cms;
mod manifest;
mod timestamp;
mod zip;

use std::collections::BTreeMap;

use aws_lc_rs::digest::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys::pem;
use pki::Certificate;

use crate::PackageError;
use crate::crypto::Hash;
use cms::SignedData;
use manifest::{Manifest, Section};
use zip::{Budget, Entry};

/// The largest file with an extension directly in `META-INF`, inflated: the default of upstream's setting `max_jar_metadata_size`.
pub const MAX_METADATA: u64 = 1024 * 1024;
/// The most bytes of one archive that are inflated and hashed: a byte counts once for that it is inflated, and once for each hash function. Some
/// two seconds of a core. Upstream has no limit.
pub const MAX_WORK: u64 = 512 * 1024 * 1024;
/// What is done for each archive, however small.
const BASE_WORK: u64 = 32 * 1024 * 1024;
/// What is done for each byte of an archive: who wants much work has to send much. Text becomes some ten times smaller when it is deflated.
const WORK_PER_BYTE: u64 = 100;
/// The most digests of one file: there are four hash functions, and each has two usual spellings.
const MAX_DIGESTS: usize = 8;
/// How PEM begins (RFC 7468), wherever it does.
const PEM: &[u8] = b"-----BEGIN";

/// A JAR file whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jar {
    signature: Vec<u8>,
    certificate: Vec<u8>,
    signers: Vec<Certificate>,
}

impl Jar {
    /// Verifies an archive: the signature over the signature file, its digests over the manifest, the manifest's digests over the files.
    pub fn verify(archive: &[u8]) -> Result<Self, PackageError> {
        let entries = zip::entries(archive)?;
        let mut budget = Budget::new(work_limit(archive.len()));
        let metadata = Metadata::read(&entries, &mut budget)?;
        // Upstream would log what is in the PEM, and not what it has verified.
        if metadata
            .block
            .windows(PEM.len())
            .any(|window| window == PEM)
        {
            return Err(PackageError::Unsupported(
                "a PKCS#7 signature with PEM in it".into(),
            ));
        }
        let signed = SignedData::parse_padded(&metadata.block)?;
        let signers = verify_signature(&signed, &metadata.signature_file)?;
        verify_manifest(&metadata.signature_file, &metadata.manifest)?;
        verify_files(&entries, &metadata.manifest, &mut budget)?;
        let certificate = signed.certificates.first().copied().unwrap_or_default();
        // It goes into the log as a public key, so it must be one.
        Certificate::from_der(certificate).map_err(|error| {
            PackageError::Unsupported(format!("the signature's first certificate: {error}"))
        })?;
        Ok(Self {
            signature: signed.detached()?,
            certificate: certificate.to_vec(),
            signers,
        })
    }

    /// The signature as it stands in a log entry: PEM with the label `PKCS7` of the message without content. Its SHA-256 is a search key.
    pub fn signature_pem(&self) -> String {
        pem::encode("PKCS7", &self.signature)
    }

    /// What stands in a log entry as the public key: PEM of the first certificate in the signature. That is not always the signer's; some tools
    /// put the authority first, and anybody can put any certificate there.
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }

    /// PEM of the certificates under which the signatures hold.
    pub fn signer_pems(&self) -> impl Iterator<Item = String> {
        self.signers.iter().map(Certificate::to_pem)
    }
}

/// How much is inflated and hashed of an archive of this length.
fn work_limit(length: usize) -> u64 {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let limit = length.saturating_mul(WORK_PER_BYTE);
    limit.saturating_add(BASE_WORK).min(MAX_WORK)
}

/// A name for messages.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars()
        .take(100)
        .flat_map(char::escape_default)
        .collect()
}

/// The three files of a signature.
struct Metadata {
    manifest: Vec<u8>,
    signature_file: Vec<u8>,
    block: Vec<u8>,
}

impl Metadata {
    fn read(entries: &[Entry<'_>], budget: &mut Budget) -> Result<Self, PackageError> {
        let unsupported = |what: &str| PackageError::Unsupported(format!("jar: {what}"));
        let mut manifest = None;
        let mut signature_file: Option<(String, &Entry<'_>)> = None;
        let mut blocks = Vec::new();
        // The first file that upstream takes for a signature when it has verified one.
        let mut logged = None;
        for entry in entries {
            let Some(name) = metadata_name(entry.name) else {
                continue;
            };
            let Some((base, extension)) = name.rsplit_once('.') else {
                continue;
            };
            if entry.size > MAX_METADATA {
                return Err(PackageError::TooLarge {
                    what: "jar: a file in META-INF",
                    limit: MAX_METADATA,
                });
            }
            let is_block = matches!(extension, "RSA" | "DSA" | "EC") || name.starts_with("SIG-");
            if is_block && logged.is_none() {
                logged = Some(entry.name);
            }
            if name == "MANIFEST.MF" {
                if manifest.replace(entry).is_some() {
                    return Err(unsupported("two manifests"));
                }
            } else if extension == "SF" {
                if signature_file.replace((base.to_owned(), entry)).is_some() {
                    return Err(unsupported("several signatures"));
                }
            } else if is_block {
                blocks.push((base.to_owned(), entry));
            } else {
                // Upstream reads it too, and refuses an archive in which it is broken.
                entry.read(budget, |_| ())?;
            }
        }
        let manifest = manifest.ok_or(PackageError::Unsigned("jar: no META-INF/MANIFEST.MF"))?;
        let (base, signature_file) =
            signature_file.ok_or(PackageError::Unsigned("jar: no META-INF/*.SF"))?;
        let mut of_file = blocks.iter().filter(|(name, _)| *name == base);
        let (Some((_, block)), another) = (of_file.next(), of_file.next()) else {
            return Err(PackageError::Unsigned(
                "jar: a signature file without its signature",
            ));
        };
        if another.is_some() || logged != Some(block.name) {
            return Err(unsupported(
                "a signature block in front of the one that belongs to the signature file",
            ));
        }
        for (_, other) in blocks.iter().filter(|(name, _)| *name != base) {
            other.read(budget, |_| ())?;
        }
        let mut read = |entry: &Entry<'_>| {
            let mut contents = Vec::new();
            entry.read(budget, |piece| contents.extend_from_slice(piece))?;
            Ok(contents)
        };
        Ok(Self {
            manifest: read(manifest)?,
            signature_file: read(signature_file)?,
            block: read(block)?,
        })
    }
}

/// The name in capitals of a file that stands directly in `META-INF`, whatever its case.
fn metadata_name(name: &[u8]) -> Option<String> {
    let upper: String = String::from_utf8_lossy(name)
        .chars()
        .map(|character| {
            // The one capital of a character, and never two (ß) for one.
            let mut capitals = character.to_uppercase();
            match (capitals.next(), capitals.next()) {
                (Some(capital), None) => capital,
                _ => character,
            }
        })
        .collect();
    let name = upper.strip_prefix("META-INF/")?;
    (!name.contains('/')).then(|| name.to_owned())
}

/// The PKCS#7 signature over the signature file, and the timestamps in it.
fn verify_signature(
    signed: &SignedData<'_>,
    signature_file: &[u8],
) -> Result<Vec<Certificate>, PackageError> {
    if signed.content_type() != cms::DATA {
        return Err(PackageError::Unsupported(format!(
            "a PKCS#7 signature over content of type {}",
            signed.content_type()
        )));
    }
    if signed
        .content
        .is_some_and(|content| content != signature_file)
    {
        return Err(PackageError::Digest("the signature file".into()));
    }
    if signed.signers.is_empty() {
        return Err(PackageError::Unsigned(
            "jar: a PKCS#7 signature without signers",
        ));
    }
    let signers = signed.signers.iter().map(|signer| {
        let certificate = signer.verify(signature_file, &signed.certificates)?;
        timestamp::verify(signer, &signed.certificates)?;
        Ok(certificate)
    });
    signers.collect()
}

/// The signature file's digest of the whole manifest, or else those of the main section and of every section that it names.
fn verify_manifest(signature_file: &[u8], manifest: &[u8]) -> Result<(), PackageError> {
    let signed = Manifest::parse(signature_file)?;
    let whole = Digests::of(&signed.main, "-Digest-Manifest")?;
    if !whole.is_empty() {
        return whole.over(manifest, "META-INF/MANIFEST.MF");
    }
    let sections = manifest::split(manifest)?;
    let (main, sections) = sections.split_first().ok_or(NO_DIGEST)?;
    let digests = Digests::of(&signed.main, "-Digest-Manifest-Main-Attributes")?;
    if digests.is_empty() {
        return Err(NO_DIGEST);
    }
    digests.over(main, "the manifest's main section")?;
    let mut by_name = BTreeMap::new();
    for section in sections {
        by_name.insert(manifest::named(section)?.0, *section);
    }
    for (name, attributes) in &signed.files {
        let what = || format!("the manifest's section {}", shown(name.as_bytes()));
        let section = by_name
            .get(name)
            .ok_or_else(|| PackageError::Digest(what()))?;
        let digests = Digests::of(attributes, "-Digest")?;
        if digests.is_empty() {
            return Err(NO_DIGEST);
        }
        digests.over(section, &what())?;
    }
    Ok(())
}

const NO_DIGEST: PackageError = PackageError::Malformed("manifest: a section without a digest");

/// The manifest's digests of the files. A section with `Magic` is hashed in a way of its own, which nobody knows.
fn verify_files(
    entries: &[Entry<'_>],
    manifest: &[u8],
    budget: &mut Budget,
) -> Result<(), PackageError> {
    let by_name: BTreeMap<&[u8], &Entry<'_>> =
        entries.iter().map(|entry| (entry.name, entry)).collect();
    for (name, attributes) in Manifest::parse(manifest)?.files {
        if attributes
            .get("Magic")
            .is_some_and(|magic| !magic.is_empty())
        {
            continue;
        }
        let entry = by_name.get(name.as_bytes()).ok_or_else(|| {
            PackageError::Unsupported(format!(
                "jar: the manifest names {}, which is not there",
                shown(name.as_bytes())
            ))
        })?;
        let mut digests = Digests::of(&attributes, "-Digest")?;
        if digests.is_empty() {
            return Err(NO_DIGEST);
        }
        budget.spend(entry.size.saturating_mul(digests.functions()))?;
        entry.read(budget, |piece| digests.update(piece))?;
        digests.finish(&shown(name.as_bytes()))?;
    }
    Ok(())
}

/// The digests in one section, all of which must be right. Each function hashes once, however many spellings of it there are.
struct Digests<'a>(Vec<(Hash, Context, Vec<&'a str>)>);

impl<'a> Digests<'a> {
    /// Those attributes that are a hash function's name and `suffix`.
    fn of(section: &'a Section, suffix: &str) -> Result<Self, PackageError> {
        let mut digests: Vec<(Hash, Context, Vec<&str>)> = Vec::new();
        let named = section
            .iter()
            .filter_map(|(attribute, value)| Some((attribute.strip_suffix(suffix)?, value)));
        for (count, (name, value)) in named.enumerate() {
            if count == MAX_DIGESTS {
                return Err(PackageError::TooLarge {
                    what: "manifest: digests of one file",
                    limit: 8,
                });
            }
            let hash = hash(name)?;
            match digests.iter_mut().find(|(known, ..)| *known == hash) {
                Some((_, _, stated)) => stated.push(value),
                None => digests.push((hash, hash.context(), vec![value])),
            }
        }
        Ok(Self(digests))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many hash functions there are.
    fn functions(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn update(&mut self, piece: &[u8]) {
        for (_, context, _) in &mut self.0 {
            context.update(piece);
        }
    }

    fn finish(self, what: &str) -> Result<(), PackageError> {
        for (_, context, stated) in self.0 {
            let digest = STANDARD.encode(context.finish());
            if stated.iter().any(|stated| *stated != digest) {
                return Err(PackageError::Digest(what.to_owned()));
            }
        }
        Ok(())
    }

    fn over(mut self, contents: &[u8], what: &str) -> Result<(), PackageError> {
        self.update(contents);
        self.finish(what)
    }
}

/// `SHA-256`, `SHA256`, in any case.
fn hash(name: &str) -> Result<Hash, PackageError> {
    match name.to_lowercase().replacen('-', "", 1).as_str() {
        "sha1" => Ok(Hash::Sha1),
        "sha256" => Ok(Hash::Sha256),
        "sha384" => Ok(Hash::Sha384),
        "sha512" => Ok(Hash::Sha512),
        _ => Err(PackageError::Unsupported(format!(
            "digests of {} in a manifest",
            shown(name.as_bytes())
        ))),
    }
}
