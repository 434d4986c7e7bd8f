//! Images in registries, verified: verify and verify-attestation.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content};
use futures_util::{StreamExt as _, stream};
use keys::Digest;
use oci::{Credentials, Keychain, Reference, Repository};
use policy::Asked;
use serde::Serialize;
use verify::Verified;
use zeroize::Zeroizing;

use super::candidates::{Candidates, Chosen};
use crate::args::{self, Output, Verify, VerifyAttestation};
use crate::explained;
use crate::failure::{Outcome, Told, advice_of, say};
use crate::judge::Judge;
use crate::report::{self, Report};
use crate::tag_trust::{TagHeld, Tags};
use crate::{predicate, trust_files};

/// The largest file with certificate authorities.
const ROOTS_MAX: u64 = 4 << 20;
/// A registry, the images asked for and the place of their signatures.
pub(super) struct Plan {
    pub(super) registry: oci::Registry,
    pub(super) references: Vec<Reference>,
    elsewhere: Option<Repository>,
}

impl Plan {
    pub(super) fn new(images: &[String], flags: &args::Registry) -> Result<Self> {
        let references = images
            .iter()
            .map(|image| Reference::parse(image).map_err(Into::into))
            .collect::<Result<_>>()?;
        let elsewhere = flags
            .signature_repository
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(Repository::parse)
            .transpose()
            .context("--signature-repository")?;
        Ok(Self {
            registry: oci::Registry::new(settings(flags)?),
            references,
            elsewhere,
        })
    }

    /// Whose images they are, and where it is shown that somebody signs them.
    pub(super) fn repositories(&self) -> Vec<&Repository> {
        let own = self
            .references
            .iter()
            .map(|reference| &reference.repository);
        own.chain(&self.elsewhere).collect()
    }

    pub(super) fn place<'a>(&'a self, reference: &'a Reference) -> &'a Repository {
        self.elsewhere.as_ref().unwrap_or(&reference.repository)
    }
}

fn settings(flags: &args::Registry) -> Result<oci::Settings> {
    let secret = |text: &String| Zeroizing::new(text.clone());
    let keychain = match (
        &flags.registry_token,
        &flags.registry_username,
        &flags.registry_password,
    ) {
        (Some(token), _, _) => Keychain::Given(Credentials::Bearer(secret(token))),
        (None, Some(user), Some(password)) => Keychain::Given(Credentials::Password {
            user: user.clone(),
            password: secret(password),
        }),
        _ => Keychain::Configured,
    };
    let mut settings = oci::Settings {
        keychain,
        plain_http: flags.allow_http_registry,
        ..oci::Settings::default()
    };
    settings.agent.any_certificate = flags.allow_insecure_registry;
    if let Some(path) = &flags.registry_cacert {
        settings.agent.extra_roots_pem = trust_files::read_at_most(path, ROOTS_MAX)?;
    }
    Ok(settings)
}

/// What a registry shows of an image, in words.
pub(super) async fn look(name: &str, flags: &args::Registry) -> Result<String> {
    let plan = Plan::new(&[name.to_owned()], flags)?;
    let reference = plan.references.first().context("no image")?;
    let image = plan.registry.image(reference).await?;
    let digest = image.descriptor.digest;
    let found = plan.registry.bundles(plan.place(reference), &digest).await;
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
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    let mut tags = Tags::open(&arguments.tag_trust, &arguments.trust, &plan.references).await?;
    let judge = Judge::beside(
        tags.as_mut(),
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
    )
    .await?;
    let verifying = stream::iter(&plan.references)
        .map(|reference| candidates(&plan, reference, &judge))
        .buffered(usize::from(arguments.max_workers));
    let mut verifying = std::pin::pin!(verifying);
    let mut references = plan.references.iter();
    while let (Some(candidates), Some(reference)) = (verifying.next().await, references.next()) {
        let mut candidates = candidates?;
        let digest = candidates.digest();
        let explained = candidates.stories();
        explained::tell(&explained);
        let tag = match &mut tags {
            Some(tags) => Some(tags.check(reference, &digest, candidates.size()).await?),
            None => None,
        };
        let chosen = match signatures(&judge, candidates, &digest, &arguments.annotations) {
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
                    row(reference, &digest, verified, report, tag.as_ref())
                })
                .collect();
            report::print_json(&rows)?;
        }
        told(reference, "signature", &chosen.accepted);
        if let Some(tag) = &tag {
            say(&tag.text());
        }
    }
    Ok(())
}

