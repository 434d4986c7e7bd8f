//! Tags that a team answers for: a trust domain's repository says to which digest `registry/repository:tag` points (`cosign-rs root tag`), signed
//! by as many of the team's keys as their delegation asks for.
//!
//! A signature of an image says who made it, and not whether it is the newest: who has the registry can let a tag point to an old image that
//! was signed well. Here the repository's versions only rise and its timestamp ends, so that neither an older digest nor an old answer is taken
//! for the newest one. Nothing that is missing counts as a yes.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use keys::{Digest, HashAlgorithm};
use oci::Reference;
use serde::Serialize;
use trust::TrustedRoot;
use tuf::{File, Target, TargetPath, UpdateError};
use tuf_client::{FollowError, Refresh};
use verify::Expect;

use crate::args::{self, TagTrust};
use crate::failure::advice;
use crate::trust_domain::{self, Trusting, explained};
use crate::trust_files;

/// For how long an answer of the repository is good enough for who asks about many images, or serves those who do.
const RECENT: SignedDuration = SignedDuration::from_secs(10);

/// A trust domain whose word about tags counts.
pub(crate) struct Tags {
    trusting: Trusting,
    /// The same one says whom to trust.
    is_the_trust_domain: bool,
    /// It is asked about each image, and not only when what is cached is over.
    asked_each_time: bool,
}

/// A tag that points where it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagHeld {
    tag: String,
    trust_domain: String,
    role: String,
    version: u64,
    threshold: usize,
    keys: usize,
    until: Timestamp,
}

/// A tag that does not, or of which nobody says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TagRefused {
    /// There is nothing to look up.
    #[error("{image} names no tag, and --tag-trust is about where a tag points")]
    NoTag { image: String },
    /// Longer than the name of a target.
    #[error("{tag} cannot be looked up in a repository: it is too long, or no path")]
    Unnameable { tag: String },
    /// No role lists it.
    #[error("no role of the trust domain {domain} says where {tag} points")]
    Unknown { tag: String, domain: String },
    /// Its role's time is over.
    #[error("{domain}'s word on {tag} is over: {file} expired at {expires}")]
    Expired {
        tag: String,
        domain: String,
        file: String,
        expires: Timestamp,
    },
    /// Another image.
    #[error(
        "{tag} is {found} in the registry, and by {role} {version} of {domain} it is {expected}"
    )]
    Digest {
        tag: String,
        domain: String,
        role: String,
        version: u64,
        expected: String,
        found: String,
    },
    /// The same digest and another length: somebody typed the wrong one.
    #[error("{tag} has {found} bytes in the registry, and by {role} of {domain} {expected}")]
    Size {
        tag: String,
        domain: String,
        role: String,
        expected: u64,
        found: u64,
    },
}

impl TagRefused {
    /// A stable word for programs.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoTag { .. } => "tag-missing",
            Self::Unnameable { .. } => "tag-unnameable",
            Self::Unknown { .. } => "tag-unknown",
            Self::Expired { .. } => "tag-expired",
            Self::Digest { .. } => "tag-digest",
            Self::Size { .. } => "tag-size",
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoTag { image } => {
                let (name, digest) = image.split_once('@').unwrap_or((image, ""));
                format!("name both, as {name}:TAG@{digest}, or leave --tag-trust out: a digest is always the same image")
            }
            Self::Unnameable { .. } => "leave --tag-trust out, or give the image a shorter name".to_owned(),
            Self::Unknown { tag, .. } => format!(
                "is the name right, and is it the right trust domain (--tag-trust=NAME)? Its team says it with `cosign-rs root tag ROLE {tag} DIGEST`"
            ),
            Self::Expired { domain, .. } => format!(
                "its team has to sign again (`cosign-rs root propose --renew ROLE`); `cosign-rs trust refresh --trust-domain {domain}` gets what is there"
            ),
            Self::Digest { expected, .. } => format!(
                "do not use it: somebody moved the tag in the registry, or its team has not said yet that it moved. The image that was meant is {expected}"
            ),
            Self::Size { .. } => "its team has to state the length of the manifest: `cosign-rs root tag` with the right --size".to_owned(),
        }
    }
}

