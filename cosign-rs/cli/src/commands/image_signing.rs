//! Images in registries, signed: sign and attest.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Bundle;
use bundle::legacy::Legacy;
use bytes::Bytes;
use dsse::Statement;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use oci::{
    Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED, CopyError, LayoutError, LegacyKind,
};
use sign::{Session, SignedBundle};
use trust::TrustedRoot;
use verify::{Artifact, Expect, Verified, VerifyError};

use super::batch::{Batch, Done, Turn};
use super::targets::{Plan, Target};
use super::{Prepared, image_old};
use crate::args::{Attest, Batching, Formats, Identity, Platforms, Sign, StatementVersion};
use crate::bundle_file::{self, BundleFile, Unplaced};
use crate::failure::{advice, say};
use crate::patience::Patience;
use crate::report::Report;
use crate::{predicate, trust_files};

/// The largest predicate: the parser of bundles takes no larger document, and a payload stands in it as base64.
const PREDICATE_MAX: u64 = 10 << 20;

pub(super) async fn sign(arguments: Sign, patience: &Patience) -> Result<()> {
    let Some((signing, works)) = patience
        .limit(Box::pin(prepare_to_sign(&arguments)))
        .await?
    else {
        return Ok(());
    };
    let workers = usize::from(arguments.batching.max_workers);
    signing.run(works, workers, patience).await
}

/// None if there is nothing to sign.
async fn prepare_to_sign(arguments: &Sign) -> Result<Option<(Signing, Vec<Work>)>> {
    let mut prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
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
    may_be_old(formats, path, &arguments.batching, &mut prepared)?;
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
        Ok::<_, anyhow::Error>(Work::new(target, Kind::Signature, statement))
    });
    let works: Vec<_> = works.collect::<Result<_>>()?;
    let begin = Begin {
        file,
        bundle: formats.bundle(),
        upload: arguments.upload,
        old: formats.legacy(),
        annotations: &arguments.annotations,
        batching: &arguments.batching,
        identity: &arguments.identity,
    };
    begin.with(&prepared, &plan, works).await
}

/// An image, and what is to be said about it.
struct Work {
    target: Target,
    kind: Kind,
    statement: Vec<u8>,
    /// What is attached already, where somebody looked.
    there: Vec<Bundle>,
    /// The same of what cosign before 3 reads.
    old_there: Vec<Legacy>,
    /// What of it need not be made, since this signer did so before.
    done: Made,
}

/// In which formats something is said.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    bundle: bool,
    old: bool,
}

impl Work {
    const fn new(target: Target, kind: Kind, statement: Vec<u8>) -> Self {
        Self {
            target,
            kind,
            statement,
            there: Vec::new(),
            old_there: Vec::new(),
            done: Made {
                bundle: false,
                old: false,
            },
        }
    }

    /// For messages.
    fn name(&self) -> String {
        format!("{}: {}", self.target.exact(), self.kind.noun())
    }

    /// Reads what is attached, and if `old` what cosign before 3 reads too. What cannot be read may be this very signature.
    async fn look(mut self, old: bool) -> Result<Self> {
        let digest = &self.target.image.descriptor.digest;
        let kind = match self.kind {
            Kind::Signature => LegacyKind::Signature,
            Kind::Attestation => LegacyKind::Attestation,
        };
        let kinds: &[LegacyKind] = if old { &[kind] } else { &[] };
        let found = self.target.place.attached(digest, kinds).await?;
        if let Some(problem) = found.problems.into_iter().next() {
            return Err(anyhow::Error::from(problem.why).context(format!(
                "{}: whether it is signed already: reading {}",
                self.target.name, problem.what
            )));
        }
        let bundles = found.attached.iter();
        self.there = bundles
            .filter_map(|attached| Bundle::parse(&attached.bundle).ok())
            .collect();
        let layers = found.legacy.into_iter();
        self.old_there = layers
            .filter_map(|layer| {
                let content = layer.content.to_vec();
                match layer.kind {
                    LegacyKind::Signature => Legacy::signature(content, layer.annotations()).ok(),
                    LegacyKind::Attestation => {
                        Legacy::attestation(content, layer.annotations()).ok()
                    }
                    LegacyKind::Sbom => None,
                }
            })
            .collect();
        Ok(self)
    }

