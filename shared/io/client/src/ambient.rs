//! Identity tokens that the surroundings have for us: a CI job.
//!
//! | where | known by | how |
//! | --- | --- | --- |
//! | anywhere (GitLab `id_tokens`, CircleCI, scripts) | `SIGSTORE_ID_TOKEN` | the value |
//! | GitHub Actions | `ACTIONS_ID_TOKEN_REQUEST_URL`, `..._TOKEN` | one request to that URL |
//!
//! The variable comes first: somebody put it there on purpose.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::agent::{Agent, Call, CallError, Refused};
use crate::identity::{IdentityToken, TokenError};

/// The variable with a token.
pub const VARIABLE: &str = "SIGSTORE_ID_TOKEN";
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Where a token is to be had.
pub enum Ambient {
    /// In the variable.
    Variable(Zeroizing<String>),
    /// From GitHub Actions.
    GitHubActions {
        /// Where to ask.
        url: String,
        /// What allows to ask.
        bearer: Zeroizing<String>,
    },
}

impl fmt::Debug for Ambient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why there is no token although the surroundings should have one.
#[derive(Debug, Error)]
pub enum AmbientError {
    /// No answer.
    #[error("asking GitHub Actions for an identity token")]
    Call(#[from] CallError),
    /// No.
    #[error("GitHub Actions refuses an identity token")]
    Refused(#[from] Refused),
    /// The answer has no token, or the URL is none.
    #[error("{0}")]
    Malformed(&'static str),
    /// What came is no token.
    #[error("the token of {from}")]
    Token {
        /// Of whom.
        from: &'static str,
        /// What is wrong with it.
        #[source]
        source: TokenError,
    },
}

impl Ambient {
    /// Looks around; `variable` reads a variable of the environment.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.trim().is_empty());
        if let Some(token) = set(VARIABLE) {
            return Some(Self::Variable(Zeroizing::new(token)));
        }
        Some(Self::GitHubActions {
            url: set(GITHUB_URL)?,
            bearer: Zeroizing::new(set(GITHUB_TOKEN)?),
        })
    }

    /// Its name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Variable(_) => VARIABLE,
            Self::GitHubActions { .. } => "GitHub Actions",
        }
    }

    /// Gets the token.
    pub async fn token(
        &self,
        agent: &Agent,
        audience: &str,
    ) -> Result<IdentityToken, AmbientError> {
        let from = self.name();
        let wrong = |source| AmbientError::Token { from, source };
        let (url, bearer) = match self {
            Self::Variable(token) => return IdentityToken::parse(token).map_err(wrong),
            Self::GitHubActions { url, bearer } => (url, bearer),
        };
        let mut url = Url::parse(url)
            .map_err(|_| AmbientError::Malformed("ACTIONS_ID_TOKEN_REQUEST_URL is no URL"))?;
        url.query_pairs_mut().append_pair("audience", audience);
        let call = Call::get(url)
            .accept("application/json")
            .authorization("Bearer", bearer);
        let answer = agent.send(&call).await?.expect(&[200])?;
        let reply: Reply = serde_json::from_slice(&answer.body)
            .map_err(|_| AmbientError::Malformed("GitHub Actions answered without a token"))?;
        IdentityToken::parse(&Zeroizing::new(reply.value)).map_err(wrong)
    }
}

#[derive(Deserialize)]
struct Reply {
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(set: &[(&str, &str)]) -> Option<&'static str> {
        Ambient::detect(|name| {
            set.iter()
                .find(|(other, _)| *other == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .map(|found| found.name())
    }

    #[test]
    fn the_surroundings_are_known_by_their_variables() {
        assert_eq!(detect(&[]), None);
        assert_eq!(detect(&[(VARIABLE, " ")]), None);
        assert_eq!(detect(&[(GITHUB_URL, "https://x")]), None);
        let github = [(GITHUB_URL, "https://x"), (GITHUB_TOKEN, "t")];
        assert_eq!(detect(&github), Some("GitHub Actions"));
        assert_eq!(
            detect(&[github[0], github[1], (VARIABLE, "t")]),
            Some(VARIABLE)
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let found = Ambient::Variable(Zeroizing::new("secret".to_owned()));
        assert_eq!(format!("{found:?}"), VARIABLE);
    }
}
