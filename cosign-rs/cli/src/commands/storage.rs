//! Where images and their signatures are kept: copy, save, load, tree, clean, triangulate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, Result};
use keys::Digest;
use oci::{
    BUNDLE_PREDICATE_TYPE, BUNDLE_TYPE_PREFIX, Descriptor, Image, Layout, LegacyKind, OciError,
    Place, Reference, Select,
};
use serde::Serialize;

use super::targets::{Plan, Target, elsewhere, layout, registry};
use crate::args::{
    Clean, Cleaned, Copy, Load, Only, Output, Platforms, Save, Tree, Triangulate, Triangulated,
};
use crate::failure::{advice, in_line, say};
use crate::{predicate, report};

pub(super) async fn copy(arguments: &Copy) -> Result<()> {
    let flags = &arguments.registry;
    let (source, destination) = (
        Reference::parse(&arguments.source)?,
        Reference::parse(&arguments.destination)?,
    );
    let select = select(&arguments.only);
    let registry = registry(flags)?;
    let platforms = Platforms {
        platform: arguments.platform.clone(),
        ..Platforms::default()
    };
    let image = one(&arguments.source, flags, &platforms).await?.image;
    let digest = image.descriptor.digest;
    if destination.digest.is_some_and(|wanted| wanted != digest) {
        return Err(advice(
            format!("{source} is {digest}, and cannot become {destination}"),
            "a digest is always the same image: name the destination by a tag, or by this digest",
        ));
    }
    let tag = destination.tag.as_deref().filter(|_| select.image);
    if tag.is_some() && !arguments.force {
        let named = Reference {
            digest: None,
            ..destination.clone()
        };
        match registry.image(&named).await {
            Err(OciError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(there) if there.descriptor.digest == digest => {}
            Ok(there) => {
                return Err(advice(
                    format!("{named} is {} already", there.descriptor.digest),
                    "to let the name stand for the other image from now on, say --force",
                ));
            }
        }
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
    format!(
        "{} image manifests, {} referrers, {} layers of the old kind",
        copied.manifests, copied.referrers, copied.legacy
    )
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
    let plan = Plan::new(&[image.to_owned()], flags, false)?;
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
    let registry = registry(flags)?;
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
    told_elsewhere(flags)?;
    let to = Place::Registry(registry(flags)?, reference.repository.clone());
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
    let source = Place::Registry(registry(flags)?, reference.repository);
    let root = branch(&source, &target, &target.image, None).await?;
    if arguments.output == Some(Output::Json) {
        return report::print_json(&root);
    }
    let mut text = String::new();
    draw(&root, "", &mut text);
    report::print(text.trim_end())
}

async fn branch(
    source: &Place,
    target: &Target,
    image: &Image,
    platform: Option<String>,
) -> Result<Branch> {
    let digest = image.descriptor.digest;
    let mut attached = Vec::new();
    for referrer in referrers(&target.place, &digest).await? {
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
        let child = source.manifest(child).await?;
        images.push(Box::pin(branch(source, target, &child, platform)).await?);
    }
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
}

impl Referrer {
    fn is_bundle(&self) -> bool {
        self.artifact_type.starts_with(BUNDLE_TYPE_PREFIX)
    }

    fn kind(&self) -> &'static str {
        match self.predicate_type.as_deref() {
            _ if !self.is_bundle() => "referrer",
            Some(predicate::SIGNATURE) => "signature",
            Some(_) => "attestation",
            None => "bundle",
        }
    }
}

async fn referrers(place: &Place, subject: &Digest) -> Result<Vec<Referrer>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        artifact_type: Option<String>,
        config: Option<Descriptor>,
        subject: Option<Descriptor>,
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let mut found = Vec::new();
    for entry in place.referrers(subject).await? {
        // Lists of older writers leave out what the manifest says.
        let manifest = place.manifest(&entry).await?;
        let read: Read = serde_json::from_slice(&manifest.manifest)
            .with_context(|| format!("the referrer {}", entry.digest))?;
        if read.subject.map(|about| about.digest) != Some(*subject) {
            continue;
        }
        let config = read.config.map(|config| config.media_type);
        found.push(Referrer {
            digest: entry.digest,
            artifact_type: read.artifact_type.or(config).unwrap_or_default(),
            predicate_type: read
                .annotations
                .and_then(|all| all.get(BUNDLE_PREDICATE_TYPE).cloned()),
        });
    }
    Ok(found)
}

pub(super) async fn clean(arguments: &Clean) -> Result<()> {
    let target = one(&arguments.image, &arguments.registry, &Platforms::default()).await?;
    let Place::Registry(registry, at) = &target.place else {
        return Ok(());
    };
    let subject = target.image.descriptor.digest;
    let bundles: Vec<Referrer> = referrers(&target.place, &subject)
        .await?
        .into_iter()
        .filter(|referrer| referrer.is_bundle() && is_cleaned(referrer, arguments.kind))
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
    let mut gone = Vec::new();
    for bundle in &bundles {
        registry
            .delete_manifest(at, &bundle.digest.to_string())
            .await?;
        gone.push(bundle.digest);
    }
    registry.unlist(at, &subject, &gone).await?;
    for (kind, digest) in &tags {
        match registry.delete_manifest(at, &kind.tag(&subject)).await {
            Ok(_) => {}
            // Some registries delete by digest only; nobody else's tag is at this manifest.
            Err(OciError::Refused { .. }) => {
                registry.delete_manifest(at, &digest.to_string()).await?;
            }
            Err(error) => return Err(error.into()),
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
        Cleaned::All | Cleaned::Referrer => true,
        Cleaned::Signature => referrer.kind() == "signature",
        Cleaned::Attestation => referrer.kind() == "attestation",
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
