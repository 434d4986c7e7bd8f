//! The HTTP interface: Fulcio's v2 and its legacy v1, with its texts and status codes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use pki::Certificate;
use serde::Deserialize;
use serve::{Clock, Code, Problem};
use wire::encoding::Bytes as Base64;
use wire::fulcio::{
    Chain, Configuration, DetachedSct, EmbeddedSct, PublicKey, PublicKeyRequest,
    SigningCertificate, SigningCertificateRequest, TrustBundle,
};

use crate::admit::{self, AdmitError};
use crate::issue::{Authority, IssueError, Issued};
use crate::issuers::{IdentityError, Issuers};

/// What v1 answers with.
const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// What the handlers need.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) authority: Arc<Authority>,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) clock: Clock,
}

pub(crate) fn routes(state: State) -> Router {
    Router::new()
        .route("/api/v2/signingCert", post(signing_certificate))
        .route("/api/v2/trustBundle", get(trust_bundle))
        .route("/api/v2/configuration", get(configuration))
        .route("/api/v1/signingCert", post(signing_certificate_v1))
        .route("/api/v1/rootCert", get(root_certificate_v1))
        // grpc-gateway answers a method that a path does not have with 501.
        .method_not_allowed_fallback(async || {
            Problem::with_status(
                StatusCode::NOT_IMPLEMENTED,
                Code::Unimplemented,
                "Method Not Allowed",
            )
        })
        .fallback(async || Problem::new(Code::NotFound, "Not Found"))
        .layer(serve::cors::public())
        .with_state(state)
}

async fn signing_certificate(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let request: SigningCertificateRequest = parse(&body?)?;
    let issued = issue(&state, request, &headers).await?;
    let certificates = chain(&state, &issued.leaf)
        .map(|certificate| certificate.to_pem().trim_end().to_owned())
        .collect();
    let chain = Chain { certificates };
    let reply = if issued.witnessed {
        SigningCertificate {
            signed_certificate_embedded_sct: Some(EmbeddedSct { chain }),
            ..SigningCertificate::default()
        }
    } else {
        let detached = DetachedSct {
            chain,
            signed_certificate_timestamp: Base64::default(),
        };
        SigningCertificate {
            signed_certificate_detached_sct: Some(detached),
            ..SigningCertificate::default()
        }
    };
    Ok(Json(reply).into_response())
}

/// The legacy request: the same with a key in PEM or DER. Its clients write all members, and null into what they do not send.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestV1 {
    public_key: Option<KeyV1>,
    signed_email_address: Option<Base64>,
    certificate_signing_request: Option<Base64>,
}

#[derive(Deserialize)]
struct KeyV1 {
    content: Option<Base64>,
}

async fn signing_certificate_v1(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let request: RequestV1 = parse(&body?)?;
    let key = request.public_key.and_then(|key| key.content);
    let public_key_request = key.map(|key| {
        // gitsign sends DER, cosign 2 sends PEM.
        let content = match String::from_utf8(key.0) {
            Ok(text) if text.contains("-----BEGIN") => text,
            Ok(text) => keys::pem::encode("PUBLIC KEY", text.as_bytes()),
            Err(der) => keys::pem::encode("PUBLIC KEY", der.as_bytes()),
        };
        PublicKeyRequest {
            public_key: PublicKey {
                algorithm: None,
                content,
            },
            proof_of_possession: request.signed_email_address.unwrap_or_default(),
        }
    });
    let request = SigningCertificateRequest {
        credentials: None,
        public_key_request,
        certificate_signing_request: request.certificate_signing_request.unwrap_or_default(),
    };
    let issued = issue(&state, request, &headers).await?;
    let text: Vec<String> = chain(&state, &issued.leaf)
        .map(|certificate| certificate.to_pem().trim_end().to_owned())
        .collect();
    Ok((
        StatusCode::CREATED,
        [(header::CONTENT_TYPE, PEM_CHAIN)],
        text.join("\n"),
    )
        .into_response())
}

