//! Finding what is attached to an image: the referrers API, the fallback tag and the tags of before cosign 3, all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use client::{Answer, Call};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use keys::{Digest, HashAlgorithm};
use serde_json::Value;
use url::Url;

use crate::attach::BUNDLE_BLOB;
use crate::auth::Access;
use crate::error::OciError;
use crate::legacy::{LAYERS_MAX, LegacyKind, LegacyLayer};
use crate::manifest::{
    ACCEPT, BUNDLE_TYPE_PREFIX, Descriptor, IMAGE_TYPE, INDEX_TYPE, Index, MANIFEST_MAX, Manifest,
};
use crate::reference::Repository;
use crate::registry::Registry;

/// The most referrers of one image that are looked at. Each costs two requests; cosign has a limit of the same size.
pub(crate) const REFERRERS_MAX: usize = 1000;
/// The most pages of a list of referrers.
const PAGES_MAX: usize = 100;
/// What all pages of a list may have, in bytes and in entries. An entry takes many times its length when it is read, and the list is kept until its
/// last page is there.
const LIST_MAX: usize = 16 << 20;
const ENTRIES_MAX: usize = 10 * REFERRERS_MAX;
/// The largest bundle that is read; the parser takes no larger one either.
pub(crate) const BUNDLE_MAX: usize = 16 * 1024 * 1024;
/// All that is read about one image: cosign's bound for one attachment. A registry that offers more wants our memory.
const TOTAL_MAX: u64 = 128 * 1024 * 1024;
/// What the smallest piece counts for.
const PIECE_MIN: u64 = 4096;
/// Referrers that are read at a time.
pub(crate) const AT_A_TIME: usize = 6;
/// What the layers of before cosign 3 are, where they are attached as referrers (cosign's experimental `oci-1-1` mode).
const LEGACY_TYPES: [(&str, LegacyKind); 2] = [
    (
        "application/vnd.dev.cosign.simplesigning.v1+json",
        LegacyKind::Signature,
    ),
    (
        "application/vnd.dsse.envelope.v1+json",
        LegacyKind::Attestation,
    ),
];

/// What a layer of a manifest that refers to an image is, by its media type: the same to all that look for signatures, copy or delete them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A bundle.
    Bundle,
    /// A signature or an attestation of before cosign 3.
    Legacy(LegacyKind),
}

impl Attachment {
    /// Of a layer of this type; none if it is nothing of ours.
    pub fn of(media_type: &str) -> Option<Self> {
        if media_type.starts_with(BUNDLE_TYPE_PREFIX) {
            return Some(Self::Bundle);
        }
        LEGACY_TYPES
            .into_iter()
            .find(|(known, _)| *known == media_type)
            .map(|(_, kind)| Self::Legacy(kind))
    }
}

/// A bundle that is attached to an image. Nothing is known about it but that these are the bytes.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The digest of the manifest that attaches it.
    pub manifest: Digest,
    /// The media type of the bundle.
    pub media_type: String,
    /// The bundle.
    pub bundle: Bytes,
    /// The manifest's annotations; not signed.
    pub annotations: BTreeMap<String, String>,
}

/// Something that may be a signature and could not be read.
#[derive(Debug)]
pub struct Problem {
    /// What it is: a list of referrers, or the digest of one.
    pub what: String,
    /// Why it could not be read.
    pub why: OciError,
}

/// What is attached to an image, as far as it could be read.
#[derive(Debug, Default)]
pub struct Found {
    /// The bundles.
    pub attached: Vec<Attached>,
    /// Signatures and attestations of before cosign 3.
    pub legacy: Vec<LegacyLayer>,
    /// What could not be read. If this is not empty, "there is no other signature" is not known.
    pub problems: Vec<Problem>,
    /// What [`Registry::further_attached`] goes on with.
    further: Option<Further>,
}

/// The fallback tag was not read, since the registry lists something.
#[derive(Debug)]
struct Further {
    /// What it lists.
    listed: BTreeSet<String>,
    /// What may still be read.
    left: u64,
}

/// The list of referrers of one place.
pub(crate) struct Listed {
    pub(crate) entries: Vec<Value>,
}

/// The tag that stands for the referrers of an image on registries without the API (distribution spec 1.1, "Referrers Tag Schema").
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let mut tag = format!("{}-{}", subject.algorithm().name(), subject.to_hex());
    // The spec's schema cuts the digest at 64 characters.
    tag.truncate(subject.algorithm().name().len() + 1 + 64);
    tag
}

