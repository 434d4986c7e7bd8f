//! The file format of kits: a tar archive that has one form for its contents.
//!
//! ```text
//! kit.json                    what it is about, and each member's size and SHA-256
//! manifest                    the image's manifest, byte for byte; not there for a file
//! bundles/0000.sigstore.json  the bundles, numbered without gaps
//! legacy/0000.json            what cosign before version 3 attached to the image: kind, layer, and the layer's annotations
//! policy.json                 the policy, if there is one
//! trusted_root.json           whom to trust
//! ```
//!
//! Members stand in the order of `kit.json`, which is that of their names; headers are ustar with mode 0644 and everything else zero. A reader writes
//! again what it read and compares: a kit with anything in it that is not listed (a member, a header's field, bytes at the end) is none. What
//! is listed is bound to the digest of the whole file, which is what [`Kit::digest`] gives and what a verifier should know from elsewhere.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use bundle::legacy::{Legacy, LegacyError};
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use oci::{LegacyKind, LegacyLayer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::encoding::Bytes;

/// The largest kit.
pub(crate) const MAX_KIT: usize = 256 << 20;
/// The most bundles in one, and the most signatures of before cosign 3.
pub(crate) const MAX_BUNDLES: usize = 1024;
/// The largest list of members.
const MAX_INDEX: usize = 1 << 20;
const MEDIA_TYPE: &str = "application/vnd.cosign-rs.kit.v1+json";
const INDEX: &str = "kit.json";
const MANIFEST: &str = "manifest";
const POLICY: &str = "policy.json";
const ROOT: &str = "trusted_root.json";
/// A kit begins with the block of the index's header.
const BLOCK: usize = 512;

/// What a kit has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kit {
    /// What it is about, as its maker called it.
    pub(crate) name: String,
    /// The artifact's digest.
    pub(crate) artifact: Digest,
    /// When it was made, as its maker's clock said.
    pub(crate) created: Timestamp,
    /// The image's manifest.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The bundles.
    pub(crate) bundles: Vec<Vec<u8>>,
    /// What cosign before version 3 attached to the image.
    pub(crate) legacy: Vec<LegacyItem>,
    /// The policy.
    pub(crate) policy: Option<Vec<u8>>,
    /// The trusted root.
    pub(crate) root: Vec<u8>,
}

/// A signature or attestation of before cosign 3, which is a layer and what its manifest says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LegacyItem {
    kind: ItemKind,
    annotations: BTreeMap<String, String>,
    layer: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ItemKind {
    Signature,
    Attestation,
}

impl LegacyItem {
    /// As it was found; none for what is not signed.
    pub(crate) fn of(found: &LegacyLayer) -> Option<Self> {
        Some(Self {
            kind: match found.kind {
                LegacyKind::Signature => ItemKind::Signature,
                LegacyKind::Attestation => ItemKind::Attestation,
                LegacyKind::Sbom => return None,
            },
            annotations: found.annotations().clone(),
            layer: found.content.to_vec().into(),
        })
    }

    /// `signature` or `attestation`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.kind {
            ItemKind::Signature => "signature",
            ItemKind::Attestation => "attestation",
        }
    }

    /// What it is, to be verified.
    pub(crate) fn read(&self) -> Result<Legacy, LegacyError> {
        let layer = self.layer.0.clone();
        match self.kind {
            ItemKind::Signature => Legacy::signature(layer, &self.annotations),
            ItemKind::Attestation => Legacy::attestation(layer, &self.annotations),
        }
    }
}

/// Why bytes are no kit.
#[derive(Debug, Error)]
pub(crate) enum KitError {
    #[error("the kit has {0} bytes, more than {MAX_KIT}")]
    TooLarge(usize),
    #[error("not a kit: {0}")]
    Archive(std::io::Error),
    #[error("not a kit: {INDEX} is not its first member, or not readable")]
    NoIndex,
    #[error("not a kit of a known version: {0:?}, expected {MEDIA_TYPE}")]
    Version(String),
    #[error("the kit lacks {0}")]
    Missing(&'static str),
    #[error("the kit has a member {0:?}, where none of that name belongs")]
    Member(String),
    #[error("the member {0} of the kit was changed: it is not what {INDEX} says")]
    Changed(String),
    #[error("the kit's digest of the artifact is not that of the manifest in it")]
    OtherManifest,
    #[error("the kit has {0} bundles, expected 1 to {MAX_BUNDLES}")]
    Bundles(usize),
    #[error("the kit has something that {INDEX} does not list")]
    NotCanonical,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    media_type: String,
    name: String,
    artifact: String,
    created: Timestamp,
    members: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    path: String,
    size: u64,
    sha256: String,
}

/// A member's path and content.
type Packed<'a> = (String, Cow<'a, [u8]>);

