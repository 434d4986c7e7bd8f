//! What each step found, as data: for a person who asks why, and for programs that keep the answer.
//!
//! Telling changes nothing: the steps are those of [`crate::bundle()`], and what is told of a step comes from the result that the next step asks
//! for. Values are as the bundle and its signer wrote them; whoever shows them on a terminal must escape them.

use bundle::{Bundle, Content, Signer};
use entry::LogEntry;
use pki::FulcioExtensions;

use crate::artifact::Artifact;
use crate::error::{Step, VerifyError};
use crate::expect::{Expect, Identity, IdentityPolicy};
use crate::leaf::TrustedLeaf;
use crate::record::Recorded;
use crate::signature::Signed;
use crate::time::ObservedTimes;

/// All steps in their order.
const STEPS: [Step; 6] = [
    Step::Record,
    Step::Time,
    Step::Leaf,
    Step::Signature,
    Step::Binding,
    Step::Identity,
];

/// A verification, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    expected: Vec<Fact>,
    claims: Vec<Fact>,
    steps: Vec<StepTrace>,
}

/// A step, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTrace {
    /// Which one.
    pub step: Step,
    /// Did it hold?
    pub outcome: StepOutcome,
    /// What it found; nothing where it did not hold.
    pub facts: Vec<Fact>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It holds.
    Held,
    /// It does not.
    Refused {
        /// A stable word, [`VerifyError::code`].
        code: &'static str,
        /// What is wrong, with the values.
        why: String,
    },
    /// A step before it did not hold.
    NotReached,
}

/// A named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// The value, which a stranger may have chosen.
    pub value: String,
}

impl Trace {
    /// Who was expected.
    pub fn expected(&self) -> &[Fact] {
        &self.expected
    }

    /// What the bundle says of itself. Nothing of it is verified: it is there so that one sees what is not as it should be.
    pub fn claims(&self) -> &[Fact] {
        &self.claims
    }

    /// The six steps in their order.
    pub fn steps(&self) -> &[StepTrace] {
        &self.steps
    }

    pub(crate) fn new(bundle: &Bundle, artifact: &Artifact, expect: &Expect) -> Self {
        Self {
            expected: expected(expect, artifact),
            claims: claims(bundle),
            steps: Vec::with_capacity(STEPS.len()),
        }
    }

    /// All six steps are there afterwards. A step may be refused by what a later one finds: a log that did not sign at the observed time.
    pub(crate) fn close(&mut self, error: Option<&VerifyError>) {
        if let Some(error) = error {
            self.refuse(error);
        }
    }

    /// Tells of a refusal, by a step or by a caller who asks for more than the steps do.
    pub fn refuse(&mut self, error: &VerifyError) {
        let refused = error.step();
        self.steps.retain(|told| told.step < refused);
        self.steps.push(StepTrace {
            step: refused,
            outcome: StepOutcome::Refused {
                code: error.code(),
                why: with_causes(error),
            },
            facts: Vec::new(),
        });
        for step in STEPS.into_iter().filter(|step| *step > refused) {
            self.steps.push(StepTrace {
                step,
                outcome: StepOutcome::NotReached,
                facts: Vec::new(),
            });
        }
    }
}

/// Whoever wants to know what a step found.
pub(crate) trait Observer {
    fn held(&mut self, step: Step, facts: impl FnOnce() -> Vec<Fact>);
}

/// Nobody: nothing is written down.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn held(&mut self, _step: Step, _facts: impl FnOnce() -> Vec<Fact>) {}
}

impl Observer for Trace {
    fn held(&mut self, step: Step, facts: impl FnOnce() -> Vec<Fact>) {
        self.steps.push(StepTrace {
            step,
            outcome: StepOutcome::Held,
            facts: facts(),
        });
    }
}

fn fact(name: &'static str, value: impl Into<String>) -> Fact {
    Fact {
        name,
        value: value.into(),
    }
}

