//! Identity providers: which are believed, how their tokens are verified, and what a token makes of its holder.

mod email;
mod github_workflow;
mod keys;

use std::collections::BTreeMap;

use client::Settings;
use jiff::Timestamp;
use oidc::{Claims, Expect, Token, TokenError};
use pki::{Field, FulcioExtensions, SubjectName};
use serde::Deserialize;
use thiserror::Error;
use wire::fulcio::Issuer as Described;

use self::keys::{KeyError, KeySource};

/// The largest file of providers that is read; upstream's has 20 kB.
pub(crate) const MAX_FILE: u64 = 1 << 20;
/// The most providers.
const MAX_ISSUERS: usize = 1000;

/// A file of providers that cannot be used.
#[derive(Debug, Error)]
pub enum IssuersError {
    /// Not YAML or JSON of this shape.
    #[error("not a file of issuers: {0}")]
    Syntax(String),
    /// No provider at all: nobody could get a certificate.
    #[error("the file names no issuer under oidc-issuers")]
    Empty,
    /// One provider is wrong.
    #[error("issuer {url}: {what}")]
    Issuer {
        /// Its URL.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// The identity providers.
#[derive(Debug)]
pub struct Issuers(BTreeMap<String, Issuer>);

#[derive(Debug)]
struct Issuer {
    url: String,
    audience: String,
    kind: Kind,
    keys: KeySource,
}

/// What its tokens say about their holder; one file each.
#[derive(Debug)]
enum Kind {
    Email(email::Email),
    GithubWorkflow,
}

/// Who a verified token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) subject: SubjectName,
    pub(crate) extensions: FulcioExtensions,
    /// What a proof of possession may be over, the usual one first.
    pub(crate) proofs: Vec<String>,
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
    /// The provider's keys cannot be had; not the client's fault.
    #[error("the keys of the issuer {issuer} cannot be had")]
    Keys {
        /// Its URL.
        issuer: String,
        /// Why not.
        source: KeyError,
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
            Self::Keys { .. } => "ISSUER_UNAVAILABLE",
        }
    }
}

/// Upstream's file, of which only the shape is known: the shipped one carries an anchors-only list besides.
#[derive(Deserialize)]
struct RawFile {
    #[serde(default, rename = "oidc-issuers", alias = "OIDCIssuers")]
    issuers: BTreeMap<String, RawIssuer>,
    #[serde(default, rename = "meta-issuers", alias = "MetaIssuers")]
    meta_issuers: BTreeMap<String, RawIssuer>,
}

#[derive(Deserialize)]
struct RawIssuer {
    #[serde(default, rename = "issuer-url", alias = "IssuerURL")]
    url: String,
    #[serde(default, rename = "client-id", alias = "ClientID")]
    audience: String,
    #[serde(default, rename = "type", alias = "Type")]
    kind: String,
    #[serde(default, rename = "issuer-claim", alias = "IssuerClaim")]
    issuer_claim: Option<String>,
    #[serde(
        default,
        rename = "skip-email-verification",
        alias = "SkipEmailVerification"
    )]
    skip_email_verification: bool,
    #[serde(default, rename = "ca-cert", alias = "CACert")]
    ca_cert: Option<String>,
}

