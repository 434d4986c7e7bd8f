//! Identity providers: which are believed, how their tokens are verified, and what a token makes of its holder.
//!
//! ```text
//! file       bytes -> settings as upstream writes them
//! Issuers    a token's issuer -> its rules        by its URL, else by the pattern with most fixed characters
//! keys       -> its keys                          discovery, cached; sources keeps those of patterns within bounds
//! oidc       -> claims                            signature, issuer, audience, times
//! allow      claims that the operator asks for
//! one file for each type: claims -> subject and extensions
//! spent      each token once, where the operator wants that
//! ```
//!
//! A new type is a file here, a variant of [`Kind`] and an arm in each of its four matches.

mod address;
mod allow;
mod buildkite_job;
mod chainguard_identity;
mod ci_provider;
mod cluster;
mod codefresh_workflow;
mod domain;
mod email;
mod file;
mod github_workflow;
mod gitlab_pipeline;
mod keys;
mod kubernetes;
mod pattern;
mod sources;
mod spent;
mod spiffe;
mod template;
mod uri;
mod username;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Settings;
use jiff::Timestamp;
use oidc::{Claims, Expect, Jwks, Token, TokenError};
use pki::{Field, FulcioExtensions, SubjectName};
use thiserror::Error;
use tokio::task::JoinSet;
use url::Url;
use wire::fulcio::Issuer as Described;

use self::address::Address;
use self::allow::Allow;
use self::ci_provider::CiProvider;
use self::cluster::Cluster;
use self::file::RawIssuer;
use self::keys::{KeyError, KeySource};
use self::sources::Sources;
use self::spent::{Once, Spent};

pub(crate) use self::file::MAX_FILE;
pub use self::keys::IssuerStatus;
pub use self::pattern::Pattern;
pub use self::template::{SyntaxError, Template, TemplateError, Values};

/// The most providers, and the most patterns, each pair of which is compared at the start.
const MAX_ISSUERS: usize = 1000;
const MAX_PATTERNS: usize = 100;
const MAX_PROVIDERS: usize = 100;
/// How many providers are asked for their keys at a time when all are.
const AT_A_TIME: usize = 8;

/// A file of providers that cannot be used.
#[derive(Debug, Error)]
pub enum IssuersError {
    /// Not YAML or JSON of this shape.
    #[error("not a file of issuers: {0}")]
    Syntax(String),
    /// No provider at all: nobody could get a certificate.
    #[error("the file names no issuer under oidc-issuers or meta-issuers")]
    Empty,
    /// One provider is wrong.
    #[error("issuer {url}: {what}")]
    Issuer {
        /// Its URL or pattern.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// The templates of a CI service are wrong.
    #[error("ci-issuer-metadata {name}: {what}")]
    Provider {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An issuer is required that nobody has named.
    #[error(
        "{0:?} is no issuer under oidc-issuers: those of a pattern are known by their tokens only"
    )]
    NotNamed(String),
    /// Two patterns would decide by chance.
    #[error(
        "the meta-issuers {one} and {other} may match the same issuer, have as many fixed characters, and say different things about it: make one of them longer"
    )]
    Ambiguous {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
}