impl Registry {
    /// Finds what is attached to an image in the repository `at`: bundles, and what stands under the tags of these old kinds.
    pub async fn attached(
        &self,
        at: &Repository,
        subject: &Digest,
        legacy: &[LegacyKind],
    ) -> Found {
        let mut found = self.first_attached(at, subject, legacy).await;
        self.further_attached(at, subject, legacy, &mut found).await;
        found
    }

    /// The same, in one request less for who has enough with it: the fallback tag is not read where the registry lists something.
    ///
    /// A registry that has the API should list what stands behind the tag too (distribution spec 1.1, "Enabling the Referrers API"), and there are some
    /// that do not, as where a mirror brought the tag. So who has not enough asks for the [rest](Self::further_attached).
    pub async fn first_attached(
        &self,
        at: &Repository,
        subject: &Digest,
        legacy: &[LegacyKind],
    ) -> Found {
        let budget = Budget::default();
        let old = join_all(
            legacy
                .iter()
                .map(|kind| self.legacy_layers(at, subject, *kind, &budget)),
        );
        let (mut found, old) = tokio::join!(self.referring(at, subject, legacy, &budget), old);
        for old in old {
            found.legacy.extend(old.legacy);
            found.problems.extend(old.problems);
        }
        if let Some(further) = &mut found.further {
            further.left = budget.left();
        }
        found
    }

    /// Adds what stands behind the fallback tag alone, if nobody looked there.
    pub async fn further_attached(
        &self,
        at: &Repository,
        subject: &Digest,
        legacy: &[LegacyKind],
        found: &mut Found,
    ) {
        let Some(Further { listed, left }) = found.further.take() else {
            return;
        };
        let tagged = self.tagged_referrers(at, subject).await;
        let tagged = found.take(&format!("the tag {}", fallback_tag(subject)), tagged);
        let entries = tagged.flatten().map(|tagged| tagged.entries);
        let further =
            |entry: &Value| digest_of(entry).is_none_or(|digest| !listed.contains(digest));
        let entries = entries.unwrap_or_default().into_iter().filter(further);
        let budget = Budget(AtomicU64::new(left));
        self.read_all(at, subject, entries.collect(), legacy, &budget, found)
            .await;
    }

