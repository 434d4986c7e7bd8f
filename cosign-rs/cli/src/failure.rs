//! What a person reads when it did not work: what is wrong, with the values, and what to do next.

use std::error::Error;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use client::{AmbientError, CallError, FulcioError};
use oci::OciError;
use policy::Decision;
use sign::SignError;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tuf_client::{DomainError, FollowError, MirrorError};
use verify::{Step, VerifyError};

use crate::explained::Explained;
use crate::report::PolicyReport;
use crate::tag_trust::TagRefused;
use crate::trust_domain::Hinted;

/// What an exit code says. Numbers and words are stable; 10 to 13 are cosign's own, where it tells these apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Anything that has no code of its own.
    Other,
    /// What was asked makes no sense: flags that are unknown, missing, or exclude one another.
    Usage,
    /// There is no signature at all.
    NoSignature,
    /// There is no such image.
    NotFound,
    /// There are signatures, and none is by whom, or of the kind, that was asked for.
    NoMatch,
    /// An identity is expected, and the signature has no certificate.
    NoCertificate,
    /// The signatures hold, and the policy is not met.
    Policy,
    /// The signature is not one over this artifact.
    Signature,
    /// The log entry is missing, wrong, or another signature's.
    Log,
    /// Nobody who is trusted says when it was signed.
    Time,
    /// The certificate was not good when it was signed.
    Certificate,
    /// A registry or a service did not answer as it should: nothing is known.
    Transport,
}

impl Outcome {
    /// All of them, for the table in the help.
    pub(crate) const ALL: [Self; 12] = [
        Self::Other,
        Self::Usage,
        Self::NoSignature,
        Self::NotFound,
        Self::NoMatch,
        Self::NoCertificate,
        Self::Policy,
        Self::Signature,
        Self::Log,
        Self::Time,
        Self::Certificate,
        Self::Transport,
    ];

    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::NoSignature => 10,
            Self::NotFound => 11,
            Self::NoMatch => 12,
            Self::NoCertificate => 13,
            Self::Policy => 20,
            Self::Signature => 21,
            Self::Log => 22,
            Self::Time => 23,
            Self::Certificate => 24,
            Self::Transport => 25,
        }
    }

    /// A stable word for programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NoSignature => "no-signature",
            Self::NotFound => "not-found",
            Self::NoMatch => "no-match",
            Self::NoCertificate => "no-certificate",
            Self::Policy => "policy",
            Self::Signature => "bad-signature",
            Self::Log => "log",
            Self::Time => "time",
            Self::Certificate => "certificate",
            Self::Transport => "transport",
        }
    }

    /// For the help.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Other => "anything else",
            Self::Usage => "flags that are unknown, missing, or exclude one another",
            Self::NoSignature => "nothing is signed about it",
            Self::NotFound => "there is no such image",
            Self::NoMatch => "signatures, but none by whom or of the kind that was asked for",
            Self::NoCertificate => "an identity is expected, and a key signed",
            Self::Policy => "the signatures hold, the policy is not met",
            Self::Signature => "not a signature over this artifact",
            Self::Log => "no log entry, a wrong one, or another signature's",
            Self::Time => "nobody who is trusted says when it was signed",
            Self::Certificate => "the certificate was not good at that time",
            Self::Transport => "a registry or service did not answer as it should",
        }
    }

    const fn of_refusal(refused: &Refused) -> Self {
        if refused.is_stranger_to_policy() {
            return Self::Policy;
        }
        match &refused.why {
            VerifyError::NoCertificate { .. } => Self::NoCertificate,
            VerifyError::OtherKey => Self::NoMatch,
            VerifyError::NeedsArtifact { .. } => Self::Usage,
            VerifyError::NoIdentity(_) => Self::Certificate,
            why => match why.step() {
                Step::Record | Step::Binding => Self::Log,
                Step::Time => Self::Time,
                Step::Leaf => Self::Certificate,
                Step::Signature => Self::Signature,
                Step::Identity => Self::NoMatch,
            },
        }
    }

    /// What an error says.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(refused) = find::<Refused>(error) {
            return Self::of_refusal(refused);
        }
        if find::<Unmet>(error).is_some() {
            return Self::Policy;
        }
        if let Some(advice) = find::<Advice>(error) {
            return advice.outcome;
        }
        match find::<TagRefused>(error) {
            Some(TagRefused::NoTag { .. } | TagRefused::Unnameable { .. }) => return Self::Usage,
            Some(_) => return Self::Policy,
            None => {}
        }
        if find::<bundle::BundleError>(error).is_some() {
            return Self::Signature;
        }
        if find::<oci::ReferenceError>(error).is_some() {
            return Self::Usage;
        }
        // Of a repository; the errors in it are transparent, and are not in the chain themselves.
        let mirror = match (find::<FollowError>(error), find::<DomainError>(error)) {
            (Some(FollowError::Mirror(mirror)), _) | (_, Some(DomainError::Mirror(mirror))) => {
                Some(mirror)
            }
            _ => find::<MirrorError>(error),
        };
        match mirror {
            Some(MirrorError::Address(_)) => return Self::Usage,
            Some(MirrorError::Call(_) | MirrorError::Registry(_) | MirrorError::Status { .. }) => {
                return Self::Transport;
            }
            _ => {}
        }
        match find::<OciError>(error) {
            Some(OciError::NotFound { .. }) => return Self::NotFound,
            Some(_) => return Self::Transport,
            None => {}
        }
        if find::<CallError>(error).is_some() {
            return Self::Transport;
        }
        Self::Other
    }
}

