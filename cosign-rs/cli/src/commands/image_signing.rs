//! Images in registries, signed: sign and attest.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Bundle;
use bytes::Bytes;
use dsse::Statement;
use jiff::Timestamp;
use oci::{Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED, CopyError, LayoutError};
use sign::{Session, SignedBundle};
use verify::{Artifact, Expect};

use super::batch::{Batch, Done};
use super::targets::{Plan, Target};
use super::{Prepared, image_old};
use crate::args::{Attest, Batching, Formats, Platforms, Sign, StatementVersion};
use crate::bundle_file::{self, BundleFile};
use crate::failure::{advice, say};
use crate::report::Report;
use crate::{predicate, trust_files};

/// The largest predicate: the parser of bundles takes no larger document, and a payload stands in it as base64.
const PREDICATE_MAX: u64 = 10 << 20;

pub(super) async fn sign(arguments: Sign) -> Result<()> {
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    // What the key cannot sign is known before the registry is asked.
    prepared.hash()?;
    let plan = Plan::new(
        &arguments.images,
        &arguments.registry,
        arguments.local_image,
    )?;
    let path = arguments.bundle.as_deref();
    let inputs: Vec<&Path> =
        bundle_file::secrets(Some(&arguments.key), &arguments.identity).collect();
    let file = one_bundle(path, &plan, &arguments.platforms, &inputs)?;
    let formats = &arguments.formats;
    may_be_old(formats, path, &arguments.batching, &prepared)?;
    if formats.legacy() && !arguments.upload {
        return Err(old_is_attached("--upload=false"));
    }
    if !arguments.upload && arguments.bundle.is_none() {
        return Err(advice(
            "--upload=false without --bundle: the signature would be nowhere",
            "write it to a file with --bundle",
        ));
    }
    let targets = plan.targets(&arguments.platforms).await?;
    can_be_attached(&targets, formats, arguments.upload)?;
    for target in targets.iter().filter(|target| target.by_tag) {
        say(&format!(
            "note: {} is {} now; a tag may be moved before somebody signs or verifies it, a digest is always the same image",
            target.name, target.image.descriptor.digest
        ));
    }
    let works = targets.into_iter().map(|target| {
        let digest = target.image.descriptor.digest;
        let statement = predicate::signature(&digest, &arguments.annotations)?;
        Ok::<_, anyhow::Error>((target, statement))
    });
    let works: Vec<_> = works.collect::<Result<_>>()?;
    let signing = Signing {
        session: prepared
            .session(&arguments.identity, &plan.repositories())
            .await?,
        file: Cell::new(file),
        bundle: formats.bundle(),
        upload: arguments.upload,
        old: formats.legacy().then(|| Old::Signature {
            annotations: arguments.annotations.clone(),
        }),
        if_missing: arguments.batching.if_missing,
    };
    signing.run("signed", works, &arguments.batching).await
}

/// What is written for cosign before 3.
enum Old {
    /// A signature over the payload that names the image: another one than the bundle's, which is over a statement.
    Signature { annotations: Vec<(String, String)> },
    /// The envelope of the bundle.
    Attestation,
}

/// What signing images takes, once it is known who signs.
struct Signing {
    session: Session,
    /// For one image.
    file: Cell<Option<BundleFile>>,
    /// Whether there is to be a bundle.
    bundle: bool,
    /// Whether it is attached to the image.
    upload: bool,
    old: Option<Old>,
    if_missing: bool,
}

