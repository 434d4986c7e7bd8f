//! Identity tokens that the surroundings have for us: a CI job, a workload.
//!
//! | name | known by | how |
//! | --- | --- | --- |
//! | `envvar` (GitLab `id_tokens`, CircleCI, scripts) | `SIGSTORE_ID_TOKEN` | the value |
//! | `github-actions` | `ACTIONS_ID_TOKEN_REQUEST_URL`, `..._TOKEN` | one request to that URL |
//! | `filesystem` | the file `/var/run/sigstore/cosign/oidc-token` | its text |
//! | `buildkite-agent` | `BUILDKITE_AGENT_ACCESS_TOKEN`, `BUILDKITE_JOB_ID` | one request to the agent's API |
//! | `google-impersonate` | `GOOGLE_SERVICE_ACCOUNT_NAME`, on Google's machines | the metadata server, then the IAM credentials API |
//! | `google-workload-identity` | Google's machines | the metadata server |
//! | `spiffe` | the socket in `SPIFFE_ENDPOINT_SOCKET` | the SPIFFE workload API |
//!
//! Names are cosign's. They are asked in this order, and the variable comes first: somebody put it there on purpose. Looking around opens no
//! connection: that a machine is Google's is read from its firmware and its variables, not asked of an address that others never answer at.

mod buildkite;
mod github;
mod google;
mod spiffe;

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::agent::{Agent, Answer, CallError, Refused};
use crate::identity::{IdentityToken, TokenError};

/// The variable with a token.
pub const VARIABLE: &str = "SIGSTORE_ID_TOKEN";
/// The file with a token, seen from the root of the file system.
const FILE: &str = "var/run/sigstore/cosign/oidc-token";
/// The largest file with a token.
const FILE_MAX: u64 = 64 << 10;

/// What a provider can be known by.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Reads a variable of the environment.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Where absolute paths begin: `/`.
    pub root: &'a Path,
}

impl Surroundings<'_> {
    /// A variable that is set to something.
    fn set(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        self.set(name).map(Zeroizing::new)
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Surroundings")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The kinds of surroundings, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A variable.
    Variable,
    /// GitHub Actions.
    GitHubActions,
    /// A file.
    File,
    /// An agent of Buildkite.
    Buildkite,
    /// A service account of Google that the machine's own may act for.
    GoogleImpersonate,
    /// The service account of a machine at Google's.
    GoogleWorkload,
    /// A SPIFFE workload.
    Spiffe,
}

impl Kind {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 7] = [
        Self::Variable,
        Self::GitHubActions,
        Self::File,
        Self::Buildkite,
        Self::GoogleImpersonate,
        Self::GoogleWorkload,
        Self::Spiffe,
    ];

    /// Its name, as cosign has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Variable => "envvar",
            Self::GitHubActions => "github-actions",
            Self::File => "filesystem",
            Self::Buildkite => "buildkite-agent",
            Self::GoogleImpersonate => "google-impersonate",
            Self::GoogleWorkload => "google-workload-identity",
            Self::Spiffe => "spiffe",
        }
    }

    /// Those of a name; `google` means either of its two.
    pub fn named(name: &str) -> Vec<Self> {
        let of_name = |kind: &Self| kind.name() == name;
        let of_google = |kind: &Self| name == "google" && kind.name().starts_with("google-");
        Self::ALL
            .into_iter()
            .filter(|kind| of_name(kind) || of_google(kind))
            .collect()
    }

    /// What to set so that it is found.
    pub const fn wants(self) -> &'static str {
        match self {
            Self::Variable => "set SIGSTORE_ID_TOKEN",
            Self::GitHubActions => "give the job `permissions: id-token: write`",
            Self::File => "put a token into /var/run/sigstore/cosign/oidc-token",
            Self::Buildkite => {
                "run in a job of Buildkite (BUILDKITE_AGENT_ACCESS_TOKEN and BUILDKITE_JOB_ID)"
            }
            Self::GoogleImpersonate => {
                "set GOOGLE_SERVICE_ACCOUNT_NAME, on a machine at Google's or with GCE_METADATA_HOST"
            }
            Self::GoogleWorkload => {
                "run on a machine at Google's, or set GCE_METADATA_HOST to its metadata server"
            }
            Self::Spiffe => "set SPIFFE_ENDPOINT_SOCKET to the socket of the workload API",
        }
    }

    /// What there is of this kind.
    pub fn find(self, around: Surroundings<'_>) -> Option<Ambient> {
        Some(Ambient(match self {
            Self::Variable => Source::Variable(around.secret(VARIABLE)?),
            Self::GitHubActions => Source::GitHub(github::Job::find(around)?),
            Self::File => {
                let path = around.root.join(FILE);
                Source::File(path.is_file().then_some(path)?)
            }
            Self::Buildkite => Source::Buildkite(buildkite::Job::find(around)?),
            Self::GoogleImpersonate => Source::Google(google::Account::impersonated(around)?),
            Self::GoogleWorkload => Source::Google(google::Account::own(around)?),
            Self::Spiffe => Source::Spiffe(spiffe::socket(around)?),
        }))
    }
}

