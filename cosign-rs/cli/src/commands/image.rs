//! Images in registries, verified: verify and verify-attestation.

use std::collections::BTreeMap;

use anyhow::Result;
use bundle::{Bundle, Content};
use futures_util::{StreamExt as _, stream};
use keys::Digest;
use oci::{Found, LegacyKind, Reference};
use policy::Asked;
use serde::Serialize;
use verify::Verified;

use super::candidates::{Candidates, Chosen};
use super::targets::{Plan, Target};
use crate::args::{self, Output, Verify, VerifyAttestation};
use crate::explained;
use crate::failure::{Outcome, Told, advice, advice_of, say};
use crate::judge::Judge;
use crate::predicate;
use crate::report::{self, Report};
use crate::tag_trust::{TagHeld, Tags};

/// What a registry shows of an image, in words.
pub(super) async fn look(name: &str, flags: &args::Registry) -> Result<String> {
    let plan = Plan::new(&[name.to_owned()], flags, false)?;
    let target = plan.target(&Reference::parse(name)?).await?;
    let digest = target.image.descriptor.digest;
    let kinds = [LegacyKind::Signature, LegacyKind::Attestation];
    let found = target.place.attached(&digest, &kinds).await?;
    if let Some(problem) = found.problems.into_iter().next() {
        return Err(anyhow::Error::from(problem.why)
            .context(format!("{digest} is there; reading {}", problem.what)));
    }
    Ok(format!(
        "{digest} is there, with {} bundles",
        found.attached.len()
    ))
}

