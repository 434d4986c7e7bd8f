//! What cosign before version 3 reads, written beside bundles or instead of them: `.sig` and `.att` tags (sigstore/cosign: specs/SIGNATURE_SPEC.md).

use anyhow::{Context as _, Result};
use bundle::Content;
use bundle::legacy::{self, Legacy, SimpleSigning};
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use oci::{Descriptor, LegacyKind};
use sign::{Session, SignedBundle};

use super::targets::Target;
use super::{Holder, Prepared};
use crate::bundle_file::Unplaced;
use crate::failure::advice;

/// What an old verifier can check is signed with a key over SHA-256. A certificate's signature it checks by a log's promise, which the logs that are
/// signed with here (Rekor v2) do not give.
pub(super) fn check(prepared: &Prepared) -> Result<()> {
    if matches!(prepared.holder, Holder::Identity(_)) {
        return Err(advice(
            "a signature with an identity cannot be written in the format of cosign before 3: its verifiers ask for a promise of the log, and Rekor v2 makes none",
            "sign with a key (--key), or with the new format alone",
        ));
    }
    if prepared.hash()? != HashAlgorithm::Sha256 {
        return Err(advice(
            "cosign before 3 verifies signatures over SHA-256 only, and this key signs with another hash",
            "sign with a P-256 or RSA key, or with the new format alone",
        ));
    }
    Ok(())
}

/// Signs the payload that names the image. It is another signature than the bundle's, which is over a statement.
pub(super) async fn sign(
    session: &Session,
    target: &Target,
    annotations: &[(String, String)],
) -> Result<SignedBundle> {
    let digest = target.image.descriptor.digest;
    let optional = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    let payload = SimpleSigning::new(&target.repository, &digest, optional).to_json()?;
    let signed = session
        .sign_digest(Digest::of(session.hash(), &payload), Timestamp::now())
        .await
        .with_context(|| format!("signing {}", target.name))?;
    let unplaced = Unplaced::new(
        signed.json(),
        target.exact(),
        "it is over the payload that names the image; sign again with --format legacy",
    );
    let item = old(&signed, payload, true);
    put_old(target, LegacyKind::Signature, item, None).await?;
    unplaced.placed();
    Ok(signed)
}

/// The same envelope with the same signature as in the bundle.
pub(super) async fn attach_attestation(
    target: &Target,
    signed: &SignedBundle,
    predicate_type: &str,
) -> Result<()> {
    let Content::Envelope(envelope) = &signed.bundle().content else {
        return Ok(());
    };
    let layer = serde_json::to_vec(&envelope.to_wire())?;
    // The bundle's timestamp is over the signature, and the old one would be over the layer.
    let item = old(signed, layer, false);
    put_old(target, LegacyKind::Attestation, item, Some(predicate_type)).await
}

fn old(signed: &SignedBundle, layer: Vec<u8>, stamped: bool) -> Legacy {
    let bundle = signed.bundle();
    Legacy {
        layer,
        signer: bundle.signer.clone(),
        entries: bundle.entries.clone(),
        timestamps: if stamped {
            bundle.timestamps.clone()
        } else {
            Vec::new()
        },
        content: bundle.content.clone(),
    }
}

async fn put_old(
    target: &Target,
    kind: LegacyKind,
    item: Legacy,
    predicate_type: Option<&str>,
) -> Result<()> {
    let mut annotations = item.annotations(&[]);
    if let Some(predicate_type) = predicate_type {
        annotations.insert(legacy::PREDICATE_TYPE.to_owned(), predicate_type.to_owned());
    }
    let media_type = match kind {
        LegacyKind::Signature => legacy::SIMPLE_SIGNING,
        LegacyKind::Attestation | LegacyKind::Sbom => legacy::ENVELOPE,
    };
    let layer = Descriptor {
        annotations: Some(annotations),
        ..Descriptor::of(media_type, &item.layer)
    };
    target
        .place
        .attach_legacy(
            &target.image.descriptor.digest,
            kind,
            layer,
            item.layer.into(),
        )
        .await
        .with_context(|| format!("{} is signed, and could not be attached to it", target.name))?;
    Ok(())
}
