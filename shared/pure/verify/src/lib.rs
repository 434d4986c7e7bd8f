//! The whole verification of a Sigstore bundle (sigstore architecture-docs, client-spec section 4): six steps, one result, no I/O and no clock.
//!
//! | step | from | to | what holds then |
//! | --- | --- | --- | --- |
//! | record | the bundle's entries | [`Recorded`] | each entry of a known log is in that log: checkpoint opened, proof or promise checked |
//! | time | tokens, promises | [`ObservedTimes`] | every time source that is present holds; with a certificate there is at least one |
//! | leaf | certificate, times | [`TrustedLeaf`] | the chain held at every one of these times and a CT log vouches for the certificate |
//! | signature | leaf, artifact | [`Signed`] | the leaf's key signed this artifact |
//! | record | entries, signature | [`Bound`] | each entry is about this very signature, signer and digest |
//! | identity | leaf, expectation | [`Verified`] | it is who the caller expects |
//!
//! Each step's result has private fields and one maker, and the next step asks for it, so that leaving one out does not compile. Nothing is
//! skipped because data is absent. There is no expectation that accepts everybody.
//!
//! [`bundle()`] answers; [`explain`] runs the same steps and also tells, as data, what each of them found. [`legacy()`] takes them with what
//! cosign attached to images before there were bundles.

mod artifact;
mod bind;
mod error;
mod expect;
mod leaf;
mod legacy;
mod record;
mod signature;
mod time;
mod trace;

use bundle::legacy::SimpleSigning;
use bundle::{Bundle, Content, Signer};
use dsse::Statement;
use entry::LogEntry;
use keys::{Digest, PublicKey};
use trust::TrustedRoot;

pub use artifact::Artifact;
pub use bind::Bound;
pub use error::{Step, VerifyError};
pub use expect::{Expect, Identities, Identity, IdentityPolicy, Matcher, PatternError};
pub use leaf::{Certified, CtLog, TrustedLeaf, fresh_leaf};
pub use legacy::{explain_legacy, legacy};
pub use record::{Recorded, RecordedEntry, SeenCheckpoint};
pub use signature::Signed;
pub use time::{ObservedTime, ObservedTimes, Witness};
pub use trace::{Fact, StepOutcome, StepTrace, Trace};

use leaf::Sct;
use trace::{Observer, Unobserved};

/// A bundle that holds, and what it says. Only [`bundle()`] and [`legacy()`] make one.
#[derive(Debug)]
pub struct Verified {
    identity: Option<Identity>,
    certified: Option<Certified>,
    key: PublicKey,
    times: Vec<ObservedTime>,
    entries: Vec<RecordedEntry>,
    statement: Option<Statement>,
    claims: Option<SimpleSigning>,
    digest: Option<Digest>,
}

impl Verified {
    /// Who signed, out of the certificate; none where the caller's own key was expected.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The certificate and who vouches for it; none where the caller's own key was expected.
    pub const fn certified(&self) -> Option<&Certified> {
        self.certified.as_ref()
    }

    /// The key that signed: the certificate's, or the caller's own.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When, and who says so.
    pub fn times(&self) -> &[ObservedTime] {
        &self.times
    }

    /// Where it is recorded.
    pub fn entries(&self) -> &[RecordedEntry] {
        &self.entries
    }

    /// The signed statement, where an envelope was signed.
    pub const fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// What was signed about an image by a simple signature, which is what cosign made before version 3.
    pub const fn claims(&self) -> Option<&SimpleSigning> {
        self.claims.as_ref()
    }

    /// The artifact's digest under which the signature held; none where the bytes themselves were signed.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

/// Verifies a bundle: that the expected signer signed this artifact, at a time at which the certificate was valid, and that it was recorded.
pub fn bundle(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    expect: &Expect,
) -> Result<Verified, VerifyError> {
    let original = Original::of(bundle);
    steps(bundle, original, artifact, root, expect, &mut Unobserved)
}

/// The same, and what each step found.
pub fn explain(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    expect: &Expect,
) -> (Result<Verified, VerifyError>, Trace) {
    let mut trace = Trace::new(bundle, artifact, expect);
    let original = Original::of(bundle);
    let outcome = steps(bundle, original, artifact, root, expect, &mut trace);
    trace.close(outcome.as_ref().err());
    (outcome, trace)
}

/// What witnesses of a signature were shown.
#[derive(Clone, Copy)]
struct Original<'a> {
    /// What the timestamps are over.
    stamped: &'a [u8],
    /// The document that an envelope was read from, where its bytes are at hand.
    document: Option<&'a [u8]>,
}