/// The end of the help: variables, and the table of exit codes.
pub(crate) fn help() -> String {
    let mut text = "Every flag can be given as a variable: --certificate-identity is COSIGN_CERTIFICATE_IDENTITY.\n\nExit codes:\n   0  verified, or done\n".to_owned();
    for outcome in Outcome::ALL {
        use std::fmt::Write as _;
        let _infallible = writeln!(text, "  {:>2}  {}", outcome.code(), outcome.meaning());
    }
    text.truncate(text.trim_end().len());
    text
}

/// Something was verified and does not hold.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What was verified: a file, an image.
    pub(crate) what: String,
    /// What was verified about it, as its story is called: a bundle.
    pub(crate) candidate: String,
    /// Why it does not hold.
    pub(crate) why: VerifyError,
    /// Whom it must be by is said by a policy, and by no flag.
    pub(crate) by_policy: bool,
}

impl Refused {
    /// All of it holds, and it is by nobody whom the policy names.
    const fn is_stranger_to_policy(&self) -> bool {
        self.by_policy
            && matches!(
                self.why,
                VerifyError::Subjects { .. }
                    | VerifyError::Issuer { .. }
                    | VerifyError::Extension { .. }
            )
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {}",
            self.what,
            in_line(&self.why.to_string())
        )
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why.source()
    }
}

/// The signatures hold, and that is not enough.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmet {
    /// Of a policy file.
    #[error("{what}: the policy is not met: {}", reasons(.decision))]
    Policy {
        /// What was verified.
        what: String,
        /// What the policy says.
        decision: Decision,
    },
    /// Of Rego modules.
    #[error("{what}: the attestation is not what the Rego policy allows: {why}")]
    Rego {
        /// What was verified.
        what: String,
        /// What the policy says.
        why: String,
    },
}

impl Unmet {
    fn reason(&self) -> &'static str {
        match self {
            Self::Policy { decision, .. } => decision
                .reasons()
                .first()
                .map_or("policy-not-met", policy::Reason::code),
            Self::Rego { .. } => "rego-not-allowed",
        }
    }
}

fn reasons(decision: &Decision) -> String {
    let mut texts: Vec<String> = decision.reasons().iter().map(ToString::to_string).collect();
    for considered in decision.considered() {
        if let Some(why) = &considered.why_not {
            texts.push(format!("{} by {}: {why}", considered.what, considered.who));
        }
    }
    in_line(&texts.join("; "))
}

/// A mistake in what was asked, and the way out of it.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Advice {
    problem: String,
    hint: String,
    outcome: Outcome,
    reason: Option<&'static str>,
}

/// An error with what was found on the way to it.
#[derive(Debug)]
pub(crate) struct Told {
    error: anyhow::Error,
    explained: Vec<Explained>,
}

impl Told {
    /// An error with the story of each candidate.
    pub(crate) fn with(error: anyhow::Error, explained: Vec<Explained>) -> anyhow::Error {
        if explained.is_empty() {
            return error;
        }
        Self { error, explained }.into()
    }

