//! `attach`: what was made elsewhere is attached as it is. Nothing is verified but that it can be read and says that it is about this image.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use bundle::Bundle;
use bundle::legacy::{
    CERTIFICATE, CHAIN, ENVELOPE, Legacy, PREDICATE_TYPE, PROMISE, SIGNATURE, SIMPLE_SIGNING,
    SimpleSigning, TIMESTAMP,
};
use bytes::Bytes;
use dsse::Statement;
use jiff::Timestamp;
use keys::Digest;
use oci::{
    Annotations, BUNDLE_CONTENT, BUNDLE_PREDICATE_TYPE, CREATED, Descriptor, Image, LegacyKind,
};
use wire::encoding::Bytes as Base64;

use super::targets::{Plan, Target};
use crate::args::{
    AttachAttestation, AttachSbom, AttachSignature, AttachWhat, Platforms, Registry, SbomFormat,
    SbomType,
};
use crate::failure::{advice, in_line, say};
use crate::trust_files;

/// The largest piece of a signature.
const PIECE_MAX: u64 = 1 << 20;
/// The largest envelope or bundle; the parser takes no larger one.
const DOCUMENT_MAX: u64 = 16 << 20;
/// The largest bill of materials: cosign's bound for attachments.
const SBOM_MAX: u64 = 128 << 20;

pub(super) async fn run(what: AttachWhat) -> Result<()> {
    match what {
        AttachWhat::Signature(arguments) => signature(&arguments).await,
        AttachWhat::Attestation(arguments) => attestation(&arguments).await,
        AttachWhat::Sbom(arguments) => sbom(&arguments).await,
    }
}

async fn target(image: &str, flags: &Registry) -> Result<Target> {
    let plan = Plan::new(&[image.to_owned()], flags, false)?;
    let mut targets = plan.targets(&Platforms::default()).await?;
    targets.pop().context("no image")
}

async fn signature(arguments: &AttachSignature) -> Result<()> {
    let target = target(&arguments.image, &arguments.registry).await?;
    if let Some(path) = &arguments.bundle {
        let json = trust_files::read_at_most(path, DOCUMENT_MAX)?;
        return bundle(&target, path, &json, arguments.force).await;
    }
    let digest = target.image.descriptor.digest;
    let payload = match &arguments.payload {
        Some(path) => read(path, DOCUMENT_MAX)?,
        None => SimpleSigning::new(&target.repository, &digest, BTreeMap::new()).to_json()?,
    };
    let claims = SimpleSigning::parse(&payload).context("the payload")?;
    if claims.image() != digest.to_string() {
        let why = format!("the payload is about {}", in_line(claims.image()));
        other_image(&target, &why, arguments.force)?;
    }
    let mut annotations = BTreeMap::new();
    let path = arguments.signature.as_deref().context("--signature")?;
    let text = text(path)?;
    annotations.insert(SIGNATURE.to_owned(), text.trim().to_owned());
    for (name, path) in [
        (CERTIFICATE, &arguments.certificate),
        (CHAIN, &arguments.certificate_chain),
        (PROMISE, &arguments.rekor_response),
    ] {
        if let Some(path) = path {
            annotations.insert(name.to_owned(), self::text(path)?);
        }
    }
    if let Some(path) = &arguments.tsr {
        let token = Base64::encode(&read(path, PIECE_MAX)?);
        let text = serde_json::json!({ "SignedRFC3161Timestamp": token }).to_string();
        annotations.insert(TIMESTAMP.to_owned(), text);
    }
    Legacy::signature(payload.clone(), &annotations).context("what is to be attached")?;
    let layer = Descriptor {
        annotations: Some(annotations),
        ..Descriptor::of(SIMPLE_SIGNING, &payload)
    };
    put(&target, LegacyKind::Signature, layer, payload).await
}

async fn put(target: &Target, kind: LegacyKind, layer: Descriptor, content: Vec<u8>) -> Result<()> {
    let digest = target.image.descriptor.digest;
    target
        .place
        .attach_legacy(&digest, kind, layer, content.into())
        .await?;
    say(&format!(
        "attached a {kind} to {} under the tag {}",
        target.exact(),
        kind.tag(&digest)
    ));
    Ok(())
}

/// What is about something else is found by nobody who would need it, and by everybody who verifies this image.
fn other_image(target: &Target, why: &str, force: bool) -> Result<()> {
    let said = format!("{why}, and the image is {}", target.exact());
    if force {
        say(&format!("warning: {said}"));
        return Ok(());
    }
    Err(advice(
        said,
        "attach it to the image that it is about; if it has to be this one, say --force",
    ))
}

/// Is it about the image, by its own words? If not, what it is about.
fn elsewhere(bundle: &Bundle, image: &Image) -> Option<String> {
    match &bundle.content {
        bundle::Content::Envelope(envelope) => match Statement::parse(&envelope.payload) {
            Ok(statement) if statement.is_about(&image.descriptor.digest) => None,
            Ok(_) => Some("the statement is about something else".to_owned()),
            Err(error) => Some(format!("what is signed is no statement ({error})")),
        },
        bundle::Content::Message { digest: None, .. } => {
            Some("the bundle does not say what is signed".to_owned())
        }
        bundle::Content::Message {
            digest: Some(digest),
            ..
        } => {
            let own = Digest::of(digest.algorithm(), &image.manifest);
            (own != *digest).then(|| format!("the bundle signs {digest}"))
        }
    }
}

