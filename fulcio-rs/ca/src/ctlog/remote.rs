//! A log over HTTP, asked again while that may help.
//!
//! The log gives the same SCT for the same precertificate (ours does, and CTFE and TesseraCT try to), so to ask again after a lost answer costs nothing.

use std::time::{Duration, Instant};

use client::{Agent, Answer, Call, CallError, HeaderName, Settings, Versions, up_to};
use ct::{AddChainReply, AddChainRequest, Sct};
use keys::PublicKey;
use url::Url;

use super::CtLogError;

/// One attempt; a log answers in milliseconds, TesseraCT in two seconds.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that is our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What is left of a request's time when the log has been asked for the last time, at most a quarter of it: for two signatures and the answer.
pub(super) const REST: Duration = Duration::from_secs(2);
/// The largest answer, in bytes: an SCT has a few hundred.
const MAX_ANSWER: usize = 64 << 10;

const HOST: HeaderName = HeaderName::from_static("host");

/// How a log is asked.
#[derive(Debug, Clone)]
pub struct RemoteLog {
    /// Its submission URL, without `/ct/v1`.
    pub url: Url,
    /// The key that its SCTs must verify with.
    pub key: PublicKey,
    /// What it is called in the `Host` header, if not by the host of the URL: a log behind a name of the cluster wants to hear its own.
    pub origin: Option<String>,
    /// Certificate authorities of its TLS certificate, besides the system's, PEM.
    pub authorities_pem: Vec<u8>,
    /// How long it is asked again, all in all, and never longer than the client's own request has left.
    pub patience: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Remote {
    agent: Agent,
    add: Url,
    roots: Url,
    key: PublicKey,
    origin: Option<String>,
    patience: Duration,
}

impl Remote {
    pub(super) fn new(log: RemoteLog) -> Result<Self, url::ParseError> {
        let settings = Settings {
            connect_timeout: Duration::from_secs(3),
            read_timeout: ATTEMPT,
            call_timeout: ATTEMPT,
            attempts: 1,
            extra_roots_pem: log.authorities_pem,
            versions: match log.origin {
                Some(_) => Versions::Http1,
                None => Versions::Newest,
            },
            ..Settings::default()
        };
        let base = log.url.as_str().trim_end_matches('/');
        Ok(Self {
            agent: Agent::new(settings),
            add: Url::parse(&format!("{base}/ct/v1/add-pre-chain"))?,
            roots: Url::parse(&format!("{base}/ct/v1/get-roots"))?,
            key: log.key,
            origin: log.origin,
            patience: log.patience,
        })
    }

    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The log's SCT, which nobody has verified yet. `until` is when nobody waits for it any more.
    pub(super) async fn add(
        &self,
        chain: Vec<Vec<u8>>,
        until: Option<Instant>,
    ) -> Result<Sct, CtLogError> {
        let malformed = |error: &dyn std::fmt::Display| CtLogError::Answer(error.to_string());
        let request = AddChainRequest {
            chain: chain.into_iter().map(Into::into).collect(),
        };
        let body = serde_json::to_vec(&request).map_err(|error| malformed(&error))?;
        let mut call = Call::post(self.add.clone(), "application/json", body).limit(MAX_ANSWER);
        if let Some(origin) = &self.origin {
            call = call.header(HOST, origin);
        }
        let answer = self.ask(&call, self.deadline(until)).await?;
        let reply: AddChainReply =
            serde_json::from_slice(&answer.body).map_err(|error| malformed(&error))?;
        Ok(reply.sct()?)
    }

    /// What roots does it accept? Asked once.
    pub(super) async fn probe(&self) -> Result<(), CtLogError> {
        let mut call = Call::get(self.roots.clone());
        if let Some(origin) = &self.origin {
            call = call.header(HOST, origin);
        }
        let answer = self.agent.send(&call).await.map_err(CtLogError::Call)?;
        answer.expect(&[200]).map_err(CtLogError::Refused)?;
        Ok(())
    }

    /// What came before (a token's keys, a slow signer) has taken of the client's time already.
    fn deadline(&self, until: Option<Instant>) -> Instant {
        let now = Instant::now();
        let own = now + self.patience;
        until.map_or(own, |until| {
            let left = until.saturating_duration_since(now);
            own.min(now + left.saturating_sub(REST.min(left / 4)))
        })
    }

    /// An answer with 200. Repeated are what passes: 408, 429, 503, a way that is broken, silence.
    async fn ask(&self, call: &Call, deadline: Instant) -> Result<Answer, CtLogError> {
        if deadline <= Instant::now() {
            return Err(CtLogError::Late { attempts: 0 });
        }
        let mut attempts = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = tokio::time::timeout(left, self.agent.send(call)).await;
            let (error, asked) = match outcome {
                Err(_) => return Err(CtLogError::Late { attempts }),
                Ok(Ok(answer)) => match answer.status.as_u16() {
                    200 => return Ok(answer),
                    408 | 429 | 503 => {
                        let asked = answer.retry_after();
                        let source = answer.refused();
                        (CtLogError::Busy { attempts, source }, asked)
                    }
                    _ => return Err(CtLogError::Refused(answer.refused())),
                },
                Ok(Err(source @ CallError::Unreachable { .. })) => {
                    (CtLogError::Unreachable { attempts, source }, None)
                }
                Ok(Err(CallError::Timeout { .. })) => (CtLogError::Late { attempts }, None),
                Ok(Err(error)) => return Err(CtLogError::Call(error)),
            };
            // To come back earlier than asked would only be refused again, and later nobody waits for it.
            let pause = asked.unwrap_or_else(|| backoff(attempts));
            let left = deadline.saturating_duration_since(Instant::now());
            if pause >= left {
                return Err(error);
            }
            metrics::counter!("fulcio_ct_log_retries", "reason" => error.reason()).increment(1);
            tracing::debug!(attempts, ?pause, cause = %error, "asking the CT log again");
            tokio::time::sleep(pause).await;
            attempts = attempts.saturating_add(1);
        }
    }
}

/// Doubles each time, less up to a quarter so that many requests do not come back together.
fn backoff(attempt: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let whole = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
    whole.saturating_sub(up_to(whole / 4))
}
