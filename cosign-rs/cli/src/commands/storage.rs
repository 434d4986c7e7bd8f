//! Where images and their signatures are kept: copy, save, load, tree, clean, triangulate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content};
use dsse::Statement;
use keys::Digest;
use oci::{
    Attachment, BUNDLE_PREDICATE_TYPE, BUNDLE_TYPE_PREFIX, CopyError, Descriptor, Image, Layout,
    LegacyKind, OciError, Place, Reference, Select,
};
use serde::Serialize;

use super::targets::{BYTES_MAX, IMAGES_MAX, Plan, Target, elsewhere, layout, registry};
use crate::args::{
    Clean, Cleaned, Copy, Load, Only, Output, Platforms, Save, Tree, Triangulate, Triangulated,
};
use crate::failure::{advice, in_line, say};
use crate::{predicate, report};

/// How deep indexes may stand in indexes.
const DEPTH_MAX: usize = 8;

pub(super) async fn copy(arguments: &Copy) -> Result<()> {
    let flags = &arguments.registry;
    let (source, destination) = (
        Reference::parse(&arguments.source)?,
        Reference::parse(&arguments.destination)?,
    );
    let select = select(&arguments.only);
    let registry = registry(flags, [&destination.repository])?;
    let platforms = Platforms {
        platform: arguments.platform.clone(),
        ..Platforms::default()
    };
    let plan = Plan::on(registry.clone(), &source, flags)?;
    let image = only(&plan, &platforms).await?.image;
    let digest = image.descriptor.digest;
    if destination.digest.is_some_and(|wanted| wanted != digest) {
        return Err(advice(
            format!("{source} is {digest}, and cannot become {destination}"),
            "a digest is always the same image: name the destination by a tag, or by this digest",
        ));
    }
    let tag = destination.tag.as_deref().filter(|_| select.image);
    if tag.is_some() && !arguments.force {
        is_free(&registry, &destination, &digest).await?;
    }
    told_elsewhere(flags)?;
    let at =
        |reference: &Reference| Place::Registry(registry.clone(), reference.repository.clone());
    let copied = oci::copy(&at(&source), &image, &at(&destination), tag, select)
        .await
        .with_context(|| format!("copying {source} to {destination}"))?;
    say(&format!(
        "copied {source} to {}: {}",
        destination.repository.at(digest),
        counted(copied)
    ));
    Ok(())
}