impl Tags {
    /// The trust domain that was asked for; the references are looked at before anybody is asked.
    pub(crate) async fn open(
        asked: &TagTrust,
        trust: &args::Trust,
        references: &[Reference],
    ) -> Result<Option<Self>> {
        let Some(named) = &asked.tag_trust else {
            return Ok(None);
        };
        for reference in references {
            path_of(reference)?;
        }
        let files = trust.trusted_root.is_some() || trust.trust_config.is_some();
        if named.is_empty() && files {
            return Err(advice(
                "--tag-trust with a trusted root from a file: which trust domain says where tags point?",
                "name it: --tag-trust=NAME",
            ));
        }
        let mut following = trust.following.clone();
        if !named.is_empty() {
            following.trust_domain = Some(named.clone());
        }
        let mut followable = trust_domain::followable(&following)?;
        // A tag may have moved a minute ago.
        if followable.refresh == Refresh::Daily {
            followable.refresh = Refresh::Always;
        }
        let asked_each_time = followable.refresh == Refresh::Always;
        let trusting = followable
            .follow()
            .await
            .map_err(|(domain, error)| explained(&domain, error))?;
        Ok(Some(Self {
            trusting,
            is_the_trust_domain: named.is_empty(),
            asked_each_time,
        }))
    }

    /// Whom to trust, without asking the same repository twice.
    pub(crate) async fn trusted_root(
        tags: Option<&mut Self>,
        expect: &Expect,
        trust: &args::Trust,
    ) -> Result<TrustedRoot> {
        match (tags, expect) {
            (_, Expect::UnloggedKey(_)) | (None, _) => {
                trust_files::for_verifying(expect, trust).await
            }
            (Some(tags), _) if tags.is_the_trust_domain => tags.trusting.trusted_root().await,
            (Some(_), _) => trust_files::for_verifying(expect, trust).await,
        }
    }

    /// Does the tag point to this manifest?
    pub(crate) async fn check(
        &mut self,
        reference: &Reference,
        manifest: &Digest,
        size: u64,
    ) -> Result<TagHeld> {
        let path = path_of(reference)?;
        let domain = self.trusting.domain().name.clone();
        let renewed = if self.asked_each_time {
            self.trusting.renew(RECENT).await
        } else {
            Ok(())
        };
        let found = match renewed {
            Ok(()) => self.trusting.find(path.clone()).await,
            Err(error) => Err(error),
        };
        let target = found.map_err(|error| {
            refused(&path, &domain, error)
                .unwrap_or_else(|error| explained(self.trusting.domain(), error))
        })?;
        compare(&path, &domain, &target, manifest, size)
    }
}

/// The name under which a repository has the tag: registry and repository as [`Reference`] writes them, so `index.docker.io/library/alpine:3`.
pub(crate) fn path_of(reference: &Reference) -> Result<TargetPath> {
    let Some(tag) = &reference.tag else {
        return Err(TagRefused::NoTag {
            image: reference.to_string(),
        }
        .into());
    };
    let tag = format!("{}:{tag}", reference.repository);
    TargetPath::new(&tag).map_err(|_| TagRefused::Unnameable { tag }.into())
}

/// What of the reasons why there is no target is about the tag.
fn refused(
    path: &TargetPath,
    domain: &str,
    error: FollowError,
) -> Result<anyhow::Error, FollowError> {
    let (tag, domain) = (path.to_string(), domain.to_owned());
    match error {
        FollowError::NoTarget(_) => Ok(TagRefused::Unknown { tag, domain }.into()),
        FollowError::Update(UpdateError::Expired {
            file: file @ File::Targets { .. },
            expires,
            ..
        }) => Ok(TagRefused::Expired {
            tag,
            domain,
            file: file.to_string(),
            expires,
        }
        .into()),
        other => Err(other),
    }
}

fn compare(
    path: &TargetPath,
    domain: &str,
    target: &Target,
    manifest: &Digest,
    size: u64,
) -> Result<TagHeld> {
    let by = target.by();
    // A repository may name other hashes; images are known by this one.
    let expected = target.sha256();
    if manifest.algorithm() != HashAlgorithm::Sha256 || expected.as_ref() != Some(manifest) {
        return Err(TagRefused::Digest {
            tag: path.to_string(),
            domain: domain.to_owned(),
            role: by.role.clone(),
            version: by.version.get(),
            expected: expected.map_or_else(
                || "without a SHA-256".to_owned(),
                |digest| digest.to_string(),
            ),
            found: manifest.to_string(),
        }
        .into());
    }
    if target.length() != size {
        return Err(TagRefused::Size {
            tag: path.to_string(),
            domain: domain.to_owned(),
            role: by.role.clone(),
            expected: target.length(),
            found: size,
        }
        .into());
    }
    Ok(TagHeld {
        tag: path.to_string(),
        trust_domain: domain.to_owned(),
        role: by.role.clone(),
        version: by.version.get(),
        threshold: by.threshold,
        keys: by.keys,
        until: by.expires,
    })
}

impl TagHeld {
    /// A line for people.
    pub(crate) fn text(&self) -> String {
        format!(
            "  {} points there by {} {} of {}, signed by {} of {}, until {}",
            self.tag,
            crate::failure::in_line(&self.role),
            self.version,
            crate::failure::in_line(&self.trust_domain),
            self.threshold,
            self.keys,
            self.until
        )
    }
}
