//! The agent: what every call has in common.

use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::header::{RETRY_AFTER, USER_AGENT};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, Response, StatusCode};
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::tls;

/// The largest answer that is read unless a call says otherwise: a certificate chain, a log entry and a timestamp are far below it.
const ANSWER_MAX: usize = 1024 * 1024;
/// How much of a refusal's text is kept for the message.
const REFUSAL_MAX: usize = 400;
/// Redirects that are followed within one host.
const HOPS_MAX: usize = 5;

/// Where redirects may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// To the same scheme, host and port only. What a service of ours is asked stays with it.
    SameOrigin,
    /// Anywhere with TLS. For registries, which keep their blobs at somebody else's; reqwest takes credentials out of the request when the
    /// host changes, and every blob is compared with its digest.
    AnyTls,
}

/// By which proxies other machines are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxies {
    /// Those that the environment names.
    System,
    /// By none: for addresses that are other machines, or none, seen from a proxy.
    None,
}

/// Which versions of HTTP a server is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/2 where the server has it, with TLS; else HTTP/1.1.
    Newest,
    /// HTTP/1.1, for calls with a `Host` header of their own: in HTTP/2 the host is that of the URL.
    Http1,
}

/// How an agent calls.
#[derive(Clone)]
pub struct Settings {
    /// For the connection, TLS included.
    pub connect_timeout: Duration,
    /// Between two pieces of an answer.
    pub read_timeout: Duration,
    /// For one attempt, from the first byte to the last; not for [`Agent::open`], whose answers may be large.
    pub call_timeout: Duration,
    /// How often one call is tried, all in all.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles.
    pub first_pause: Duration,
    /// The longest pause, also when the server asks for a longer one: then its refusal is the answer.
    pub longest_pause: Duration,
    /// Where redirects may lead.
    pub redirects: Redirects,
    /// Plain HTTP to other machines. Never for calls that carry a token.
    pub plain_http: bool,
    /// By which proxies.
    pub proxies: Proxies,
    /// Take any TLS certificate.
    pub any_certificate: bool,
    /// Certificate authorities besides the system's, PEM.
    pub extra_roots_pem: Vec<u8>,
    /// Who we are for servers that ask for a certificate (mutual TLS): certificates, ours first, and the private key, PEM.
    pub client_identity_pem: Option<Zeroizing<Vec<u8>>>,
    /// The name that the server's certificate must be for, instead of the URL's host.
    pub server_name: Option<String>,
    /// Let the transport undo `Content-Encoding: gzip`. Not for registries, whose digests are over the bytes as they are stored.
    pub decompress: bool,
    /// Which versions of HTTP.
    pub versions: Versions,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("call_timeout", &self.call_timeout)
            .field("attempts", &self.attempts)
            .field("redirects", &self.redirects)
            .field("plain_http", &self.plain_http)
            .field("proxies", &self.proxies)
            .field("any_certificate", &self.any_certificate)
            .field("client_identity", &self.client_identity_pem.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            // Rekor v2 answers only when the next checkpoint is out, up to about ten seconds, and several clients may queue there.
            call_timeout: Duration::from_mins(1),
            attempts: 4,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            redirects: Redirects::SameOrigin,
            plain_http: false,
            proxies: Proxies::System,
            any_certificate: false,
            extra_roots_pem: Vec::new(),
            client_identity_pem: None,
            server_name: None,
            decompress: true,
            versions: Versions::Newest,
        }
    }
}

/// When a call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// After a failure of any kind that may pass: making it twice does no harm.
    Freely,
    /// Only while the other end has not seen it: a code that can be redeemed once.
    Unsent,
}

/// One request.
#[derive(Clone)]
pub struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    limit: usize,
    repeat: Repeat,
}

