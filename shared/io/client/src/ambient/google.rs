//! Google's machines: the metadata server has tokens for the machine's service account, and the IAM credentials API has those of another
//! account that this one may act for.
//!
//! The metadata server is asked without TLS, as it has none: it is a link-local address that the machine's own host answers at. Whoever can answer
//! there in its place can have us sign as somebody else, and gets nothing: the request carries no secret. So it is never asked by a proxy, for which the
//! address is another machine or none, and its answer must carry its mark (Compute Engine, "Verify the metadata server": `Metadata-Flavor: Google`).

use std::path::Path;

use url::Url;
use zeroize::Zeroizing;

use super::{AmbientError, Surroundings, ask, member};
use crate::HeaderName;
use crate::agent::{Agent, Call, Proxies, Settings};

/// What Google's own libraries call the host, where `GCE_METADATA_HOST` names no other.
const METADATA: &str = "metadata.google.internal";
const CREDENTIALS: &str = "https://iamcredentials.googleapis.com";
const METADATA_SERVER: &str = "Google's metadata server";
const IAM: &str = "Google's IAM credentials API";

pub(super) struct Account {
    metadata: String,
    credentials: String,
    /// The account to act for.
    impersonate: Option<String>,
}

impl Account {
    /// The machine's own account.
    pub(super) fn own(around: Surroundings<'_>) -> Option<Self> {
        let named = around.set("GCE_METADATA_HOST");
        // Cloud Run and its functions are known by the first, which has no firmware to read.
        let here =
            named.is_some() || around.set("K_SERVICE").is_some() || is_of_google(around.root);
        here.then(|| Self {
            metadata: named.unwrap_or_else(|| METADATA.to_owned()),
            credentials: CREDENTIALS.to_owned(),
            impersonate: None,
        })
    }

    /// The account in a variable, as which the machine's own one acts.
    pub(super) fn impersonated(around: Surroundings<'_>) -> Option<Self> {
        let name = around.set("GOOGLE_SERVICE_ACCOUNT_NAME")?;
        Some(Self {
            impersonate: Some(name),
            ..Self::own(around)?
        })
    }

    pub(super) const fn is_impersonated(&self) -> bool {
        self.impersonate.is_some()
    }

    pub(super) async fn token(
        &self,
        agent: &Agent,
        audience: &str,
    ) -> Result<Zeroizing<String>, AmbientError> {
        match &self.impersonate {
            None => {
                let mut url = self.metadata_url("identity")?;
                url.query_pairs_mut()
                    .append_pair("audience", audience)
                    .append_pair("format", "full");
                let answer = ask_metadata(agent, url).await?;
                let text = String::from_utf8(answer.body.to_vec()).map_err(|_| {
                    AmbientError::Malformed(format!("{METADATA_SERVER} answered with no text"))
                })?;
                Ok(Zeroizing::new(text))
            }
            Some(account) => {
                let access = ask_metadata(agent, self.metadata_url("token")?).await?;
                let access = member(&access, METADATA_SERVER, "access_token")?;
                self.impersonated_token(agent, account, &access, audience)
                    .await
            }
        }
    }

    fn metadata_url(&self, what: &str) -> Result<Url, AmbientError> {
        let text = format!(
            "http://{}/computeMetadata/v1/instance/service-accounts/default/{what}",
            self.metadata
        );
        Url::parse(&text)
            .map_err(|_| AmbientError::Malformed("GCE_METADATA_HOST is no host".to_owned()))
    }

    async fn impersonated_token(
        &self,
        agent: &Agent,
        account: &str,
        access: &str,
        audience: &str,
    ) -> Result<Zeroizing<String>, AmbientError> {
        let wrong = || {
            AmbientError::Malformed("GOOGLE_SERVICE_ACCOUNT_NAME is no name of an account".into())
        };
        let mut url = Url::parse(&self.credentials).map_err(|_| wrong())?;
        url.path_segments_mut().map_err(|()| wrong())?.extend([
            "v1",
            "projects",
            "-",
            "serviceAccounts",
            &format!("{account}:generateIdToken"),
        ]);
        let body = serde_json::json!({ "audience": audience, "includeEmail": true }).to_string();
        let call = Call::post(url, "application/json", body)
            .accept("application/json")
            .authorization("Bearer", access);
        member(&ask(agent, IAM, &call).await?, IAM, "token")
    }
}

