use thiserror::Error;

/// Why bytes are not what they should be, or a signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PgpError {
    /// Not OpenPGP, with the part in which it went wrong.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// More of something than is read.
    #[error("{what}: more than {limit}, which is the most that is read")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// How many bytes or packets of it are read.
        limit: usize,
    },
    /// Well-formed, and of a version or an algorithm that is not known or not accepted here.
    #[error("not accepted: {0}")]
    Unsupported(String),
    /// A private key was sent.
    #[error("this is a private key: send the public key, and treat the private one as lost")]
    PrivateKey,
    /// A certificate whose own signatures do not hold, or that lacks one.
    #[error("the key is not valid: {0}")]
    Certificate(&'static str),
    /// No key of the keyring that may sign has the key id in the signature.
    #[error("the signature is by key {0:016X}, which is not a signing key of the given ones")]
    UnknownIssuer(u64),
    /// The signature is not one by the key over the data.
    #[error("the signature does not verify")]
    Signature,
    /// The signature, its key or a user id was expired or revoked, or not yet made, when it was made.
    #[error("the signature verifies, but when it was made {0}")]
    NotThen(&'static str),
}