impl Call {
    /// A call with any method.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            limit: ANSWER_MAX,
            repeat: Repeat::Freely,
        }
    }

    /// `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// `POST` with a body.
    pub fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, url).body(content_type, body)
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(body.into());
        self
    }

    /// With this header; a value that no header can have is left out, which the other end will remark on.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// `Accept`.
    #[must_use]
    pub fn accept(self, types: &str) -> Self {
        self.header(ACCEPT, types)
    }

    /// `Authorization`, marked so that nobody prints it.
    #[must_use]
    pub fn authorization(mut self, scheme: &str, credential: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(&format!("{scheme} {credential}")) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }

    /// With this header, marked so that nobody prints it; as [`header`](Self::header) otherwise.
    #[must_use]
    pub fn credential(mut self, name: HeaderName, credential: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(credential) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }

    /// The largest answer that is read, in bytes.
    #[must_use]
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// When it may be made again.
    #[must_use]
    pub const fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// The same call to another place.
    #[must_use]
    pub fn with_url(mut self, url: Url) -> Self {
        self.url = url;
        self
    }

    /// Whom it asks.
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

/// A whole answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; 5xx and 429 only after the last attempt.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who answered, after redirects.
    pub url: Url,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// After how long it makes sense to ask again, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.headers.get(RETRY_AFTER).and_then(retry_after)
    }

    /// The media type without its parameters, in lower case.
    pub fn media_type(&self) -> String {
        let value = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }

    /// This answer as the reason why a call failed.
    pub fn refused(&self) -> Refused {
        Refused {
            whom: place(&self.url),
            status: self.status,
            message: said(&self.body),
        }
    }

    /// The answer if it has one of these statuses.
    pub fn expect(self, statuses: &[u16]) -> Result<Self, Refused> {
        if statuses.contains(&self.status.as_u16()) {
            Ok(self)
        } else {
            Err(self.refused())
        }
    }
}

