//! What keeps signing and verifying from working here, and what to do about it.
//!
//! Each check stands for itself: one that fails says what is wrong and what to do, and the others are made all the same. Nothing is signed and nothing
//! is logged; the timestamp authority is asked for a timestamp over random bytes, which proves nothing of anybody.

use std::time::Duration;

use anyhow::Result;
use client::{Agent, Answer, Call, IdentityToken, Tsa};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use pki::Certificate;
use serde::Serialize;
use trust::{ServiceKind, SigningConfig, TrustedRoot, Validity};
use url::Url;
use wire::fulcio::{Configuration, TrustBundle};
use wire::rekor_v1::LogInfo;

use super::image;
use crate::args::{Doctor, Output};
use crate::failure::{Exit, in_line};
use crate::{identity, report, trust_files};

/// A clock that is further away makes tokens and certificates that begin later than their use.
const CLOCK_FAR: SignedDuration = SignedDuration::from_secs(60);
/// A clock that is further away is not kept by anybody.
const CLOCK_OFF: SignedDuration = SignedDuration::from_secs(5);
/// What of the trusted root ends sooner is told.
const SOON: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Nothing here is worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// A check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Findings {
    healthy: bool,
    checks: Vec<Check>,
}

fn check(name: impl Into<String>, state: State, found: impl Into<String>) -> Check {
    Check {
        name: name.into(),
        state,
        found: in_line(&found.into()),
        remedy: None,
    }
}