async fn bundle(target: &Target, path: &Path, json: &[u8], force: bool) -> Result<()> {
    let read = Bundle::parse(json).with_context(|| format!("{}", path.display()))?;
    if let Some(why) = elsewhere(&read, &target.image) {
        other_image(target, &format!("{}: {why}", path.display()), force)?;
    }
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let mut annotations = Annotations::from([(CREATED.to_owned(), now.to_string())]);
    let content = match &read.content {
        bundle::Content::Envelope(envelope) => {
            if let Ok(statement) = Statement::parse(&envelope.payload) {
                annotations.insert(BUNDLE_PREDICATE_TYPE.to_owned(), statement.predicate_type);
            }
            "dsse-envelope"
        }
        bundle::Content::Message { .. } => "message-signature",
    };
    annotations.insert(BUNDLE_CONTENT.to_owned(), content.to_owned());
    target
        .place
        .attach(
            &target.image.descriptor,
            bundle::MEDIA_TYPE,
            Bytes::copy_from_slice(json),
            &annotations,
        )
        .await?;
    say(&format!("attached a bundle to {}", target.exact()));
    Ok(())
}

async fn attestation(arguments: &AttachAttestation) -> Result<()> {
    let target = target(&arguments.image, &arguments.registry).await?;
    for path in &arguments.attestation {
        let bytes = read(path, DOCUMENT_MAX)?;
        let reading = || format!("{}", path.display());
        if Bundle::parse(&bytes).is_ok() {
            bundle(&target, path, &bytes, arguments.force).await?;
            continue;
        }
        // Several envelopes may stand in one file, one after the other.
        let documents = serde_json::Deserializer::from_slice(&bytes)
            .into_iter::<Box<serde_json::value::RawValue>>();
        let mut count = 0;
        for document in documents {
            let layer = document.with_context(reading)?.get().as_bytes().to_vec();
            let none = BTreeMap::from([(SIGNATURE.to_owned(), String::new())]);
            let read = Legacy::attestation(layer.clone(), &none).with_context(reading)?;
            let mut annotations = none;
            if let bundle::Content::Envelope(envelope) = &read.content {
                let statement = Statement::parse(&envelope.payload).with_context(reading)?;
                if !statement.is_about(&target.image.descriptor.digest) {
                    let why = format!("{}: the statement is about something else", path.display());
                    other_image(&target, &why, arguments.force)?;
                }
                annotations.insert(PREDICATE_TYPE.to_owned(), statement.predicate_type);
            }
            let descriptor = Descriptor {
                annotations: Some(annotations),
                ..Descriptor::of(ENVELOPE, &layer)
            };
            put(&target, LegacyKind::Attestation, descriptor, layer).await?;
            count += 1;
        }
        if count == 0 {
            return Err(advice(
                format!("{} is empty", path.display()),
                "pass a bundle, or an envelope",
            ));
        }
    }
    Ok(())
}

async fn sbom(arguments: &AttachSbom) -> Result<()> {
    let target = target(&arguments.image, &arguments.registry).await?;
    say(
        "note: a bill of materials that is attached so is not signed, and nobody can tell who wrote it: attest signs one",
    );
    let content = read(&arguments.sbom, SBOM_MAX)?;
    let media_type = match (arguments.kind, arguments.input_format) {
        (SbomType::Spdx, None | Some(SbomFormat::Text)) => "text/spdx",
        (SbomType::Spdx, Some(SbomFormat::Json)) => "spdx+json",
        (SbomType::Spdx, Some(SbomFormat::Xml)) => "text/spdx+xml",
        (SbomType::Cyclonedx, None | Some(SbomFormat::Json)) => "application/vnd.cyclonedx+json",
        (SbomType::Cyclonedx, Some(SbomFormat::Xml)) => "application/vnd.cyclonedx+xml",
        (SbomType::Syft, None | Some(SbomFormat::Json)) => "application/vnd.syft+json",
        (SbomType::Cyclonedx | SbomType::Syft, Some(_)) => {
            return Err(advice(
                "this kind of bill of materials is not written so",
                "CycloneDX is JSON or XML, Syft is JSON, SPDX is text, JSON or XML",
            ));
        }
    };
    let layer = Descriptor::of(media_type, &content);
    put(&target, LegacyKind::Sbom, layer, content).await
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return trust_files::read_at_most(path, limit);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(advice(
            format!("standard input is longer than {limit} bytes"),
            "pass something smaller",
        ));
    }
    Ok(bytes)
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path, PIECE_MAX)?)
        .with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use keys::HashAlgorithm;
    use testkit::{Sigstore, statement};

    use super::*;

    #[test]
    fn a_bundle_is_about_the_image_or_says_about_what() {
        let manifest = b"{\"layers\":[]}";
        let image = Image {
            descriptor: Descriptor::of(oci::IMAGE_TYPE, manifest),
            manifest: Bytes::from_static(manifest),
        };
        let sigstore = Sigstore::default();
        let other = Digest::of(HashAlgorithm::Sha256, b"another manifest");
        for own in [
            sigstore.sign(manifest).bundle,
            sigstore.attest(&statement(&image.descriptor.digest)).bundle,
        ] {
            assert_eq!(elsewhere(&own, &image), None);
        }
        let mut silent = sigstore.sign(manifest).bundle;
        let bundle::Content::Message { digest, .. } = &mut silent.content else {
            panic!("no message")
        };
        *digest = None;
        for (foreign, expected) in [
            (sigstore.sign(b"another manifest").bundle, "sha256:"),
            (
                sigstore.attest(&statement(&other)).bundle,
                "about something else",
            ),
            (sigstore.attest(b"no statement").bundle, "no statement"),
            (silent, "does not say"),
        ] {
            let why = elsewhere(&foreign, &image).unwrap();
            assert!(why.contains(expected), "{why}");
        }
    }
}
