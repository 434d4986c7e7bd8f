//! What the authority does for whoever asks, over HTTP and gRPC alike.

use jiff::Timestamp;
use pki::Certificate;
use serve::{Clock, Code, Live, Problem};
use wire::fulcio::{Chain, Configuration, SigningCertificateRequest, TrustBundle};

use crate::admit::{self, AdmitError, Admitted};
use crate::issue::{Authority, IssueError, Issued};
use crate::issuers::{IdentityError, Issuers};

/// What the handlers need. A request takes key, chains and issuers once, when it comes, and keeps them.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) authority: Live<Authority>,
    pub(crate) issuers: Live<Issuers>,
    pub(crate) clock: Clock,
}

impl State {
    /// Every chain that certificates may end in.
    pub(crate) fn trust_bundle(&self) -> TrustBundle {
        let authority = self.authority.now();
        let chains = authority.chains().into_iter();
        TrustBundle {
            chains: chains
                .map(|chain| Chain {
                    certificates: chain.pems().to_vec(),
                })
                .collect(),
        }
    }

    /// The issuers whose tokens are taken.
    pub(crate) fn configuration(&self) -> Configuration {
        Configuration {
            issuers: self.issuers.now().describe(),
        }
    }

    /// Issues a certificate. The header's token counts only where the request has none.
    pub(crate) async fn certify(
        &self,
        request: SigningCertificateRequest,
        header_token: Option<&str>,
    ) -> Result<Issued, Problem> {
        let now = self.clock.now();
        let authority = self.authority.now();
        let issuers = self.issuers.now();
        let permitted = &authority.policy.algorithms;
        let admitted = admit::admit(&issuers, permitted, request, header_token, now).await;
        let admitted = admitted.map_err(|error| refused(&error))?;
        check_rate(&authority, &admitted, now)?;
        let spent = admitted.spend(&issuers, now);
        spent.map_err(|error| refused(&error))?;
        let issued = authority.issue(admitted, now, serve::deadline()).await;
        let issued = issued.map_err(|error| failed(&error))?;
        metrics::counter!("fulcio_new_certs").increment(1);
        record(&issued.leaf);
        Ok(issued)
    }
}

/// The audit line: what was certified, never the token.
fn record(leaf: &Certificate) {
    let issuer = pki::FulcioExtensions::from_certificate(leaf)
        .ok()
        .and_then(|extensions| extensions.issuer().map(str::to_owned));
    tracing::info!(
        serial = hex::encode(leaf.serial()),
        subject = leaf.subject_names().first().map(ToString::to_string),
        issuer,
        key = hex::encode(leaf.public_key().key_id()),
        not_after = %leaf.not_after(),
        "issued a certificate"
    );
}

/// After the token was verified, so that nobody uses up the allowance of somebody else.
fn check_rate(authority: &Authority, admitted: &Admitted, now: Timestamp) -> Result<(), Problem> {
    let Some(allowance) = &authority.allowance else {
        return Ok(());
    };
    allowance
        .take(&admitted.identity(), now)
        .map_err(|seconds| {
            not_given("IDENTITY_RATE");
            Problem::too_many(
                "too many certificates for this identity, try again",
                seconds,
            )
            .with_detail("IDENTITY_RATE")
        })
}

fn not_given(reason: &'static str) {
    metrics::counter!("fulcio_refused_certs", "reason" => reason).increment(1);
}

const fn reason(error: &AdmitError) -> &'static str {
    match error {
        AdmitError::Identity(error) => error.reason(),
        AdmitError::NoToken => "NO_TOKEN",
        AdmitError::Csr(_) => "CSR_MALFORMED",
        AdmitError::Key(_) => "KEY_MALFORMED",
        AdmitError::Weak(_) => "KEY_INSECURE",
        AdmitError::Proof => "PROOF_INVALID",
        AdmitError::UnknownAlgorithm(_) => "ALGORITHM_UNKNOWN",
        AdmitError::Algorithm(_) => "ALGORITHM_NOT_PERMITTED",
    }
}

/// Upstream's sentences, which clients and people know; the reason stands in `details`.
fn refused(error: &AdmitError) -> Problem {
    let reason = reason(error);
    not_given(reason);
    tracing::info!(reason, error = causes(error), "no certificate");
    let problem = match error {
        AdmitError::Identity(IdentityError::Keys { .. }) => Problem::unavailable(
            "the identity provider of the token cannot be reached; try again",
            5,
        ),
        AdmitError::Identity(IdentityError::NoRoom) => Problem::unavailable(
            "too many tokens were used a moment ago to take another one; try again",
            5,
        ),
        AdmitError::Identity(_) | AdmitError::NoToken => {
            Problem::invalid_argument("There was an error processing the identity token")
        }
        AdmitError::Csr(_) => {
            Problem::invalid_argument("The certificate signing request could not be parsed")
        }
        AdmitError::Key(_) => {
            Problem::invalid_argument("The public key supplied in the request could not be parsed")
        }
        AdmitError::Weak(_) => {
            Problem::invalid_argument("The public key supplied in the request is insecure")
        }
        AdmitError::Proof => {
            Problem::invalid_argument("The signature supplied in the request could not be verified")
        }
        error @ (AdmitError::UnknownAlgorithm(_) | AdmitError::Algorithm(_)) => {
            Problem::invalid_argument(error.to_string())
        }
    };
    let about = match error {
        AdmitError::Identity(error) => error.about(),
        _ => Vec::new(),
    };
    problem.with_detail_about(reason, about)
}

/// None of it is the client's fault, and none of it is his business: the cause goes to the log.
fn failed(error: &IssueError) -> Problem {
    let (problem, reason) = match error {
        IssueError::CtLog(cause) => (
            Problem::new(Code::Internal, "Error entering certificate in CTL"),
            cause.reason(),
        ),
        IssueError::Signer(error) if error.may_pass() => (
            // The key's keeper is away; it may be back soon.
            Problem::unavailable("error communicating with CA backend", 5),
            "CA_UNAVAILABLE",
        ),
        _ => (
            Problem::new(Code::Internal, "error communicating with CA backend"),
            "CA_FAILED",
        ),
    };
    tracing::error!(reason, error = causes(error), "no certificate");
    metrics::counter!("fulcio_failed_certs", "reason" => reason).increment(1);
    problem.with_detail(reason)
}

/// An error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
