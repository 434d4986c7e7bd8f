//! Sending an entry on to the instance that leads.
//!
//! The request goes on as it came, and the leader checks it as any other: instances need not trust one another. A request is sent on once: an
//! instance that gets such a one and does not lead refuses it, and the client tries again.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName};
use client::{Agent, Answer, Call, Repeat, Settings};
use cluster::Tree;
use serve::Problem;
use url::Url;

use crate::http::ELSEWHERE;

/// Marks a request that was sent on.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("x-rekor-forwarded");
/// Longest answer: an entry with its body, base64, and a proof.
const ANSWER: usize = 1 << 20;

/// Who leads, and the way there.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    tree: Tree,
    agent: Agent,
}

impl Forward {
    /// To whoever leads this tree; they all have one leader.
    pub(crate) fn new(tree: Tree, timeout: Duration) -> Self {
        let agent = Agent::new(Settings {
            connect_timeout: Duration::from_secs(2).min(timeout),
            read_timeout: timeout,
            call_timeout: timeout,
            attempts: 1,
            // The operator says in the settings where instances are, and whether the network between them needs TLS.
            plain_http: true,
            ..Settings::default()
        });
        Self { tree, agent }
    }

    /// Sends a request on and returns the answer, whatever its status.
    pub(crate) async fn send(
        &self,
        path: &str,
        body: Bytes,
        headers: Option<&HeaderMap>,
    ) -> Result<Answer, Problem> {
        let unavailable = || Problem::unavailable(ELSEWHERE, 1);
        if headers.is_some_and(|headers| headers.contains_key(FORWARDED)) {
            return Err(unavailable());
        }
        let leader = self.tree.leader().await.map_err(|error| {
            tracing::warn!(%error, "cannot see who leads");
            unavailable()
        })?;
        let leader = leader.ok_or_else(unavailable)?;
        let url = Url::parse(&format!("{}{path}", leader.address)).map_err(|error| {
            tracing::error!(address = leader.address, %error, "the leader's address is no URL");
            unavailable()
        })?;
        // Nobody knows whether an entry whose answer was lost is in: the client asks again, and is told.
        let call = Call::post(url, "application/json", body)
            .header(FORWARDED, "1")
            .limit(ANSWER)
            .repeat(Repeat::Unsent);
        self.agent.send(&call).await.map_err(|error| {
            tracing::warn!(leader = leader.address, %error, "the leader does not answer");
            unavailable()
        })
    }
}
