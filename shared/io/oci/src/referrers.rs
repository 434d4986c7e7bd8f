//! Finding what is attached to an image: the referrers API, the fallback tag, and both together.

use std::collections::BTreeMap;

use bytes::Bytes;
use client::{Answer, Call};
use futures_util::{StreamExt as _, stream};
use keys::{Digest, HashAlgorithm};
use serde_json::Value;
use url::Url;

use crate::auth::Access;
use crate::error::OciError;
use crate::manifest::{
    BUNDLE_TYPE_PREFIX, Descriptor, IMAGE_TYPE, INDEX_TYPE, Index, MANIFEST_MAX, Manifest,
};
use crate::reference::Repository;
use crate::registry::Registry;

/// The most referrers of one image that are looked at. Each costs two requests; cosign has a limit of the same size.
const REFERRERS_MAX: usize = 1000;
/// The most pages of a list of referrers.
const PAGES_MAX: usize = 100;
/// The largest bundle that is read; the parser takes no larger one either.
const BUNDLE_MAX: usize = 16 * 1024 * 1024;
/// Referrers that are read at a time.
const AT_A_TIME: usize = 6;

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
    /// What could not be read. If this is not empty, "there is no other signature" is not known.
    pub problems: Vec<Problem>,
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
    /// Finds the bundles that are attached to an image, in the repository `at`.
    pub async fn bundles(&self, at: &Repository, subject: &Digest) -> Found {
        let mut found = Found::default();
        let (listed, tagged) = tokio::join!(
            self.listed_referrers(at, subject),
            self.tagged_referrers(at, subject)
        );
        let listed = found.take(&format!("the referrers of {subject}"), listed);
        let tagged = found.take(&format!("the tag {}", fallback_tag(subject)), tagged);
        let entries = [listed.flatten(), tagged.flatten()]
            .into_iter()
            .flatten()
            .flat_map(|listed| listed.entries);
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
                let outcome = self.attached(at, subject, &descriptor).await;
                (descriptor.digest.to_string(), outcome)
            })
            .buffered(AT_A_TIME);
        while let Some((digest, outcome)) = read.next().await {
            if let Some(Some(attached)) = found.take(&digest, outcome) {
                found.attached.push(attached);
            }
        }
        found
    }

    /// Reads one referrer; none if it is no bundle.
    async fn attached(
        &self,
        at: &Repository,
        subject: &Digest,
        descriptor: &Descriptor,
    ) -> Result<Option<Attached>, OciError> {
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
        let manifest: Manifest =
            serde_json::from_slice(&answer.body).map_err(|error| OciError::Malformed {
                what: what.clone(),
                why: error.to_string(),
            })?;
        let Some(layer) = bundle_layer(&manifest, subject) else {
            return Ok(None);
        };
        let bundle = self.blob(at, layer, BUNDLE_MAX).await?;
        Ok(Some(Attached {
            manifest: found,
            media_type: layer.media_type.clone(),
            bundle,
            annotations: manifest.annotations.unwrap_or_default(),
        }))
    }

    /// By the referrers API, all pages; none if the registry has no such API.
    pub(crate) async fn listed_referrers(
        &self,
        at: &Repository,
        subject: &Digest,
    ) -> Result<Option<Listed>, OciError> {
        let what = format!("listing the referrers of {subject} in {at}");
        let first = self.url(at, &format!("referrers/{subject}")).await?;
        let origin = first.origin();
        let mut next = Some(first);
        let mut entries = Vec::new();
        for page in 0..PAGES_MAX {
            let Some(url) = next.take() else {
                return Ok(Some(Listed { entries }));
            };
            let call = Call::get(url).accept(INDEX_TYPE).limit(MANIFEST_MAX);
            let answer = self.send(&what, at, Access::Read, call).await?;
            let unknown = matches!(answer.status.as_u16(), 400 | 404 | 406)
                || (answer.status.as_u16() == 200 && answer.media_type() != INDEX_TYPE);
            if page == 0 && unknown {
                return Ok(None);
            }
            let answer = self.check(&what, at, answer, &[200])?;
            let index: Index =
                serde_json::from_slice(&answer.body).map_err(|error| OciError::Malformed {
                    what: what.clone(),
                    why: error.to_string(),
                })?;
            entries.extend(index.manifests);
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
        let Some(answer) = self.manifest(&what, at, tag, INDEX_TYPE).await? else {
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

impl Found {
    fn take<T>(&mut self, what: &str, outcome: Result<T, OciError>) -> Option<T> {
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
    (about == Some(*subject) && layer.media_type.starts_with(BUNDLE_TYPE_PREFIX)).then_some(layer)
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