impl Signing {
    /// Signs a statement about each of the images, some at a time.
    async fn run(
        &self,
        done: &str,
        works: Vec<(Target, Vec<u8>)>,
        batching: &Batching,
    ) -> Result<()> {
        let own = self.session.own().await;
        let batch = Batch::new(works.len(), usize::from(batching.max_workers));
        let one = async |(target, statement): (Target, Vec<u8>)| -> Result<Done> {
            let name = target.exact();
            if let Some(own) = own.as_ref().filter(|_| self.if_missing)
                && self.is_there(&target, &statement, own).await?
            {
                batch.say(&format!("{name}: {done} already"));
                return Ok(Done::Already);
            }
            if let Some(Old::Signature { annotations }) = &self.old {
                let signed = image_old::sign(&self.session, &target, annotations).await?;
                batch.say(&format!(
                    "{done} {name} for cosign before 3\n{}",
                    Report::of(signed.verified()).text()
                ));
                if !self.bundle {
                    return Ok(Done::Signed);
                }
            }
            let predicate_type = Statement::parse(&statement)?.predicate_type;
            let signed = self
                .session
                .sign_statement(statement, Timestamp::now())
                .await
                .with_context(|| format!("{name} is not {done}"))?;
            if let Some(file) = self.file.take() {
                file.write(signed.json())?;
            }
            if self.upload && self.bundle {
                attach(&target, &signed, &predicate_type).await?;
            }
            if matches!(self.old, Some(Old::Attestation)) {
                image_old::attach_attestation(&target, &signed, &predicate_type).await?;
            }
            batch.say(&format!(
                "{done} {name}\n{}",
                Report::of(signed.verified()).text()
            ));
            Ok(Done::Signed)
        };
        batch.run(works, one).await
    }

    /// Is there a bundle at the image already, in which the same signer says the same? What cannot be read may be one.
    async fn is_there(&self, target: &Target, statement: &[u8], own: &Expect) -> Result<bool> {
        let digest = &target.image.descriptor.digest;
        let found = target.place.attached(digest, &[]).await?;
        if let Some(problem) = found.problems.into_iter().next() {
            return Err(anyhow::Error::from(problem.why).context(format!(
                "{}: whether it is signed already: reading {}",
                target.name, problem.what
            )));
        }
        let (artifact, wanted) = (
            Artifact::from_bytes(&target.image.manifest),
            Statement::parse(statement)?,
        );
        Ok(found.attached.iter().any(|attached| {
            let verified = Bundle::parse(&attached.bundle).ok().and_then(|bundle| {
                verify::bundle(&bundle, &artifact, self.session.root(), own).ok()
            });
            verified.is_some_and(|verified| {
                let there = verified.statement();
                there.is_some_and(|there| predicate::says_the_same(there, &wanted))
            })
        }))
    }
}

pub(super) async fn attest(arguments: Attest) -> Result<()> {
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    // What the key cannot sign is known before the registry is asked.
    prepared.hash()?;
    let plan = Plan::new(
        &arguments.images,
        &arguments.registry,
        arguments.local_image,
    )?;
    let inputs: Vec<&Path> = [&arguments.predicate, &arguments.statement]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .chain(bundle_file::secrets(
            Some(&arguments.key),
            &arguments.identity,
        ))
        .collect();
    let path = arguments.bundle.as_deref();
    let file = one_bundle(path, &plan, &arguments.platforms, &inputs)?;
    let formats = &arguments.formats;
    may_be_old(formats, path, &arguments.batching, &prepared)?;
    if formats.legacy() && arguments.no_upload {
        return Err(old_is_attached("--no-upload"));
    }
    let what = What::read(&arguments)?;
    let targets = plan.targets(&arguments.platforms).await?;
    can_be_attached(&targets, formats, !arguments.no_upload)?;
    let mut works = Vec::new();
    for target in targets {
        let statement = what.statement(&target, arguments.statement_version)?;
        works.push((target, statement));
    }
    let signing = Signing {
        session: prepared
            .session(&arguments.identity, &plan.repositories())
            .await?,
        file: Cell::new(file),
        bundle: formats.bundle(),
        upload: !arguments.no_upload,
        old: formats.legacy().then_some(Old::Attestation),
        if_missing: arguments.batching.if_missing,
    };
    signing.run("attested to", works, &arguments.batching).await
}

/// What is said about the images.
enum What {
    /// A predicate, of which a statement about each is made.
    Predicate { kind: String, predicate: Vec<u8> },
    /// A statement about all of them.
    Statement { path: PathBuf, bytes: Vec<u8> },
}

