//! Kits: made where there is a network, verified years later where there is none.

use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::Bundle;
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use oci::Reference;
use policy::{Asked, Policy};
use trust::TrustedRoot;
use verify::{Artifact, Verified};

use super::image;
use crate::args::{KitCommand, KitCreate, KitVerify, Output};
use crate::artifact::Source;
use crate::bundle_file::BundleFile;
use crate::failure::{Outcome, Told, advice_of, in_line, say, usage};
use crate::judge::{self, Judge};
use crate::kit::{Kit, LegacyItem, MAX_KIT};
use crate::report::{self, Report};
use crate::tag_trust::Tags;
use crate::{explained, trust_files};

pub(super) async fn run(command: KitCommand) -> Result<()> {
    match command {
        KitCommand::Create(create) => self::create(*create).await,
        KitCommand::Verify(verify) => self::verify(*verify).await,
    }
}

async fn create(arguments: KitCreate) -> Result<()> {
    let reference = arguments
        .image
        .as_deref()
        .map(Reference::parse)
        .transpose()?;
    let named: Vec<Reference> = reference.iter().cloned().collect();
    if arguments.tag_trust.tag_trust.is_some() && named.is_empty() {
        return Err(usage(
            "--tag-trust with --blob: a file has no tag",
            "leave it out",
        ));
    }
    let mut tags = Tags::open(&arguments.tag_trust, &arguments.trust, &named).await?;
    let judge = Judge::beside(
        tags.as_mut(),
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
    )
    .await?;
    if arguments.to.as_os_str() == "-" {
        return Err(usage("--to -: a kit is no text", "name a file"));
    }
    if arguments.to.is_dir() {
        return Err(usage(
            format!("--to {} is a folder", arguments.to.display()),
            "name a file in it",
        ));
    }
    let file = BundleFile::prepare(
        &arguments.to,
        arguments.bundle.iter().map(std::path::PathBuf::as_path),
    )?;
    let created = arguments.trust.following.now.unwrap_or_else(Timestamp::now);
    let policy = judge.policy_file().map(<[u8]>::to_vec);
    let root = judge.root().to_json()?.into_bytes();
    let kit = match (&arguments.image, &arguments.blob) {
        (Some(name), _) => {
            let (manifest, found) = image::fetch(name, &arguments.registry).await?;
            let digest = Digest::of(HashAlgorithm::Sha256, &manifest);
            if let (Some(tags), Some(reference)) = (&mut tags, &reference) {
                let size = u64::try_from(manifest.len())?;
                let held = tags.check(reference, &digest, size).await?;
                say(&held.text());
            }
            let bundles = found.attached.iter();
            let bundles = bundles.map(|attached| attached.bundle.to_vec()).collect();
            Kit {
                name: name.clone(),
                artifact: digest,
                created,
                manifest: Some(manifest),
                bundles,
                legacy: found.legacy.iter().filter_map(LegacyItem::of).collect(),
                policy,
                root,
            }
        }
        (None, Some(blob)) => {
            let source = Source::parse(blob)?;
            let bundles = arguments
                .bundle
                .iter()
                .map(|path| trust_files::read(path))
                .collect::<Result<_>>()?;
            let name = Path::new(blob).file_name().unwrap_or_default();
            Kit {
                name: name.to_string_lossy().into_owned(),
                artifact: source.digest(HashAlgorithm::Sha256)?,
                created,
                manifest: None,
                bundles,
                legacy: Vec::new(),
                policy,
                root,
            }
        }
        (None, None) => return Err(usage("no image", "name one, or a file with --blob")),
    };
    // Nothing is packed that would be refused when it is opened.
    let told = judged(&judge, &kit, &artifact(&kit))?;
    let bytes = kit.to_bytes()?;
    Kit::parse(&bytes)?;
    file.write(&bytes)?;
    say(&format!(
        "packed {} ({}) with {} signature(s) and attestation(s), {} of which hold\nkit digest {}\nkeep it elsewhere than the kit: `kit verify --kit-digest` takes it",
        kit.name,
        kit.artifact,
        kit.bundles.len().saturating_add(kit.legacy.len()),
        told.held.len(),
        Kit::digest(&bytes)
    ));
    Ok(())
}