/// The other end said no.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{whom} answered {status}{}", message.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Refused {
    /// Scheme, host and path.
    pub whom: String,
    /// The status.
    pub status: StatusCode,
    /// What it said, made printable and short.
    pub message: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Without TLS to another machine.
    #[error("{0} is not https: only this machine is called without TLS")]
    Plain(String),
    /// Nobody there, or the way is broken.
    #[error("cannot reach {whom}{}", tries(*attempts))]
    Unreachable {
        /// Scheme, host and path.
        whom: String,
        /// How often it was tried.
        attempts: u32,
        /// What happened at the last attempt.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came in time.
    #[error("{whom} did not answer in time{}", tries(*attempts))]
    Timeout {
        /// Scheme, host and path.
        whom: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Sent elsewhere.
    #[error("{whom} redirects where this call may not go: {why}")]
    Redirect {
        /// Scheme, host and path.
        whom: String,
        /// Where.
        why: String,
    },
    /// Too much came.
    #[error("the answer of {whom} is larger than {limit} bytes")]
    TooLarge {
        /// Scheme, host and path.
        whom: String,
        /// The limit.
        limit: usize,
    },
    /// The agent itself cannot be made: its settings are wrong.
    #[error("cannot prepare calls")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn tries(attempts: u32) -> String {
    if attempts > 1 {
        format!(" in {attempts} attempts")
    } else {
        String::new()
    }
}

/// Makes calls. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// To other machines: by the system's proxies.
    outside: OnceLock<reqwest::Client>,
    /// To this machine: never by a proxy.
    loopback: OnceLock<reqwest::Client>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Agent")
            .field(&self.0.settings)
            .finish()
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Agent {
    /// An agent. Nothing is opened before the first call.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            outside: OnceLock::new(),
            loopback: OnceLock::new(),
        }))
    }

    /// How it calls.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Makes the call, and again if that may help, and reads the whole answer.
    pub async fn send(&self, call: &Call) -> Result<Answer, CallError> {
        let mut attempt = 1;
        loop {
            let outcome = match self.attempt(call, attempt, true).await {
                Ok(response) => read(response, call.limit, attempt).await,
                Err(error) => Err(error),
            };
            let pause = match &outcome {
                Ok(answer) => self.pause_after(call, attempt, answer.status, &answer.headers),
                Err(error) => self.pause_after_error(call, attempt, error),
            };
            let Some(pause) = pause else { return outcome };
            tracing::debug!(whom = %place(&call.url), attempt, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Makes the call, and again if that may help, until an answer begins; the caller reads it, and counts.
    pub async fn open(&self, call: &Call) -> Result<Response, CallError> {
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(call, attempt, false).await;
            let pause = match &outcome {
                Ok(response) => {
                    self.pause_after(call, attempt, response.status(), response.headers())
                }
                Err(error) => self.pause_after_error(call, attempt, error),
            };
            let Some(pause) = pause else { return outcome };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call, attempt: u32, timed: bool) -> Result<Response, CallError> {
        let settings = &self.0.settings;
        if call.url.scheme() != "https"
            && !(call.url.scheme() == "http" && (settings.plain_http || is_loopback(&call.url)))
        {
            return Err(CallError::Plain(place(&call.url)));
        }
        let mut request = self
            .transport(&call.url)?
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone());
        if timed {
            request = request.timeout(settings.call_timeout);
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        request
            .send()
            .await
            .map_err(|error| failed(&call.url, attempt, error))
    }

    fn transport(&self, url: &Url) -> Result<&reqwest::Client, CallError> {
        let local = is_loopback(url);
        let cell = if local {
            &self.0.loopback
        } else {
            &self.0.outside
        };
        if let Some(made) = cell.get() {
            return Ok(made);
        }
        let made = transport(&self.0.settings, local).map_err(CallError::Setup)?;
        Ok(cell.get_or_init(|| made))
    }

    /// How long to wait before the next attempt, if there is to be one.
    fn pause_after(
        &self,
        call: &Call,
        attempt: u32,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Duration> {
        // 429 and 503 say that nothing was done; after the others nobody knows.
        let again = match status.as_u16() {
            429 | 503 => true,
            500 | 502 | 504 => call.repeat == Repeat::Freely,
            _ => false,
        };
        let settings = &self.0.settings;
        if !again || attempt >= settings.attempts {
            return None;
        }
        match headers.get(RETRY_AFTER).and_then(retry_after) {
            // To come back earlier than asked would only be refused again.
            Some(asked) if asked > settings.longest_pause => None,
            Some(asked) => Some(asked),
            None => Some(self.backoff(attempt)),
        }
    }

    fn pause_after_error(&self, call: &Call, attempt: u32, error: &CallError) -> Option<Duration> {
        let again = match error {
            CallError::Unreachable { source, .. } => {
                source.is_connect() || call.repeat == Repeat::Freely
            }
            // A second wait of the same length helps seldom, and a minute is long.
            CallError::Timeout { .. }
            | CallError::Plain(_)
            | CallError::Redirect { .. }
            | CallError::TooLarge { .. }
            | CallError::Setup(_) => false,
        };
        (again && attempt < self.0.settings.attempts).then(|| self.backoff(attempt))
    }

    /// Doubles each time, less up to a quarter so that many clients do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let settings = &self.0.settings;
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let whole = settings
            .first_pause
            .saturating_mul(factor)
            .min(settings.longest_pause);
        whole.saturating_sub(up_to(whole / 4))
    }
}

/// Any duration up to this one, another one each time, so that those who wait do not come back together. Nothing depends on it being
/// hard to guess.
pub fn up_to(longest: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let [byte, ..] = RandomState::new().hash_one(0).to_be_bytes();
    (longest / 255) * u32::from(byte)
}

fn transport(
    settings: &Settings,
    local: bool,
) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("cosign-rs/", env!("CARGO_PKG_VERSION"))),
    );
    let mut builder = reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .redirect(policy(settings.redirects))
        .referer(false)
        .gzip(settings.decompress)
        .pool_max_idle_per_host(8);
    if local || settings.proxies == Proxies::None {
        builder = builder.no_proxy();
    }
    if settings.versions == Versions::Http1 {
        builder = builder.http1_only();
    }
    builder = builder.tls_backend_preconfigured(tls::config(settings)?);
    Ok(builder.build()?)
}

