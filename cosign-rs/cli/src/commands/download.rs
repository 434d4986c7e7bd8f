//! `download`: what is attached to an image, on standard output, one on a line. Nothing is verified.

use anyhow::{Context as _, Result};
use bundle::legacy::{Legacy, PROMISE, SIGNATURE, TIMESTAMP};
use bundle::{Bundle, Content};
use dsse::Statement;
use oci::{Found, LegacyKind, LegacyLayer};
use serde::Serialize;
use serde_json::value::RawValue;
use wire::encoding::Bytes;

use super::targets::{Plan, Target};
use crate::args::{
    DownloadAttestation, DownloadSbom, DownloadSignature, DownloadWhat, Platforms, Registry,
};
use crate::failure::{advice, in_line, say};
use crate::{predicate, report};

pub(super) async fn run(what: DownloadWhat) -> Result<()> {
    match what {
        DownloadWhat::Signature(arguments) => signature(arguments).await,
        DownloadWhat::Attestation(arguments) => attestation(arguments).await,
        DownloadWhat::Sbom(arguments) => sbom(arguments).await,
    }
}

/// The image, and what is attached to it. What cannot be read is told; without anything else it is an error.
async fn attached(
    image: &str,
    platform: Option<oci::Platform>,
    flags: &Registry,
    kind: LegacyKind,
) -> Result<(Target, Found)> {
    let plan = Plan::new(&[image.to_owned()], flags, false)?;
    let platforms = Platforms {
        platform,
        ..Platforms::default()
    };
    let target = plan.targets(&platforms).await?.pop().context("no image")?;
    let found = target
        .place
        .attached(&target.image.descriptor.digest, &[kind])
        .await?;
    Ok((target, found))
}

/// Nothing was printed, or something could not be read: the exit code has to say so.
fn close(target: &Target, found: &Found, printed: usize, what: &str) -> Result<()> {
    for problem in &found.problems {
        say(&format!(
            "warning: not read: {}: {}",
            in_line(&problem.what),
            in_line(&problem.why.to_string())
        ));
    }
    if !found.problems.is_empty() {
        return Err(advice(
            format!("{}: not everything could be read", target.name),
            "try again; if it stays, ask whoever runs the registry",
        ));
    }
    if printed == 0 {
        return Err(advice(
            format!("{}: no {what} is attached", target.name),
            "tree shows what is",
        ));
    }
    Ok(())
}

async fn signature(arguments: DownloadSignature) -> Result<()> {
    let kind = LegacyKind::Signature;
    let (target, found) = attached(&arguments.image, None, &arguments.registry, kind).await?;
    let mut printed = 0;
    for attached in &found.attached {
        let signs = match statement(&attached.bundle) {
            Some(statement) => statement.predicate_type == predicate::SIGNATURE,
            // A bundle around no statement signs the image itself.
            None => true,
        };
        if signs {
            print_document(&attached.bundle)?;
            printed += 1;
        }
    }
    for layer in &found.legacy {
        report::print_json(&SignedPayload::of(layer)?)?;
        printed += 1;
    }
    close(&target, &found, printed, "signature")
}

fn statement(json: &[u8]) -> Option<Statement> {
    match Bundle::parse(json).ok()?.content {
        Content::Envelope(envelope) => Statement::parse(&envelope.payload).ok(),
        Content::Message { .. } => None,
    }
}

/// A document that somebody else wrote, on one line of ours.
fn print_document(json: &[u8]) -> Result<()> {
    let document: Box<RawValue> = serde_json::from_slice(json)?;
    if document.get().contains(['\n', '\r']) {
        let value: serde_json::Value = serde_json::from_str(document.get())?;
        return report::print_json(&value);
    }
    report::print(document.get())
}

/// A simple signature as cosign prints it, of which a certificate is a whole structure of Go's: of that there is the DER here.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignedPayload {
    base64_signature: String,
    payload: Bytes,
    cert: Option<Raw>,
    chain: Option<Vec<Raw>>,
    bundle: Option<Box<RawValue>>,
    #[serde(rename = "RFC3161Timestamp")]
    rfc3161_timestamp: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    raw: Bytes,
}

impl SignedPayload {
    fn of(layer: &LegacyLayer) -> Result<Self> {
        let annotations = layer.annotations();
        let read = Legacy::signature(layer.content.to_vec(), annotations)
            .with_context(|| format!("the signature {}", layer.descriptor.digest))?;
        let raw = |certificate: &pki::Certificate| Raw {
            raw: certificate.der().into(),
        };
        let (cert, chain) = match &read.signer {
            bundle::Signer::Certificate {
                leaf,
                intermediates,
            } => (
                Some(raw(leaf)),
                Some(intermediates.iter().map(raw).collect()),
            ),
            bundle::Signer::Key { .. } => (None, None),
        };
        let document = |name: &str| -> Result<Option<Box<RawValue>>> {
            let text = annotations.get(name).filter(|text| !text.is_empty());
            Ok(text.map(|text| serde_json::from_str(text)).transpose()?)
        };
        Ok(Self {
            base64_signature: annotations.get(SIGNATURE).cloned().unwrap_or_default(),
            payload: layer.content.to_vec().into(),
            cert,
            chain,
            bundle: document(PROMISE)?,
            rfc3161_timestamp: document(TIMESTAMP)?,
        })
    }
}

async fn attestation(arguments: DownloadAttestation) -> Result<()> {
    let wanted = arguments
        .predicate_type
        .as_deref()
        .map(predicate::type_of)
        .transpose()?;
    let kind = LegacyKind::Attestation;
    let platform = arguments.platform.clone();
    let (target, found) = attached(&arguments.image, platform, &arguments.registry, kind).await?;
    let fits = |statement: &Statement| {
        statement.predicate_type != predicate::SIGNATURE
            && wanted.is_none_or(|wanted| statement.predicate_type == wanted)
    };
    let mut printed = 0;
    for attached in &found.attached {
        let Ok(Bundle {
            content: Content::Envelope(envelope),
            ..
        }) = Bundle::parse(&attached.bundle)
        else {
            continue;
        };
        if Statement::parse(&envelope.payload).is_ok_and(|statement| fits(&statement)) {
            report::print_json(&envelope.to_wire())?;
            printed += 1;
        }
    }
    for layer in &found.legacy {
        let read = Legacy::attestation(layer.content.to_vec(), layer.annotations());
        let Ok(Legacy {
            content: Content::Envelope(envelope),
            ..
        }) = read
        else {
            continue;
        };
        if Statement::parse(&envelope.payload).is_ok_and(|statement| fits(&statement)) {
            print_document(&layer.content)?;
            printed += 1;
        }
    }
    close(&target, &found, printed, "attestation of this kind")
}

async fn sbom(arguments: DownloadSbom) -> Result<()> {
    let kind = LegacyKind::Sbom;
    let platform = arguments.platform.clone();
    let (target, found) = attached(&arguments.image, platform, &arguments.registry, kind).await?;
    say(
        "note: a bill of materials that is attached so is not signed, and nobody can tell who wrote it: verify-attestation prints signed ones",
    );
    for layer in &found.legacy {
        report::print_bytes(&layer.content)?;
    }
    close(&target, &found, found.legacy.len(), "bill of materials")
}