impl Kit {
    /// The kit as a file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, KitError> {
        let members = self.members()?;
        let index = Index {
            media_type: MEDIA_TYPE.to_owned(),
            name: self.name.clone(),
            artifact: self.artifact.to_string(),
            created: self.created,
            members: members
                .iter()
                .map(|(path, bytes)| Member {
                    path: path.clone(),
                    size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                    sha256: hex::encode(keys::sha256(bytes)),
                })
                .collect(),
        };
        let index =
            serde_json::to_vec_pretty(&index).map_err(|error| KitError::Archive(error.into()))?;
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, INDEX, &index).map_err(KitError::Archive)?;
        for (path, bytes) in members {
            append(&mut archive, &path, &bytes).map_err(KitError::Archive)?;
        }
        let bytes = archive.into_inner().map_err(KitError::Archive)?;
        if bytes.len() > MAX_KIT {
            return Err(KitError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a kit. That its members are those of `kit.json` is checked, not who wrote it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KitError> {
        if bytes.len() > MAX_KIT {
            return Err(KitError::TooLarge(bytes.len()));
        }
        if bytes.len() < BLOCK {
            return Err(KitError::NoIndex);
        }
        let mut archive = tar::Archive::new(Cursor::new(bytes));
        // Headers as they are: nothing is unfolded of what a kit never has (sparse files, long names).
        let mut entries = archive.entries().map_err(KitError::Archive)?.raw(true);
        let first = entries.next().ok_or(KitError::NoIndex)?;
        let (path, content) = read(first, MAX_INDEX)?;
        if path != INDEX {
            return Err(KitError::NoIndex);
        }
        let index: Index = serde_json::from_slice(&content).map_err(|_| KitError::NoIndex)?;
        if index.media_type != MEDIA_TYPE {
            return Err(KitError::Version(index.media_type));
        }
        let artifact = Digest::parse(&index.artifact).map_err(|_| KitError::NoIndex)?;
        let mut kit = Self {
            name: index.name,
            artifact,
            created: index.created,
            manifest: None,
            bundles: Vec::new(),
            legacy: Vec::new(),
            policy: None,
            root: Vec::new(),
        };
        let mut listed = index.members.iter();
        let mut has_root = false;
        for entry in entries {
            let (path, content) = read(entry, bytes.len())?;
            let Some(member) = listed.next().filter(|member| member.path == path) else {
                return Err(KitError::Member(path));
            };
            if u64::try_from(content.len()) != Ok(member.size)
                || hex::encode(keys::sha256(&content)) != member.sha256
            {
                return Err(KitError::Changed(path));
            }
            match path.as_str() {
                MANIFEST if kit.manifest.is_none() => kit.manifest = Some(content),
                POLICY if kit.policy.is_none() => kit.policy = Some(content),
                ROOT if !has_root => {
                    kit.root = content;
                    has_root = true;
                }
                _ if kit.bundles.len() < MAX_BUNDLES && path == bundle_name(kit.bundles.len()) => {
                    kit.bundles.push(content);
                }
                _ if kit.legacy.len() < MAX_BUNDLES && path == legacy_name(kit.legacy.len()) => {
                    let item =
                        serde_json::from_slice(&content).map_err(|_| KitError::Member(path))?;
                    kit.legacy.push(item);
                }
                _ => return Err(KitError::Member(path)),
            }
        }
        if listed.next().is_some() || !has_root {
            return Err(KitError::Missing(if has_root { "a member" } else { ROOT }));
        }
        // They are about images.
        if kit.manifest.is_none() && !kit.legacy.is_empty() {
            return Err(KitError::Missing(MANIFEST));
        }
        let other =
            |manifest: &Vec<u8>| Digest::of(kit.artifact.algorithm(), manifest) != kit.artifact;
        if kit.manifest.as_ref().is_some_and(other) {
            return Err(KitError::OtherManifest);
        }
        // Whatever tar forgives is no part of a kit: two readers could see two different things.
        if kit.to_bytes()? != bytes {
            return Err(KitError::NotCanonical);
        }
        Ok(kit)
    }

    /// What stands for a kit: the digest of all its bytes.
    pub(crate) fn digest(bytes: &[u8]) -> Digest {
        Digest::of(HashAlgorithm::Sha256, bytes)
    }

    /// In the order of their names.
    fn members(&self) -> Result<Vec<Packed<'_>>, KitError> {
        let most = self.bundles.len().max(self.legacy.len());
        if most == 0 || most > MAX_BUNDLES {
            return Err(KitError::Bundles(most));
        }
        let mut members: Vec<Packed<'_>> = Vec::new();
        for (place, bundle) in self.bundles.iter().enumerate() {
            members.push((bundle_name(place), bundle.into()));
        }
        for (place, item) in self.legacy.iter().enumerate() {
            let written =
                serde_json::to_vec(item).map_err(|error| KitError::Archive(error.into()))?;
            members.push((legacy_name(place), written.into()));
        }
        if let Some(manifest) = &self.manifest {
            members.push((MANIFEST.to_owned(), manifest.into()));
        }
        if let Some(policy) = &self.policy {
            members.push((POLICY.to_owned(), policy.into()));
        }
        members.push((ROOT.to_owned(), (&self.root).into()));
        Ok(members)
    }
}

