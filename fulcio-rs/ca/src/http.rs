//! The HTTP interface: Fulcio's v2 and its legacy v1, with its texts and status codes.

use axum::body::Bytes;
use axum::extract;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serve::{Code, Problem};
use wire::encoding::Bytes as Base64;
use wire::fulcio::{
    Chain, Configuration, DetachedSct, EmbeddedSct, PublicKey, PublicKeyRequest,
    SigningCertificate, SigningCertificateRequest, TrustBundle,
};

use crate::api::State;

/// What v1 answers with.
pub(crate) const PEM_CHAIN: &str = "application/pem-certificate-chain";

pub(crate) fn routes(state: State) -> Router {
    Router::new()
        .route("/api/v2/signingCert", post(signing_certificate))
        .route("/api/v2/trustBundle", get(trust_bundle))
        .route("/api/v2/configuration", get(configuration))
        .route("/api/v1/signingCert", post(signing_certificate_v1))
        .route("/api/v1/rootCert", get(root_certificate_v1))
        .with_state(state)
}

/// What is answered where there is no such path, or no such method.
pub(crate) fn otherwise(router: Router) -> Router {
    router
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
}

async fn signing_certificate(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let request: SigningCertificateRequest = parse(&body?)?;
    let issued = state.certify(request, bearer(&headers)).await?;
    let chain = Chain {
        certificates: issued.to_pems(),
    };
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
    let RequestV1 {
        public_key,
        signed_email_address,
        certificate_signing_request,
    } = parse(&body?)?;
    let request = legacy_request(
        public_key.and_then(|key| key.content).map(|key| key.0),
        signed_email_address.unwrap_or_default(),
        certificate_signing_request.unwrap_or_default(),
    );
    let issued = state.certify(request, bearer(&headers)).await?;
    Ok((
        StatusCode::CREATED,
        [(header::CONTENT_TYPE, PEM_CHAIN)],
        issued.to_pems().join("\n"),
    )
        .into_response())
}

/// The legacy request as one of today: its key may be DER (gitsign) or PEM (cosign 2).
pub(crate) fn legacy_request(
    key: Option<Vec<u8>>,
    proof: Base64,
    certificate_signing_request: Base64,
) -> SigningCertificateRequest {
    let public_key_request = key.map(|key| {
        let content = match String::from_utf8(key) {
            Ok(text) if text.contains("-----BEGIN") => text,
            Ok(text) => keys::pem::encode("PUBLIC KEY", text.as_bytes()),
            Err(der) => keys::pem::encode("PUBLIC KEY", der.as_bytes()),
        };
        PublicKeyRequest {
            public_key: PublicKey {
                algorithm: None,
                content,
            },
            proof_of_possession: proof,
        }
    });
    SigningCertificateRequest {
        credentials: None,
        public_key_request,
        certificate_signing_request,
    }
}

async fn root_certificate_v1(extract::State(state): extract::State<State>) -> Response {
    ([(header::CONTENT_TYPE, PEM_CHAIN)], legacy_roots(&state)).into_response()
}

/// All chains, one after the other.
pub(crate) fn legacy_roots(state: &State) -> String {
    let chains = state.trust_bundle().chains;
    chains
        .into_iter()
        .flat_map(|chain| chain.certificates)
        .collect()
}

async fn trust_bundle(extract::State(state): extract::State<State>) -> Json<TrustBundle> {
    Json(state.trust_bundle())
}

async fn configuration(extract::State(state): extract::State<State>) -> Json<Configuration> {
    Json(state.configuration())
}

/// No body is a request without members, as for upstream's gateway.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { &body[..] };
    wire::parse(body).map_err(|error| malformed(&error.to_string()))
}

fn malformed(why: &str) -> Problem {
    Problem::invalid_argument(format!("invalid request: {why}")).with_detail("REQUEST_MALFORMED")
}

/// The token of an `Authorization` header (RFC 6750 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}