async fn root_certificate_v1(extract::State(state): extract::State<State>) -> Response {
    let text: String = state
        .authority
        .chain
        .iter()
        .map(Certificate::to_pem)
        .collect();
    ([(header::CONTENT_TYPE, PEM_CHAIN)], text).into_response()
}

async fn trust_bundle(extract::State(state): extract::State<State>) -> Json<TrustBundle> {
    let certificates = state
        .authority
        .chain
        .iter()
        .map(Certificate::to_pem)
        .collect();
    Json(TrustBundle {
        chains: vec![Chain { certificates }],
    })
}

async fn configuration(extract::State(state): extract::State<State>) -> Json<Configuration> {
    Json(Configuration {
        issuers: state.issuers.describe(),
    })
}

fn chain<'a>(state: &'a State, leaf: &'a Certificate) -> impl Iterator<Item = &'a Certificate> {
    std::iter::once(leaf).chain(&state.authority.chain)
}

async fn issue(
    state: &State,
    request: SigningCertificateRequest,
    headers: &HeaderMap,
) -> Result<Issued, Problem> {
    let now = state.clock.now();
    let admitted = admit::admit(&state.issuers, request, bearer(headers), now).await;
    let admitted = admitted.map_err(|error| {
        let problem = refused(&error);
        metrics::counter!("fulcio_refused_certs", "reason" => reason(&error)).increment(1);
        tracing::info!(
            reason = reason(&error),
            error = causes(&error),
            "no certificate"
        );
        problem
    })?;
    let issued = state
        .authority
        .issue(admitted, now)
        .await
        .map_err(|error| failed(&error))?;
    metrics::counter!("fulcio_new_certs").increment(1);
    // The audit line: what was certified, never the token.
    let issuer = pki::FulcioExtensions::from_certificate(&issued.leaf)
        .ok()
        .and_then(|extensions| extensions.issuer().map(str::to_owned));
    tracing::info!(
        serial = hex::encode(issued.leaf.serial()),
        subject = issued.leaf.subject_names().first().map(ToString::to_string),
        issuer,
        key = hex::encode(issued.leaf.public_key().key_id()),
        not_after = %issued.leaf.not_after(),
        "issued a certificate"
    );
    Ok(issued)
}

fn parse<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::invalid_argument(format!("invalid request: {error}"))
            .with_detail("REQUEST_MALFORMED")
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

const fn reason(error: &AdmitError) -> &'static str {
    match error {
        AdmitError::Identity(error) => error.reason(),
        AdmitError::NoToken => "NO_TOKEN",
        AdmitError::Csr(_) => "CSR_MALFORMED",
        AdmitError::Key(_) => "KEY_MALFORMED",
        AdmitError::Weak(_) => "KEY_INSECURE",
        AdmitError::Proof => "PROOF_INVALID",
        AdmitError::Algorithm(_) => "ALGORITHM_NOT_PERMITTED",
    }
}

/// Upstream's sentences, which clients and people know; the reason stands in `details`.
fn refused(error: &AdmitError) -> Problem {
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
        AdmitError::Algorithm(name) => {
            Problem::invalid_argument(format!("signing algorithm not permitted: {name}"))
        }
    };
    let about = match error {
        AdmitError::Identity(error) => error.about(),
        _ => Vec::new(),
    };
    problem.with_detail_about(reason(error), about)
}

fn failed(error: &IssueError) -> Problem {
    match error {
        IssueError::CtLog(cause) => {
            tracing::error!(error = causes(cause), "the CT log");
            Problem::new(Code::Internal, "Error entering certificate in CTL")
                .with_detail("CT_LOG_FAILED")
        }
        other => {
            tracing::error!(error = causes(other), "the authority");
            Problem::new(Code::Internal, "error communicating with CA backend")
                .with_detail("CA_FAILED")
        }
    }
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