/// The identity providers.
#[derive(Debug)]
pub struct Issuers {
    named: BTreeMap<String, Issuer>,
    /// Most fixed characters first.
    patterns: Vec<MetaIssuer>,
    spent: Option<Arc<Spent>>,
    required: BTreeSet<String>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Issuer {
    rules: Rules,
    ca_cert: Option<String>,
    keys: KeySource,
}

#[derive(Debug)]
struct MetaIssuer {
    pattern: Pattern,
    rules: Rules,
    ca_cert: Option<String>,
    sources: Arc<Sources>,
}

/// What is asked of a token, and what it says about its holder.
#[derive(Debug)]
struct Rules {
    audience: String,
    kind: Kind,
    allow: Allow,
    described: Described,
    /// As it was written, to compare two.
    raw: String,
}

/// What its tokens say about their holder; one file each.
#[derive(Debug)]
enum Kind {
    Email(email::Email),
    Spiffe(spiffe::Spiffe),
    Uri(uri::Uri),
    Username(username::Username),
    Kubernetes,
    GithubWorkflow(github_workflow::GithubWorkflow),
    GitlabPipeline(gitlab_pipeline::GitlabPipeline),
    BuildkiteJob(buildkite_job::BuildkiteJob),
    CodefreshWorkflow,
    ChainguardIdentity,
    CiProvider(Arc<CiProvider>),
}

/// Who a verified token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) subject: SubjectName,
    pub(crate) extensions: FulcioExtensions,
    /// What a proof of possession may be over, the usual one first.
    pub(crate) proofs: Vec<String>,
    /// What the token is remembered by, where each is good for one certificate.
    once: Option<Once>,
}

impl Principal {
    /// `proof` is what upstream's clients sign.
    pub(crate) fn new(subject: SubjectName, extensions: FulcioExtensions, proof: &str) -> Self {
        Self {
            subject,
            extensions,
            proofs: vec![proof.to_owned()],
            once: None,
        }
    }
}

/// Why a token gets nothing.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// The token is wrong.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody knows its issuer.
    #[error("the issuer {0:?} is not configured")]
    UnknownIssuer(String),
    /// The provider did not vouch for the address.
    #[error("the provider has not verified the mail address")]
    EmailNotVerified,
    /// A claim cannot stand in a certificate.
    #[error("the claim {0:?} cannot stand in a certificate")]
    UnfitClaim(&'static str),
    /// The issuer may not speak for this subject.
    #[error("the subject is not of {expected:?}, for which this issuer speaks")]
    ForeignSubject {
        /// The configured domain.
        expected: String,
    },
    /// The operator's rules want something else.
    #[error("the claim {0:?} is missing or not among the allowed ones")]
    NotAllowed(String),
    /// A template has no answer.
    #[error("a template of the issuer's provider has no answer for this token")]
    Template(#[source] TemplateError),
    /// It was good for one certificate.
    #[error("the token was used before")]
    Used,
    /// Too many tokens are remembered; not the client's fault.
    #[error("there is no room to remember another used token")]
    NoRoom,
    /// The provider's keys cannot be had; not the client's fault.
    #[error("the keys of the issuer {issuer} cannot be had")]
    Keys {
        /// Its URL.
        issuer: String,
        /// Why not; all who waited for the same answer have the same.
        source: Arc<KeyError>,
    },
}

impl IdentityError {
    /// A stable word for programs.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::UnknownIssuer(_) => "UNKNOWN_ISSUER",
            Self::EmailNotVerified => "EMAIL_NOT_VERIFIED",
            Self::UnfitClaim(_) => "UNFIT_CLAIM",
            Self::ForeignSubject { .. } => "SUBJECT_NOT_OF_ISSUER",
            Self::NotAllowed(_) => "CLAIM_NOT_ALLOWED",
            Self::Template(_) => "TEMPLATE_FAILED",
            Self::Used => "TOKEN_ALREADY_USED",
            Self::NoRoom => "TOKEN_MEMORY_FULL",
            Self::Keys { .. } => "ISSUER_UNAVAILABLE",
        }
    }

    /// What the word is about, by name: the claim that is missing, the audience that was expected. All of it stands in the client's own token
    /// or in the public configuration.
    pub(crate) fn about(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Token(error) => match error {
                TokenError::MissingClaim(name) => vec![("claim", name.clone())],
                TokenError::Algorithm(name) => vec![("algorithm", name.clone())],
                TokenError::UnknownKey(id) => vec![("kid", id.clone())],
                TokenError::Expired(at) => vec![("expired", at.to_string())],
                TokenError::NotYetValid(at) => vec![("notBefore", at.to_string())],
                TokenError::Audience { found, expected } => vec![
                    ("expected", expected.clone()),
                    ("found", found.join(" ").chars().take(200).collect()),
                ],
                _ => Vec::new(),
            },
            Self::UnknownIssuer(issuer) | Self::Keys { issuer, .. } => {
                vec![("issuer", issuer.clone())]
            }
            Self::UnfitClaim(name) => vec![("claim", (*name).to_owned())],
            Self::ForeignSubject { expected } => vec![("expected", expected.clone())],
            Self::NotAllowed(name) => vec![("claim", name.clone())],
            _ => Vec::new(),
        }
    }
}