    /// What lists say that refers to a manifest, of the referrers API and of the fallback tag. What cannot be read is an error.
    pub async fn referrers(
        &self,
        at: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, OciError> {
        let (listed, tagged) = tokio::try_join!(
            self.listed_referrers(at, subject),
            self.tagged_referrers(at, subject)
        )?;
        let mut all: BTreeMap<String, Descriptor> = BTreeMap::new();
        for entry in [listed, tagged]
            .into_iter()
            .flatten()
            .flat_map(|listed| listed.entries)
        {
            let descriptor: Descriptor =
                serde_json::from_value(entry).map_err(|error| OciError::Malformed {
                    what: format!("reading the referrers of {subject} in {at}"),
                    why: error.to_string(),
                })?;
            all.insert(descriptor.digest.to_string(), descriptor);
        }
        if all.len() > REFERRERS_MAX {
            return Err(OciError::TooMany {
                what: format!("{} referrers of {subject} in {at}", all.len()),
                limit: REFERRERS_MAX,
            });
        }
        Ok(all.into_values().collect())
    }

    /// Finds the bundles that are attached to an image, in the repository `at`.
    pub async fn bundles(&self, at: &Repository, subject: &Digest) -> Found {
        self.attached(at, subject, &[]).await
    }

    /// Bundles, and what of these old kinds is attached as a referrer.
    async fn referring(
        &self,
        at: &Repository,
        subject: &Digest,
        kinds: &[LegacyKind],
        budget: &Budget,
    ) -> Found {
        let mut found = Found::default();
        let entries = self.candidates(at, subject, &mut found).await;
        self.read_all(at, subject, entries, kinds, budget, &mut found)
            .await;
        found
    }

    /// Reads what these entries name into `found`.
    async fn read_all(
        &self,
        at: &Repository,
        subject: &Digest,
        entries: Vec<Value>,
        kinds: &[LegacyKind],
        budget: &Budget,
        found: &mut Found,
    ) {
        let mut wanted: BTreeMap<String, Descriptor> = BTreeMap::new();
        for entry in entries {
            // Not the media type, and not the artifact type: older writers state the configuration's there. The manifest says.
            match serde_json::from_value::<Descriptor>(entry) {
                Ok(descriptor) => {
                    wanted.insert(descriptor.digest.to_string(), descriptor);
                }
                Err(error) => found.problems.push(Problem {
                    what: format!("an entry among the referrers of {subject}"),
                    why: OciError::Malformed {
                        what: format!("reading the referrers in {at}"),
                        why: error.to_string(),
                    },
                }),
            }
        }
        if wanted.len() > REFERRERS_MAX {
            found.problems.push(Problem {
                what: format!("the referrers of {subject}"),
                why: OciError::TooMany {
                    what: format!("{} referrers in {at}", wanted.len()),
                    limit: REFERRERS_MAX,
                },
            });
        }
        let mut read = stream::iter(wanted.into_values().take(REFERRERS_MAX))
            .map(async |descriptor| {
                let outcome = self.referrer(at, subject, &descriptor, kinds, budget).await;
                (descriptor.digest.to_string(), outcome)
            })
            .buffered(AT_A_TIME);
        while let Some((digest, outcome)) = read.next().await {
            match found.take(&digest, outcome) {
                Some(Some(Referrer::Bundle(attached))) => found.attached.push(attached),
                Some(Some(Referrer::Legacy(layers))) => found.legacy.extend(layers),
                Some(None) | None => {}
            }
        }
    }

    /// What lists name. The tag of a registry that lists something is left for [later](Self::further_attached); an empty list may come from one that
    /// answers so to everything.
    async fn candidates(&self, at: &Repository, subject: &Digest, found: &mut Found) -> Vec<Value> {
        let list = format!("the referrers of {subject}");
        let tag = format!("the tag {}", fallback_tag(subject));
        let (listed, tagged) = if self.is_without_referrers(at) {
            let (listed, tagged) = tokio::join!(
                self.listed_referrers(at, subject),
                self.tagged_referrers(at, subject)
            );
            (found.take(&list, listed).flatten(), Some(tagged))
        } else {
            let listed = self.listed_referrers(at, subject).await;
            (found.take(&list, listed).flatten(), None)
        };
        if let (Some(listed), None) = (&listed, &tagged)
            && !listed.entries.is_empty()
        {
            let digests = listed.entries.iter().filter_map(digest_of);
            found.further = Some(Further {
                listed: digests.map(str::to_owned).collect(),
                left: 0,
            });
            return listed.entries.clone();
        }
        let tagged = match tagged {
            Some(tagged) => tagged,
            None => self.tagged_referrers(at, subject).await,
        };
        [listed, found.take(&tag, tagged).flatten()]
            .into_iter()
            .flatten()
            .flat_map(|listed| listed.entries)
            .collect()
    }

    /// Reads one referrer; none if it is nothing of ours.
    async fn referrer(
        &self,
        at: &Repository,
        subject: &Digest,
        descriptor: &Descriptor,
        kinds: &[LegacyKind],
        budget: &Budget,
    ) -> Result<Option<Referrer>, OciError> {
        if let Some(attached) = self.bundle_of_entry(at, descriptor, budget).await {
            return Ok(Some(Referrer::Bundle(attached)));
        }
        let what = format!("reading the referrer {} of {at}", descriptor.digest);
        let answer = self
            .manifest(
                &what,
                at,
                &descriptor.digest.to_string(),
                &format!("{IMAGE_TYPE}, {INDEX_TYPE}"),
            )
            .await?
            .ok_or_else(|| OciError::NotFound { what: what.clone() })?;
        let found = Digest::of(descriptor.digest.algorithm(), &answer.body);
        if found != descriptor.digest {
            return Err(OciError::Digest {
                what,
                found: found.to_string(),
            });
        }
        // Its annotations are kept.
        budget.spend(&what, answer.body.len())?;
        let manifest: Manifest =
            serde_json::from_slice(&answer.body).map_err(|error| OciError::Malformed {
                what: what.clone(),
                why: error.to_string(),
            })?;
        if let Some(layer) = bundle_layer(&manifest, subject) {
            let bundle = budget.blob(self, at, layer, BUNDLE_MAX).await?;
            return Ok(Some(Referrer::Bundle(Attached {
                manifest: found,
                media_type: layer.media_type.clone(),
                bundle,
                annotations: manifest.annotations.unwrap_or_default(),
            })));
        }
        let mut legacy = Vec::new();
        for (descriptor, kind) in legacy_layers(&what, manifest, subject, kinds)? {
            legacy.push(LegacyLayer {
                manifest: found,
                kind,
                content: budget.blob(self, at, &descriptor, BUNDLE_MAX).await?,
                descriptor,
            });
        }
        Ok((!legacy.is_empty()).then_some(Referrer::Legacy(legacy)))
    }

    /// The bundle, where the entry itself names its blob, as ours do: its manifest says nothing more, and need not be read. An entry that
    /// names another blob offers another bundle, which holds or does not; none where it names nothing that can be read.
    async fn bundle_of_entry(
        &self,
        at: &Repository,
        entry: &Descriptor,
        budget: &Budget,
    ) -> Option<Attached> {
        let annotations = entry.annotations.clone()?;
        let (digest, size) = annotations.get(BUNDLE_BLOB)?.rsplit_once(' ')?;
        let layer = Descriptor {
            digest: Digest::parse(digest).ok()?,
            size: size.parse().ok()?,
            ..Descriptor::of(entry.artifact_type.as_deref()?, b"")
        };
        if !layer.media_type.starts_with(BUNDLE_TYPE_PREFIX) {
            return None;
        }
        Some(Attached {
            manifest: entry.digest,
            media_type: layer.media_type.clone(),
            bundle: budget.blob(self, at, &layer, BUNDLE_MAX).await.ok()?,
            annotations,
        })
    }

    /// By the referrers API, all pages; none if the registry has no such API.
    pub(crate) async fn listed_referrers(
        &self,
        at: &Repository,
        subject: &Digest,
    ) -> Result<Option<Listed>, OciError> {
        let what = format!("listing the referrers of {subject} in {at}");
        let first = self.url(at, &format!("referrers/{subject}"))?;
        let origin = first.origin();
        let mut next = Some(first);
        let mut entries = Vec::new();
        let mut bytes: usize = 0;
        for page in 0..PAGES_MAX {
            let Some(url) = next.take() else {
                return Ok(Some(Listed { entries }));
            };
            let call = Call::get(url).accept(INDEX_TYPE).limit(MANIFEST_MAX);
            let answer = self.send(&what, at, Access::Read, call).await?;
            let unknown = matches!(answer.status.as_u16(), 400 | 404 | 406)
                || (answer.status.as_u16() == 200 && answer.media_type() != INDEX_TYPE);
            if page == 0 && unknown {
                self.keep_without_referrers(at);
                return Ok(None);
            }
            let answer = self.check(&what, at, answer, &[200])?;
            bytes = bytes.saturating_add(answer.body.len());
            if bytes > LIST_MAX {
                return Err(OciError::TooMany {
                    what: format!("{what}: bytes"),
                    limit: LIST_MAX,
                });
            }
            let index: Index =
                serde_json::from_slice(&answer.body).map_err(|error| OciError::Malformed {
                    what: what.clone(),
                    why: error.to_string(),
                })?;
            entries.extend(index.manifests);
            if entries.len() > ENTRIES_MAX {
                return Err(OciError::TooMany {
                    what: format!("{what}: entries"),
                    limit: ENTRIES_MAX,
                });
            }
            next = next_page(&answer);
            if next.as_ref().is_some_and(|url| url.origin() != origin) {
                return Err(OciError::Malformed {
                    what,
                    why: "the next page is on another host".to_owned(),
                });
            }
        }
        match next {
            None => Ok(Some(Listed { entries })),
            Some(_) => Err(OciError::TooMany {
                what: format!("{what}: pages"),
                limit: PAGES_MAX,
            }),
        }
    }

    /// By the fallback tag; none if there is no such tag.
    pub(crate) async fn tagged_referrers(
        &self,
        at: &Repository,
        subject: &Digest,
    ) -> Result<Option<Listed>, OciError> {
        let tagged = self.tagged_index(at, &fallback_tag(subject)).await?;
        Ok(tagged.map(|index| Listed {
            entries: entries(&index),
        }))
    }

    /// The whole document behind a fallback tag.
    pub(crate) async fn tagged_index(
        &self,
        at: &Repository,
        tag: &str,
    ) -> Result<Option<serde_json::Map<String, Value>>, OciError> {
        let what = format!("reading the tag {tag} of {at}");
        // All types, so that what is there and is no list is not the same as nothing, and is not written over.
        let Some(answer) = self.manifest(&what, at, tag, ACCEPT).await? else {
            return Ok(None);
        };
        let malformed = |why: String| OciError::Malformed {
            what: what.clone(),
            why,
        };
        let index: serde_json::Map<String, Value> =
            serde_json::from_slice(&answer.body).map_err(|error| malformed(error.to_string()))?;
        let stated = index.get("mediaType").and_then(Value::as_str);
        let media_type = stated.map_or_else(|| answer.media_type(), str::to_owned);
        if media_type != INDEX_TYPE {
            return Err(malformed(format!(
                "it is of type {media_type:?} and not a list of referrers ({INDEX_TYPE})"
            )));
        }
        Ok(Some(index))
    }
}

enum Referrer {
    Bundle(Attached),
    Legacy(Vec<LegacyLayer>),
}

/// What may still be read about one image.
pub(crate) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(TOTAL_MAX))
    }
}

