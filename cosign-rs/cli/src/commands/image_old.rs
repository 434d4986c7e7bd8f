//! What cosign before version 3 reads, written beside bundles or instead of them: `.sig` and `.att` tags (sigstore/cosign: specs/SIGNATURE_SPEC.md).

use std::error::Error as _;

use anyhow::{Context as _, Result};
use bundle::Content;
use bundle::legacy::{self, Legacy, SimpleSigning};
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use oci::{Descriptor, LegacyKind};
use pki::Certificate;
use sign::{Services, Session, SignedBundle};

use super::targets::Target;
use super::{Holder, Prepared};
use crate::bundle_file::Unplaced;
use crate::failure::advice;

/// What an old verifier can check is signed over SHA-256; under a certificate it checks the time by a log's promise, which only Rekor v1 makes. So
/// signatures with an identity go into such a log, if the signing config has one.
pub(super) fn check(prepared: &mut Prepared) -> Result<()> {
    if prepared.hash()? != HashAlgorithm::Sha256 {
        return Err(advice(
            "cosign before 3 verifies signatures over SHA-256 only, and this key signs with another hash",
            "sign with a P-256 or RSA key, or with the new format alone",
        ));
    }
    // Of those with a certificate of one's own too, if there is one; without it they are verified with the key.
    if let (Holder::Key(keyed), Some((_, config))) = (&prepared.holder, &prepared.trusted)
        && keyed.certificate.is_some()
        && prepared.logged
    {
        let now = Timestamp::now();
        prepared.promising = Services::for_key(config, true, now, 0).is_ok();
    }
    if let (Holder::Identity(_), Some((_, config))) = (&prepared.holder, &prepared.trusted) {
        let now = Timestamp::now();
        let promising = Services::select(config, true, now, 0);
        promising.map_err(|error| {
            let why = error.source().unwrap_or(&error).to_string();
            advice(
                format!(
                    "a signature with an identity in the format of cosign before 3 needs a promise of the log, which Rekor v2 does not make, and the signing config names no Rekor v1 log to sign with ({why})"
                ),
                "name one in the signing config (signing-config create --rekor url=...,api-version=1,...), sign with a key (--key), or write the new format alone",
            )
        })?;
        prepared.promising = true;
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
    let above = above(session, &signed);
    put_old(target, LegacyKind::Signature, item, &above, None).await?;
    unplaced.placed();
    Ok(signed)
}

/// The certificates above the signer's, up to the root: who verifies with an old cosign may have the root alone.
fn above(session: &Session, signed: &SignedBundle) -> Vec<Certificate> {
    if let Some(own) = session.own_certificate() {
        return own.above().to_vec();
    }
    let Some(certified) = signed.verified().certified() else {
        return Vec::new();
    };
    let began = certified.certificate().not_before();
    let mut authorities = session.root().authorities.iter();
    let authority = authorities.find(|authority| {
        authority.uri == certified.authority() && authority.validity.contains(began)
    });
    authority.map_or(Vec::new(), |authority| {
        let chain = authority.intermediates().iter().chain(authority.anchor());
        chain.cloned().collect()
    })
}

/// The same envelope with the same signature as in the bundle.
pub(super) async fn attach_attestation(
    session: &Session,
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
    let above = above(session, signed);
    put_old(
        target,
        LegacyKind::Attestation,
        item,
        &above,
        Some(predicate_type),
    )
    .await
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
    above: &[Certificate],
    predicate_type: Option<&str>,
) -> Result<()> {
    let mut annotations = item.annotations(above);
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