impl<'a> Original<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        Self {
            stamped: bundle.content.signature(),
            document: None,
        }
    }
}

/// Checks what there is of a bundle before its signature is logged, which cannot be taken back: that each timestamp holds, and that the certificate
/// did at each of these times. `signature` is what they are over.
pub fn before_logging(
    signer: &Signer,
    timestamps: &[Vec<u8>],
    signature: &[u8],
    root: &TrustedRoot,
) -> Result<(), VerifyError> {
    let none = record::check_present(&[], root)?;
    let times = time::observe(timestamps, signature, &none, root)?;
    match signer {
        // A log's promise may be the time that holds it.
        Signer::Certificate { .. } if timestamps.is_empty() => Ok(()),
        Signer::Certificate {
            leaf,
            intermediates,
        } => leaf::trust(leaf, intermediates, &times, &none, root, Sct::Needed).map(drop),
        Signer::Key { .. } => Ok(()),
    }
}

/// Checks log entries by themselves: at least one is of a trusted log, and each of these is in its log, by its proof and its promise. What they are about is
/// not looked at.
pub fn recorded(entries: &[LogEntry], root: &TrustedRoot) -> Result<Recorded, VerifyError> {
    record::check(entries, root)
}

fn steps(
    bundle: &Bundle,
    original: Original<'_>,
    artifact: &Artifact,
    root: &TrustedRoot,
    expect: &Expect,
    observer: &mut impl Observer,
) -> Result<Verified, VerifyError> {
    let recorded = match expect {
        Expect::UnloggedKey(_) => record::check_present(&bundle.entries, root)?,
        _ => record::check(&bundle.entries, root)?,
    };
    observer.held(Step::Record, || trace::recorded(&bundle.entries, &recorded));
    // Who trusts no timestamp authority and asks for no time is not told one.
    let tokens: &[Vec<u8>] = match expect {
        Expect::UnloggedKey(_) if root.timestamp_authorities.is_empty() => &[],
        _ => &bundle.timestamps,
    };
    let times = time::observe(tokens, original.stamped, &recorded, root)?;
    observer.held(Step::Time, || trace::observed(&times));
    let leaf = match (&bundle.signer, expect) {
        (
            Signer::Certificate {
                leaf,
                intermediates,
            },
            Expect::Identity(_)
            | Expect::AnyOf(_)
            | Expect::UnwatchedCertificate(_)
            | Expect::ExactCertificate(_),
        ) => {
            let sct = match expect {
                Expect::UnwatchedCertificate(_) => Sct::NotNeeded,
                _ => Sct::Needed,
            };
            leaf::trust(leaf, intermediates, &times, &recorded, root, sct)?
        }
        (Signer::Key { .. }, Expect::Key(key) | Expect::UnloggedKey(key)) => leaf::trust_key(key),
        // The key of a certificate may be the key that is expected; whose certificate it is does not matter then.
        (Signer::Certificate { leaf, .. }, Expect::Key(key) | Expect::UnloggedKey(key))
            if leaf.public_key() == key =>
        {
            leaf::trust_key(key)
        }
        (Signer::Certificate { .. }, Expect::Key(_) | Expect::UnloggedKey(_)) => {
            return Err(VerifyError::OtherKey);
        }
        (
            Signer::Key { hint },
            Expect::Identity(_)
            | Expect::AnyOf(_)
            | Expect::UnwatchedCertificate(_)
            | Expect::ExactCertificate(_),
        ) => {
            return Err(VerifyError::NoCertificate { hint: hint.clone() });
        }
    };
    observer.held(Step::Leaf, || trace::trusted(&leaf));
    let signed = signature::check(&bundle.content, artifact, &leaf)?;
    observer.held(Step::Signature, || trace::signed(&signed, artifact));
    let bound = bind::check(
        &recorded,
        &bundle.content,
        &bundle.signer,
        &signed,
        &leaf,
        original.document,
    )?;
    observer.held(Step::Binding, || trace::bound(&recorded));
    let identity = expect::check(&leaf, expect, &bound)?;
    observer.held(Step::Identity, || {
        trace::identified(identity.as_ref(), &leaf)
    });
    let statement = match &bundle.content {
        Content::Envelope(_) => signed.into_statement(),
        Content::Message { .. } => None,
    };
    Ok(Verified {
        identity,
        certified: leaf.certified().cloned(),
        key: leaf.key().clone(),
        times: times.into_vec(),
        entries: recorded.into_vec(),
        statement,
        claims: None,
        digest: artifact.digest_of(bound.hash()).copied(),
    })
}