impl Check {
    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

pub(super) async fn run(arguments: Doctor) -> Result<()> {
    let now = Timestamp::now();
    let agent = Agent::new(client::Settings {
        attempts: 1,
        call_timeout: PATIENCE,
        ..client::Settings::default()
    });
    let mut checks = Vec::new();
    let mut issuers = None;
    match trust_files::for_signing(&arguments.trust, &arguments.services).await {
        Err(error) => checks.push(
            check("trust", State::Failed, format!("{error:#}")).remedy(
                "name an instance (--trust-config, --trust-domain), or ask its repository: cosign-rs trust refresh",
            ),
        ),
        Ok((root, config)) => {
            checks.extend(trusted_root(&root, now));
            if arguments.trust.following.offline {
                checks.push(check("services", State::Skipped, "--offline"));
            } else {
                let (found, known) = services(&agent, &root, &config).await;
                checks.extend(found);
                issuers = known;
            }
        }
    }
    checks.extend(token(&agent, &arguments, issuers.as_ref(), now).await);
    match &arguments.image {
        Some(name) if arguments.trust.following.offline => {
            checks.push(check(
                format!("registry, {name}"),
                State::Skipped,
                "--offline",
            ));
        }
        Some(name) => checks.extend(registry(name, &arguments).await),
        None => {}
    }
    let healthy = checks.iter().all(|check| check.state != State::Failed);
    let findings = Findings { healthy, checks };
    match arguments.output.unwrap_or(Output::Text) {
        Output::Json => report::print_json(&findings)?,
        Output::Text => report::print(text(&findings).trim_end())?,
    }
    if healthy { Ok(()) } else { Err(Exit(1).into()) }
}

fn text(findings: &Findings) -> String {
    let mut lines = Vec::new();
    for check in &findings.checks {
        let state = match check.state {
            State::Ok => "ok      ",
            State::Warning => "warning ",
            State::Failed => "FAILED  ",
            State::Skipped => "skipped ",
        };
        lines.push(format!("{state}{}: {}", check.name, check.found));
        lines.extend(
            check
                .remedy
                .iter()
                .map(|remedy| format!("        -> {remedy}")),
        );
    }
    lines.join("\n")
}

/// Is everything there that a bundle of today needs, and for how long?
fn trusted_root(root: &TrustedRoot, now: Timestamp) -> Vec<Check> {
    let kinds: [(&str, Vec<Validity>); 4] = [
        (
            "certificate authority",
            root.authorities.iter().map(|one| one.validity).collect(),
        ),
        (
            "certificate log",
            root.ctlogs.iter().map(|one| one.validity).collect(),
        ),
        (
            "transparency log",
            root.tlogs.iter().map(|one| one.validity).collect(),
        ),
        (
            "timestamp authority",
            root.timestamp_authorities
                .iter()
                .map(|one| one.validity)
                .collect(),
        ),
    ];
    let one = |(kind, validities): (&str, Vec<Validity>)| {
        let name = format!("trusted root, {kind}");
        let current: Vec<&Validity> = validities
            .iter()
            .filter(|validity| validity.contains(now))
            .collect();
        let soon = now.checked_add(SOON).unwrap_or(now);
        if current.is_empty() {
            let all = validities.len();
            return check(name, State::Failed, format!("{all} are known, none of them for now"))
                .remedy("the trusted root is too old, or of an instance without one: cosign-rs trust refresh, or a newer file");
        }
        let lasts = |validity: &&Validity| validity.end.is_none_or(|end| end > soon);
        let first = current.iter().find_map(|validity| validity.end);
        match first {
            Some(end) if !current.iter().any(lasts) => {
                check(name, State::Warning, format!("the last one ends at {end}"))
                    .remedy("ask for a newer trusted root before: cosign-rs trust refresh")
            }
            _ => check(name, State::Ok, format!("{} now", current.len())),
        }
    };
    kinds.into_iter().map(one).collect()
}

/// Calls each service once, at the same time. The issuers that the certificate authority knows, if it says so.
async fn services(
    agent: &Agent,
    root: &TrustedRoot,
    config: &SigningConfig,
) -> (Vec<Check>, Option<Configuration>) {
    let now = Timestamp::now();
    let (mut found, mut calls) = (Vec::new(), Vec::new());
    for (kind, what) in [
        (ServiceKind::Fulcio, "certificate authority"),
        (ServiceKind::Rekor, "transparency log"),
        (ServiceKind::Tsa, "timestamp authority"),
        (ServiceKind::Oidc, "identity provider"),
    ] {
        let named = if matches!(kind, ServiceKind::Rekor | ServiceKind::Tsa) {
            config.services(kind, now, 0)
        } else {
            config.service(kind, now).map(|one| vec![one])
        };
        match named {
            Err(error) => found.push(check(what, State::Failed, error.to_string()).remedy(
                "the signing config is too old, or without one of these: cosign-rs trust refresh, or a newer file",
            )),
            Ok(services) => calls.extend(services.into_iter().map(|one| {
                (kind, what, one.url.clone(), one.major_api_version)
            })),
        }
    }
    let asked = calls.iter().map(|(kind, what, url, version)| async move {
        let name = format!("{what} {url}");
        let Ok(parsed) = Url::parse(url) else {
            return (
                vec![check(name, State::Failed, "no URL").remedy("correct the signing config")],
                None,
            );
        };
        match kind {
            ServiceKind::Fulcio => fulcio(agent, &parsed, name, root).await,
            ServiceKind::Rekor => (log(agent, &parsed, *version, name, root).await, None),
            ServiceKind::Tsa => (timestamps(agent, &parsed, name, root).await, None),
            ServiceKind::Oidc => (provider(agent, &parsed, name).await, None),
        }
    });
    let mut issuers = None;
    for (checks, known) in join_all(asked).await {
        found.extend(checks);
        issuers = issuers.or(known);
    }
    (found, issuers)
}

/// An address below another one, as clients make it.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

async fn get(agent: &Agent, url: Url, name: &str) -> Result<(Answer, Option<Check>), Box<Check>> {
    let sent = Timestamp::now();
    let failed = |why: String| {
        Box::new(check(name, State::Failed, why).remedy(
            "is the address right, and may this machine call it (proxy, firewall)? --verbose shows each call",
        ))
    };
    let answer = agent
        .send(&Call::get(url))
        .await
        .map_err(|error| failed(causes(&error)))?;
    let clock = clock_of(&answer, sent, Timestamp::now()).map(|off| clock(name, off));
    let answer = answer
        .expect(&[200])
        .map_err(|refused| failed(refused.to_string()))?;
    Ok((answer, clock))
}

/// How far our clock is from the answer's `Date`, which has whole seconds; nothing where that may be the way it took.
fn clock_of(answer: &Answer, sent: Timestamp, got: Timestamp) -> Option<SignedDuration> {
    let date = answer.header("date")?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let end = date.checked_add(SignedDuration::from_secs(1)).ok()?;
    // The server wrote it at some time between; our clock is ahead, behind, or neither can be said.
    if sent > end {
        Some(sent.duration_since(end))
    } else if got < date {
        Some(got.duration_since(date))
    } else {
        Some(SignedDuration::ZERO)
    }
}

fn clock(by: &str, off: SignedDuration) -> Check {
    let name = format!("clock, by {by}");
    let away = off.abs();
    let (state, found) = if away > CLOCK_FAR {
        (State::Failed, off)
    } else if away > CLOCK_OFF {
        (State::Warning, off)
    } else {
        return check(name, State::Ok, "agrees");
    };
    let way = if found.is_negative() {
        "behind"
    } else {
        "ahead"
    };
    check(
        name,
        state,
        format!("this machine's is {} s {way}", away.as_secs()),
    )
    .remedy("set it by NTP: tokens and certificates last minutes")
}

async fn fulcio(
    agent: &Agent,
    url: &Url,
    name: String,
    root: &TrustedRoot,
) -> (Vec<Check>, Option<Configuration>) {
    let (answer, clock) = match get(agent, below(url, "api/v2/trustBundle"), &name).await {
        Ok(answered) => answered,
        Err(failed) => return (vec![*failed], None),
    };
    let mut checks: Vec<Check> = clock.into_iter().collect();
    let chains: Option<TrustBundle> = wire::parse(&answer.body).ok();
    let anchors: Vec<Certificate> = chains
        .unwrap_or_default()
        .chains
        .iter()
        .filter_map(|chain| {
            Certificate::chain_from_pem(&chain.certificates.join("\n"))
                .ok()?
                .pop()
        })
        .collect();
    let known = |anchor: &Certificate| {
        let mut trusted = root
            .authorities
            .iter()
            .filter_map(trust::CertificateAuthority::anchor);
        trusted.any(|trusted| trusted.der() == anchor.der())
    };
    checks.push(if anchors.iter().any(known) {
        check(name, State::Ok, "its root is in the trusted root")
    } else {
        check(name, State::Failed, "its root is not in the trusted root").remedy(
            "signing config and trusted root must be of the same instance: --trust-config has both in one file",
        )
    });
    let configuration = get(agent, below(url, "api/v2/configuration"), "").await;
    let issuers = configuration
        .ok()
        .and_then(|(answer, _)| wire::parse(&answer.body).ok());
    (checks, issuers)
}

async fn log(
    agent: &Agent,
    url: &Url,
    version: u32,
    name: String,
    root: &TrustedRoot,
) -> Vec<Check> {
    let path = if version == 1 {
        "api/v1/log"
    } else {
        "api/v2/checkpoint"
    };
    let (answer, clock) = match get(agent, below(url, path), &name).await {
        Ok(answered) => answered,
        Err(failed) => return vec![*failed],
    };
    let mut checks: Vec<Check> = clock.into_iter().collect();
    // The first version has it in JSON.
    let info: Option<LogInfo> = wire::parse(&answer.body).ok().filter(|_| version == 1);
    let text = match info {
        Some(info) => info.active.signed_tree_head,
        None => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    let origin = text.lines().next().unwrap_or_default().to_owned();
    let keys: Vec<_> = root
        .tlogs
        .iter()
        .flat_map(trust::LogInstance::verifier_keys)
        .collect();
    checks.push(if note::open(text.as_bytes(), &keys).is_ok() {
        check(
            name,
            State::Ok,
            format!("its checkpoint ({origin}) is signed with a key of the trusted root"),
        )
    } else {
        check(
            name,
            State::Failed,
            format!("its checkpoint ({origin}) is signed with no key of the trusted root"),
        )
        .remedy(
            "signing config and trusted root must be of the same instance, and of the same time",
        )
    });
    checks
}

async fn timestamps(agent: &Agent, url: &Url, name: String, root: &TrustedRoot) -> Vec<Check> {
    let random = match signer::random::bytes::<32>() {
        Ok(random) => random,
        Err(error) => return vec![check(name, State::Failed, error.to_string())],
    };
    let sent = Timestamp::now();
    let response = match Tsa::new(agent, url).timestamp(&random).await {
        Ok(response) => response,
        Err(error) => {
            return vec![
                check(name, State::Failed, causes(&error))
                    .remedy("is the address the whole endpoint, and may this machine call it?"),
            ];
        }
    };
    let got = Timestamp::now();
    let mut verified = root
        .timestamp_authorities
        .iter()
        .filter_map(|one| tsp::verify(&response, &random, &one.chain).ok());
    match verified.next() {
        None => vec![
            check(name, State::Failed, "its timestamp is by no authority of the trusted root")
                .remedy("signing config and trusted root must be of the same instance, and of the same time"),
        ],
        Some(stamp) => {
            let time = stamp.time();
            let off = if sent > time.saturating_add(SignedDuration::from_secs(1)).unwrap_or(time) {
                sent.duration_since(time)
            } else if got < time {
                got.duration_since(time)
            } else {
                SignedDuration::ZERO
            };
            vec![
                clock(&name, off),
                check(name, State::Ok, format!("stamped {time}, by an authority of the trusted root")),
            ]
        }
    }
}

async fn provider(agent: &Agent, url: &Url, name: String) -> Vec<Check> {
    let discovery = below(url, ".well-known/openid-configuration");
    match get(agent, discovery, &name).await {
        Ok((_, clock)) => {
            let mut checks: Vec<Check> = clock.into_iter().collect();
            checks.push(check(name, State::Ok, "describes itself"));
            checks
        }
        Err(failed) => vec![*failed],
    }
}

/// Is there a token, is it good, and does the certificate authority know who made it?
async fn token(
    agent: &Agent,
    arguments: &Doctor,
    issuers: Option<&Configuration>,
    now: Timestamp,
) -> Vec<Check> {
    const NAME: &str = "identity token";
    if arguments.trust.following.offline
        && matches!(identity::is_asked_for(&arguments.identity), Ok(true))
    {
        return vec![check(
            NAME,
            State::Skipped,
            "--offline, and somebody has to be asked for it",
        )];
    }
    let found = match identity::token_at_hand(agent, &arguments.identity).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            return vec![
                check(
                    NAME,
                    State::Skipped,
                    "none is here; somebody would have to sign in",
                )
                .remedy(
                    "in a job: cosign-rs debug providers says what each kind of surroundings wants",
                ),
            ];
        }
        Err(error) => {
            return vec![check(NAME, State::Failed, format!("{error:#}")).remedy(
                "cosign-rs debug providers shows where it is from; in GitHub Actions the job needs `permissions: id-token: write`",
            )];
        }
    };
    let mut checks = vec![holder(&found, now)];
    if let Some(known) = issuers.filter(|known| !known.issuers.is_empty()) {
        checks.push(issuer(&found, known));
    }
    checks
}