/// The header that a page in a browser cannot send, and that no other server sends back.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

async fn ask_metadata(agent: &Agent, url: Url) -> Result<crate::agent::Answer, AmbientError> {
    let plain = Agent::new(Settings {
        plain_http: true,
        proxies: Proxies::None,
        ..agent.settings().clone()
    });
    let call = Call::get(url).header(FLAVOR, "Google");
    let answer = ask(&plain, METADATA_SERVER, &call).await?;
    if answer.header(FLAVOR.as_str()) == Some("Google") {
        return Ok(answer);
    }
    Err(AmbientError::Malformed(format!(
        "what answers in place of {METADATA_SERVER} is not it (no Metadata-Flavor: Google)"
    )))
}

/// What the firmware says of the machine.
fn is_of_google(root: &Path) -> bool {
    let name = std::fs::read_to_string(root.join("sys/class/dmi/id/product_name"));
    name.is_ok_and(|name| matches!(name.trim(), "Google" | "Google Compute Engine"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::{HeaderMap, HeaderValue, StatusCode};
    use axum::routing::{get, post};

    /// The shapes of both services as their documents have them; neither is to be had outside of Google's network.
    #[tokio::test]
    async fn the_metadata_server_and_the_credentials_api_are_asked_as_documented() {
        async fn own(headers: HeaderMap, url: axum::http::Uri) -> Result<String, StatusCode> {
            if headers
                .get("metadata-flavor")
                .is_none_or(|value| value != "Google")
            {
                return Err(StatusCode::FORBIDDEN);
            }
            Ok(format!("own?{}", url.query().unwrap_or_default()))
        }
        async fn marked(mut answer: axum::response::Response) -> axum::response::Response {
            let mark = HeaderValue::from_static("Google");
            answer.headers_mut().insert("metadata-flavor", mark);
            answer
        }
        async fn act(headers: HeaderMap, body: String) -> Result<String, StatusCode> {
            if headers
                .get("authorization")
                .is_none_or(|value| value != "Bearer a1")
            {
                return Err(StatusCode::UNAUTHORIZED);
            }
            let asked: serde_json::Value =
                serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
            let audience = asked.get("audience").and_then(|value| value.as_str());
            Ok(serde_json::json!({ "token": audience }).to_string())
        }
        const ACCOUNT: &str = "/computeMetadata/v1/instance/service-accounts/default";
        let router = Router::new()
            .route(&format!("{ACCOUNT}/identity"), get(own))
            .route(
                &format!("{ACCOUNT}/token"),
                get(|| async { r#"{"access_token":"a1","expires_in":3600}"# }),
            )
            .layer(axum::middleware::map_response(marked))
            .route(
                "/v1/projects/-/serviceAccounts/ci@p.iam:generateIdToken",
                post(act),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let account = |impersonate: Option<&str>| Account {
            metadata: host.clone(),
            credentials: format!("http://{host}"),
            impersonate: impersonate.map(str::to_owned),
        };
        let agent = Agent::default();
        let own = account(None).token(&agent, "sig store").await.unwrap();
        assert_eq!(*own, "own?audience=sig+store&format=full");
        let other = account(Some("ci@p.iam")).token(&agent, "aud").await;
        assert_eq!(*other.unwrap(), "aud");
    }

    /// A captive portal, or a proxy that takes the address for its own.
    #[tokio::test]
    async fn what_does_not_say_that_it_is_the_metadata_server_is_not_believed() {
        let router = Router::new().fallback(|| async { "a.b.c" });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let account = Account {
            metadata: host,
            credentials: CREDENTIALS.to_owned(),
            impersonate: None,
        };
        let refused = account.token(&Agent::default(), "sigstore").await;
        assert!(matches!(refused, Err(AmbientError::Malformed(_))));
    }
}
