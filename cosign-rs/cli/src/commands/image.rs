//! Images in registries, verified: verify and verify-attestation.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content};
use keys::Digest;
use oci::{Credentials, Keychain, Reference, Repository};
use serde::Serialize;
use trust::TrustedRoot;
use verify::{Expect, Verified};
use zeroize::Zeroizing;

use super::candidates::Candidates;
use crate::args::{self, Output, Verify, VerifyAttestation};
use crate::failure::say;
use crate::report::{self, Report};
use crate::tag_trust::{TagHeld, Tags};
use crate::{expectation, predicate, trust_files};

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
    let expect = expectation::of(&arguments.expected).await?;
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    let mut tags = Tags::open(&arguments.tag_trust, &arguments.trust, &plan.references).await?;
    let root = Tags::trusted_root(tags.as_mut(), &expect, &arguments.trust).await?;
    for reference in &plan.references {
        let candidates = candidates(&plan, reference, &root, &expect).await?;
        let digest = candidates.digest();
        let tag = match &mut tags {
            Some(tags) => Some(tags.check(reference, &digest, candidates.size()).await?),
            None => None,
        };
        let accepted = candidates.choose("signature", |holds| match holds.statement() {
            Some(statement) if statement.predicate_type != predicate::SIGNATURE => Some(format!(
                "an attestation of type {}",
                statement.predicate_type
            )),
            statement => (!predicate::annotated(statement, &digest, &arguments.annotations))
                .then(|| "signed without the annotations asked for".to_owned()),
        })?;
        if arguments.output.unwrap_or(Output::Json) == Output::Json {
            let rows: Vec<Row<'_>> = accepted
                .iter()
                .map(|(_, verified)| row(reference, &digest, verified, tag.as_ref()))
                .collect();
            report::print_json(&rows)?;
        }
        told(reference, "signature", &accepted);
        if let Some(tag) = &tag {
            say(&tag.text());
        }
    }
    Ok(())
}

fn row<'a>(
    reference: &Reference,
    digest: &Digest,
    verified: &'a Verified,
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
        verified: Report::of(verified),
        tag,
    }
}

pub(super) async fn verify_attestation(arguments: VerifyAttestation) -> Result<()> {
    let expect = expectation::of(&arguments.expected).await?;
    let root = trust_files::for_verifying(&expect, &arguments.trust).await?;
    let wanted = predicate::type_of(&arguments.predicate_type)?;
    let what = format!("attestation of type {wanted}");
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    for reference in &plan.references {
        let candidates = candidates(&plan, reference, &root, &expect).await?;
        let accepted = candidates.choose(&what, |holds| match holds.statement() {
            Some(statement) if statement.predicate_type == wanted => None,
            Some(statement) => Some(format!("a statement of type {}", statement.predicate_type)),
            None => Some("a signature over the image itself".to_owned()),
        })?;
        if arguments.output.unwrap_or(Output::Json) == Output::Json {
            for (bundle, _) in &accepted {
                if let Content::Envelope(envelope) = &bundle.content {
                    report::print_json(&envelope.to_wire())?;
                }
            }
        }
        told(reference, &what, &accepted);
    }
    Ok(())
}

async fn candidates(
    plan: &Plan,
    reference: &Reference,
    root: &TrustedRoot,
    expect: &Expect,
) -> Result<Candidates> {
    let image = plan.registry.image(reference).await?;
    let place = plan.place(reference);
    let found = plan.registry.bundles(place, &image.descriptor.digest).await;
    Ok(Candidates::check(reference, &image, found, root, expect))
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