fn holder(token: &IdentityToken, now: Timestamp) -> Check {
    const NAME: &str = "identity token";
    let named = token
        .check_time(now)
        .and_then(|()| token.subject_for_proof().map(str::to_owned));
    match named {
        Ok(who) => check(
            NAME,
            State::Ok,
            format!("{who}, by the word of {}", token.issuer()),
        ),
        Err(error) => check(NAME, State::Failed, error.to_string())
            .remedy("get a new one; a token lasts minutes"),
    }
}

/// Patterns have `*` for a part of a host or path.
fn issuer(token: &IdentityToken, known: &Configuration) -> Check {
    const NAME: &str = "issuer of the token";
    let of = token.issuer();
    let fits = |issuer: &wire::fulcio::Issuer| {
        issuer.issuer_url.as_deref() == Some(of)
            || issuer
                .wildcard_issuer_url
                .as_deref()
                .is_some_and(|pattern| fits(pattern, of))
    };
    match known.issuers.iter().find(|issuer| fits(issuer)) {
        None => check(NAME, State::Failed, format!("the certificate authority does not know {of}"))
            .remedy("its operator has to add the issuer, or sign in at one that it knows"),
        Some(issuer) if !issuer.audience.is_empty() && token.is_for(&issuer.audience) == Some(false) => check(
            NAME,
            State::Failed,
            format!("the certificate authority wants tokens for {}", issuer.audience),
        )
        .remedy("--oidc-audience (or --oidc-client-id) asks for such; a token that is given has to be made for it"),
        Some(_) => check(NAME, State::Ok, "the certificate authority knows it"),
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => {
                rest = rest
                    .get(at.saturating_add(part.len())..)
                    .unwrap_or_default();
            }
            None => return false,
        }
    }
    rest.ends_with(last)
}

