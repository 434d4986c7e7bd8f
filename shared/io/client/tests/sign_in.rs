//! Signing in at a provider that sends people to places where they should not go, or answers what is no answer.
#![cfg(feature = "sign-in")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

use axum::Router;
use axum::routing::{get, post};
use client::Agent;
use client::sign_in::{Prompt, Provider, Registration, SignInError, device, out_of_band};
use serde_json::json;

/// A provider whose pages are there, and whose answer to a question for a device code is this.
async fn provider(pages: &str, device: String) -> Provider {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let description = json!({
        "issuer": base, "authorization_endpoint": format!("{pages}/auth"), "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"), "device_authorization_endpoint": format!("{base}/device"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    let description = description.to_string();
    let json = |text: String| async move { ([("content-type", "application/json")], text) };
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(move || json(description)),
        )
        .route("/keys", get(move || json(r#"{"keys":[]}"#.to_owned())))
        .route("/device", post(move || json(device)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Provider::discover(&Agent::default(), &base, &Registration::default())
        .await
        .unwrap()
}

fn nobody(_: Prompt<'_>) {
    panic!("a person was told to go there");
}

fn code() -> std::io::Result<String> {
    panic!("a person was asked")
}

#[tokio::test]
async fn people_sign_in_with_tls_or_on_this_machine() {
    let there = "http://login.example.org";
    let answer = json!({ "device_code": "d", "user_code": "u", "expires_in": 60, "verification_uri": format!("{there}/go") });
    let provider = self::provider(there, answer.to_string()).await;
    for refused in [
        out_of_band(&provider, nobody, code).await,
        device(&provider, nobody).await,
    ] {
        let Err(SignInError::Insecure { url, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(url, there);
    }
    for here in ["https://login.example.org", "http://localhost:1"] {
        let provider = self::provider(here, String::new()).await;
        let typed = || Ok(String::new());
        let asked = out_of_band(&provider, |_| {}, typed).await;
        assert!(matches!(asked, Err(SignInError::NoCode)), "{asked:?}");
    }
}

/// It may be a token that is in the wrong place.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_repeated() {
    let provider =
        self::provider("https://login.example.org", r#""eyJ.secret.x""#.to_owned()).await;
    let error = device(&provider, nobody).await.unwrap_err();
    assert!(matches!(error, SignInError::Answer { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{text}");
}