fn policy(redirects: Redirects) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        if attempt.previous().len() > HOPS_MAX {
            return attempt.error(NotThere("too many redirects".to_owned()));
        }
        let same = attempt
            .previous()
            .last()
            .is_some_and(|from| from.origin() == attempt.url().origin());
        let allowed = same || (redirects == Redirects::AnyTls && attempt.url().scheme() == "https");
        if allowed {
            attempt.follow()
        } else {
            let where_to = attempt.url().origin().ascii_serialization();
            attempt.error(NotThere(where_to))
        }
    })
}

#[derive(Debug, Error)]
#[error("{0}")]
struct NotThere(String);

async fn read(mut response: Response, limit: usize, attempt: u32) -> Result<Answer, CallError> {
    let (status, headers, url) = (
        response.status(),
        response.headers().clone(),
        response.url().clone(),
    );
    let too_large = || CallError::TooLarge {
        whom: place(&url),
        limit,
    };
    let announced = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| failed(&url, attempt, error))?
    {
        if body.len().saturating_add(piece.len()) > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        status,
        headers,
        body: body.freeze(),
        url,
    })
}

fn failed(url: &Url, attempts: u32, error: reqwest::Error) -> CallError {
    let whom = place(url);
    // The URL of the call may carry secrets in its query.
    let error = error.without_url();
    if error.is_redirect() {
        let why = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        CallError::Redirect { whom, why }
    } else if error.is_timeout() {
        CallError::Timeout { whom, attempts }
    } else {
        CallError::Unreachable {
            whom,
            attempts,
            source: error,
        }
    }
}

/// An error with its causes, one after the other, made printable and short.
#[cfg(feature = "sign-in")]
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    printable(&text)
}

/// Seconds, or a date (RFC 9110 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

/// Is it this machine? `localhost` and the names below it never leave it (RFC 6761 6.3).
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost")
                || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Scheme, host, port and path: what may be shown of a URL.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// What services say when they refuse: JSON with one of the usual members, or plain text.
fn said(body: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => {
            let text = |pointer: &&str| value.pointer(pointer)?.as_str().map(str::to_owned);
            let message = [
                "/message",
                "/errors/0/message",
                "/error_description",
                "/error",
            ]
            .iter()
            .find_map(text)?;
            // google.rpc.ErrorInfo: the word for machines says more than the sentence.
            match text(&"/details/0/reason") {
                Some(reason) => format!("{message} ({reason})"),
                None => message,
            }
        }
        Err(_) => String::from_utf8(body.to_vec()).ok()?,
    };
    let text = text.trim();
    // A page of HTML tells a person nothing.
    (!text.is_empty() && !text.starts_with('<')).then(|| printable(text))
}

/// Text of others for a terminal: no control characters, not endless.
pub fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(REFUSAL_MAX)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(REFUSAL_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// `base` with more path, whether or not it ends in a slash.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, local) in [
            ("http://localhost:80", true),
            ("http://a.localhost", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:3000/x", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), local, "{url}");
        }
    }

    #[test]
    fn a_base_keeps_its_own_path() {
        for (base, expected) in [
            ("https://a.example", "https://a.example/api/x"),
            ("https://a.example/", "https://a.example/api/x"),
            ("https://a.example/b/?q=1#f", "https://a.example/b/api/x"),
        ] {
            assert_eq!(
                below(&Url::parse(base).unwrap(), "api/x").as_str(),
                expected
            );
        }
    }

    #[test]
    fn what_others_say_is_made_printable() {
        assert_eq!(
            said(br#"{"code":3,"message":"no \u001b[31m token"}"#).as_deref(),
            Some("no  [31m token")
        );
        assert_eq!(
            said(br#"{"errors":[{"code":"X","message":"denied"}]}"#).as_deref(),
            Some("denied")
        );
        assert_eq!(said(b"<html>"), None);
        assert_eq!(said(b"  "), None);
        assert_eq!(
            said(&[b'a'; 2 * REFUSAL_MAX])
                .unwrap_or_default()
                .chars()
                .count(),
            REFUSAL_MAX + 1
        );
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let value = HeaderValue::from_static;
        assert_eq!(retry_after(&value("7")), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after(&value("Wed, 21 Oct 2015 07:28:00 GMT")),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after(&value("soon")), None);
    }
}