impl Budget {
    fn left(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Takes a piece of this size for read, if it and all before it are not too much. A small one costs what keeping it costs.
    pub(crate) fn spend(&self, what: &str, size: impl TryInto<u64>) -> Result<(), OciError> {
        let size = size.try_into().unwrap_or(u64::MAX).max(PIECE_MIN);
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(size)
            })
            .map(drop)
            .map_err(|_| OciError::Malformed {
                what: what.to_owned(),
                why: format!("more than {TOTAL_MAX} bytes are attached to one image"),
            })
    }

    /// Reads a blob, if it and all before it are not too much. Its size is what the descriptor says, or it is not read.
    pub(crate) async fn blob(
        &self,
        registry: &Registry,
        at: &Repository,
        descriptor: &Descriptor,
        limit: usize,
    ) -> Result<Bytes, OciError> {
        let what = format!("reading {} of {at}", descriptor.digest);
        // What is not read costs nothing: one entry that says that it is large would else leave nothing for the others.
        if usize::try_from(descriptor.size).is_ok_and(|size| size <= limit) {
            self.spend(&what, descriptor.size)?;
        }
        let read = registry.blob(at, descriptor, limit).await;
        if let Err(OciError::NotFound { .. }) = read {
            let size = descriptor.size.max(PIECE_MIN);
            self.0.fetch_add(size, Ordering::SeqCst);
        }
        read
    }
}

