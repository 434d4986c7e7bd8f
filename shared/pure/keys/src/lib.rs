//! Algorithms, digests, public keys and raw signatures.
//!
//! Everything that verifies a signature in this project ends here. The crate knows the algorithm registry of the Sigstore
//! protobuf-specs (`PublicKeyDetails`), X.509 SubjectPublicKeyInfo (RFC 5280, RFC 5480, RFC 8410, RFC 8017) and PEM (RFC 7468).
//! Private keys and randomness are deliberately not here: they live in `signer`.
//!
//! Invariants:
//! - A [`PublicKey`] holds the exact bytes of a well-formed SPKI of a type and size on the list; a weak or odd key never becomes one.
//! - A signature is checked under the algorithm that the caller names, and only where that algorithm fits the key.
//! - ECDSA signatures are ASN.1 DER (`Ecdsa-Sig-Value`), Ed25519 signatures 64 raw bytes, RSA signatures as long as the modulus.

pub mod alg;
pub mod digest;
pub mod ecdsa;
pub mod ml_dsa;
pub mod pem;
pub mod public;
pub mod weak;

pub use alg::{Algorithm, HashAlgorithm, KeyType};
pub use digest::{Digest, DigestError, Hasher, sha256};
pub use ml_dsa::MlDsa44Key;
pub use public::{KeyError, PublicKey, Ready, SignatureError};
