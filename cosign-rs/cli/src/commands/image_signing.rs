//! Images in registries, signed: sign and attest.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Bundle;
use bytes::Bytes;
use dsse::Statement;
use jiff::Timestamp;
use oci::{Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED, Image, Reference};
use sign::{Session, SignedBundle};
use verify::{Artifact, Expect};

use super::Prepared;
use super::batch::{Batch, Done};
use super::image::Plan;
use crate::args::{Attest, Batching, Sign, StatementVersion};
use crate::bundle_file::BundleFile;
use crate::failure::{advice, say};
use crate::report::Report;
use crate::{predicate, trust_files};

/// The largest predicate: the parser of bundles takes no larger document, and a payload stands in it as base64.
const PREDICATE_MAX: u64 = 10 << 20;

pub(super) async fn sign(arguments: Sign) -> Result<()> {
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    // What the key cannot sign is known before the registry is asked.
    prepared.hash()?;
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    let file = one_bundle(arguments.bundle.as_deref(), &plan, &[])?;
    if !arguments.upload && arguments.bundle.is_none() {
        return Err(advice(
            "--upload=false without --bundle: the signature would be nowhere",
            "write it to a file with --bundle",
        ));
    }
    let images = resolve(&plan).await?;
    for (reference, image) in plan.references.iter().zip(&images) {
        if reference.digest.is_none() {
            say(&format!(
                "note: {reference} is {} now; a tag may be moved before somebody signs or verifies it, a digest is always the same image",
                image.descriptor.digest
            ));
        }
    }
    let signing = Signing {
        session: prepared
            .session(&arguments.identity, &plan.repositories())
            .await?,
        plan,
        file: Cell::new(file),
        upload: arguments.upload,
        if_missing: arguments.batching.if_missing,
    };
    let works = images.into_iter().enumerate().map(|(index, image)| {
        let digest = image.descriptor.digest;
        let statement = predicate::signature(&digest, &arguments.annotations)?;
        Ok::<_, anyhow::Error>((index, image, statement))
    });
    let works: Vec<_> = works.collect::<Result<_>>()?;
    signing.run("signed", works, &arguments.batching).await
}

/// What signing images takes, once it is known who signs.
struct Signing {
    session: Session,
    plan: Plan,
    /// For one image.
    file: Cell<Option<BundleFile>>,
    upload: bool,
    if_missing: bool,
}

impl Signing {
    /// Signs a statement about each of the images, some at a time.
    async fn run(
        &self,
        done: &str,
        works: Vec<(usize, Image, Vec<u8>)>,
        batching: &Batching,
    ) -> Result<()> {
        let own = self.session.own().await;
        let batch = Batch::new(works.len(), usize::from(batching.max_workers));
        let one = async |(index, image, statement): (usize, Image, Vec<u8>)| -> Result<Done> {
            let reference = self.plan.references.get(index).context("no such image")?;
            let name = reference.repository.at(image.descriptor.digest);
            if let Some(own) = own.as_ref().filter(|_| self.if_missing)
                && self.is_there(reference, &image, &statement, own).await?
            {
                batch.say(&format!("{name}: {done} already"));
                return Ok(Done::Already);
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
            if self.upload {
                attach(&self.plan, reference, &image, &signed, &predicate_type).await?;
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
    async fn is_there(
        &self,
        reference: &Reference,
        image: &Image,
        statement: &[u8],
        own: &Expect,
    ) -> Result<bool> {
        let plan = &self.plan;
        let found = plan
            .registry
            .bundles(plan.place(reference), &image.descriptor.digest)
            .await;
        if let Some(problem) = found.problems.into_iter().next() {
            return Err(anyhow::Error::from(problem.why).context(format!(
                "{reference}: whether it is signed already: reading {}",
                problem.what
            )));
        }
        let (artifact, wanted) = (
            Artifact::from_bytes(&image.manifest),
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
    let plan = Plan::new(&arguments.images, &arguments.registry)?;
    let inputs: Vec<&Path> = [&arguments.predicate, &arguments.statement]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let file = one_bundle(arguments.bundle.as_deref(), &plan, &inputs)?;
    let what = What::read(&arguments)?;
    let images = resolve(&plan).await?;
    let mut works = Vec::new();
    for (index, (reference, image)) in plan.references.iter().zip(images).enumerate() {
        let statement = what.statement(reference, &image, arguments.statement_version)?;
        works.push((index, image, statement));
    }
    let signing = Signing {
        session: prepared
            .session(&arguments.identity, &plan.repositories())
            .await?,
        plan,
        file: Cell::new(file),
        upload: !arguments.no_upload,
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

    fn statement(
        &self,
        reference: &Reference,
        image: &Image,
        version: StatementVersion,
    ) -> Result<Vec<u8>> {
        let digest = &image.descriptor.digest;
        match self {
            Self::Predicate { kind, predicate } => predicate::attestation(
                &reference.repository.to_string(),
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
                        "the statement {} is not about {reference}: none of its subjects has the digest {digest}",
                        path.display()
                    ),
                    "its subject needs the digest of the manifest, or of the index, that the reference names",
                ))
            }
        }
    }
}

fn one_bundle(path: Option<&Path>, plan: &Plan, inputs: &[&Path]) -> Result<Option<BundleFile>> {
    if path.is_some() && plan.references.len() > 1 {
        return Err(advice(
            "--bundle names one file, and there are several images",
            "sign them one by one, or leave --bundle out",
        ));
    }
    path.map(|path| BundleFile::prepare(path, inputs.iter().copied()))
        .transpose()
}

/// The digests of all images, before anything is signed: a name that is wrong costs no log entry.
async fn resolve(plan: &Plan) -> Result<Vec<Image>> {
    let reading = plan
        .references
        .iter()
        .map(|reference| plan.registry.image(reference));
    Ok(futures_util::future::try_join_all(reading).await?)
}

async fn attach(
    plan: &Plan,
    reference: &Reference,
    image: &Image,
    signed: &SignedBundle,
    predicate_type: &str,
) -> Result<()> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let annotations = Annotations::from([
        (CREATED.to_owned(), now.to_string()),
        (BUNDLE_CONTENT.to_owned(), "dsse-envelope".to_owned()),
        (BUNDLE_PREDICATE_TYPE.to_owned(), predicate_type.to_owned()),
    ]);
    plan.registry
        .attach(
            plan.place(reference),
            &image.descriptor,
            bundle::MEDIA_TYPE,
            Bytes::copy_from_slice(signed.json()),
            &annotations,
        )
        .await
        .with_context(|| {
            format!(
                "{reference} is signed and recorded, and the bundle could not be attached to it"
            )
        })?;
    Ok(())
}