fn with_causes(error: &VerifyError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some errors say their cause themselves.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn expected(expect: &Expect, artifact: &Artifact) -> Vec<Fact> {
    let mut facts: Vec<Fact> = artifact
        .digests()
        .iter()
        .map(|digest| fact("artifact", digest.to_string()))
        .collect();
    match expect {
        Expect::Identity(policy) => facts.extend(policy_facts(policy)),
        Expect::AnyOf(identities) => facts.extend(identities.iter().flat_map(policy_facts)),
        Expect::UnwatchedCertificate(identities) => {
            facts.extend(identities.iter().flat_map(policy_facts));
            facts.push(fact("certificate", "with an SCT or without"));
        }
        Expect::Key(key) => facts.push(fact("key", key_id(key))),
        Expect::UnloggedKey(key) => facts.push(fact("key, logged or not", key_id(key))),
        Expect::ExactCertificate(certificate) => {
            facts.push(fact("certificate", hex::encode(certificate.serial())));
        }
    }
    facts
}

fn policy_facts(policy: &IdentityPolicy) -> Vec<Fact> {
    let mut facts = vec![
        fact("subject", policy.subject.to_string()),
        fact("issuer", policy.issuer.to_string()),
    ];
    for (field, matcher) in &policy.extensions {
        facts.push(fact(field.name(), matcher.to_string()));
    }
    facts
}

fn key_id(key: &keys::PublicKey) -> String {
    format!("sha256:{}", hex::encode(key.key_id()))
}

fn claims(bundle: &Bundle) -> Vec<Fact> {
    let mut facts = Vec::new();
    match &bundle.signer {
        Signer::Certificate { leaf, .. } => {
            for name in leaf.subject_names() {
                facts.push(fact("subject", name.value()));
            }
            if let Ok(extensions) = FulcioExtensions::from_certificate(leaf) {
                for (field, value) in extensions.iter() {
                    facts.push(fact(field.name(), value));
                }
            }
            facts.push(fact(
                "certificate valid",
                format!("{} to {}", leaf.not_before(), leaf.not_after()),
            ));
        }
        Signer::Key { hint } => facts.push(fact("key hint", hint.clone())),
    }
    match &bundle.content {
        Content::Message { digest, .. } => {
            let stated = digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            facts.push(fact("signature over", stated));
        }
        Content::Envelope(envelope) => {
            facts.push(fact("envelope of", envelope.payload_type.clone()));
        }
    }
    for entry in &bundle.entries {
        facts.push(fact(
            "log entry",
            format!(
                "index {} of the log {}",
                entry.index,
                hex::encode(&entry.log_id)
            ),
        ));
    }
    facts.push(fact("timestamps", bundle.timestamps.len().to_string()));
    facts
}

pub(crate) fn recorded(entries: &[LogEntry], recorded: &Recorded) -> Vec<Fact> {
    let mut facts = Vec::new();
    for entry in recorded.entries() {
        facts.push(fact(
            "log entry",
            format!("index {} of {}", entry.index(), entry.log()),
        ));
        if let Some(seen) = entry.checkpoint() {
            facts.push(fact(
                "inclusion",
                format!(
                    "proven under the checkpoint of {} with {} entries",
                    seen.origin(),
                    seen.size()
                ),
            ));
        }
        if let Some(time) = entry.promised_at() {
            facts.push(fact("promise", time.to_string()));
        }
    }
    let known = |entry: &LogEntry| {
        recorded
            .entries()
            .iter()
            .any(|known| known.log_id() == entry.log_id && known.index() == entry.index)
    };
    for entry in entries.iter().filter(|entry| !known(entry)) {
        facts.push(fact(
            "passed over",
            format!(
                "index {} of the log {}, which the trusted root does not name",
                entry.index,
                hex::encode(&entry.log_id)
            ),
        ));
    }
    facts
}

pub(crate) fn observed(times: &ObservedTimes) -> Vec<Fact> {
    times
        .times()
        .iter()
        .map(|observed| fact("time", format!("{} by {}", observed.time, observed.witness)))
        .collect()
}

pub(crate) fn trusted(leaf: &TrustedLeaf) -> Vec<Fact> {
    let Some(certified) = leaf.certified() else {
        return vec![fact("key", key_id(leaf.key()))];
    };
    let certificate = certified.certificate();
    let mut facts = vec![
        fact("serial", hex::encode(certificate.serial())),
        fact(
            "valid",
            format!(
                "{} to {}",
                certificate.not_before(),
                certificate.not_after()
            ),
        ),
        fact("authority", certified.authority()),
    ];
    for log in certified.ct_logs() {
        facts.push(fact("SCT", format!("{} by {}", log.time, log.url)));
    }
    facts
}

pub(crate) fn signed(signed: &Signed, artifact: &Artifact) -> Vec<Fact> {
    let over = artifact
        .digest_of(signed.hash())
        .map_or_else(|| "the bytes themselves".to_owned(), ToString::to_string);
    let mut facts = vec![fact("over", over)];
    if let Some(statement) = signed.statement() {
        facts.push(fact("predicate type", statement.predicate_type.clone()));
    }
    facts
}

pub(crate) fn bound(recorded: &Recorded) -> Vec<Fact> {
    recorded
        .entries()
        .iter()
        .map(|entry| {
            let (kind, version) = entry.kind();
            fact(
                "entry is about it",
                format!("index {}, {kind} {version}", entry.index()),
            )
        })
        .collect()
}

pub(crate) fn identified(identity: Option<&Identity>, leaf: &TrustedLeaf) -> Vec<Fact> {
    let Some(identity) = identity else {
        return vec![fact("key", key_id(leaf.key()))];
    };
    let mut facts = vec![
        fact("subject", identity.subject().value()),
        fact("issuer", identity.issuer()),
    ];
    for (field, value) in identity.extensions().iter() {
        facts.push(fact(field.name(), value));
    }
    facts
}