/// What `verify` prints of a signature: cosign's form, and beside it what cosign does not tell.
#[derive(Serialize)]
struct Row<'a> {
    critical: Critical<'a>,
    optional: Option<&'a BTreeMap<String, serde_json::Value>>,
    verified: Report<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a TagHeld>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: DockerReference,
    image: ManifestDigest,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DockerReference {
    docker_reference: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ManifestDigest {
    docker_manifest_digest: String,
}

pub(super) async fn verify(arguments: Verify) -> Result<()> {
    let plan = Plan::new(
        &arguments.images,
        &arguments.registry,
        arguments.local_image,
    )?;
    let parts = arguments.local_image || arguments.platforms.any();
    let mut tags = tags(&arguments.tag_trust, &arguments.trust, &plan, parts).await?;
    let judge = Judge::beside(
        tags.as_mut(),
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
    )
    .await?;
    let targets = plan.targets(&arguments.platforms).await?;
    let annotations = &arguments.annotations;
    let verifying = stream::iter(&targets)
        .map(|target| {
            let wanted = move |holds: &Verified| {
                let digest = &target.image.descriptor.digest;
                no_signature(holds, digest, annotations).is_none()
            };
            candidates_of(target, LegacyKind::Signature, &judge, wanted)
        })
        .buffered(usize::from(arguments.max_workers));
    let mut verifying = std::pin::pin!(verifying);
    let mut targets = targets.iter();
    while let (Some(candidates), Some(target)) = (verifying.next().await, targets.next()) {
        let mut candidates = candidates?;
        let digest = candidates.digest();
        let explained = candidates.stories();
        explained::tell(&explained);
        let tag = tag_of(tags.as_mut(), target, &candidates).await?;
        let chosen = match signatures(&judge, candidates, &digest, annotations) {
            Ok(chosen) => chosen,
            Err(error) => return Err(Told::with(error, explained)),
        };
        if arguments.output.unwrap_or(Output::Json) == Output::Json {
            let mut explained = Some(explained);
            let rows: Vec<Row<'_>> = chosen
                .accepted
                .iter()
                .map(|(_, verified)| {
                    let report = Report::of(verified)
                        .judged(chosen.decision.as_ref())
                        .explained(explained.take().unwrap_or_default());
                    row(&target.name, &digest, verified, report, tag.as_ref())
                })
                .collect();
            report::print_json(&rows)?;
        }
        told(&target.name, "signature", &chosen.accepted);
        if let Some(tag) = &tag {
            say(&tag.text());
        }
    }
    Ok(())
}

/// The trust domain whose word about the images' tags is asked for, if it is; with `parts`, something else than whole images in registries is meant.
async fn tags(
    asked: &args::TagTrust,
    trust: &args::Trust,
    plan: &Plan,
    parts: bool,
) -> Result<Option<Tags>> {
    let tags = Tags::open(asked, trust, &plan.references()).await?;
    if tags.is_some() && parts {
        return Err(advice(
            "what a repository says about a tag is about the whole image in its registry",
            "leave out --local-image, --platform, --all-platforms and --recursive, or ask about the tag in a run of its own",
        ));
    }
    Ok(tags)
}

/// Does the image's tag point to it, where somebody asks?
async fn tag_of(
    tags: Option<&mut Tags>,
    target: &Target,
    candidates: &Candidates,
) -> Result<Option<TagHeld>> {
    match (tags, &target.reference) {
        (Some(tags), Some(reference)) => tags
            .check(reference, &candidates.digest(), candidates.size())
            .await
            .map(Some),
        _ => Ok(None),
    }
}

/// Those that sign the image itself, with what they must say.
pub(super) fn signatures(
    judge: &Judge,
    candidates: Candidates,
    digest: &Digest,
    annotations: &[(String, String)],
) -> Result<Chosen> {
    candidates.choose(judge, Asked::Signature, "signature", |holds| {
        no_signature(holds, digest, annotations)
    })
}

/// What it is instead of a signature of the image itself that says this; none if it is one.
fn no_signature(
    holds: &Verified,
    digest: &Digest,
    annotations: &[(String, String)],
) -> Option<String> {
    match holds.statement() {
        Some(statement) if statement.predicate_type != predicate::SIGNATURE => Some(format!(
            "an attestation of type {}",
            statement.predicate_type
        )),
        statement => {
            let annotated = match holds.claims() {
                Some(claims) => predicate::claimed(claims, annotations),
                None => predicate::annotated(statement, digest, annotations),
            };
            (!annotated).then(|| "signed without the annotations asked for".to_owned())
        }
    }
}

fn row<'a>(
    name: &str,
    digest: &Digest,
    verified: &'a Verified,
    report: Report<'a>,
    tag: Option<&'a TagHeld>,
) -> Row<'a> {
    let statement = verified.statement();
    Row {
        critical: Critical {
            identity: DockerReference {
                docker_reference: name.to_owned(),
            },
            image: ManifestDigest {
                docker_manifest_digest: digest.to_string(),
            },
            kind: statement.map_or("cosign container image signature", |statement| {
                statement.predicate_type.as_str()
            }),
        },
        optional: match verified.claims() {
            Some(claims) => claims.optional(),
            None => statement
                .and_then(|statement| statement.subject_of(digest))
                .and_then(|subject| subject.annotations.as_ref()),
        },
        verified: report,
        tag,
    }
}

pub(super) async fn verify_attestation(arguments: VerifyAttestation) -> Result<()> {
    let wanted = predicate::type_of(&arguments.predicate_type)?;
    let what = format!("attestation of type {wanted}");
    let plan = Plan::new(
        &arguments.images,
        &arguments.registry,
        arguments.local_image,
    )?;
    let parts = arguments.local_image || arguments.platforms.any();
    let mut tags = tags(&arguments.tag_trust, &arguments.trust, &plan, parts).await?;
    let judge = Judge::of_attestations(
        tags.as_mut(),
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
    )
    .await?;
    let targets = plan.targets(&arguments.platforms).await?;
    let verifying = stream::iter(&targets)
        .map(|target| {
            let asked = Asked::Attestation(wanted);
            candidates_of(target, LegacyKind::Attestation, &judge, move |holds| {
                asked.is(holds)
            })
        })
        .buffered(usize::from(arguments.max_workers));
    let mut verifying = std::pin::pin!(verifying);
    let mut targets = targets.iter();
    while let (Some(candidates), Some(target)) = (verifying.next().await, targets.next()) {
        let mut candidates = candidates?;
        let explained = candidates.stories();
        explained::tell(&explained);
        let tag = tag_of(tags.as_mut(), target, &candidates).await?;
        let chosen = attestations(&judge, candidates, wanted);
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Err(Told::with(error, explained)),
        };
        // As in cosign, one attestation of that type that is not allowed is one too many.
        for (bundle, _) in &chosen.accepted {
            if let Content::Envelope(envelope) = &bundle.content
                && let Err(error) = judge.check_rego(&target.name, &envelope.payload)
            {
                return Err(Told::with(error, explained));
            }
        }
        if arguments.output.unwrap_or(Output::Json) == Output::Json {
            for (bundle, _) in &chosen.accepted {
                if let Content::Envelope(envelope) = &bundle.content {
                    report::print_json(&envelope.to_wire())?;
                }
            }
        }
        told(&target.name, &what, &chosen.accepted);
        if let Some(tag) = &tag {
            say(&tag.text());
        }
    }
    Ok(())
}

