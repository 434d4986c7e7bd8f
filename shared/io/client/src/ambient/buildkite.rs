//! Buildkite: a job's agent has a token to ask for tokens with (`buildkite-agent oidc request-token` makes the same request).

use url::Url;
use zeroize::Zeroizing;

use super::{AmbientError, Surroundings, ask, member};
use crate::agent::{Agent, Call};

const ENDPOINT: &str = "https://agent.buildkite.com/v3";
const WHOM: &str = "the Buildkite agent's API";

pub(super) struct Job {
    endpoint: String,
    id: String,
    token: Zeroizing<String>,
}

impl Job {
    pub(super) fn find(around: Surroundings<'_>) -> Option<Self> {
        Some(Self {
            token: around.secret("BUILDKITE_AGENT_ACCESS_TOKEN")?,
            id: around.set("BUILDKITE_JOB_ID")?,
            endpoint: around
                .set("BUILDKITE_AGENT_ENDPOINT")
                .unwrap_or_else(|| ENDPOINT.to_owned()),
        })
    }

    pub(super) async fn token(
        &self,
        agent: &Agent,
        audience: &str,
    ) -> Result<Zeroizing<String>, AmbientError> {
        let wrong =
            || AmbientError::Malformed("BUILDKITE_AGENT_ENDPOINT is no URL to call".to_owned());
        let mut url = Url::parse(&self.endpoint).map_err(|_| wrong())?;
        url.path_segments_mut()
            .map_err(|()| wrong())?
            .pop_if_empty()
            .extend(["jobs", &self.id, "oidc", "tokens"]);
        let body = serde_json::json!({ "audience": audience }).to_string();
        let call = Call::post(url, "application/json", body)
            .accept("application/json")
            .authorization("Token", &self.token);
        member(&ask(agent, WHOM, &call).await?, WHOM, "token")
    }
}
