//! Surroundings that have a token, by the shapes that their documents give; none of them can be had here.
#![cfg(feature = "sign-in")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::routing::{get, post};
use client::ambient::{Kind, Surroundings};
use client::{Agent, AmbientError, IdentityToken, TokenError};

const TOKEN: &str = "e30.e30.YQ";

async fn github(headers: HeaderMap, uri: Uri) -> String {
    assert_eq!(headers[header::AUTHORIZATION], "Bearer job");
    assert_eq!(uri.query(), Some("v=1&audience=sigstore"));
    format!("{{\"count\":1,\"value\":\"{TOKEN}\"}}")
}

async fn buildkite(headers: HeaderMap, body: String) -> Result<String, StatusCode> {
    assert_eq!(headers[header::AUTHORIZATION], "Token agent");
    match body.as_str() {
        "{\"audience\":\"sigstore\"}" => Ok(format!("{{\"token\":\"{TOKEN}\"}}")),
        "{\"audience\":\"empty\"}" => Ok("{}".to_owned()),
        _ => Err(StatusCode::FORBIDDEN),
    }
}

async fn start() -> String {
    let router = Router::new()
        .route("/github", get(github))
        .route("/v3/jobs/0190-a/oidc/tokens", post(buildkite));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

async fn token(
    kind: Kind,
    root: &Path,
    set: &[(&str, String)],
    audience: &str,
) -> Result<IdentityToken, AmbientError> {
    let variable = |name: &str| {
        let found = set.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.clone())
    };
    let around = Surroundings {
        variable: &variable,
        root,
    };
    let found = kind.find(around).unwrap();
    assert_eq!(found.kind(), kind);
    found.token(&Agent::default(), audience).await
}

#[tokio::test]
async fn jobs_get_their_tokens() {
    let base = start().await;
    let nowhere = Path::new("/nonexistent");
    let set = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{base}/github?v=1")),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job".to_owned()),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", "agent".to_owned()),
        ("BUILDKITE_AGENT_ENDPOINT", format!("{base}/v3/")),
        ("BUILDKITE_JOB_ID", "0190-a".to_owned()),
    ];
    for kind in [Kind::GitHubActions, Kind::Buildkite] {
        let token = token(kind, nowhere, &set, "sigstore").await.unwrap();
        assert_eq!(token.as_str(), TOKEN);
    }
    let refused = token(Kind::Buildkite, nowhere, &set, "other").await;
    assert!(matches!(refused, Err(AmbientError::Refused { .. })));
    let empty = token(Kind::Buildkite, nowhere, &set, "empty").await;
    assert!(matches!(empty, Err(AmbientError::Malformed(_))));
}

#[tokio::test]
async fn a_file_has_a_token_or_what_is_wrong_with_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("var/run/sigstore/cosign");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("oidc-token"), format!("{TOKEN}\n")).unwrap();
    let read = token(Kind::File, root.path(), &[], "x").await.unwrap();
    assert_eq!(read.as_str(), TOKEN);
    std::fs::write(folder.join("oidc-token"), "secret").unwrap();
    let error = token(Kind::File, root.path(), &[], "x").await.unwrap_err();
    let AmbientError::Token { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*source, TokenError::Shape);
    assert!(!format!("{error:?}").contains("secret"));
}
