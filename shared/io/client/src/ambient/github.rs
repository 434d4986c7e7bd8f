//! GitHub Actions: a job with `permissions: id-token: write`.

use url::Url;
use zeroize::Zeroizing;

use super::{AmbientError, Surroundings, ask, member};
use crate::agent::{Agent, Call};

pub(super) const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
pub(super) const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const WHOM: &str = "GitHub Actions";

pub(super) struct Job {
    url: String,
    /// What allows to ask.
    bearer: Zeroizing<String>,
}

impl Job {
    pub(super) fn find(around: Surroundings<'_>) -> Option<Self> {
        Some(Self {
            url: around.set(URL)?,
            bearer: around.secret(BEARER)?,
        })
    }

    pub(super) async fn token(
        &self,
        agent: &Agent,
        audience: &str,
    ) -> Result<Zeroizing<String>, AmbientError> {
        let mut url = Url::parse(&self.url)
            .map_err(|_| AmbientError::Malformed(format!("{URL} is no URL")))?;
        url.query_pairs_mut().append_pair("audience", audience);
        let call = Call::get(url)
            .accept("application/json")
            .authorization("Bearer", &self.bearer);
        member(&ask(agent, WHOM, &call).await?, WHOM, "value")
    }
}