    /// In which formats does this signer say the same already?
    fn made(
        &self,
        root: &TrustedRoot,
        own: &Expect,
        annotations: &[(String, String)],
    ) -> Result<Made> {
        let image = &self.target.image;
        let artifact = Artifact::from_bytes(&image.manifest);
        let wanted = Statement::parse(&self.statement)?;
        let says = |verified: &Verified| match (verified.claims(), verified.statement()) {
            (Some(claims), _) => {
                let others = claims.optional().map_or(0, BTreeMap::len);
                others == annotations.len() && predicate::claimed(claims, annotations)
            }
            (None, there) => there.is_some_and(|there| predicate::says_the_same(there, &wanted)),
        };
        let holds = |outcome: Result<Verified, VerifyError>| outcome.is_ok_and(|held| says(&held));
        let (mut bundles, mut olds) = (self.there.iter(), self.old_there.iter());
        Ok(Made {
            bundle: bundles.any(|there| holds(verify::bundle(there, &artifact, root, own))),
            old: olds
                .any(|there| holds(verify::legacy(there, &image.descriptor.digest, root, own))),
        })
    }
}

/// What a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signature,
    Attestation,
}

impl Kind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Attestation => "attestation",
        }
    }

    /// What was done.
    const fn done(self) -> &'static str {
        match self {
            Self::Signature => "signed",
            Self::Attestation => "attested to",
        }
    }
}

/// What signing images takes, before it is known who signs.
struct Begin<'a> {
    file: Option<BundleFile>,
    bundle: bool,
    upload: bool,
    /// Whether what cosign before 3 reads is written.
    old: bool,
    /// In signatures.
    annotations: &'a [(String, String)],
    batching: &'a Batching,
    identity: &'a Identity,
}

impl Begin<'_> {
    /// Leaves out what is signed already, if that is asked for; only then there is a certificate. None if nothing is left.
    async fn with(
        self,
        prepared: &Prepared,
        plan: &Plan,
        mut works: Vec<Work>,
    ) -> Result<Option<(Signing, Vec<Work>)>> {
        let mut before = 0;
        let if_missing = self.batching.if_missing;
        if if_missing {
            works = stream::iter(works)
                .map(|work| work.look(self.old))
                .buffered(usize::from(self.batching.max_workers))
                .try_collect()
                .await?;
        }
        // An image has signatures of several, so that it takes to know who signs to know whose is missing.
        let ready = prepared.ready(self.identity).await?;
        if let Some(own) = ready.own().filter(|_| if_missing) {
            works = self.leave_out(works, &mut before, &ready.root, &own)?;
            if works.is_empty() {
                if before > 1 {
                    say(&format!("0 signed, {before} were before"));
                }
                return Ok(None);
            }
        }
        let session = ready.session(&plan.repositories()).await?;
        // Only the certificate says for sure what its holder is called.
        if let Some(own) = session.own().await.filter(|_| if_missing) {
            works = self.leave_out(works, &mut before, session.root(), &own)?;
        }
        let signing = Signing {
            session,
            file: Cell::new(self.file),
            bundle: self.bundle,
            upload: self.upload,
            old: self.old,
            annotations: self.annotations.to_owned(),
            before,
        };
        Ok(Some((signing, works)))
    }

    /// Leaves out what this signer said already, in each format that is asked for.
    fn leave_out(
        &self,
        works: Vec<Work>,
        before: &mut usize,
        root: &TrustedRoot,
        own: &Expect,
    ) -> Result<Vec<Work>> {
        let mut rest = Vec::new();
        for mut work in works {
            work.done = work.made(root, own, self.annotations)?;
            if (work.done.bundle || !self.bundle) && (work.done.old || !self.old) {
                say(&format!(
                    "{}: {} already",
                    work.target.exact(),
                    work.kind.done()
                ));
                *before = before.saturating_add(1);
            } else {
                rest.push(work);
            }
        }
        Ok(rest)
    }
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
    /// Whether what cosign before 3 reads is written: of a signature another one over the payload that names the image, of an attestation the
    /// bundle's envelope.
    old: bool,
    annotations: Vec<(String, String)>,
    /// So many are left out.
    before: usize,
}