async fn registry(name: &str, arguments: &Doctor) -> Vec<Check> {
    let title = format!("registry, {name}");
    match image::look(name, &arguments.registry).await {
        Ok(found) => vec![check(title, State::Ok, found)],
        Err(error) => vec![check(title, State::Failed, format!("{error:#}")).remedy(
            "is the name right, and is there a login for it (docker login, or --registry-username)?",
        )],
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let state = |seconds| {
            let check = clock("x", SignedDuration::from_secs(seconds));
            (check.state, check.found)
        };
        assert_eq!(state(0).0, State::Ok);
        assert_eq!(state(-5).0, State::Ok);
        assert_eq!(
            state(20),
            (State::Warning, "this machine's is 20 s ahead".to_owned())
        );
        assert_eq!(
            state(-90),
            (State::Failed, "this machine's is 90 s behind".to_owned())
        );
    }

    #[test]
    fn an_empty_trusted_root_fails_at_each_kind() {
        let checks = trusted_root(&TrustedRoot::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(checks.len(), 4);
        assert!(
            checks
                .iter()
                .all(|check| check.state == State::Failed && check.remedy.is_some())
        );
        let public = TrustedRoot::parse(include_bytes!(
            "../../../../testdata/trust/public-good.json"
        ))
        .unwrap();
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        for check in trusted_root(&public, now) {
            assert_ne!(check.state, State::Failed, "{}", check.name);
        }
    }

    #[test]
    fn patterns_of_issuers() {
        for (pattern, text, expected) in [
            (
                "https://oidc.eks.*.amazonaws.com/id/*",
                "https://oidc.eks.eu-west-1.amazonaws.com/id/A1",
                true,
            ),
            (
                "https://oidc.eks.*.amazonaws.com/id/*",
                "https://example.com/id/A1",
                false,
            ),
            ("https://a", "https://a", true),
            ("https://a", "https://ab", false),
            ("https://*.b", "https://a.b", true),
            ("https://*.b", "https://a.c", false),
            ("https://*.b", "https://a.b.c.b", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