/// A tag that stands for another image is not moved unasked.
async fn is_free(registry: &oci::Registry, name: &Reference, digest: &Digest) -> Result<()> {
    let named = Reference {
        digest: None,
        ..name.clone()
    };
    match registry.image(&named).await {
        Err(OciError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(there) if there.descriptor.digest == *digest => Ok(()),
        Ok(there) => Err(advice(
            format!("{named} is {} already", there.descriptor.digest),
            "to let the name stand for the other image from now on, say --force",
        )),
    }
}

fn select(only: &[Only]) -> Select {
    if only.is_empty() {
        return Select::ALL;
    }
    Select {
        image: false,
        signatures: only.contains(&Only::Sig),
        attestations: only.contains(&Only::Att),
        sboms: only.contains(&Only::Sbom),
        others: false,
    }
}

fn counted(copied: oci::Copied) -> String {
    if copied.missing > 0 {
        say(&format!(
            "note: {} manifests are listed as attached and are not there; they were skipped",
            copied.missing
        ));
    }
    format!(
        "{}, {}, {} of the old kind",
        number(copied.manifests, "image manifest"),
        number(copied.referrers, "referrer"),
        number(copied.legacy, "layer")
    )
}

fn number(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// What is kept in another repository does not belong to the image's own.
fn told_elsewhere(flags: &crate::args::Registry) -> Result<()> {
    if let Some(elsewhere) = elsewhere(flags)? {
        say(&format!(
            "note: what is attached to the image in {elsewhere} stays there"
        ));
    }
    Ok(())
}

async fn one(image: &str, flags: &crate::args::Registry, platforms: &Platforms) -> Result<Target> {
    only(&Plan::new(&[image.to_owned()], flags, false)?, platforms).await
}

async fn only(plan: &Plan, platforms: &Platforms) -> Result<Target> {
    let mut targets = plan.targets(platforms).await?;
    targets.pop().context("no image")
}

pub(super) async fn save(arguments: &Save) -> Result<()> {
    let flags = &arguments.registry;
    let reference = Reference::parse(&arguments.image)?;
    if arguments.dir.join("index.json").exists() {
        return Err(advice(
            format!("{} holds a saved image already", arguments.dir.display()),
            "save into a folder that is not there yet",
        ));
    }
    let registry = registry(flags, [&reference.repository])?;
    let image = registry.image(&reference).await?;
    told_elsewhere(flags)?;
    let layout = Layout::create(&arguments.dir)?;
    let from = Place::Registry(registry, reference.repository.clone());
    let tag = reference.tag.as_deref();
    let copied = oci::copy(&from, &image, &Place::Layout(layout), tag, Select::ALL)
        .await
        .with_context(|| {
            format!(
                "saving {reference}; what is in {} is not all of it",
                arguments.dir.display()
            )
        })?;
    say(&format!(
        "saved {} in {}: {}",
        reference.repository.at(image.descriptor.digest),
        arguments.dir.display(),
        counted(copied)
    ));
    Ok(())
}

pub(super) async fn load(arguments: &Load) -> Result<()> {
    let flags = &arguments.registry;
    let reference = Reference::parse(&arguments.image)?;
    let layout = layout(&arguments.dir)?;
    let image = layout
        .image()
        .with_context(|| format!("the image in {}", arguments.dir.display()))?;
    let digest = image.descriptor.digest;
    if reference.digest.is_some_and(|wanted| wanted != digest) {
        return Err(advice(
            format!(
                "{} holds {digest}, not {reference}",
                arguments.dir.display()
            ),
            "load it under a tag, or under this digest",
        ));
    }
    let registry = registry(flags, [&reference.repository])?;
    if reference.tag.is_some() && !arguments.force {
        is_free(&registry, &reference, &digest).await?;
    }
    told_elsewhere(flags)?;
    let to = Place::Registry(registry.clone(), reference.repository.clone());
    let tag = reference.tag.as_deref();
    let copied = oci::copy(&Place::Layout(layout), &image, &to, tag, Select::ALL)
        .await
        .with_context(|| format!("loading {} as {reference}", arguments.dir.display()))?;
    say(&format!(
        "loaded {}: {}",
        reference.repository.at(digest),
        counted(copied)
    ));
    Ok(())
}

/// An image with what is attached to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Branch {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    attached: Vec<Leaf>,
    images: Vec<Branch>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Leaf {
    kind: &'static str,
    digest: String,
    /// `referrer`, or the tag.
    found: String,
    #[serde(rename = "type")]
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
}

pub(super) async fn tree(arguments: &Tree) -> Result<()> {
    let flags = &arguments.registry;
    let target = one(&arguments.image, flags, &Platforms::default()).await?;
    let reference = Reference::parse(&arguments.image)?;
    let source = Place::Registry(
        registry(flags, [&reference.repository])?,
        reference.repository,
    );
    let root = branch(&source, &target, &target.image, None, &mut Walk::default()).await?;
    if arguments.output == Some(Output::Json) {
        return report::print_json(&root);
    }
    let mut text = String::new();
    draw(&root, "", &mut text);
    report::print(text.trim_end())
}

/// Where we are in an index, which may hold indexes, and what was met there.
#[derive(Default)]
struct Walk {
    seen: BTreeSet<String>,
    depth: usize,
    bytes: usize,
}

impl Walk {
    fn enter(&mut self, target: &Target, image: &Image) -> Result<()> {
        self.seen.insert(image.descriptor.digest.to_string());
        self.depth = self.depth.saturating_add(1);
        self.bytes = self.bytes.saturating_add(image.manifest.len());
        if self.depth > DEPTH_MAX || self.bytes > BYTES_MAX || self.seen.len() > IMAGES_MAX {
            return Err(advice(
                format!(
                    "{}: more than {IMAGES_MAX} images of {BYTES_MAX} bytes, or {DEPTH_MAX} indexes in one another",
                    target.name
                ),
                "name one of its images by its digest",
            ));
        }
        Ok(())
    }
}

async fn branch(
    source: &Place,
    target: &Target,
    image: &Image,
    platform: Option<String>,
    walk: &mut Walk,
) -> Result<Branch> {
    let digest = image.descriptor.digest;
    walk.enter(target, image)?;
    let mut attached = Vec::new();
    let referrers = referrers(&target.place, &digest).await?;
    for gone in &referrers.missing {
        say(&format!(
            "note: {gone} is listed as attached to {digest} and is not there; clean takes it off the list"
        ));
    }
    for referrer in referrers.found {
        attached.push(Leaf {
            kind: referrer.kind(),
            digest: referrer.digest.to_string(),
            found: "referrer".to_owned(),
            media_type: referrer.artifact_type,
            predicate_type: referrer.predicate_type,
        });
    }
    let found = target.place.attached(&digest, &LegacyKind::ALL).await?;
    if let Some(problem) = found.problems.first() {
        return Err(anyhow::anyhow!("{}: {}", problem.what, problem.why));
    }
    let tagged = found.legacy.iter().map(|layer| Leaf {
        kind: match layer.kind {
            LegacyKind::Signature => "signature",
            LegacyKind::Attestation => "attestation",
            LegacyKind::Sbom => "sbom",
        },
        digest: layer.descriptor.digest.to_string(),
        found: layer.kind.tag(&digest),
        media_type: layer.descriptor.media_type.clone(),
        predicate_type: layer
            .annotations()
            .get(bundle::legacy::PREDICATE_TYPE)
            .cloned(),
    });
    attached.extend(tagged);
    let mut images = Vec::new();
    for child in image.children()?.iter().filter(|child| child.is_manifest()) {
        let platform = child.platform.as_ref().map(ToString::to_string);
        if walk.seen.contains(&child.digest.to_string()) {
            // It is drawn where it was met first.
            images.push(Branch {
                image: format!("{}@{}", target.repository, child.digest),
                platform,
                attached: Vec::new(),
                images: Vec::new(),
            });
            continue;
        }
        let child = source.manifest(child).await?;
        images.push(Box::pin(branch(source, target, &child, platform, walk)).await?);
    }
    walk.depth = walk.depth.saturating_sub(1);
    Ok(Branch {
        image: format!("{}@{digest}", target.repository),
        platform,
        attached,
        images,
    })
}

fn draw(branch: &Branch, indent: &str, text: &mut String) {
    let platform = branch.platform.as_deref().unwrap_or_default();
    let platform = if platform.is_empty() {
        String::new()
    } else {
        format!(" ({})", in_line(platform))
    };
    let _infallible = writeln!(text, "{}{platform}", in_line(&branch.image));
    let count = branch.attached.len() + branch.images.len();
    if count == 0 && indent.is_empty() {
        text.push_str("nothing is attached to it\n");
    }
    for (position, leaf) in branch.attached.iter().enumerate() {
        let turn = if position + 1 == count {
            "└── "
        } else {
            "├── "
        };
        let about = leaf.predicate_type.as_ref().unwrap_or(&leaf.media_type);
        let _infallible = writeln!(
            text,
            "{indent}{turn}{} {} ({}, {})",
            leaf.kind,
            leaf.digest,
            in_line(about),
            in_line(&leaf.found)
        );
    }
    for (position, image) in branch.images.iter().enumerate() {
        let last = branch.attached.len() + position + 1 == count;
        text.push_str(indent);
        text.push_str(if last { "└── " } else { "├── " });
        let below = format!("{indent}{}", if last { "    " } else { "│   " });
        draw(image, &below, text);
    }
}

/// Something that refers to an image, as its manifest says.
struct Referrer {
    digest: Digest,
    artifact_type: String,
    predicate_type: Option<String>,
    holds: Vec<Attachment>,
}

impl Referrer {
    /// Is it anything that verify counts, or would if it could read it?
    fn is_ours(&self) -> bool {
        !self.holds.is_empty()
    }

    fn is_bundle(&self) -> bool {
        self.holds.contains(&Attachment::Bundle)
    }

    fn kind(&self) -> &'static str {
        match (self.is_bundle(), self.predicate_type.as_deref()) {
            (true, Some(predicate::SIGNATURE)) => "signature",
            (true, Some(_)) => "attestation",
            (true, None) => "bundle",
            (false, _) if self.is_old(LegacyKind::Signature) => "signature",
            (false, _) if self.is_ours() => "attestation",
            (false, _) => "referrer",
        }
    }

    fn is_old(&self, kind: LegacyKind) -> bool {
        self.holds.contains(&Attachment::Legacy(kind))
    }
}

/// What refers to an image, and what lists name and nobody has.
#[derive(Default)]
struct Referrers {
    found: Vec<Referrer>,
    missing: Vec<Digest>,
}

async fn referrers(place: &Place, subject: &Digest) -> Result<Referrers> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        artifact_type: Option<String>,
        config: Option<Descriptor>,
        subject: Option<Descriptor>,
        #[serde(default)]
        layers: Vec<Descriptor>,
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let mut referrers = Referrers::default();
    for entry in place.referrers(subject).await? {
        // Lists of older writers leave out what the manifest says.
        let manifest = match place.manifest(&entry).await {
            Err(CopyError::Registry(OciError::NotFound { .. })) => {
                referrers.missing.push(entry.digest);
                continue;
            }
            outcome => outcome?,
        };
        let read: Read = serde_json::from_slice(&manifest.manifest)
            .with_context(|| format!("the referrer {}", entry.digest))?;
        if read.subject.map(|about| about.digest) != Some(*subject) {
            continue;
        }
        let config = read.config.map(|config| config.media_type);
        let artifact_type = read.artifact_type.or(config).unwrap_or_default();
        // A bundle whose blob its list names is read without its manifest.
        let stated =
            Some(artifact_type.as_str()).filter(|kind| kind.starts_with(BUNDLE_TYPE_PREFIX));
        let layers = read.layers.iter().map(|layer| layer.media_type.as_str());
        let holds = layers.chain(stated).filter_map(Attachment::of).collect();
        referrers.found.push(Referrer {
            digest: entry.digest,
            artifact_type,
            predicate_type: read
                .annotations
                .and_then(|all| all.get(BUNDLE_PREDICATE_TYPE).cloned()),
            holds,
        });
    }
    Ok(referrers)
}