fn legacy_name(place: usize) -> String {
    format!("legacy/{place:04}.json")
}

fn bundle_name(place: usize) -> String {
    format!("bundles/{place:04}.sigstore.json")
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, path, bytes)
}

/// A member whose size is what the file has room for: its header may say anything.
fn read<R: std::io::Read>(
    entry: std::io::Result<tar::Entry<'_, R>>,
    limit: usize,
) -> Result<(String, Vec<u8>), KitError> {
    let mut entry = entry.map_err(KitError::Archive)?;
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let mut content = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    entry
        .by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(KitError::Archive)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
        return Err(KitError::Member(path));
    }
    Ok((path, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Members = Vec<(String, Vec<u8>)>;

    fn kit() -> Kit {
        let manifest = b"{\"manifest\": 1}".to_vec();
        Kit {
            name: "registry.example/app:v1".into(),
            artifact: Digest::of(HashAlgorithm::Sha256, &manifest),
            created: "2026-06-01T00:00:00Z".parse().unwrap(),
            manifest: Some(manifest),
            bundles: vec![b"{1}".to_vec(), vec![b'x'; 2000]],
            legacy: vec![LegacyItem {
                kind: ItemKind::Signature,
                annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
                layer: b"payload".to_vec().into(),
            }],
            policy: Some(b"{}".to_vec()),
            root: b"{\"root\": 1}".to_vec(),
        }
    }

    #[test]
    fn what_is_packed_is_read_again_and_always_the_same_bytes() {
        let bytes = kit().to_bytes().unwrap();
        assert_eq!(Kit::parse(&bytes).unwrap(), kit());
        assert_eq!(kit().to_bytes().unwrap(), bytes);
        let mut blob = kit();
        (blob.manifest, blob.policy) = (None, None);
        let about_an_image = blob.to_bytes().unwrap();
        assert!(matches!(
            Kit::parse(&about_an_image),
            Err(KitError::Missing(MANIFEST))
        ));
        blob.legacy.clear();
        assert_eq!(Kit::parse(&blob.to_bytes().unwrap()).unwrap(), blob);
        let mut empty = kit();
        empty.bundles.clear();
        let old = empty.to_bytes().unwrap();
        assert_eq!(Kit::parse(&old).unwrap(), empty);
        empty.legacy.clear();
        assert!(matches!(empty.to_bytes(), Err(KitError::Bundles(0))));
    }

    #[test]
    fn no_byte_can_be_changed() {
        let bytes = kit().to_bytes().unwrap();
        let digest = Kit::digest(&bytes);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x20;
            // Only what the index itself says can be changed so that it is a kit still: another name, another time. That is another kit.
            if let Ok(read) = Kit::parse(&changed) {
                assert_eq!(read.root, kit().root, "byte {place}");
                assert_eq!(read.bundles, kit().bundles, "byte {place}");
                assert_eq!(read.legacy, kit().legacy, "byte {place}");
                assert_eq!(read.policy, kit().policy, "byte {place}");
                assert_eq!(read.artifact, kit().artifact, "byte {place}");
            }
            assert_ne!(Kit::digest(&changed), digest);
        }
        for longer in [&bytes[..], &[0; 512]].map(<[u8]>::len) {
            let mut grown = bytes.clone();
            grown.resize(bytes.len() + longer, 0);
            assert!(Kit::parse(&grown).is_err());
        }
        for end in [0, 1, 511, 512, 1024, bytes.len() - 1] {
            assert!(Kit::parse(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn members_are_those_that_are_listed() {
        let whole = kit().to_bytes().unwrap();
        let rewritten = |change: &dyn Fn(&mut Members)| {
            let mut archive = tar::Archive::new(Cursor::new(&whole));
            let mut members: Members = archive
                .entries()
                .unwrap()
                .map(|entry| read(entry, MAX_KIT).unwrap())
                .collect();
            change(&mut members);
            let mut archive = tar::Builder::new(Vec::new());
            for (path, bytes) in members {
                append(&mut archive, &path, &bytes).unwrap();
            }
            Kit::parse(&archive.into_inner().unwrap())
        };
        assert!(rewritten(&|_| {}).is_ok());
        let added = |members: &mut Members| members.push(("more".into(), vec![1]));
        assert!(matches!(rewritten(&added), Err(KitError::Member(_))));
        assert!(matches!(
            rewritten(&|members| {
                members.remove(1);
            }),
            Err(KitError::Member(_))
        ));
        assert!(matches!(
            rewritten(&|members| {
                members.pop();
            }),
            Err(KitError::Missing(_))
        ));
        assert!(matches!(
            rewritten(&|members| members.swap(1, 2)),
            Err(KitError::Member(_))
        ));
        for place in 1..7 {
            let changed = rewritten(&|members| members[place].1[0] ^= 1);
            assert!(matches!(changed, Err(KitError::Changed(_))), "{place}");
        }
    }
}