impl What {
    fn read(arguments: &Attest) -> Result<Self> {
        let (what, kind) = if let Some(path) = &arguments.statement {
            let bytes = trust_files::read_at_most(path, PREDICATE_MAX)?;
            let parsed = Statement::parse(&bytes);
            let parsed = parsed.with_context(|| format!("the statement {}", path.display()))?;
            let path = path.clone();
            (Self::Statement { path, bytes }, parsed.predicate_type)
        } else {
            let path = arguments.predicate.as_deref().context("no predicate")?;
            let predicate = trust_files::read_at_most(path, PREDICATE_MAX)?;
            let kind = arguments.predicate_type.clone();
            let uri = predicate::type_of(&kind)?.to_owned();
            (Self::Predicate { kind, predicate }, uri)
        };
        if kind == predicate::SIGNATURE {
            return Err(advice(
                format!("{kind} is the type of signatures, not of attestations"),
                "sign the image with sign",
            ));
        }
        Ok(what)
    }

    fn statement(&self, target: &Target, version: StatementVersion) -> Result<Vec<u8>> {
        let digest = &target.image.descriptor.digest;
        match self {
            Self::Predicate { kind, predicate } => predicate::attestation(
                &target.repository,
                digest,
                kind,
                predicate,
                version,
                Timestamp::now(),
            ),
            Self::Statement { path, bytes } => {
                if Statement::parse(bytes)?.is_about(digest) {
                    return Ok(bytes.clone());
                }
                Err(advice(
                    format!(
                        "the statement {} is not about {}: none of its subjects has the digest {digest}",
                        path.display(),
                        target.name
                    ),
                    "its subject needs the digest of the manifest, or of the index, that the reference names",
                ))
            }
        }
    }
}

fn one_bundle(
    path: Option<&Path>,
    plan: &Plan,
    platforms: &Platforms,
    inputs: &[&Path],
) -> Result<Option<BundleFile>> {
    if path.is_some() && (plan.count() > 1 || platforms.recursive || platforms.all_platforms) {
        return Err(advice(
            "--bundle names one file, and there are several images",
            "sign them one by one, or leave --bundle out",
        ));
    }
    path.map(|path| BundleFile::prepare(path, inputs.iter().copied()))
        .transpose()
}

fn old_is_attached(flag: &str) -> anyhow::Error {
    advice(
        format!("{flag} with the format of cosign before 3, which is attached in registries only"),
        format!("leave out {flag}, or --format"),
    )
}

/// What would be attached to these images can be: a signature that is in the log and nowhere else serves nobody.
fn can_be_attached(targets: &[Target], formats: &Formats, upload: bool) -> Result<()> {
    if !upload {
        return Ok(());
    }
    for target in targets {
        if let Err(error) = target.place.check_attachable(formats.legacy()) {
            let next = match error {
                CopyError::Layout(LayoutError::Archive { .. }) => {
                    "unpack the archive into a folder and name that, or write the bundle to a file with --bundle, --upload=false in sign and --no-upload in attest"
                }
                _ => "leave out --format, or load the image into a registry and sign it there",
            };
            return Err(advice(error.to_string(), next));
        }
    }
    Ok(())
}

/// Whether the format of cosign before 3 can be written, if it is asked for.
fn may_be_old(
    formats: &Formats,
    bundle: Option<&Path>,
    batching: &Batching,
    prepared: &Prepared,
) -> Result<()> {
    if !formats.legacy() {
        return Ok(());
    }
    if !formats.bundle() && (bundle.is_some() || batching.if_missing) {
        return Err(advice(
            "--format legacy writes no bundle: --bundle and --if-missing are about bundles",
            "leave them out, or say --format both",
        ));
    }
    image_old::check(prepared)
}

async fn attach(target: &Target, signed: &SignedBundle, predicate_type: &str) -> Result<()> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let annotations = Annotations::from([
        (CREATED.to_owned(), now.to_string()),
        (BUNDLE_CONTENT.to_owned(), "dsse-envelope".to_owned()),
        (BUNDLE_PREDICATE_TYPE.to_owned(), predicate_type.to_owned()),
    ]);
    target
        .place
        .attach(
            &target.image.descriptor,
            bundle::MEDIA_TYPE,
            Bytes::copy_from_slice(signed.json()),
            &annotations,
        )
        .await
        .with_context(|| {
            format!(
                "{} is signed and recorded, and the bundle could not be attached to it",
                target.name
            )
        })?;
    Ok(())
}
