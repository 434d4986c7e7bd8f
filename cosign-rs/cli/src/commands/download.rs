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

/// What is attached and is not what it should be; the others are printed all the same.
#[derive(Default)]
struct Malformed(usize);

impl Malformed {
    /// Takes what can be read.
    fn take<T>(&mut self, what: &str, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                say(&format!(
                    "warning: {}: {}",
                    in_line(what),
                    in_line(&format!("{error:#}"))
                ));
                self.0 = self.0.saturating_add(1);
                None
            }
        }
    }
}

/// Nothing was printed, or something could not be read: the exit code has to say so.
fn close(
    target: &Target,
    found: &Found,
    malformed: &Malformed,
    printed: usize,
    what: &str,
) -> Result<()> {
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
    if malformed.0 > 0 {
        return Err(advice(
            format!(
                "{}: {} of what is attached cannot be read, {printed} printed",
                target.name, malformed.0
            ),
            "what it is stands above; clean takes it away",
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
    let (lines, malformed) = signatures(&found);
    for line in &lines {
        report::print(line)?;
    }
    close(&target, &found, &malformed, lines.len(), "signature")
}

/// A line for each of them.
fn signatures(found: &Found) -> (Vec<String>, Malformed) {
    let (mut lines, mut malformed) = (Vec::new(), Malformed::default());
    for attached in &found.attached {
        let read = Bundle::parse(&attached.bundle).context("it is no bundle");
        let Some(bundle) = malformed.take(&format!("bundle {}", attached.manifest), read) else {
            continue;
        };
        let signs = match &bundle.content {
            Content::Envelope(envelope) => Statement::parse(&envelope.payload)
                .map_or(true, |statement| {
                    statement.predicate_type == predicate::SIGNATURE
                }),
            // It signs the image itself.
            Content::Message { .. } => true,
        };
        if signs {
            let line = one_line(&attached.bundle);
            lines.extend(malformed.take(&format!("bundle {}", attached.manifest), line));
        }
    }
    for layer in &found.legacy {
        let line =
            SignedPayload::of(layer).and_then(|payload| Ok(serde_json::to_string(&payload)?));
        lines.extend(malformed.take(&format!("signature {}", layer.descriptor.digest), line));
    }
    (lines, malformed)
}

/// A document that somebody else wrote, on one line of ours.
fn one_line(json: &[u8]) -> Result<String> {
    let document: Box<RawValue> = serde_json::from_slice(json)?;
    if document.get().contains(['\n', '\r']) {
        let value: serde_json::Value = serde_json::from_str(document.get())?;
        return Ok(serde_json::to_string(&value)?);
    }
    Ok(document.get().to_owned())
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
    let (lines, malformed) = attestations(&found, fits);
    for line in &lines {
        report::print(line)?;
    }
    let what = "attestation of this kind";
    close(&target, &found, &malformed, lines.len(), what)
}

/// A line for each of those that fit.
fn attestations(found: &Found, fits: impl Fn(&Statement) -> bool) -> (Vec<String>, Malformed) {
    let (mut lines, mut malformed) = (Vec::new(), Malformed::default());
    let states = |content: &Content| match content {
        Content::Envelope(envelope) => {
            Statement::parse(&envelope.payload).is_ok_and(|statement| fits(&statement))
        }
        Content::Message { .. } => false,
    };
    for attached in &found.attached {
        let read = Bundle::parse(&attached.bundle).context("it is no bundle");
        let what = format!("bundle {}", attached.manifest);
        let Some(bundle) = malformed.take(&what, read) else {
            continue;
        };
        if let Content::Envelope(envelope) = &bundle.content
            && states(&bundle.content)
        {
            let line = serde_json::to_string(&envelope.to_wire()).map_err(Into::into);
            lines.extend(malformed.take(&what, line));
        }
    }
    for layer in &found.legacy {
        let read = Legacy::attestation(layer.content.to_vec(), layer.annotations())
            .context("it is no attestation");
        let what = format!("attestation {}", layer.descriptor.digest);
        let Some(read) = malformed.take(&what, read) else {
            continue;
        };
        if states(&read.content) {
            lines.extend(malformed.take(&what, one_line(&layer.content)));
        }
    }
    (lines, malformed)
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
    let (count, whole) = (found.legacy.len(), Malformed::default());
    close(&target, &found, &whole, count, "bill of materials")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keys::{Digest, HashAlgorithm};
    use oci::{Attached, Descriptor};
    use testkit::{Sigstore, statement};

    use super::*;

    /// What is no signature among those that are, first, in the middle and last.
    #[test]
    fn what_cannot_be_read_hides_nothing() {
        let sigstore = Sigstore::default();
        let digest = Digest::of(HashAlgorithm::Sha256, b"a manifest");
        let bundle = |json: &[u8]| Attached {
            manifest: Digest::of(HashAlgorithm::Sha256, json),
            media_type: bundle::MEDIA_TYPE.to_owned(),
            bundle: json.to_vec().into(),
            annotations: BTreeMap::new(),
        };
        let old = |content: &[u8], signature: &str| LegacyLayer {
            manifest: digest,
            kind: LegacyKind::Signature,
            descriptor: Descriptor {
                annotations: Some(BTreeMap::from([(
                    SIGNATURE.to_owned(),
                    signature.to_owned(),
                )])),
                ..Descriptor::of(bundle::legacy::SIMPLE_SIGNING, content)
            },
            content: content.to_vec().into(),
        };
        let signed = sigstore.sign(b"a manifest").bundle.to_json().unwrap();
        let mut found = Found::default();
        found.attached = vec![bundle(b"no bundle"), bundle(&signed), bundle(b"{}")];
        found.legacy = vec![
            old(b"payload", "no base64"),
            old(b"payload", "c2ln"),
            old(b"payload", ""),
        ];
        let (lines, malformed) = signatures(&found);
        assert_eq!((lines.len(), malformed.0), (2, 4), "{lines:?}");
        assert!(
            lines[1].contains("\"Base64Signature\":\"c2ln\""),
            "{lines:?}"
        );

        let attested = sigstore.attest(&statement(&digest)).bundle;
        let envelope = match &attested.content {
            Content::Envelope(envelope) => serde_json::to_vec(&envelope.to_wire()).unwrap(),
            Content::Message { .. } => panic!("no envelope"),
        };
        let mut found = Found::default();
        found.attached = vec![bundle(b"[]"), bundle(&attested.to_json().unwrap())];
        found.legacy = vec![old(b"{}", ""), old(&envelope, "")];
        let (lines, malformed) = attestations(&found, |_| true);
        assert_eq!((lines.len(), malformed.0), (2, 2), "{lines:?}");
        assert!(attestations(&found, |_| false).0.is_empty());
    }
}