/// Where a token is to be had.
pub struct Ambient(Source);

enum Source {
    Variable(Zeroizing<String>),
    GitHub(github::Job),
    File(PathBuf),
    Buildkite(buildkite::Job),
    Google(google::Account),
    Spiffe(PathBuf),
}

impl fmt::Debug for Ambient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind().name())
    }
}

/// Why there is no token although the surroundings should have one.
#[derive(Debug, Error)]
pub enum AmbientError {
    /// No answer.
    #[error("asking {whom} for an identity token")]
    Call {
        /// Whom.
        whom: &'static str,
        /// Why not.
        source: CallError,
    },
    /// No.
    #[error("{whom} refuses an identity token")]
    Refused {
        /// Who.
        whom: &'static str,
        /// Its words.
        source: Refused,
    },
    /// The answer has no token, or the address is none.
    #[error("{0}")]
    Malformed(String),
    /// The workload API, by its socket.
    #[error("the SPIFFE workload API at {socket}: {why}")]
    Spiffe {
        /// Where.
        socket: String,
        /// What was wrong.
        why: String,
    },
    /// A file that cannot be read.
    #[error("the identity token in {path}")]
    File {
        /// Which one.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
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
    /// Looks around.
    pub fn detect(around: Surroundings<'_>) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|kind| kind.find(around))
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Source::Variable(_) => Kind::Variable,
            Source::GitHub(_) => Kind::GitHubActions,
            Source::File(_) => Kind::File,
            Source::Buildkite(_) => Kind::Buildkite,
            Source::Google(account) if account.is_impersonated() => Kind::GoogleImpersonate,
            Source::Google(_) => Kind::GoogleWorkload,
            Source::Spiffe(_) => Kind::Spiffe,
        }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &'static str {
        match self.kind() {
            Kind::Variable => VARIABLE,
            Kind::GitHubActions => "GitHub Actions",
            Kind::File => "the file /var/run/sigstore/cosign/oidc-token",
            Kind::Buildkite => "the Buildkite agent",
            Kind::GoogleImpersonate | Kind::GoogleWorkload => "Google",
            Kind::Spiffe => "the SPIFFE workload API",
        }
    }

