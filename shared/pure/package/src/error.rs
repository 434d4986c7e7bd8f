use thiserror::Error;

/// Why bytes are no package that the log would take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackageError {
    /// Not the format, with the part in which it went wrong.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// More of something than is read.
    #[error("{what}: more than {limit}, which is the most that is read")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// How many bytes, members or lines of it are read.
        limit: u64,
    },
    /// There is no signature where one belongs.
    #[error("the package is not signed: {0}")]
    Unsigned(&'static str),
    /// A part is not the one that a digest in the package is about.
    #[error("the digest of {0} in the package is not that of its contents")]
    Digest(String),
    /// A signature is not one by the key over the part that it covers.
    #[error("the signature over {0} does not verify")]
    Signature(&'static str),
    /// Well-formed, and of a kind that is not accepted: weak, ambiguous, or unknown here.
    #[error("not accepted: {0}")]
    Unsupported(String),
}
