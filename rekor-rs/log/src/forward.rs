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
/// For whom a proxy before us asks: who leads counts him, where the settings say that there is one (`behind_proxy`), and not this instance.
const CLIENTS: HeaderName = HeaderName::from_static("x-forwarded-for");
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
        headers: &HeaderMap,
    ) -> Result<Answer, Problem> {
        let unavailable = || Problem::unavailable(ELSEWHERE, 1);
        if headers.contains_key(FORWARDED) {
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
        let mut call = Call::post(url, "application/json", body)
            .header(FORWARDED, "1")
            .limit(ANSWER)
            .repeat(Repeat::Unsent);
        if let Some(clients) = clients(headers) {
            call = call.header(CLIENTS, &clients);
        }
        self.agent.send(&call).await.map_err(|error| {
            tracing::warn!(leader = leader.address, %error, "the leader does not answer");
            unavailable()
        })
    }
}

/// All lines of it in one.
fn clients(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(CLIENTS)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_a_proxy_names_goes_on_with_the_request() {
        let mut headers = HeaderMap::new();
        assert_eq!(clients(&headers), None);
        headers.append(CLIENTS, "198.51.100.9".parse().unwrap());
        headers.append(CLIENTS, "203.0.113.7, 192.0.2.1".parse().unwrap());
        let all = "198.51.100.9, 203.0.113.7, 192.0.2.1";
        assert_eq!(clients(&headers).as_deref(), Some(all));
    }
}