impl Found {
    pub(crate) fn take<T>(&mut self, what: &str, outcome: Result<T, OciError>) -> Option<T> {
        outcome
            .map_err(|why| {
                self.problems.push(Problem {
                    what: what.to_owned(),
                    why,
                });
            })
            .ok()
    }
}

fn digest_of(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

pub(crate) fn entries(index: &serde_json::Map<String, Value>) -> Vec<Value> {
    index
        .get("manifests")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The bundle of a manifest that attaches one to `subject`: one layer, of a bundle's type.
pub(crate) fn bundle_layer<'a>(manifest: &'a Manifest, subject: &Digest) -> Option<&'a Descriptor> {
    let about = manifest.subject.as_ref().map(|about| about.digest);
    let [layer] = manifest.layers.as_slice() else {
        return None;
    };
    // A list may name what does not refer to the image; whether a bundle is about it is decided by what it signs, and this is only tidy.
    (about == Some(*subject) && Attachment::of(&layer.media_type) == Some(Attachment::Bundle))
        .then_some(layer)
}

/// The layers of these old kinds in a manifest that refers to `subject`.
pub(crate) fn legacy_layers(
    what: &str,
    manifest: Manifest,
    subject: &Digest,
    kinds: &[LegacyKind],
) -> Result<Vec<(Descriptor, LegacyKind)>, OciError> {
    if manifest.subject.as_ref().map(|about| about.digest) != Some(*subject) {
        return Ok(Vec::new());
    }
    let layers: Vec<_> = manifest
        .layers
        .into_iter()
        .filter_map(|layer| match Attachment::of(&layer.media_type) {
            Some(Attachment::Legacy(kind)) if kinds.contains(&kind) => Some((layer, kind)),
            _ => None,
        })
        .collect();
    if layers.len() > LAYERS_MAX {
        return Err(OciError::TooMany {
            what: format!("{what}: {} layers", layers.len()),
            limit: LAYERS_MAX,
        });
    }
    Ok(layers)
}

/// `Link: <...>; rel="next"` (RFC 8288).
fn next_page(answer: &Answer) -> Option<Url> {
    answer
        .headers
        .get_all("link")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let next = parameters.split(';').any(|parameter| {
                let parameter = parameter.trim().replace('"', "");
                parameter.eq_ignore_ascii_case("rel=next")
            });
            next.then(|| answer.url.join(target).ok())?
        })
}

/// The digest of the empty JSON object, which is the configuration of a manifest that attaches a bundle.
pub(crate) fn empty() -> Descriptor {
    Descriptor {
        digest: Digest::of(HashAlgorithm::Sha256, b"{}"),
        ..Descriptor::of(crate::EMPTY_TYPE, b"{}")
    }
}
