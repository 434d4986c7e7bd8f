//! The same authority over gRPC, on the same port: `dev.sigstore.fulcio.v2.CA`, the legacy `dev.sigstore.fulcio.v1beta.CA`, and
//! `grpc.health.v1.Health`. sigstore-java speaks it to the authority of the HTTP base URL, in the clear where that is `http:`.
//!
//! The token is in the request, or in the metadata: `authorization: Bearer ...` as over HTTP, or `oidcidentitytoken` as upstream's gateway hands
//! it on. Codes and sentences are those of the JSON interface, and so are the details (see [`serve::grpc`]).

pub mod messages;

use axum::Router;
use serve::grpc::messages::{Empty, HttpBody};
use serve::grpc::{Answer, method, status};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response};

use self::messages::{
    Certificate, CertificateChain, Configuration, CreateSigningCertificateRequest, DetachedSct,
    EmbeddedSct, LegacyRequest, SigningCertificate, TrustBundle,
};
use crate::api::State;
use crate::http;

/// The services, for health.
pub(crate) const SERVICES: &[&str] =
    &["dev.sigstore.fulcio.v2.CA", "dev.sigstore.fulcio.v1beta.CA"];

/// Where upstream's gateway puts the token.
const TOKEN: &str = "oidcidentitytoken";

/// The methods as routes. `limit` is the largest request in bytes, as over JSON.
pub(crate) fn routes(state: State, limit: usize) -> Router {
    Router::new()
        .route(
            "/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate",
            method(limit, create),
        )
        .route(
            "/dev.sigstore.fulcio.v2.CA/GetTrustBundle",
            method(limit, trust_bundle),
        )
        .route(
            "/dev.sigstore.fulcio.v2.CA/GetConfiguration",
            method(limit, configuration),
        )
        .route(
            "/dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate",
            method(limit, create_legacy),
        )
        .route(
            "/dev.sigstore.fulcio.v1beta.CA/GetRootCertificate",
            method(limit, roots_legacy),
        )
        .with_state(state)
}

fn create(
    state: State,
    request: Request<CreateSigningCertificateRequest>,
) -> Answer<SigningCertificate> {
    Box::pin(async move {
        let (metadata, _, request) = request.into_parts();
        let issued = state.certify(request.into(), token(&metadata)).await;
        let issued = issued.map_err(|problem| status(&problem))?;
        let chain = Some(CertificateChain {
            certificates: issued.to_pems(),
        });
        let certificate = if issued.witnessed {
            Certificate::EmbeddedSct(EmbeddedSct { chain })
        } else {
            Certificate::DetachedSct(DetachedSct {
                chain,
                signed_certificate_timestamp: Vec::new(),
            })
        };
        Ok(Response::new(SigningCertificate {
            certificate: Some(certificate),
        }))
    })
}

fn trust_bundle(state: State, _request: Request<Empty>) -> Answer<TrustBundle> {
    Box::pin(async move { Ok(Response::new(state.trust_bundle().into())) })
}

fn configuration(state: State, _request: Request<Empty>) -> Answer<Configuration> {
    Box::pin(async move { Ok(Response::new(state.configuration().into())) })
}

fn create_legacy(state: State, request: Request<LegacyRequest>) -> Answer<HttpBody> {
    Box::pin(async move {
        let (metadata, _, request) = request.into_parts();
        let request = http::legacy_request(
            request.public_key.map(|key| key.content),
            request.signed_email_address.into(),
            request.certificate_signing_request.into(),
        );
        let issued = state.certify(request, token(&metadata)).await;
        let issued = issued.map_err(|problem| status(&problem))?;
        Ok(pem(issued.to_pems().join("\n")))
    })
}

fn roots_legacy(state: State, _request: Request<Empty>) -> Answer<HttpBody> {
    Box::pin(async move { Ok(pem(http::legacy_roots(&state))) })
}

fn pem(text: String) -> Response<HttpBody> {
    Response::new(HttpBody {
        content_type: http::PEM_CHAIN.to_owned(),
        data: text.into_bytes(),
    })
}

/// The token of the metadata. Two of upstream's key are none: nobody can say which one is meant.
fn token(metadata: &MetadataMap) -> Option<&str> {
    let bearer = http::bearer(metadata.as_ref());
    let mut handed = metadata.get_all(TOKEN).iter();
    bearer.or_else(|| match (handed.next(), handed.next()) {
        (Some(token), None) => token.to_str().ok().filter(|token| !token.is_empty()),
        _ => None,
    })
}