/// Those that say something of this type.
pub(super) fn attestations(judge: &Judge, candidates: Candidates, wanted: &str) -> Result<Chosen> {
    let what = format!("attestation of type {wanted}");
    candidates.choose(
        judge,
        Asked::Attestation(wanted),
        &what,
        |holds| match holds.statement() {
            Some(statement) if statement.predicate_type == wanted => None,
            Some(statement) => Some(format!("a statement of type {}", statement.predicate_type)),
            None => Some("a signature over the image itself".to_owned()),
        },
    )
}

/// What is attached to an image, each piece of it verified or refused. Where one of those that hold is `wanted`, and one is enough, it need not be all.
async fn candidates_of(
    target: &Target,
    old: LegacyKind,
    judge: &Judge,
    wanted: impl Fn(&Verified) -> bool,
) -> Result<Candidates> {
    let digest = target.image.descriptor.digest;
    // A policy may ask for attestations beside signatures.
    let kinds: &[LegacyKind] = if judge.has_policy() {
        &[LegacyKind::Signature, LegacyKind::Attestation]
    } else {
        &[old]
    };
    let mut found = target.place.first_attached(&digest, kinds).await?;
    let mut candidates = Candidates::new(&target.name, &target.image);
    candidates.add(&mut found, judge);
    if judge.needs_all() || !candidates.have(wanted) {
        target
            .place
            .further_attached(&digest, kinds, &mut found)
            .await;
        candidates.add(&mut found, judge);
    }
    Ok(candidates)
}

/// The same for an image by its name; attestations of this type, or signatures.
pub(super) async fn candidates(
    plan: &Plan,
    reference: &Reference,
    kind: Option<&str>,
    judge: &Judge,
) -> Result<Candidates> {
    let (asked, old) = match kind {
        None => (Asked::Signature, LegacyKind::Signature),
        Some(kind) => (Asked::Attestation(kind), LegacyKind::Attestation),
    };
    let target = plan.target(reference).await?;
    candidates_of(&target, old, judge, |holds| asked.is(holds)).await
}

/// An image's manifest, and all signatures and attestations that are attached to it. What could not be read may be anything, so that it is an error
/// here.
pub(super) async fn fetch(name: &str, flags: &args::Registry) -> Result<(Vec<u8>, Found)> {
    let plan = Plan::new(&[name.to_owned()], flags, false)?;
    let target = plan.target(&Reference::parse(name)?).await?;
    let digest = &target.image.descriptor.digest;
    let kinds = [LegacyKind::Signature, LegacyKind::Attestation];
    let mut found = target.place.attached(digest, &kinds).await?;
    if !found.problems.is_empty() {
        let problem = found.problems.swap_remove(0);
        let what = problem.what;
        return Err(anyhow::Error::from(problem.why).context(format!("{name}: {what}")));
    }
    if found.attached.is_empty() && found.legacy.is_empty() {
        return Err(advice_of(
            Outcome::NoSignature,
            Some("no-signature"),
            format!("{name}: nothing is signed about {digest}"),
            "was it signed in another repository (--signature-repository)?",
        ));
    }
    Ok((target.image.manifest.to_vec(), found))
}

fn told(name: &str, what: &str, accepted: &[(Bundle, Verified)]) {
    say(&format!("\nVerified {name}: {} x {what}", accepted.len()));
    for (_, verified) in accepted {
        say(&Report::of(verified).text());
    }
}
