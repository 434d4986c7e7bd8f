//! Signing in at an OpenID provider to get an identity token: as a person at a browser ([`browser`]), with a code to type on another device
//! ([`device`]) or to copy from there ([`out_of_band`]), or as a program that the provider knows ([`client_credentials`]).
//!
//! OpenID Connect Core 1.0, Discovery 1.0; OAuth 2.0 for native apps (RFC 8252) with PKCE S256 (RFC 7636); device grant (RFC 8628).
//! The provider's answer is checked as a client must: issuer, audience, signature, time, nonce. Fulcio checks the token again.

mod browser;
mod client_credentials;
mod device;
mod loopback;
mod out_of_band;
mod question;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, ClaimsVerificationError, ClientId, ClientSecret,
    DeviceAuthorizationUrl, DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, IssuerUrl, NonceVerifier, ProviderMetadata, RequestTokenError,
    TokenResponse as _,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

pub use browser::{PATIENCE, browser, browser_only, open_in_browser};
pub use client_credentials::client_credentials;
pub use device::{device, has_device_flow};
pub use out_of_band::out_of_band;

use crate::agent::{Agent, Call, CallError, Repeat, is_loopback, printable, with_causes};
use crate::identity::{IdentityToken, TokenError};

/// The client id that Sigstore's providers know, and the audience of the tokens.
pub const CLIENT_ID: &str = "sigstore";

/// Who we are at a provider.
#[derive(Clone)]
pub struct Registration {
    /// The client id.
    pub client_id: String,
    /// The client's secret, where the provider gave it one. Programs that people run have none that is secret (RFC 8252 8.5).
    pub secret: Option<Zeroizing<String>>,
    /// Whom the token should be for besides the client, where the provider is to be asked for that (parameter `audience`).
    pub audience: Option<String>,
}

impl Default for Registration {
    /// As Sigstore's providers know every client.
    fn default() -> Self {
        Self {
            client_id: CLIENT_ID.to_owned(),
            secret: None,
            audience: None,
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Registration")
            .field("client_id", &self.client_id)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// What the person has to do now; to be shown on standard error.
#[derive(Debug, Clone, Copy)]
pub enum Prompt<'a> {
    /// Go to this link; `opened` if a browser was told to.
    Link {
        /// The link.
        url: &'a str,
        /// A browser opened.
        opened: bool,
    },
    /// Go to this link with any browser, and copy the code that is shown in the end.
    Copy {
        /// The link.
        url: &'a str,
    },
    /// Go there, on any device, and type the code.
    Code {
        /// Where.
        url: &'a str,
        /// A link that has the code in it, if the provider has such.
        complete: Option<&'a str>,
        /// What to type.
        code: &'a str,
    },
}

/// Why nobody is signed in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// Not a URL of a provider.
    #[error("the identity provider {0:?} is no URL")]
    Issuer(String),
    /// No answer, at any step.
    #[error("signing in at {issuer}")]
    Call {
        /// Whom.
        issuer: String,
        /// Why.
        #[source]
        source: CallError,
    },
    /// The provider's own description is missing or wrong.
    #[error("{issuer} does not describe itself as an OpenID provider: {why}")]
    Discovery {
        /// Whom.
        issuer: String,
        /// Why.
        why: String,
    },
    /// It has no such flow, or not safely.
    #[error("{issuer} has no {what}")]
    Missing {
        /// Whom.
        issuer: String,
        /// What.
        what: &'static str,
    },
    /// It sends a person where everybody on the way can listen, or change what comes.
    #[error("{issuer} sends people to sign in to {url}, which is not https")]
    Insecure {
        /// Whom.
        issuer: String,
        /// Scheme, host and port.
        url: String,
    },
    /// It said no: the person did, or it does not know this client.
    #[error("{issuer} refuses to sign in: {why}")]
    Refused {
        /// Whom.
        issuer: String,
        /// Its words.
        why: String,
    },
    /// There is no browser on this machine.
    #[error("no browser opened")]
    NoBrowser,
    /// Nobody typed a code.
    #[error("no code was typed")]
    NoCode,
    /// A redirect that does not come back to this machine.
    #[error(
        "the redirect URL {0:?} does not lead to this machine: expected http://localhost:PORT/PATH"
    )]
    Redirect(String),
    /// Only a client with a secret can sign in by itself.
    #[error("no client secret, and without one a program cannot sign in by itself")]
    NoSecret,
    /// Nobody came back.
    #[error("nobody signed in within {0:?}")]
    Timeout(std::time::Duration),
    /// No port on this machine to come back to.
    #[error("cannot listen on this machine for the sign-in to come back")]
    Listen(#[source] std::io::Error),
    /// It answered with something that cannot be read.
    #[error(
        "the answer of {issuer} is none of its standard's, from line {line}, column {column} on"
    )]
    Answer {
        /// Whom.
        issuer: String,
        /// Where it stops being one.
        line: usize,
        /// Where in this line.
        column: usize,
    },
    /// It answered with something else than a token for us.
    #[error("the identity token of {issuer} does not hold: {why}")]
    Unverified {
        /// Whom.
        issuer: String,
        /// Why.
        why: String,
    },
    /// A token that we cannot use.
    #[error("the identity token of the provider")]
    Token(#[from] TokenError),
}

/// What we need of a provider's description beyond the library's own members.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Additional {
    #[serde(default)]
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
}

impl AdditionalProviderMetadata for Additional {}

type Metadata = ProviderMetadata<
    Additional,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A provider that described itself, and the calls to it.
pub struct Provider {
    agent: Agent,
    issuer: String,
    client: Client,
    additional: Additional,
    audience: Option<String>,
    has_secret: bool,
}

