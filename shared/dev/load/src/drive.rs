//! The loop, closed or at a rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::figures::Figures;
use crate::requests::{Kind, Request};

/// A request that takes longer has failed: twice the longest time that one of the measured servers allows itself.
const REQUEST_MAX: Duration = Duration::from_mins(1);
/// So much of a refusal is shown.
const REASON_MAX: usize = 200;

/// How hard to ask.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// At the same time.
    pub connections: usize,
    /// How long new requests are sent.
    pub time: Duration,
    /// Requests a second of all connections together, at even distances; without it each connection asks again when it has its answer.
    pub rate: Option<u32>,
}

/// When requests are due.
#[derive(Clone, Copy)]
struct Pace {
    start: Instant,
    end: Instant,
    /// Number of the first request that is measured.
    first: usize,
    rate: Option<u32>,
}

impl Pace {
    /// When a request is due; `None` when it is after the end. It may have passed.
    fn due(&self, number: usize) -> Option<Instant> {
        let due = match self.rate {
            None => Instant::now(),
            Some(rate) => {
                let before = u32::try_from(number.saturating_sub(self.first)).ok()?;
                let after = f64::from(before) / f64::from(rate.max(1));
                self.start.checked_add(Duration::from_secs_f64(after))?
            }
        };
        (due < self.end).then_some(due)
    }
}

/// What all connections share.
struct Job {
    host: String,
    uri: Uri,
    headers: HeaderMap,
    mark: &'static [u8],
    requests: Vec<Request>,
    next: AtomicUsize,
}

/// What one connection measured.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    reasons: BTreeMap<String, usize>,
    last: Option<Instant>,
}

/// Runs the plan against the service at `base`. It ends early when the requests run out; that they do is no error, since the figures say
/// how long it took.
///
/// Every connection is opened and has had one answer before the clock starts, so that nothing is measured that happens once.
pub async fn run(kind: &Kind, base: &Url, requests: Vec<Request>, plan: Plan) -> Result<Figures> {
    ensure!(
        requests.len() > plan.connections,
        "{} requests are too few for {} connections",
        requests.len(),
        plan.connections
    );
    let job = Arc::new(Job::new(kind, base, requests)?);
    let warm = (0..plan.connections).map(|_| job.warm_up());
    let connections = try_join_all(warm).await?;

    let start = Instant::now();
    let pace = Pace {
        start,
        end: start.checked_add(plan.time).unwrap_or(start),
        first: plan.connections,
        rate: plan.rate,
    };
    let running: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(job.clone().ask(connection, pace)))
        .collect();
    let (mut latencies, mut reasons, mut last) = (Vec::new(), BTreeMap::new(), start);
    for task in running {
        let tally = task.await.context("a connection's task ended")?;
        latencies.extend(tally.latencies);
        for (reason, count) in tally.reasons {
            let sum = reasons.entry(reason).or_insert(0_usize);
            *sum = sum.saturating_add(count);
        }
        last = tally.last.map_or(last, |answer| answer.max(last));
    }
    Ok(Figures::of(
        plan.connections,
        latencies,
        reasons,
        last.saturating_duration_since(start),
    ))
}

impl Job {
    fn new(kind: &Kind, base: &Url, requests: Vec<Request>) -> Result<Self> {
        ensure!(
            base.scheme() == "http",
            "{base}: only http://, since this measures services and not TLS"
        );
        let name = base.host_str().context("the URL has no host")?;
        let host = format!("{name}:{}", base.port_or_known_default().unwrap_or(80));
        let path = format!("{}/{}", base.path().trim_end_matches('/'), kind.path());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind.media_type()));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Ok(Self {
            host,
            uri: path.parse()?,
            headers,
            mark: kind.mark(),
            requests,
            next: AtomicUsize::new(0),
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.host)
            .await
            .with_context(|| format!("connecting to {}", self.host))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the connection; what is wrong with it, the next request tells.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn warm_up(&self) -> Result<SendRequest<Full<Bytes>>> {
        let mut connection = self.connect().await?;
        let (_, first) = self.take().context("no request")?;
        self.send(&mut connection, first)
            .await
            .context("the first request")?;
        Ok(connection)
    }

    fn take(&self) -> Option<(usize, &Request)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some((number, self.requests.get(number)?))
    }

    async fn ask(self: Arc<Self>, mut connection: SendRequest<Full<Bytes>>, pace: Pace) -> Tally {
        let mut tally = Tally::default();
        while Instant::now() < pace.end
            && let Some((number, request)) = self.take()
            && let Some(start) = pace.due(number)
        {
            tokio::time::sleep_until(start.into()).await;
            // A server may end a connection between two requests; that is not the request's fault.
            if connection.ready().await.is_err() {
                match self.connect().await {
                    Ok(new) => connection = new,
                    Err(error) => {
                        tally.failed(&error);
                        continue;
                    }
                }
            }
            let result = self.send(&mut connection, request).await;
            let now = Instant::now();
            tally.last = Some(now);
            match result {
                Ok(()) => tally.latencies.push(now.saturating_duration_since(start)),
                Err(error) => tally.failed(&error),
            }
        }
        tally
    }

    async fn send(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        request: &Request,
    ) -> Result<()> {
        let mut message = hyper::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.uri.clone();
        message.headers_mut().clone_from(&self.headers);
        if let Some(value) = &request.authorization {
            let name: HeaderName = AUTHORIZATION;
            message
                .headers_mut()
                .insert(name, HeaderValue::from_str(value)?);
        }
        let exchange = async {
            let answer = connection.send_request(message).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let (status, body) = timeout(REQUEST_MAX, exchange)
            .await
            .context("no answer in time")??;
        let granted = body
            .windows(self.mark.len())
            .any(|bytes| bytes == self.mark);
        if status.is_success() && granted {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&body);
        bail!(
            "{status}: {}",
            text.chars().take(REASON_MAX).collect::<String>()
        )
    }
}

impl Tally {
    fn failed(&mut self, error: &anyhow::Error) {
        let count = self.reasons.entry(format!("{error:#}")).or_default();
        *count = count.saturating_add(1);
    }
}