impl Issuers {
    /// Reads upstream's `config.yaml` or `config.json`. `settings` is how the providers are asked for their keys. Nobody is asked yet.
    pub fn parse(bytes: &[u8], settings: &Settings) -> Result<Self, IssuersError> {
        let (file, warnings) = file::read(bytes).map_err(IssuersError::Syntax)?;
        for (what, found, most) in [
            ("issuers", file.issuers.0.len(), MAX_ISSUERS),
            ("meta-issuers", file.meta_issuers.0.len(), MAX_PATTERNS),
            ("providers", file.providers.0.len(), MAX_PROVIDERS),
        ] {
            if found > most {
                let what = format!("{found} {what}, at most {most}");
                return Err(IssuersError::Syntax(what));
            }
        }
        let providers = file
            .providers
            .0
            .into_iter()
            .map(|(name, raw)| match CiProvider::new(raw) {
                Ok(provider) => Ok((name, provider)),
                Err(what) => Err(IssuersError::Provider { name, what }),
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let named = file
            .issuers
            .0
            .into_iter()
            .map(
                |(url, raw)| match Issuer::new(&url, &raw, &providers, settings) {
                    Ok(issuer) => Ok((url, issuer)),
                    Err(what) => Err(IssuersError::Issuer { url, what }),
                },
            )
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut patterns = file
            .meta_issuers
            .0
            .into_iter()
            .map(|(url, raw)| {
                MetaIssuer::new(&url, &raw, &providers, settings)
                    .map_err(|what| IssuersError::Issuer { url, what })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if named.is_empty() && patterns.is_empty() {
            return Err(IssuersError::Empty);
        }
        patterns.sort_by(|a, b| {
            let weights = b.pattern.weight().cmp(&a.pattern.weight());
            weights.then_with(|| a.pattern.cmp(&b.pattern))
        });
        check_patterns(&patterns)?;
        Ok(Self {
            named,
            patterns,
            spent: None,
            required: BTreeSet::new(),
            warnings,
        })
    }

    /// What in the file says nothing: keys within an issuer or provider that nobody reads.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Without the keys of these named issuers the service is not ready. By default it is ready without any: others have nothing to do with
    /// the one that fails.
    pub fn requiring(mut self, urls: &[String]) -> Result<Self, IssuersError> {
        for url in urls {
            if !self.named.contains_key(url) {
                return Err(IssuersError::NotNamed(url.clone()));
            }
            self.required.insert(url.clone());
        }
        Ok(self)
    }

    /// Is this one of those without whose keys the service is not ready?
    pub(crate) fn requires(&self, url: &str) -> bool {
        self.required.contains(url)
    }

    /// Each token is good for one certificate from here on. What is remembered ends with the process.
    #[must_use]
    pub fn using_tokens_once(mut self) -> Self {
        self.spent = Some(Arc::default());
        self
    }

    /// These in the place of `old`: the keys of issuers that are the same stay, and so do the tokens that were used.
    #[must_use]
    pub fn replacing(mut self, old: &Self) -> Self {
        for (url, issuer) in &mut self.named {
            if let Some(known) = old
                .named
                .get(url)
                .filter(|known| known.ca_cert == issuer.ca_cert)
                // The cluster's own issuer is asked with the pod's credentials, and no other is.
                .filter(|known| known.keys.is_in_cluster() == issuer.keys.is_in_cluster())
            {
                issuer.keys = known.keys.clone();
            }
        }
        for meta in &mut self.patterns {
            let known = old
                .patterns
                .iter()
                .find(|known| known.pattern == meta.pattern && known.ca_cert == meta.ca_cert);
            if let Some(known) = known {
                meta.sources = known.sources.clone();
            }
        }
        if self.spent.is_some() && old.spent.is_some() {
            self.spent.clone_from(&old.spent);
        }
        self
    }

    /// What `/api/v2/configuration` says: issuers and then patterns, each sorted.
    pub fn describe(&self) -> Vec<Described> {
        let named = self.named.values().map(|issuer| &issuer.rules);
        let mut patterns: Vec<&MetaIssuer> = self.patterns.iter().collect();
        patterns.sort_by(|a, b| a.pattern.cmp(&b.pattern));
        let patterns = patterns.into_iter().map(|meta| &meta.rules);
        named
            .chain(patterns)
            .map(|rules| rules.described.clone())
            .collect()
    }

    /// How it stands with the keys of each named issuer.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.named
            .values()
            .map(|issuer| issuer.keys.status())
            .collect()
    }

    /// Asks every named issuer for its keys whose keys are missing or old, a few at a time: for the start, and now and then, so that the
    /// first who comes does not wait. One that fails is none the worse for it; [`status`](Self::status) tells.
    pub async fn fetch_keys(&self, now: Timestamp) {
        let mut asked = JoinSet::new();
        for issuer in self.named.values() {
            if asked.len() >= AT_A_TIME {
                asked.join_next().await;
            }
            let keys = issuer.keys.clone();
            asked.spawn(async move { keys.current(now).await.is_ok() });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Verifies a token and says who its holder is.
    pub(crate) async fn identify(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<Principal, IdentityError> {
        let token = Token::parse(text)?;
        // The token only chooses among the providers that the operator named.
        let url = token.unverified().configured_issuer()?;
        let unavailable = |source| IdentityError::Keys {
            issuer: url.chars().take(200).collect(),
            source,
        };
        let (rules, source, keys) = if let Some(issuer) = self.named.get(url) {
            let keys = issuer.keys.current(now).await;
            let keys = keys.map_err(|error| unavailable(error.into()))?;
            (&issuer.rules, issuer.keys.clone(), keys)
        } else {
            let meta = self.patterns.iter().find(|meta| meta.pattern.matches(url));
            let meta =
                meta.ok_or_else(|| IdentityError::UnknownIssuer(url.chars().take(200).collect()))?;
            let found = meta.sources.current(url, now).await;
            let (source, keys) = found.map_err(unavailable)?;
            (&meta.rules, source, keys)
        };
        let expect = Expect {
            issuer: url,
            audience: &rules.audience,
        };
        let claims =
            verify(&token, &expect, &source, &keys, now)
                .await
                .map_err(|error| match error {
                    Unverified::Token(error) => error.into(),
                    Unverified::Keys(source) => unavailable(source.into()),
                })?;
        rules.allow.check(&claims)?;
        let mut principal = rules.kind.principal(&claims)?;
        if self.spent.is_some() {
            principal.once = Some(Once::of(&token, &claims)?);
        }
        Ok(principal)
    }

    /// Uses the token up, where each is good for one certificate: the last thing to do before one is made. What fails afterwards does not
    /// bring it back.
    pub(crate) fn spend(&self, principal: &Principal, now: Timestamp) -> Result<(), IdentityError> {
        match (&self.spent, principal.once) {
            (Some(spent), Some(once)) => spent.spend(once, now),
            (None, _) => Ok(()),
            // It was identified before the switch was turned.
            (Some(_), None) => Err(IdentityError::Used),
        }
    }
}

/// Two patterns of the same weight must not match the same issuer, unless they say the same.
fn check_patterns(patterns: &[MetaIssuer]) -> Result<(), IssuersError> {
    for (position, one) in patterns.iter().enumerate() {
        let others = patterns.iter().skip(position.saturating_add(1));
        for other in others.take_while(|other| other.pattern.weight() == one.pattern.weight()) {
            let same = one.rules.raw == other.rules.raw && one.ca_cert == other.ca_cert;
            if !same && one.pattern.overlaps(&other.pattern) {
                return Err(IssuersError::Ambiguous {
                    one: one.pattern.to_string(),
                    other: other.pattern.to_string(),
                });
            }
        }
    }
    Ok(())
}

enum Unverified {
    Token(TokenError),
    Keys(KeyError),
}

async fn verify(
    token: &Token,
    expect: &Expect<'_>,
    source: &KeySource,
    keys: &Arc<Jwks>,
    now: Timestamp,
) -> Result<Claims, Unverified> {
    match token.verify(keys, expect, now) {
        // The provider may have new keys. It is asked again, but not more often than its interval allows.
        Err(error) if error.is_about_keys() => {
            let newer = match (source.newer(keys, now).await, &error) {
                // The key may be a new one, and that we cannot ask is not the client's fault.
                (Err(cause), TokenError::UnknownKey(_)) => return Err(Unverified::Keys(cause)),
                (newer, _) => newer.ok().flatten(),
            };
            let Some(keys) = newer else {
                return Err(Unverified::Token(error));
            };
            token.verify(&keys, expect, now).map_err(Unverified::Token)
        }
        verified => verified.map_err(Unverified::Token),
    }
}

impl Issuer {
    fn new(
        url: &str,
        raw: &RawIssuer,
        providers: &BTreeMap<String, Arc<CiProvider>>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let said = raw.url.as_deref().unwrap_or(url);
        if said != url {
            return Err(format!("issuer-url is {said:?}"));
        }
        let parsed = Url::parse(url).map_err(|error| format!("is no URL: {error}"))?;
        let address = Address::parse(url)
            .filter(|_| parsed.query().is_none() && parsed.fragment().is_none())
            .ok_or("is no URL of an issuer: expected https://, a host and perhaps a path")?;
        let reachable = parsed.scheme() == "https"
            || (parsed.scheme() == "http" && (settings.plain_http || client::is_loopback(&parsed)));
        if !reachable {
            return Err("is not https: only this machine is asked without TLS".to_owned());
        }
        let cluster = Cluster::of(&parsed).filter(|_| raw.kind.as_deref() == Some("kubernetes"));
        let (ca_cert, settings) = access(raw, settings)?;
        let described = Described {
            issuer_url: Some(url.to_owned()),
            ..Described::default()
        };
        let keys = match cluster {
            None => KeySource::new(url, url, settings),
            Some(cluster) => KeySource::in_cluster(url, settings, cluster),
        };
        Ok(Self {
            rules: Rules::new(raw, described, &address, providers)?,
            ca_cert,
            keys: keys.map_err(|error| error.to_string())?,
        })
    }
}

impl MetaIssuer {
    fn new(
        text: &str,
        raw: &RawIssuer,
        providers: &BTreeMap<String, Arc<CiProvider>>,
        settings: &Settings,
    ) -> Result<Self, String> {
        let pattern = Pattern::parse(text)?;
        if raw.kind.as_deref() == Some("spiffe") {
            return Err("type spiffe: many issuers must not speak for one trust domain".to_owned());
        }
        let example = text.replace('*', "x");
        let address = Address::parse(&example).ok_or("the pattern is no URL of an issuer")?;
        let local = Url::parse(&example).is_ok_and(|url| client::is_loopback(&url));
        if address.scheme() != "https" && !settings.plain_http && !local {
            return Err("is not https: only this machine is asked without TLS".to_owned());
        }
        let (ca_cert, settings) = access(raw, settings)?;
        let described = Described {
            wildcard_issuer_url: Some(text.to_owned()),
            ..Described::default()
        };
        Ok(Self {
            pattern,
            rules: Rules::new(raw, described, &address, providers)?,
            ca_cert,
            sources: Arc::new(Sources::new(text, settings)),
        })
    }
}

/// The issuer's own certificate authority, checked, and settings with it.
fn access(raw: &RawIssuer, settings: &Settings) -> Result<(Option<String>, Settings), String> {
    let mut settings = settings.clone();
    let ca_cert = raw.ca_cert.clone().filter(|pem| !pem.trim().is_empty());
    if let Some(pem) = &ca_cert {
        pki::Certificate::chain_from_pem(pem).map_err(|error| format!("ca-cert: {error}"))?;
        settings.extra_roots_pem = pem.clone().into_bytes();
    }
    Ok((ca_cert, settings))
}

impl Rules {
    fn new(
        raw: &RawIssuer,
        described: Described,
        issuer: &Address,
        providers: &BTreeMap<String, Arc<CiProvider>>,
    ) -> Result<Self, String> {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let audience = text(&raw.audience)
            .ok_or("client-id is missing: it is the audience that tokens must have")?;
        let kind = Kind::new(raw, issuer, providers)?;
        let challenge = text(&raw.challenge_claim);
        let allow = raw.allow_claims.as_ref().map(|rules| &rules.0);
        let allow = Allow::new(allow.into_iter().flatten())?;
        let described = Described {
            audience: audience.clone(),
            challenge_claim: challenge.unwrap_or_else(|| kind.challenge_claim().to_owned()),
            issuer_type: kind.name().to_owned(),
            spiffe_trust_domain: text(&raw.spiffe_trust_domain).unwrap_or_default(),
            subject_domain: text(&raw.subject_domain).unwrap_or_default(),
            skip_email_verification: raw.skip_email_verification.unwrap_or_default(),
            ..described
        };
        Ok(Self {
            audience,
            kind,
            allow,
            described,
            raw: raw.rules(),
        })
    }
}

impl Kind {
    fn new(
        raw: &RawIssuer,
        issuer: &Address,
        providers: &BTreeMap<String, Arc<CiProvider>>,
    ) -> Result<Self, String> {
        let text = |value: &'_ Option<String>| value.clone().filter(|text| !text.is_empty());
        let name = text(&raw.kind).unwrap_or_default();
        if name != "email" && text(&raw.issuer_claim).is_some() {
            return Err("issuer-claim goes with type email only".to_owned());
        }
        if name != "ci-provider" && text(&raw.ci_provider).is_some() {
            return Err("ci-provider goes with type ci-provider only".to_owned());
        }
        let base_url = text(&raw.base_url);
        let takes_base = ["github-workflow", "gitlab-pipeline", "buildkite-job"];
        if base_url.is_some() && !takes_base.contains(&name.as_str()) {
            return Err(format!("base-url goes with {} only", takes_base.join(", ")));
        }
        let base_url = base_url.as_deref();
        let subject_domain = text(&raw.subject_domain);
        Ok(match name.as_str() {
            "email" => Self::Email(email::Email::new(
                text(&raw.issuer_claim).as_deref(),
                raw.skip_email_verification.unwrap_or_default(),
            )?),
            "spiffe" => Self::Spiffe(spiffe::Spiffe::new(
                text(&raw.spiffe_trust_domain).as_deref(),
            )?),
            "uri" => Self::Uri(uri::Uri::new(subject_domain.as_deref(), issuer)?),
            "username" => {
                Self::Username(username::Username::new(subject_domain.as_deref(), issuer)?)
            }
            "kubernetes" => Self::Kubernetes,
            "github-workflow" => {
                Self::GithubWorkflow(github_workflow::GithubWorkflow::new(base_url)?)
            }
            "gitlab-pipeline" => {
                Self::GitlabPipeline(gitlab_pipeline::GitlabPipeline::new(base_url)?)
            }
            "buildkite-job" => Self::BuildkiteJob(buildkite_job::BuildkiteJob::new(base_url)?),
            "codefresh-workflow" => Self::CodefreshWorkflow,
            "chainguard-identity" => Self::ChainguardIdentity,
            "ci-provider" => {
                let name = text(&raw.ci_provider).unwrap_or_default();
                let provider = providers.get(&name).cloned().ok_or_else(|| {
                    format!("ci-provider {name:?} does not stand in ci-issuer-metadata")
                })?;
                Self::CiProvider(provider)
            }
            other => {
                return Err(format!(
                    "type {other:?} is not supported; supported are {}",
                    NAMES.join(", ")
                ));
            }
        })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Spiffe(_) => "spiffe",
            Self::Uri(_) => "uri",
            Self::Username(_) => "username",
            Self::Kubernetes => "kubernetes",
            Self::GithubWorkflow(_) => "github-workflow",
            Self::GitlabPipeline(_) => "gitlab-pipeline",
            Self::BuildkiteJob(_) => "buildkite-job",
            Self::CodefreshWorkflow => "codefresh-workflow",
            Self::ChainguardIdentity => "chainguard-identity",
            Self::CiProvider(_) => "ci-provider",
        }
    }

    /// The claim that clients sign as proof, as `/api/v2/configuration` tells it.
    const fn challenge_claim(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            _ => "sub",
        }
    }

    fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let mut principal = match self {
            Self::Email(email) => email.principal(claims)?,
            Self::Spiffe(spiffe) => spiffe.principal(claims)?,
            Self::Uri(uri) => uri.principal(claims)?,
            Self::Username(username) => username.principal(claims)?,
            Self::Kubernetes => kubernetes::principal(claims)?,
            Self::GithubWorkflow(workflow) => workflow.principal(claims)?,
            Self::GitlabPipeline(pipeline) => pipeline.principal(claims)?,
            Self::BuildkiteJob(job) => job.principal(claims)?,
            Self::CodefreshWorkflow => codefresh_workflow::principal(claims)?,
            Self::ChainguardIdentity => chainguard_identity::principal(claims)?,
            Self::CiProvider(provider) => provider.principal(claims)?,
        };
        principal
            .extensions
            .set(Field::TokenSubject, claims.text("sub")?);
        let too_long = |text: &str| text.len() > pki::ext::MAX_VALUE;
        if principal
            .extensions
            .iter()
            .any(|(_, value)| too_long(value))
        {
            return Err(IdentityError::UnfitClaim("one that is too long"));
        }
        let subject = principal.subject.value();
        // A user name is UTF-8, the others are visible ASCII: the profile's own check would find it too late, when it is our fault.
        let any = matches!(principal.subject, SubjectName::UserName(_));
        let visible = || subject.bytes().all(|byte| byte.is_ascii_graphic());
        if too_long(subject) || !(any || visible()) {
            return Err(IdentityError::UnfitClaim("the one that names the subject"));
        }
        // Clients differ in what they sign: both names stand in the verified token, so either proves the same.
        for name in [
            claims.text("sub").ok(),
            claims
                .text("email")
                .ok()
                .filter(|_| claims.is_email_verified()),
        ]
        .into_iter()
        .flatten()
        {
            if !principal.proofs.iter().any(|known| known == name) {
                principal.proofs.push(name.to_owned());
            }
        }
        Ok(principal)
    }
}

const NAMES: [&str; 11] = [
    "email",
    "spiffe",
    "uri",
    "username",
    "kubernetes",
    "github-workflow",
    "gitlab-pipeline",
    "buildkite-job",
    "codefresh-workflow",
    "chainguard-identity",
    "ci-provider",
];

/// Where a service's projects are: as configured, or at its usual address.
fn base(configured: Option<&str>, usual: &str) -> Result<Address, String> {
    let text = configured.unwrap_or(usual);
    Address::parse(text).ok_or_else(|| format!("base-url {text:?} is no URL"))
}

/// An address below another; `claim` is what does not fit if there is none.
fn below(base: &Address, steps: &[&str], claim: &'static str) -> Result<String, IdentityError> {
    let address = base.join(steps).ok_or(IdentityError::UnfitClaim(claim))?;
    Ok(address.to_string())
}