    /// Apart again: the error itself, and the stories.
    pub(crate) fn split(error: anyhow::Error) -> (anyhow::Error, Vec<Explained>) {
        match error.downcast::<Self>() {
            Ok(told) => (told.error, told.explained),
            Err(error) => (error, Vec::new()),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, formatter)
    }
}

impl Error for Told {}

/// An answer that is an exit code, and was printed already.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(crate) struct Exit(pub(crate) u8);

/// An error that tells what to do next.
pub(crate) fn advice(problem: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    advice_of(Outcome::Other, None, problem, hint)
}

/// Flags that are missing, or exclude one another.
pub(crate) fn usage(problem: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    advice_of(Outcome::Usage, None, problem, hint)
}

/// An error with an exit code, and where programs should know it a reason, of its own.
pub(crate) fn advice_of(
    outcome: Outcome,
    reason: Option<&'static str>,
    problem: impl Into<String>,
    hint: impl Into<String>,
) -> anyhow::Error {
    Advice {
        problem: problem.into(),
        hint: hint.into(),
        outcome,
        reason,
    }
    .into()
}

/// Says it on standard error.
pub(crate) fn tell(error: &anyhow::Error) {
    say(&text(error));
}

/// A failure for programs.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    decision: &'static str,
    outcome: &'static str,
    exit_code: u8,
    error: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explain: Vec<Explained>,
}

impl Failure {
    /// What [`tell`] says: the error and its causes, the step of the verification, and what to do; and the story of each candidate.
    pub(crate) fn of(error: &anyhow::Error, explain: Vec<Explained>) -> Self {
        let outcome = Outcome::of(error);
        let policy = match find::<Unmet>(error) {
            Some(Unmet::Policy { decision, .. }) => Some(PolicyReport::of(decision)),
            _ => None,
        };
        Self {
            decision: "refused",
            outcome: outcome.name(),
            exit_code: outcome.code(),
            error: error.chain().map(ToString::to_string).collect(),
            step: step(error),
            reason: reason(error),
            hint: hint(error),
            policy,
            explain,
        }
    }
}

/// The step of the verification that was not passed.
fn step(error: &anyhow::Error) -> Option<&'static str> {
    if find::<TagRefused>(error).is_some() {
        return Some("tag");
    }
    find::<Refused>(error).map(|refused| refused.why.step().name())
}

fn reason(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(refused) = find::<Refused>(error) {
        return Some(refused.why.code());
    }
    if let Some(refused) = find::<TagRefused>(error) {
        return Some(refused.code());
    }
    if let Some(unmet) = find::<Unmet>(error) {
        return Some(unmet.reason());
    }
    if find::<bundle::BundleError>(error).is_some() {
        return Some("malformed-bundle");
    }
    find::<Advice>(error).and_then(|advice| advice.reason)
}

/// Writes to standard error, which may be closed: then nobody reads it anyway. What comes from bundles and registries must not steer the
/// terminal, so control characters are shown, not sent.
pub(crate) fn say(text: &str) {
    let _unread = writeln!(std::io::stderr(), "{}", shown(text));
}

fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && misleads(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A value that somebody else chose, inside a line of ours: it cannot begin a line of its own.
pub(crate) fn in_line(value: &str) -> String {
    shown(value).replace('\n', "\\n")
}

/// Steers the terminal, or the order in which it shows text (Unicode's line ends and bidirectional controls).
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// With `--verbose`, every call and how long it took. What libraries say for those who look for their mistakes stays out: it may have headers and bodies in it.
pub(crate) fn listen(verbose: bool) {
    if verbose {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            // Else it panics when standard error is closed.
            .log_internal_errors(false)
            .with_filter(filter_fn(|about| {
                *about.level() <= tracing::Level::DEBUG && is_ours(about.target())
            }));
        let _already = tracing_subscriber::registry().with(layer).try_init();
    }
}

/// Those of this project that say anything.
const OURS: [&str; 7] = [
    "client",
    "cosign_rs",
    "oci",
    "repository",
    "sign",
    "signer",
    "tuf_client",
];

fn is_ours(target: &str) -> bool {
    let name = target.split("::").next();
    name.is_some_and(|name| OURS.contains(&name))
}

fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last: Option<String> = None;
    for cause in error.chain() {
        let cause = cause.to_string();
        // Many errors of others say their cause themselves.
        if last.as_ref().is_some_and(|last| last.ends_with(&cause)) {
            continue;
        }
        text.push_str(if last.is_none() {
            "error: "
        } else {
            "\n  because: "
        });
        push_short(&mut text, &cause);
        last = Some(cause);
    }
    match (step(error), reason(error)) {
        (Some(step), Some(reason)) => {
            text.push_str("\n  step: ");
            text.push_str(step);
            text.push_str(", reason: ");
            text.push_str(reason);
        }
        (None, Some(reason)) => {
            text.push_str("\n  reason: ");
            text.push_str(reason);
        }
        _ => {}
    }
    if let Some(hint) = hint(error) {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

/// A cause may quote a whole file: its beginning and its end are enough.
fn push_short(text: &mut String, cause: &str) {
    const HALF: usize = 1000;
    let cut = cause.len().saturating_sub(HALF);
    let (head, tail) = (
        cause.floor_char_boundary(HALF),
        cause.ceil_char_boundary(cut),
    );
    match (cause.get(..head), cause.get(tail..)) {
        (Some(first), Some(end)) if head < tail => {
            text.push_str(first);
            text.push_str(" [...] ");
            text.push_str(end);
        }
        _ => text.push_str(cause),
    }
}

fn find<E: Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(refused) = find::<TagRefused>(error) {
        return Some(refused.hint());
    }
    if let Some(advice) = find::<Advice>(error) {
        return Some(advice.hint.clone());
    }
    // A context is no link of the chain of its own.
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return Some(hinted.hint.clone());
    }
    if let Some(refused) = find::<Refused>(error) {
        if refused.is_stranger_to_policy() {
            return Some(
                "the policy names who may sign, and this is nobody of them; if you trust this signer, add them to its certificateIdentities"
                    .to_owned(),
            );
        }
        return verify_hint(&refused.why).map(str::to_owned);
    }
    if find::<Unmet>(error).is_some() {
        return Some(
            "--output json says of each signature whether it counts, and --explain how it was verified"
                .to_owned(),
        );
    }
    if let Some(hint) = find::<SignError>(error).and_then(sign_hint) {
        return Some(hint.to_owned());
    }
    if find::<AmbientError>(error).is_some() {
        return Some(
            "in GitHub Actions the job needs `permissions: id-token: write`; --oidc-disable-ambient-providers looks elsewhere"
                .to_owned(),
        );
    }
    if let Some(OciError::Call { .. }) = find(error) {
        return Some(
            "is the registry's name right? One without TLS on another machine needs --allow-http-registry"
                .to_owned(),
        );
    }
    matches!(
        find(error),
        Some(CallError::Unreachable { .. } | CallError::Timeout { .. })
    )
    .then(|| "is its address right, and is it running? --verbose shows each call".to_owned())
}

/// What to do about a signature that does not hold.
pub(crate) const fn verify_hint(error: &VerifyError) -> Option<&'static str> {
    Some(match error {
        VerifyError::NoEntry { .. } | VerifyError::NoAuthorityAt { .. } => {
            "was it signed with another instance of Sigstore? Pass that one's trusted root with --trusted-root"
        }
        VerifyError::Checkpoint { .. }
        | VerifyError::Timestamp { .. }
        | VerifyError::Chain { .. }
        | VerifyError::LogNotValidAt { .. }
        | VerifyError::AuthorityNotValidAt { .. } => {
            "if the signer uses another instance of Sigstore, or keys newer than your trusted root, pass the right one with --trusted-root; otherwise do not trust this bundle"
        }
        VerifyError::Sct { .. } => {
            "if the signer uses another instance of Sigstore, or keys newer than your trusted root, pass the right one with --trusted-root; if its certificate is of an authority of its own, which is in no CT log, say --insecure-ignore-sct; otherwise do not trust this bundle"
        }
        VerifyError::NoTime => {
            "the signer must ask a timestamp authority: without a time a certificate of ten minutes proves nothing afterwards"
        }
        VerifyError::NeedsArtifact { .. } => "pass the file instead of its digest",
        VerifyError::Signature { .. }
        | VerifyError::DigestHint { .. }
        | VerifyError::Subject { .. } => {
            "this is not what was signed: compare the artifact's digest with the one that its publisher states"
        }
        VerifyError::Subjects { .. } | VerifyError::Issuer { .. } => {
            "if you trust this signer, pass exactly what is stated there with --certificate-identity and --certificate-oidc-issuer"
        }
        VerifyError::NoCertificate { .. } => {
            "get the signer's public key from a place that you trust and pass it with --key"
        }
        VerifyError::OtherKey => "the bundle is by somebody with another key than the one in --key",
        VerifyError::Inclusion { .. }
        | VerifyError::OtherTree { .. }
        | VerifyError::Promise { .. }
        | VerifyError::Body { .. }
        | VerifyError::Binding { .. } => {
            "the log entry in the bundle was changed or belongs to another signature: do not trust this bundle"
        }
        _ => return None,
    })
}