    /// Gets the token. A variable and a file have the audience that they were made with.
    pub async fn token(
        &self,
        agent: &Agent,
        audience: &str,
    ) -> Result<IdentityToken, AmbientError> {
        let text = match &self.0 {
            Source::Variable(token) => token.clone(),
            Source::GitHub(job) => job.token(agent, audience).await?,
            Source::File(path) => read(path)?,
            Source::Buildkite(job) => job.token(agent, audience).await?,
            Source::Google(account) => account.token(agent, audience).await?,
            Source::Spiffe(socket) => spiffe::token(socket, audience).await?,
        };
        IdentityToken::parse(&text).map_err(|source| AmbientError::Token {
            from: self.name(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, AmbientError> {
    use std::io::Read as _;
    let failed = |source| AmbientError::File {
        path: path.display().to_string(),
        source,
    };
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)
        .map_err(failed)?
        .take(FILE_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Makes a call, of which the answer is JSON with a token in a member.
async fn ask(
    agent: &Agent,
    whom: &'static str,
    call: &crate::agent::Call,
) -> Result<Answer, AmbientError> {
    let answer = agent
        .send(call)
        .await
        .map_err(|source| AmbientError::Call { whom, source })?;
    answer
        .expect(&[200])
        .map_err(|source| AmbientError::Refused { whom, source })
}

/// The text in a member of an answer.
fn member(
    answer: &Answer,
    whom: &'static str,
    name: &str,
) -> Result<Zeroizing<String>, AmbientError> {
    let reply: Result<serde_json::Value, _> = serde_json::from_slice(&answer.body);
    let text = reply.ok().and_then(|reply| match reply.get(name) {
        Some(serde_json::Value::String(text)) => Some(Zeroizing::new(text.clone())),
        _ => None,
    });
    text.ok_or_else(|| AmbientError::Malformed(format!("{whom} answered without a {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(set: &[(&str, &str)]) -> Option<&'static str> {
        detect_in(Path::new("/nowhere"), set)
    }

    fn detect_in(root: &Path, set: &[(&str, &str)]) -> Option<&'static str> {
        let variables: Vec<(String, String)> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.clone())
        };
        let around = Surroundings {
            variable: &variable,
            root,
        };
        Ambient::detect(around).map(|found| found.kind().name())
    }

    #[test]
    fn the_surroundings_are_known_by_what_they_set() {
        let github = [
            (github::URL, "https://x"),
            (github::BEARER, "t"),
            (VARIABLE, "t"),
        ];
        for (set, expected) in [
            (&[][..], None),
            (&[(VARIABLE, " ")], None),
            (&github[..1], None),
            (&github[..2], Some("github-actions")),
            (&github[..], Some("envvar")),
            (&[("BUILDKITE_AGENT_ACCESS_TOKEN", "t")], None),
            (
                &[
                    ("BUILDKITE_AGENT_ACCESS_TOKEN", "t"),
                    ("BUILDKITE_JOB_ID", "1"),
                ],
                Some("buildkite-agent"),
            ),
            (&[("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b")], None),
            (
                &[("GCE_METADATA_HOST", "localhost:1")],
                Some("google-workload-identity"),
            ),
            (
                &[
                    ("GCE_METADATA_HOST", "localhost:1"),
                    ("GOOGLE_SERVICE_ACCOUNT_NAME", "a@b"),
                ],
                Some("google-impersonate"),
            ),
            (
                &[("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire.sock")],
                Some("spiffe"),
            ),
            (&[("SPIFFE_ENDPOINT_SOCKET", "tcp://127.0.0.1:1")], None),
        ] {
            assert_eq!(detect(set), expected, "{set:?}");
        }
    }

    #[test]
    fn files_are_found_from_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(detect_in(folder.path(), &[]), None);
        write("sys/class/dmi/id/product_name", "Standard PC\n");
        assert_eq!(detect_in(folder.path(), &[]), None);
        write("sys/class/dmi/id/product_name", "Google Compute Engine\n");
        assert_eq!(
            detect_in(folder.path(), &[]),
            Some("google-workload-identity")
        );
        write(FILE, "a.b.c");
        assert_eq!(detect_in(folder.path(), &[]), Some("filesystem"));
    }

    #[test]
    fn google_means_both_of_googles() {
        assert_eq!(Kind::named("google").len(), 2);
        assert_eq!(Kind::named("spiffe"), [Kind::Spiffe]);
        assert_eq!(Kind::named("goggle"), []);
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), [kind]);
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let found = Ambient(Source::Variable(Zeroizing::new("secret".to_owned())));
        assert_eq!(format!("{found:?}"), "envvar");
    }
}
