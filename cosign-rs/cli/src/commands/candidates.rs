//! The bundles at an image: each verified or refused; and which of those that hold are what was asked for.

use std::error::Error;

use anyhow::Result;
use bundle::Bundle;
use keys::Digest;
use oci::{Found, Image, Reference};
use trust::TrustedRoot;
use verify::{Artifact, Expect, Verified, VerifyError};

use crate::failure::{Refused, advice, in_line, say};

/// Reasons that are told one by one.
const TOLD_MAX: usize = 10;

/// All bundles at an image.
pub(super) struct Candidates {
    name: String,
    digest: Digest,
    size: u64,
    held: Vec<(Digest, Bundle, Verified)>,
    refused: Vec<Refused>,
    /// What is no bundle.
    malformed: Vec<String>,
    /// What could not be read. It may be anything, so nothing is concluded from its absence.
    unread: Vec<String>,
}

impl Candidates {
    /// Verifies each. A bundle may sign the manifest's bytes, or a digest of them.
    pub(super) fn check(
        reference: &Reference,
        image: &Image,
        found: Found,
        root: &TrustedRoot,
        expect: &Expect,
    ) -> Self {
        let artifact = Artifact::from_bytes(&image.manifest);
        let mut candidates = Self {
            name: reference.to_string(),
            digest: image.descriptor.digest,
            size: image.descriptor.size,
            held: Vec::new(),
            refused: Vec::new(),
            malformed: Vec::new(),
            unread: found
                .problems
                .iter()
                .map(|problem| format!("{}: {}", problem.what, chain(&problem.why)))
                .collect(),
        };
        for attached in found.attached {
            let manifest = attached.manifest;
            match Bundle::parse(&attached.bundle) {
                Err(error) => candidates
                    .malformed
                    .push(format!("bundle {manifest}: {}", chain(&error))),
                Ok(bundle) => match verify::bundle(&bundle, &artifact, root, expect) {
                    Ok(verified) => candidates.held.push((manifest, bundle, verified)),
                    Err(why) => candidates.refused.push(Refused {
                        what: format!("{} (bundle {manifest})", candidates.name),
                        why,
                    }),
                },
            }
        }
        candidates
    }

    /// The image's digest.
    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of its manifest.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Those that hold and are a `what`; `unwanted` says what another one is instead. Without any it is an error: of the refusals the one that
    /// went furthest, after the others.
    pub(super) fn choose(
        self,
        what: &str,
        unwanted: impl Fn(&Verified) -> Option<String>,
    ) -> Result<Vec<(Bundle, Verified)>> {
        let mut accepted = Vec::new();
        let mut others = self.malformed;
        for (manifest, bundle, verified) in self.held {
            match unwanted(&verified) {
                None => accepted.push((bundle, verified)),
                Some(why) => others.push(format!("bundle {manifest}: {why}")),
            }
        }
        if !accepted.is_empty() {
            for unread in self.unread.iter().take(TOLD_MAX) {
                say(&format!(
                    "warning: {}: not read: {}",
                    self.name,
                    in_line(unread)
                ));
            }
            return Ok(accepted);
        }
        if !self.unread.is_empty() {
            others.extend(self.refused.iter().map(ToString::to_string));
            list(&others);
            return Err(advice(
                format!(
                    "{}: no {what} was found, and not everything could be read, so there may be one: {}",
                    self.name,
                    self.unread.first().map_or("", String::as_str)
                ),
                "try again; if it stays, ask whoever runs the registry",
            ));
        }
        let mut refused = self.refused;
        // The nearest miss last: furthest on the way, and then the one whose issuer is the expected one.
        refused.sort_by_key(|refused| {
            let issuer_matches = matches!(
                refused.why,
                VerifyError::Subjects {
                    issuer_matches: true,
                    ..
                }
            );
            (refused.why.step(), issuer_matches)
        });
        let furthest = refused.pop();
        others.extend(refused.iter().map(ToString::to_string));
        list(&others);
        match furthest {
            Some(furthest) => Err(furthest.into()),
            None if others.is_empty() => Err(advice(
                format!("{}: nothing is signed about {}", self.name, self.digest),
                "was it signed in another repository (--signature-repository), or by a cosign before 3, whose signatures are not read yet?",
            )),
            None => Err(advice(
                format!(
                    "{}: none of its {} bundles is the {what} that is asked for",
                    self.name,
                    others.len()
                ),
                "what they are stands above",
            )),
        }
    }
}

fn list(reasons: &[String]) {
    for reason in reasons.iter().take(TOLD_MAX) {
        say(&format!("  {}", in_line(reason)));
    }
    if let Some(more) = reasons.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        say(&format!("  and {more} more"));
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