type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse, CallError>> + Send>>;

impl Provider {
    /// Reads the provider's description and keys.
    pub async fn discover(
        agent: &Agent,
        issuer: &str,
        registration: &Registration,
    ) -> Result<Self, SignInError> {
        let url = IssuerUrl::new(issuer.to_owned())
            .map_err(|_| SignInError::Issuer(printable(issuer)))?;
        let http = transport(agent);
        let metadata = Metadata::discover_async(url, &http)
            .await
            .map_err(|error| discovery_failed(issuer, error))?;
        let additional = metadata.additional_metadata().clone();
        // RFC 6749 2.3.1: by HTTP Basic, unless the provider lists ways and that is none of them.
        let in_body = metadata
            .token_endpoint_auth_methods_supported()
            .is_some_and(|ways| {
                !ways.contains(&CoreClientAuthMethod::ClientSecretBasic)
                    && ways.contains(&CoreClientAuthMethod::ClientSecretPost)
            });
        let id = ClientId::new(registration.client_id.clone());
        let secret = registration.secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.to_string()));
        let client = CoreClient::from_provider_metadata(metadata, id, secret);
        Ok(Self {
            agent: agent.clone(),
            issuer: issuer.to_owned(),
            client: if in_body {
                client.set_auth_type(AuthType::RequestBody)
            } else {
                client
            },
            additional,
            audience: registration.audience.clone(),
            has_secret: registration.secret.is_some(),
        })
    }

    /// A provider that lists PKCE methods and not S256 would take the code from whoever intercepts it (RFC 7636 7.2).
    fn check_pkce(&self) -> Result<(), SignInError> {
        match &self.additional.code_challenge_methods_supported {
            Some(methods) if !methods.iter().any(|method| method == "S256") => {
                Err(self.missing("PKCE with S256"))
            }
            _ => Ok(()),
        }
    }

    fn missing(&self, what: &'static str) -> SignInError {
        SignInError::Missing {
            issuer: self.issuer.clone(),
            what,
        }
    }

    /// A person types a password there. On this machine nobody is on the way.
    fn check_link(&self, link: &Url) -> Result<(), SignInError> {
        if link.scheme() == "https" || (link.scheme() == "http" && is_loopback(link)) {
            return Ok(());
        }
        let origin = link.origin();
        Err(SignInError::Insecure {
            issuer: self.issuer.clone(),
            url: if origin.is_tuple() {
                origin.ascii_serialization()
            } else {
                format!("{}:", link.scheme())
            },
        })
    }

    fn refused(&self, why: &str) -> SignInError {
        SignInError::Refused {
            issuer: self.issuer.clone(),
            why: printable(why),
        }
    }

    /// The checks of OpenID Connect Core 3.1.3.7, and out with the token.
    fn accept(
        &self,
        response: &CoreTokenResponse,
        nonce: impl NonceVerifier,
    ) -> Result<IdentityToken, SignInError> {
        let token = response
            .id_token()
            .ok_or_else(|| self.missing("identity token in its answer"))?;
        // The token is for this client, and for nobody else but whom it was asked for.
        let wanted = self.audience.as_deref();
        let verifier = self
            .client
            .id_token_verifier()
            .set_other_audience_verifier_fn(move |other| Some(other.as_str()) == wanted);
        token
            .claims(&verifier, nonce)
            .map_err(|error| self.unverified(&error))?;
        let text = Zeroizing::new(token.to_string());
        Ok(IdentityToken::parse(&text)?)
    }

    fn unverified(&self, error: &ClaimsVerificationError) -> SignInError {
        SignInError::Unverified {
            issuer: self.issuer.clone(),
            why: with_causes(error),
        }
    }

    fn failed<T>(&self, error: RequestTokenError<CallError, T>) -> SignInError
    where
        T: openidconnect::ErrorResponse + std::fmt::Display + 'static,
    {
        match error {
            RequestTokenError::ServerResponse(response) => self.refused(&response.to_string()),
            RequestTokenError::Request(source) => SignInError::Call {
                issuer: self.issuer.clone(),
                source,
            },
            // The bytes stay unsaid, and so does the parser's message, which quotes them: there may be a token in them.
            RequestTokenError::Parse(error, _) => SignInError::Answer {
                issuer: self.issuer.clone(),
                line: error.inner().line(),
                column: error.inner().column(),
            },
            RequestTokenError::Other(text) => self.refused(&text),
        }
    }
}

/// The library's requests over our agent. A code or device code may be redeemed once, so that a POST is not made again once it was sent.
fn transport(agent: &Agent) -> impl Fn(HttpRequest) -> Answering + Send + Sync + use<> {
    let agent = agent.clone();
    move |request| {
        let agent = agent.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let text = parts.uri.to_string();
            let url = Url::parse(&text).map_err(|_| CallError::Plain(printable(&text)))?;
            let mut call = Call::new(parts.method.clone(), url);
            for (name, value) in &parts.headers {
                if let Ok(value) = value.to_str() {
                    call = call.header(name.clone(), value);
                }
            }
            if parts.method == openidconnect::http::Method::POST {
                call = call
                    .body("application/x-www-form-urlencoded", body)
                    .repeat(Repeat::Unsent);
            }
            let answer = agent.send(&call).await?;
            let mut response = HttpResponse::new(answer.body.to_vec());
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

fn discovery_failed(issuer: &str, error: DiscoveryError<CallError>) -> SignInError {
    let issuer = issuer.to_owned();
    match error {
        DiscoveryError::Request(source) => SignInError::Call { issuer, source },
        other => SignInError::Discovery {
            issuer,
            why: with_causes(&other),
        },
    }
}
