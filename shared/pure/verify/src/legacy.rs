//! What cosign attached to images before version 3: the same six steps, and rules of its own.
//!
//! - A simple signature is over its payload, and the payload names the image. It holds for an image only if that digest is the image's own, which
//!   is looked at when the signature over the payload holds, and then always.
//! - A timestamp beside an envelope is over the whole layer, and not over the signature in it, since cosign stamps that.
//! - An entry has a promise and no proof. It is checked as in a bundle of version 0.1, and must be about this very signature. One of intoto 0.0.1,
//!   as cosign wrote them for years, keeps no signature but the digest of the whole layer, which is then compared.

use bundle::legacy::{Legacy, SimpleSigning};
use bundle::{Bundle, Content};
use keys::Digest;
use trust::TrustedRoot;

use crate::artifact::Artifact;
use crate::error::VerifyError;
use crate::expect::Expect;
use crate::trace::{Observer, Trace, Unobserved};
use crate::{Original, Verified, steps};

/// Verifies a signature or attestation of the old kind: that the expected signer signed this about the image, at a time at which the
/// certificate was valid, and that it was recorded.
pub fn legacy(
    item: &Legacy,
    image: &Digest,
    root: &TrustedRoot,
    expect: &Expect,
) -> Result<Verified, VerifyError> {
    let (bundle, artifact) = parts(item, image);
    check(
        item,
        image,
        &bundle,
        &artifact,
        root,
        expect,
        &mut Unobserved,
    )
}

/// The same, and what each step found.
pub fn explain_legacy(
    item: &Legacy,
    image: &Digest,
    root: &TrustedRoot,
    expect: &Expect,
) -> (Result<Verified, VerifyError>, Trace) {
    let (bundle, artifact) = parts(item, image);
    let mut trace = Trace::new(&bundle, &artifact, expect);
    let outcome = check(item, image, &bundle, &artifact, root, expect, &mut trace);
    trace.close(outcome.as_ref().err());
    (outcome, trace)
}

/// What the steps are about: the payload of a simple signature, or the image that a statement names.
fn parts(item: &Legacy, image: &Digest) -> (Bundle, Artifact) {
    let artifact = match &item.content {
        Content::Message { .. } => Artifact::from_bytes(&item.layer),
        Content::Envelope(_) => Artifact::from_digest(*image),
    };
    (item.to_bundle(), artifact)
}

fn check(
    item: &Legacy,
    image: &Digest,
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    expect: &Expect,
    observer: &mut impl Observer,
) -> Result<Verified, VerifyError> {
    let original = match &item.content {
        Content::Message { signature, .. } => Original {
            stamped: signature,
            document: None,
        },
        Content::Envelope(_) => Original {
            stamped: &item.layer,
            document: Some(&item.layer),
        },
    };
    let mut verified = steps(bundle, original, artifact, root, expect, observer)?;
    if matches!(item.content, Content::Message { .. }) {
        let claims = SimpleSigning::parse(&item.layer).map_err(VerifyError::Claims)?;
        if claims.image() != image.to_string() {
            return Err(VerifyError::OtherImage {
                stated: claims.image().to_owned(),
                image: image.to_string(),
            });
        }
        verified.claims = Some(claims);
    }
    verified.digest = Some(*image);
    Ok(verified)
}
