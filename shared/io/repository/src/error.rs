//! What can go wrong with a repository.

use std::io;

use thiserror::Error;
use tuf::{CeremonyError, DocumentError, EnvelopeError, RequestError};

/// Why something was not done. Nothing was published then, unless it says so.
#[derive(Debug, Error)]
pub enum RepositoryError {
    /// The disk said no.
    #[error("{path}: {action}")]
    Disk {
        /// Which file, seen from the state folder.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else writes.
    #[error("another process is writing to this repository: try again when it is done")]
    Locked,
    /// The settings.
    #[error("policy.toml: {0}")]
    Policy(String),
    /// A file that has to be there.
    #[error("{0} is missing")]
    Missing(String),
    /// There is a repository already.
    #[error("there is a repository here already ({0}): take another folder")]
    Exists(String),
    /// A file that cannot be relied on.
    #[error("{file} is not acceptable")]
    File {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// A document that makes no sense.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A ceremony that cannot go on.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// A signing request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A change of the trusted root or the signing config.
    #[error(transparent)]
    Trust(#[from] trust::author::AuthorError),
    /// A proposal that cannot be used as it is.
    #[error(
        "staged/{role}.json cannot be used: propose it again, or take it back with `cosign-rs root discard {role}`"
    )]
    Staged {
        /// The name of its file, which is its role's.
        role: String,
        /// What is wrong.
        #[source]
        source: Box<RepositoryError>,
    },
    /// A key.
    #[error("{0}")]
    Key(String),
    /// A private key.
    #[error("{what}")]
    Signer {
        /// Which one, and for what.
        what: String,
        /// Why it does not sign.
        #[source]
        source: signer::SignerError,
    },
    /// It would break clients.
    #[error("this would break clients:\n  {}", .0.join("\n  "))]
    Lint(Vec<String>),
    /// A client would not accept what is about to be published.
    #[error("a client that starts at root {start} would refuse it: {why}")]
    Client {
        /// The root it starts at.
        start: u64,
        /// What it would say.
        why: String,
    },
    /// Signatures are missing.
    #[error("signatures are missing:\n  {}", .0.join("\n  "))]
    Unsigned(Vec<String>),
    /// It makes no sense, and why.
    #[error("{0}")]
    Refused(String),
    /// A service that does not answer as it should.
    #[error("{url}: {what}")]
    Service {
        /// What was asked.
        url: String,
        /// What came.
        what: String,
    },
    /// Places to publish to: what failed at each. The others have their copies.
    #[error("not copied everywhere; the next publish or refresh tries again:\n  {}", .0.join("\n  "))]
    Places(Vec<String>),
    /// A place to publish to.
    #[error("publishing to {place}: {what}")]
    Place {
        /// Which.
        place: String,
        /// What went wrong.
        what: String,
    },
}