async fn verify(mut arguments: KitVerify) -> Result<()> {
    // Also whom to trust is read without a connection.
    arguments.trust.following.offline = true;
    let limit = u64::try_from(MAX_KIT).unwrap_or(u64::MAX);
    let bytes = trust_files::read_at_most(&arguments.kit, limit)?;
    let shown = arguments.kit.display().to_string();
    let found = Kit::digest(&bytes);
    let pinned = match &arguments.kit_digest {
        None => false,
        Some(text) => {
            let expected = Digest::parse(text).map_err(|error| {
                usage(
                    format!("--kit-digest {text}: {error}"),
                    "pass it as sha256:HEX",
                )
            })?;
            if expected != found {
                return Err(advice_of(
                    Outcome::Signature,
                    Some("other-kit"),
                    format!("{shown} is another kit: its digest is {found}, expected {expected}"),
                    "it was changed, or is not the one that the digest was noted of",
                ));
            }
            true
        }
    };
    let kit = Kit::parse(&bytes).map_err(|error| {
        advice_of(
            Outcome::Signature,
            Some("bad-kit"),
            format!("{shown}: {error}"),
            "get the kit again from where it was kept",
        )
    })?;
    let now = arguments.trust.following.now.unwrap_or_else(Timestamp::now);
    if now < kit.created {
        return Err(advice_of(
            Outcome::Time,
            Some("kit-from-the-future"),
            format!("{shown} was made at {}, and it is {now}", kit.created),
            "is this machine's clock right? --now states the time",
        ));
    }
    let judge = judge_of(&arguments, &kit, pinned).await?;
    let artifact = match &arguments.artifact {
        None => artifact(&kit),
        Some(text) => given(&kit, &Source::parse(text)?)?,
    };
    let told = judged(&judge, &kit, &artifact)?;
    explained::tell(&told.explained);
    let mut reports = told.held.iter().map(Report::of);
    let Some(first) = reports.next() else {
        anyhow::bail!("nothing was verified");
    };
    // Whoever made a kit called it as he liked; a name is known only of the kit or the artifact that the caller knows.
    let known = pinned || arguments.artifact.is_some();
    let first = if known { first.about(&kit.name) } else { first };
    let report = first
        .judged(told.decision.as_ref())
        .explained(told.explained)
        .together_with(reports.collect());
    match arguments.output.unwrap_or(Output::Text) {
        Output::Json => report::print_json(&report),
        Output::Text => {
            let name = in_line(&kit.name);
            let what = if known {
                format!("{name} ({}), packed {}", kit.artifact, kit.created)
            } else {
                format!(
                    "{}\n  the kit itself says, and nobody vouches for it: {name}, packed {}",
                    kit.artifact, kit.created
                )
            };
            say(&format!("Verified OK: {what}\n{}", report.text()));
            for further in told.held.iter().skip(1) {
                say(&Report::of(further).text());
            }
            Ok(())
        }
    }
}

/// Whom to trust and who is expected: what the caller says, and only of a kit that he knows what the kit says.
async fn judge_of(arguments: &KitVerify, kit: &Kit, pinned: bool) -> Result<Judge> {
    let own_policy = !arguments.judging.policy.is_empty();
    let named = own_policy || arguments.expected.names_somebody();
    let policy = match &kit.policy {
        Some(bytes) if pinned && !own_policy => {
            Some(Policy::parse(bytes).context("the kit's policy")?)
        }
        _ => None,
    };
    if !named && policy.is_none() {
        let hint = match (&kit.policy, pinned) {
            (Some(_), false) => {
                "pass --kit-digest to take the kit's policy, or --policy, or an identity: whoever made the kit wrote the policy in it"
            }
            _ => "pass --policy, or an identity: the kit has no policy",
        };
        return Err(usage("nobody is named who must have signed", hint));
    }
    let trust_is_given = arguments.trust.trusted_root.is_some()
        || arguments.trust.trust_config.is_some()
        || arguments.trust.following.trust_domain.is_some();
    if pinned && !trust_is_given {
        let root = TrustedRoot::parse(&kit.root).context("the kit's trusted root")?;
        return Judge::with_root(
            &arguments.expected,
            &arguments.judging,
            &arguments.trust,
            policy,
            root,
        )
        .await;
    }
    let judge = Judge::new_with(
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
        policy,
    );
    judge.await
}