impl Signing {
    /// Signs a statement about each of the images, some at a time.
    async fn run(&self, works: Vec<Work>, workers: usize, patience: &Patience) -> Result<()> {
        let batch = Batch::new(works.len(), workers, patience).beside(self.before);
        let named = works.into_iter().map(|work| (work.name(), work));
        let one = async |turn: Turn<'_>, work: Work| self.one(turn, work).await;
        batch.run(named.collect(), one).await
    }

    async fn one(&self, turn: Turn<'_>, work: Work) -> Result<Done> {
        let (done, target) = (work.kind.done(), work.target);
        // What one of two runs was broken off before, and what was signed before in one format, takes the other one alone.
        let bundle = self.bundle && !work.done.bundle;
        let old = self.old && !work.done.old;
        let name = target.exact();
        turn.begin()?;
        if old && work.kind == Kind::Signature {
            let signed = image_old::sign(&self.session, &target, &self.annotations).await?;
            turn.say(&format!(
                "{done} {name} for cosign before 3\n{}",
                Report::of(signed.verified()).text()
            ));
            if !bundle {
                return Ok(Done::Signed);
            }
        }
        let predicate_type = Statement::parse(&work.statement)?.predicate_type;
        let signed = self
            .session
            .sign_statement(work.statement, Timestamp::now())
            .await
            .with_context(|| format!("{name} is not {done}"))?;
        let mut unplaced = Some(Unplaced::new(
            signed.json(),
            &name,
            format!("attach it with cosign-rs attach signature --bundle FILE {name}"),
        ));
        let mut placed = || {
            if let Some(unplaced) = unplaced.take() {
                unplaced.placed();
            }
        };
        // Where a file cannot be written, it is attached all the same.
        let written = match self.file.take() {
            Some(file) => file.write(signed.json()).map(|()| placed()),
            None => Ok(()),
        };
        if self.upload && bundle {
            attach(&target, &signed, &predicate_type).await?;
            placed();
        }
        if old && work.kind == Kind::Attestation {
            image_old::attach_attestation(&self.session, &target, &signed, &predicate_type).await?;
            placed();
        }
        written?;
        turn.say(&format!(
            "{done} {name}\n{}",
            Report::of(signed.verified()).text()
        ));
        Ok(Done::Signed)
    }
}

pub(super) async fn attest(arguments: Attest, patience: &Patience) -> Result<()> {
    let Some((signing, works)) = patience
        .limit(Box::pin(prepare_to_attest(&arguments)))
        .await?
    else {
        return Ok(());
    };
    let workers = usize::from(arguments.batching.max_workers);
    signing.run(works, workers, patience).await
}

/// None if there is nothing to attest to.
async fn prepare_to_attest(arguments: &Attest) -> Result<Option<(Signing, Vec<Work>)>> {
    let mut prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
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
    may_be_old(formats, path, &arguments.batching, &mut prepared)?;
    if formats.legacy() && arguments.no_upload {
        return Err(old_is_attached("--no-upload"));
    }
    let what = What::read(arguments)?;
    let targets = plan.targets(&arguments.platforms).await?;
    can_be_attached(&targets, formats, !arguments.no_upload)?;
    let mut works = Vec::new();
    for target in targets {
        let statement = what.statement(&target, arguments.statement_version)?;
        if arguments.sign {
            let signature = predicate::signature(&target.image.descriptor.digest, &[])?;
            works.push(Work::new(target.clone(), Kind::Signature, signature));
        }
        works.push(Work::new(target, Kind::Attestation, statement));
    }
    let begin = Begin {
        file,
        bundle: formats.bundle(),
        upload: !arguments.no_upload,
        old: formats.legacy(),
        annotations: &[],
        batching: &arguments.batching,
        identity: &arguments.identity,
    };
    begin.with(&prepared, &plan, works).await
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
    prepared: &mut Prepared,
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