impl Issuers {
    /// Reads upstream's `config.yaml` or `config.json`. `settings` is how the providers are asked for their keys.
    pub fn parse(bytes: &[u8], settings: &Settings) -> Result<Self, IssuersError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| IssuersError::Syntax(error.to_string()))?;
        let options = serde_saphyr::options! { strict_booleans: true };
        let file: RawFile = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| IssuersError::Syntax(error.to_string()))?;
        if let Some(pattern) = file.meta_issuers.keys().next() {
            return Err(IssuersError::Issuer {
                url: pattern.clone(),
                what: "meta-issuers are not supported yet".into(),
            });
        }
        if file.issuers.len() > MAX_ISSUERS {
            return Err(IssuersError::Syntax(format!(
                "{} issuers, at most {MAX_ISSUERS}",
                file.issuers.len()
            )));
        }
        let issuers = file
            .issuers
            .into_iter()
            .map(|(url, raw)| Ok((url.clone(), Issuer::new(url, raw, settings)?)))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if issuers.is_empty() {
            Err(IssuersError::Empty)
        } else {
            Ok(Self(issuers))
        }
    }

    /// What `/api/v2/configuration` says, sorted by URL.
    pub fn describe(&self) -> Vec<Described> {
        let describe = |issuer: &Issuer| Described {
            issuer_url: Some(issuer.url.clone()),
            audience: issuer.audience.clone(),
            challenge_claim: if matches!(issuer.kind, Kind::Email(_)) {
                "email"
            } else {
                "sub"
            }
            .into(),
            issuer_type: issuer.kind.name().into(),
            ..Described::default()
        };
        self.0.values().map(describe).collect()
    }

    /// Verifies a token and says who its holder is.
    pub(crate) async fn identify(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<Principal, IdentityError> {
        let token = Token::parse(text)?;
        let named = token.unverified().issuer()?;
        // The token only chooses among the providers that the operator named.
        let issuer = self
            .0
            .get(named)
            .ok_or_else(|| IdentityError::UnknownIssuer(named.chars().take(200).collect()))?;
        let claims = issuer.verify(&token, now).await?;
        issuer.kind.principal(&claims)
    }
}

impl Issuer {
    fn new(url: String, raw: RawIssuer, settings: &Settings) -> Result<Self, IssuersError> {
        let wrong = |what: String| IssuersError::Issuer {
            url: url.clone(),
            what,
        };
        if raw.url != url {
            return Err(wrong(format!("issuer-url is {:?}", raw.url)));
        }
        if raw.audience.is_empty() {
            return Err(wrong(
                "client-id is missing: it is the audience that tokens must have".into(),
            ));
        }
        let kind = match raw.kind.as_str() {
            "email" => Kind::Email(
                email::Email::new(raw.issuer_claim.as_deref(), raw.skip_email_verification)
                    .map_err(wrong)?,
            ),
            "github-workflow" if raw.issuer_claim.is_none() => Kind::GithubWorkflow,
            "github-workflow" => {
                return Err(wrong("issuer-claim goes with type email only".into()));
            }
            other => {
                return Err(wrong(format!(
                    "type {other:?} is not supported; supported are email and github-workflow"
                )));
            }
        };
        let mut settings = settings.clone();
        if let Some(pem) = raw.ca_cert {
            settings.extra_roots_pem = pem.into_bytes();
        }
        let keys = KeySource::new(&url, settings).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            audience: raw.audience,
            kind,
            keys,
            url,
        })
    }

    async fn verify(&self, token: &Token, now: Timestamp) -> Result<Claims, IdentityError> {
        let unavailable = |source| IdentityError::Keys {
            issuer: self.url.clone(),
            source,
        };
        let expect = Expect {
            issuer: &self.url,
            audience: &self.audience,
        };
        let keys = self.keys.current(now).await.map_err(unavailable)?;
        match token.verify(&keys, &expect, now) {
            // The provider may have new keys. It is asked again, but not more often than its interval allows.
            Err(error) if error.is_about_keys() => {
                let Some(keys) = self.keys.newer(&keys, now).await.map_err(unavailable)? else {
                    return Err(error.into());
                };
                Ok(token.verify(&keys, &expect, now)?)
            }
            verified => Ok(verified?),
        }
    }
}

impl Kind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::GithubWorkflow => "github-workflow",
        }
    }

    fn principal(&self, claims: &Claims) -> Result<Principal, IdentityError> {
        let mut principal = match self {
            Self::Email(email) => email.principal(claims)?,
            Self::GithubWorkflow => github_workflow::principal(claims)?,
        };
        principal
            .extensions
            .set(Field::TokenSubject, claims.text("sub")?);
        let too_long = principal
            .extensions
            .iter()
            .any(|(_, value)| value.len() > pki::ext::MAX_VALUE);
        if too_long || !pki::profile::is_ia5(principal.subject.value()) {
            return Err(IdentityError::UnfitClaim(
                "a claim is too long, or the subject is not ASCII",
            ));
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