struct Judged {
    held: Vec<Verified>,
    decision: Option<policy::Decision>,
    explained: Vec<explained::Explained>,
}

fn judged(judge: &Judge, kit: &Kit, artifact: &Artifact) -> Result<Judged> {
    let (mut held, mut refused, mut explained) = (Vec::new(), Vec::new(), Vec::new());
    for (place, bytes) in kit.bundles.iter().enumerate() {
        let name = format!("bundle {place}");
        let bundle = match Bundle::parse(bytes) {
            Ok(bundle) => bundle,
            // An image may have anything attached to it; that one of a file's bundles is none is an error.
            Err(error) if kit.manifest.is_some() => {
                say(&format!("warning: {name}: {error}"));
                continue;
            }
            Err(error) => return Err(anyhow::Error::from(error).context(name)),
        };
        let (outcome, story) = judge.check(&name, &bundle, artifact);
        explained.extend(story);
        match outcome {
            Ok(verified) => held.push(verified),
            Err(why) => {
                let what = format!("{} ({name})", in_line(&kit.name));
                refused.push(judge.refused(what, name, why));
            }
        }
    }
    for (place, item) in kit.legacy.iter().enumerate() {
        let name = format!("{} {place}", item.kind());
        let read = match item.read() {
            Ok(read) => read,
            Err(error) => {
                say(&format!("warning: {name}: {error}"));
                continue;
            }
        };
        let (outcome, story) = judge.check_legacy(&name, &read, &kit.artifact);
        explained.extend(story);
        match outcome {
            Ok(verified) => held.push(verified),
            Err(why) => {
                let what = format!("{} ({name})", in_line(&kit.name));
                refused.push(judge.refused(what, name, why));
            }
        }
    }
    let decision = if held.is_empty() {
        match judge::furthest(&mut refused, &mut explained) {
            Some(furthest) => Err(furthest.into()),
            None => Err(advice_of(
                Outcome::NoSignature,
                Some("no-signature"),
                format!(
                    "{}: none of its {} bundles and signatures can be read",
                    in_line(&kit.name),
                    kit.bundles.len().saturating_add(kit.legacy.len())
                ),
                "is it the right image?",
            )),
        }
    } else {
        decide(judge, kit, &held)
    };
    match decision {
        Ok(decision) => {
            judge::retain_counted(&mut held, decision.as_ref());
            Ok(Judged {
                held,
                decision,
                explained,
            })
        }
        Err(error) => {
            explained::tell(&explained);
            Err(Told::with(error, explained))
        }
    }
}

/// A statement about an image is no signature of it, unless a policy says which statements are meant.
fn decide(judge: &Judge, kit: &Kit, held: &[Verified]) -> Result<Option<policy::Decision>> {
    let all: Vec<&Verified> = held.iter().collect();
    let signed = held.iter().any(|verified| Asked::Signature.is(verified));
    let asked = match judge.predicate_types().first() {
        Some(kind) if !signed => Asked::Attestation(kind),
        _ if signed => Asked::Signature,
        _ => {
            return Err(advice_of(
                Outcome::NoMatch,
                Some("wrong-kind"),
                format!(
                    "{}: it has attestations, and no signature",
                    in_line(&kit.name)
                ),
                "say in a policy which predicate types are meant",
            ));
        }
    };
    judge.decide(&in_line(&kit.name), asked, &all)
}

fn artifact(kit: &Kit) -> Artifact {
    match &kit.manifest {
        Some(manifest) => Artifact::from_bytes(manifest),
        None => Artifact::from_digest(kit.artifact),
    }
}

/// The caller's file or digest, which must be what the kit is about.
fn given(kit: &Kit, source: &Source) -> Result<Artifact> {
    let digest = source.digest(kit.artifact.algorithm())?;
    if digest != kit.artifact {
        return Err(advice_of(
            Outcome::Signature,
            Some("other-artifact"),
            format!(
                "the kit is about {}, and {} is {digest}",
                kit.artifact,
                source.name()
            ),
            "is it the right kit?",
        ));
    }
    Ok(match source.bytes()? {
        Some(whole) => whole,
        None => artifact(kit),
    })
}
