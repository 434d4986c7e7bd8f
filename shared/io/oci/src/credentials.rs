//! Credentials for registries: given ones, or those of Docker's and Podman's configuration.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use zeroize::Zeroizing;

use crate::reference::Repository;

/// What lets one in. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A token that a registry's token service takes for further tokens (`identitytoken` in Docker's configuration).
    Identity(Zeroizing<String>),
    /// A token that the registry takes as it is.
    Bearer(Zeroizing<String>),
}

impl Credentials {
    /// `Basic`'s credential (RFC 7617).
    pub(crate) fn basic(user: &str, password: &str) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password { .. } => "a password",
            Self::Identity(_) => "an identity token",
            Self::Bearer(_) => "a bearer token",
        })
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub enum Keychain {
    /// Nobody has any.
    #[default]
    Empty,
    /// These for some registries; for the others those of the configuration.
    Given {
        /// What lets one in there.
        credentials: Credentials,
        /// Names of registries, with the port where there is one.
        hosts: BTreeSet<String>,
    },
    /// Docker's `config.json` with its helpers, then Podman's `auth.json`.
    Configured,
}

impl Keychain {
    /// Credentials for the registries of these repositories. No other registry is shown them, whichever has what is read or written on the way.
    pub fn given<'a>(
        credentials: Credentials,
        of: impl IntoIterator<Item = &'a Repository>,
    ) -> Self {
        let hosts = of
            .into_iter()
            .map(|repository| repository.host().to_owned())
            .collect();
        Self::Given { credentials, hosts }
    }

    /// The credentials for a repository's registry. Asks helper programs, so it runs where blocking is allowed.
    pub(crate) async fn find(&self, repository: &Repository) -> Option<Credentials> {
        match self {
            Self::Empty => None,
            Self::Given { credentials, hosts } if hosts.contains(repository.host()) => {
                Some(credentials.clone())
            }
            Self::Given { .. } | Self::Configured => {
                let key = repository.credential_key().to_owned();
                let host = repository.host().to_owned();
                tokio::task::spawn_blocking(move || configured(&key, &host))
                    .await
                    .ok()
                    .flatten()
            }
        }
    }
}

fn configured(key: &str, host: &str) -> Option<Credentials> {
    let found = docker_credential::get_credential(key)
        .or_else(|first| docker_credential::get_podman_credential(host).map_err(|_| first));
    match found {
        Ok(DockerCredential::IdentityToken(token)) => {
            Some(Credentials::Identity(Zeroizing::new(token)))
        }
        // What Docker's helpers say for an identity token.
        Ok(DockerCredential::UsernamePassword(user, token)) if user == "<token>" => {
            Some(Credentials::Identity(Zeroizing::new(token)))
        }
        Ok(DockerCredential::UsernamePassword(user, password)) => Some(Credentials::Password {
            user,
            password: Zeroizing::new(password),
        }),
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError
            | CredentialRetrievalError::NoCredentialConfigured,
        ) => None,
        // A helper that is not installed, or that has nothing for this registry: a public image needs neither.
        Err(error) => {
            tracing::debug!(host, %error, "no credentials");
            None
        }
    }
}