/// What bundles say of which the manifests do not say it.
async fn look_inside(place: &Place, subject: &Digest, found: &mut [Referrer]) -> Result<()> {
    let unknown = |referrer: &Referrer| referrer.is_bundle() && referrer.predicate_type.is_none();
    if !found.iter().any(unknown) {
        return Ok(());
    }
    let inside = place.attached(subject, &[]).await?;
    for referrer in found.iter_mut().filter(|referrer| unknown(referrer)) {
        let bundle = inside
            .attached
            .iter()
            .find(|attached| attached.manifest == referrer.digest)
            .and_then(|attached| Bundle::parse(&attached.bundle).ok());
        referrer.predicate_type = match bundle.map(|bundle| bundle.content) {
            Some(Content::Envelope(envelope)) => Statement::parse(&envelope.payload)
                .ok()
                .map(|statement| statement.predicate_type),
            // Over the image itself.
            Some(Content::Message { .. }) => Some(predicate::SIGNATURE.to_owned()),
            None => None,
        };
    }
    Ok(())
}

pub(super) async fn clean(arguments: &Clean) -> Result<()> {
    let target = one(&arguments.image, &arguments.registry, &Platforms::default()).await?;
    let Place::Registry(registry, at) = &target.place else {
        return Ok(());
    };
    let subject = target.image.descriptor.digest;
    let Referrers { mut found, missing } = referrers(&target.place, &subject).await?;
    look_inside(&target.place, &subject, &mut found).await?;
    let bundles: Vec<Referrer> = found
        .into_iter()
        .filter(|referrer| referrer.is_ours() && is_cleaned(referrer, arguments.kind))
        .collect();
    let mut tags = Vec::new();
    for kind in LegacyKind::ALL {
        let wanted = matches!(
            (arguments.kind, kind),
            (Cleaned::All, _)
                | (Cleaned::Signature, LegacyKind::Signature)
                | (Cleaned::Attestation, LegacyKind::Attestation)
                | (Cleaned::Sbom, LegacyKind::Sbom)
        );
        let named = Reference {
            repository: at.clone(),
            tag: Some(kind.tag(&subject)),
            digest: None,
        };
        if wanted {
            match registry.image(&named).await {
                Ok(image) => tags.push((kind, image.descriptor.digest)),
                Err(OciError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    // A run before this one may have been interrupted.
    if !missing.is_empty() {
        registry.unlist(at, &subject, &missing).await?;
    }
    if bundles.is_empty() && tags.is_empty() {
        say(&format!("nothing to delete at {}", target.exact()));
        return Ok(());
    }
    for bundle in &bundles {
        let about = bundle.predicate_type.as_deref().unwrap_or("bundle");
        say(&format!(
            "  {} {} ({})",
            bundle.kind(),
            bundle.digest,
            in_line(about)
        ));
    }
    for (kind, digest) in &tags {
        say(&format!("  {}: {digest}", kind.tag(&subject)));
    }
    if !arguments.force && !agreed(&target.exact())? {
        return Err(advice(
            "nothing was deleted",
            "answer y, or say --force where nobody can be asked",
        ));
    }
    // What is listed and deleted would be an error to whoever verifies; what is neither is found by nobody.
    let gone: Vec<Digest> = bundles.iter().map(|bundle| bundle.digest).collect();
    registry.unlist(at, &subject, &gone).await?;
    for digest in &gone {
        registry.delete_manifest(at, &digest.to_string()).await?;
    }
    for (kind, _) in &tags {
        if !registry.delete_legacy(at, &subject, *kind).await? {
            say(&format!(
                "note: the registry deletes nothing: the tag {} stays, with nothing under it",
                kind.tag(&subject)
            ));
        }
    }
    say(&format!(
        "deleted {} of what is attached to {}",
        bundles.len() + tags.len(),
        target.exact()
    ));
    Ok(())
}

fn is_cleaned(referrer: &Referrer, kind: Cleaned) -> bool {
    match kind {
        Cleaned::All => true,
        Cleaned::Referrer => referrer.is_bundle(),
        Cleaned::Signature => {
            referrer.is_old(LegacyKind::Signature)
                || (referrer.is_bundle() && referrer.kind() == "signature")
        }
        Cleaned::Attestation => {
            referrer.is_old(LegacyKind::Attestation)
                || (referrer.is_bundle() && referrer.kind() == "attestation")
        }
        Cleaned::Sbom => false,
    }
}

fn agreed(image: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    say(&format!("Delete this at {image}? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(super) async fn triangulate(arguments: &Triangulate) -> Result<()> {
    let target = one(&arguments.image, &arguments.registry, &Platforms::default()).await?;
    let Place::Registry(_, at) = &target.place else {
        return Ok(());
    };
    let digest = target.image.descriptor.digest;
    let kind = match arguments.kind {
        Triangulated::Digest => return report::print(&target.exact()),
        Triangulated::Referrers => {
            let tag = digest.to_string().replace(':', "-");
            return report::print(&format!("{at}:{tag}"));
        }
        Triangulated::Signature => LegacyKind::Signature,
        Triangulated::Attestation => LegacyKind::Attestation,
        Triangulated::Sbom => LegacyKind::Sbom,
    };
    report::print(&format!("{at}:{}", kind.tag(&digest)))
}
