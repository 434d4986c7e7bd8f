//! Showing a registry who asks: the token flow of the distribution project, and Basic.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use client::{Agent, Answer, Call, CallError};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::challenge::Challenge;
use crate::credentials::{Credentials, Keychain};
use crate::reference::Repository;

/// The largest answer of a token service.
const TOKEN_MAX: usize = 64 * 1024;

/// What is to be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
    Delete,
    /// Nothing at all: to see whether we are let in.
    Login,
}

impl Access {
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Login];

    fn scope(self, repository: &Repository) -> Option<String> {
        let actions = match self {
            Self::Read => "pull",
            Self::Write => "pull,push",
            Self::Delete => "pull,push,delete",
            Self::Login => return None,
        };
        Some(format!("repository:{}:{actions}", repository.name()))
    }
}

/// A value of `Authorization`.
#[derive(Clone)]
pub(crate) struct Authorization {
    scheme: &'static str,
    credential: Zeroizing<String>,
    /// Nobody's name is behind it.
    pub(crate) anonymous: bool,
}

impl Authorization {
    pub(crate) fn on(&self, call: Call) -> Call {
        call.authorization(self.scheme, &self.credential)
    }
}

/// Who we are, for each repository and access, as far as it was asked for.
pub(crate) struct Auth {
    keychain: Keychain,
    /// Tokens live for minutes, a process of ours for seconds; one that has expired is refused, and then replaced.
    known: Mutex<HashMap<(Repository, Access), Authorization>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Auth").field(&self.keychain).finish()
    }
}

impl Auth {
    pub(crate) fn new(keychain: Keychain) -> Self {
        Self {
            keychain,
            known: Mutex::default(),
        }
    }

    /// What worked before.
    pub(crate) fn known(&self, repository: &Repository, access: Access) -> Option<Authorization> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |access| known.get(&(repository.clone(), access));
        match access {
            // Who may write may read.
            Access::Read => of(Access::Read)
                .or_else(|| of(Access::Write))
                .or_else(|| of(Access::Delete)),
            Access::Write => of(Access::Write).or_else(|| of(Access::Delete)),
            Access::Delete | Access::Login => of(access),
        }
        .cloned()
    }

    /// Answers a 401; none if there is nothing to answer it with.
    pub(crate) async fn answer(
        &self,
        agent: &Agent,
        repository: &Repository,
        access: Access,
        refusal: &Answer,
    ) -> Result<Option<Authorization>, CallError> {
        let headers = refusal.headers.get_all("www-authenticate");
        let challenge = Challenge::choose(headers.iter().filter_map(|value| value.to_str().ok()));
        let credentials = self.keychain.find(repository).await;
        let made = match (challenge, credentials) {
            (_, Some(Credentials::Bearer(token))) => Some(Authorization {
                scheme: "Bearer",
                credential: token,
                anonymous: false,
            }),
            (Some(Challenge::Basic), Some(Credentials::Password { user, password })) => {
                Some(Authorization {
                    scheme: "Basic",
                    credential: Credentials::basic(&user, &password),
                    anonymous: false,
                })
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                credentials,
            ) => {
                let scope = scope.or_else(|| access.scope(repository));
                token(
                    agent,
                    &realm,
                    service.as_deref(),
                    scope.as_deref(),
                    credentials,
                )
                .await?
            }
            _ => None,
        };
        if let Some(made) = &made {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert((repository.clone(), access), made.clone());
        }
        Ok(made)
    }
}

/// Asks the token service. Where it is, the registry says; the agent goes there with TLS, or not at all.
async fn token(
    agent: &Agent,
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
    credentials: Option<Credentials>,
) -> Result<Option<Authorization>, CallError> {
    let Ok(mut url) = Url::parse(realm) else {
        return Ok(None);
    };
    let anonymous = credentials.is_none();
    let mut parameters = Vec::new();
    parameters.extend(scope.map(|scope| ("scope", scope)));
    parameters.extend(service.map(|service| ("service", service)));
    let call = match &credentials {
        Some(Credentials::Identity(token)) => {
            parameters.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "cosign-rs"),
                ("refresh_token", token.as_str()),
            ]);
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(parameters)
                .finish();
            Call::post(url, "application/x-www-form-urlencoded", form)
        }
        other => {
            url.query_pairs_mut().extend_pairs(parameters);
            let call = Call::get(url);
            match other {
                Some(Credentials::Password { user, password }) => {
                    call.authorization("Basic", &Credentials::basic(user, password))
                }
                _ => call,
            }
        }
    };
    let answer = agent.send(&call.limit(TOKEN_MAX)).await?;
    if !answer.status.is_success() {
        tracing::debug!(status = %answer.status, "the token service refuses");
        return Ok(None);
    }
    let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) else {
        return Ok(None);
    };
    Ok(reply
        .token
        .or(reply.access_token)
        .map(|token| Authorization {
            scheme: "Bearer",
            credential: Zeroizing::new(token),
            anonymous,
        }))
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}