fn sign_hint(error: &SignError) -> Option<&'static str> {
    Some(match error {
        SignError::Token(_) => "get a new identity token, or let the browser do it",
        SignError::Certificate { source, .. } => match source.as_ref() {
            FulcioError::Refused(refused) if refused.status.is_client_error() => {
                "does this certificate authority know the issuer of the token, and is the token made for it (audience sigstore)?"
            }
            FulcioError::Refused(_) => {
                "the trouble is on its side: try again, or tell its operator"
            }
            _ => return None,
        },
        SignError::AfterLogging { source, .. } => return sign_hint(source),
        SignError::Leaf { .. } | SignError::Refused { .. } => {
            "signing config and trusted root must be of the same instance: --trust-config has both in one file"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_code_has_one_meaning() {
        let mut codes: Vec<u8> = Outcome::ALL.iter().map(|outcome| outcome.code()).collect();
        codes.push(0);
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Outcome::ALL.len() + 1);
        let mut names: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Outcome::ALL.len());
    }

    #[test]
    fn says_what_is_wrong_why_at_which_step_and_what_to_do() {
        let refused = anyhow::Error::from(Refused {
            what: "hello.txt".into(),
            candidate: "hello.txt.sigstore.json".into(),
            why: VerifyError::Issuer {
                subject: "dev@example.com".into(),
                found: "https://one.example".into(),
                expected: "https://two.example".into(),
            },
            by_policy: false,
        });
        let text = text(&refused);
        assert!(
            text.starts_with(
                "error: hello.txt: signed by dev@example.com of issuer https://one.example, expected issuer https://two.example\n  step: identity, reason: wrong-issuer\nhint: "
            ),
            "{text}"
        );
    }

    #[test]
    fn verbose_are_we_and_not_the_libraries() {
        for (target, ours) in [
            ("client::agent", true),
            ("sign", true),
            ("tuf_client::mirror", true),
            ("hyper_util::client::legacy", false),
            ("signal_hook", false),
            ("client_lib", false),
            ("rustls", false),
        ] {
            assert_eq!(is_ours(target), ours, "{target}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\r\nü"), "a\\u{1b}[2Jb\\r\nü");
    }

    #[test]
    fn what_a_signer_chose_stays_in_its_line() {
        let refused = anyhow::Error::from(Refused {
            what: "hello.txt".into(),
            candidate: "hello.txt.sigstore.json".into(),
            why: VerifyError::Issuer {
                subject: "a\nVerified OK\u{202e}\u{2028}".into(),
                found: "one".into(),
                expected: "two".into(),
            },
            by_policy: false,
        });
        assert!(
            text(&refused).starts_with(
                "error: hello.txt: signed by a\\nVerified OK\\u{202e}\\u{2028} of issuer one"
            ),
            "{}",
            text(&refused)
        );
    }

    #[test]
    fn a_cause_is_said_once_and_shortly() {
        let inner = anyhow::anyhow!("expected one, found {}", "ü".repeat(100_000));
        let whole = inner.to_string();
        let error = inner
            .context(format!("not JSON: {whole}"))
            .context("the bundle");
        let text = text(&error);
        assert!(
            text.starts_with("error: the bundle\n  because: not JSON: expected one, found ü"),
            "{text}"
        );
        assert!(text.len() < 2500, "{}", text.len());
        assert_eq!(text.matches("because").count(), 1, "{text}");
    }

    #[test]
    fn causes_follow_one_a_line() {
        let error = advice("no signing config", "pass --trust-config").context("signing hello.txt");
        assert_eq!(
            text(&error),
            "error: signing hello.txt\n  because: no signing config\nhint: pass --trust-config"
        );
    }
}