/// Those that sign the image itself, with what they must say.
pub(super) fn signatures(
    judge: &Judge,
    candidates: Candidates,
    digest: &Digest,
    annotations: &[(String, String)],
) -> Result<Chosen> {
    candidates.choose(judge, Asked::Signature, "signature", |holds| {
        match holds.statement() {
            Some(statement) if statement.predicate_type != predicate::SIGNATURE => Some(format!(
                "an attestation of type {}",
                statement.predicate_type
            )),
            statement => (!predicate::annotated(statement, digest, annotations))
                .then(|| "signed without the annotations asked for".to_owned()),
        }
    })
}

fn row<'a>(
    reference: &Reference,
    digest: &Digest,
    verified: &'a Verified,
    report: Report<'a>,
    tag: Option<&'a TagHeld>,
) -> Row<'a> {
    let statement = verified.statement();
    Row {
        critical: Critical {
            identity: DockerReference {
                docker_reference: reference.to_string(),
            },
            image: ManifestDigest {
                docker_manifest_digest: digest.to_string(),
            },
            kind: statement.map_or("cosign container image signature", |statement| {
                statement.predicate_type.as_str()
            }),
        },
        optional: statement
            .and_then(|statement| statement.subject_of(digest))
            .and_then(|subject| subject.annotations.as_ref()),
        verified: report,
        tag,
    }
}

pub(super) async fn verify_attestation(arguments: VerifyAttestation) -> Result<()> {
    let judge =
        Judge::of_attestations(&arguments.expected, &arguments.judging, &arguments.trust).await?;
    let wanted = predicate::type_of(&arguments.predicate_type)?;
    let what = format!("attestation of type {wanted}");
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    let verifying = stream::iter(&plan.references)
        .map(|reference| candidates(&plan, reference, &judge))
        .buffered(usize::from(arguments.max_workers));
    let mut verifying = std::pin::pin!(verifying);
    let mut references = plan.references.iter();
    while let (Some(candidates), Some(reference)) = (verifying.next().await, references.next()) {
        let mut candidates = candidates?;
        let explained = candidates.stories();
        explained::tell(&explained);
        let chosen = attestations(&judge, candidates, wanted);
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Err(Told::with(error, explained)),
        };
        // As in cosign, one attestation of that type that is not allowed is one too many.
        for (bundle, _) in &chosen.accepted {
            if let Content::Envelope(envelope) = &bundle.content
                && let Err(error) = judge.check_rego(&reference.to_string(), &envelope.payload)
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
        told(reference, &what, &chosen.accepted);
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

pub(super) async fn candidates(
    plan: &Plan,
    reference: &Reference,
    judge: &Judge,
) -> Result<Candidates> {
    let image = plan.registry.image(reference).await?;
    let place = plan.place(reference);
    let found = plan.registry.bundles(place, &image.descriptor.digest).await;
    Ok(Candidates::check(reference, &image, found, judge))
}

/// An image's manifest, and all bundles that are attached to it. What could not be read may be anything, so that it is an error here.
pub(super) async fn fetch(name: &str, flags: &args::Registry) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let plan = Plan::new(&[name.to_owned()], flags)?;
    let reference = plan.references.first().context("no image")?;
    let image = plan.registry.image(reference).await?;
    let digest = &image.descriptor.digest;
    let found = plan.registry.bundles(plan.place(reference), digest).await;
    if let Some(problem) = found.problems.into_iter().next() {
        let what = problem.what;
        return Err(anyhow::Error::from(problem.why).context(format!("{name}: {what}")));
    }
    let bundles: Vec<Vec<u8>> = found
        .attached
        .into_iter()
        .map(|attached| attached.bundle.to_vec())
        .collect();
    if bundles.is_empty() {
        return Err(advice_of(
            Outcome::NoSignature,
            Some("no-signature"),
            format!("{name}: nothing is signed about {digest}"),
            "was it signed in another repository (--signature-repository)?",
        ));
    }
    Ok((image.manifest.to_vec(), bundles))
}

fn told(reference: &Reference, what: &str, accepted: &[(Bundle, Verified)]) {
    say(&format!(
        "\nVerified {reference}: {} x {what}",
        accepted.len()
    ));
    for (_, verified) in accepted {
        say(&Report::of(verified).text());
    }
}
