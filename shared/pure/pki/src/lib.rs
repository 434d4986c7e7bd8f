//! X.509 certificates (RFC 5280): reading them, checking a path at a chosen time, and preparing the ones that we issue.
//!
//! The profiles are those of Sigstore's certificate specification. Issuing is always prepare, sign outside, seal: this crate makes
//! the bytes to be signed, somebody who holds the key signs them, and `seal` checks the signature it was given. Deliberately not
//! here: revocation (ten-minute certificates need none), policies, name constraints (a CA that carries them is refused).

pub mod cert;
pub mod csr;
pub mod ext;
pub mod lint;
pub mod name;
pub mod path;
pub mod profile;
pub mod request;
pub mod tlv;

pub use cert::{CertError, Certificate};
pub use csr::{Csr, CsrError};
pub use ext::{Field, FulcioExtensions};
pub use name::SubjectName;
pub use path::{PathError, Purpose, VerifiedPath};

/// Object identifiers of this crate's formats.
pub mod oid {
    use const_oid::ObjectIdentifier as Oid;

    /// subjectKeyIdentifier.
    pub const SUBJECT_KEY_ID: Oid = Oid::new_unwrap("2.5.29.14");
    /// keyUsage.
    pub const KEY_USAGE: Oid = Oid::new_unwrap("2.5.29.15");
    /// subjectAltName.
    pub const SUBJECT_ALT_NAME: Oid = Oid::new_unwrap("2.5.29.17");
    /// basicConstraints.
    pub const BASIC_CONSTRAINTS: Oid = Oid::new_unwrap("2.5.29.19");
    /// authorityKeyIdentifier.
    pub const AUTHORITY_KEY_ID: Oid = Oid::new_unwrap("2.5.29.35");
    /// extKeyUsage.
    pub const EXTENDED_KEY_USAGE: Oid = Oid::new_unwrap("2.5.29.37");
    /// extensionRequest, an attribute of requests (RFC 2985 5.4.2).
    pub const EXTENSION_REQUEST: Oid = Oid::new_unwrap("1.2.840.113549.1.9.14");
    /// id-kp-codeSigning.
    pub const CODE_SIGNING: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.3");
    /// id-kp-timeStamping.
    pub const TIME_STAMPING: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.8");
    /// The poison of a precertificate (RFC 6962 3.1).
    pub const CT_POISON: Oid = Oid::new_unwrap("1.3.6.1.4.1.11129.2.4.3");
    /// The list of SCTs in a certificate (RFC 6962 3.3).
    pub const CT_SCTS: Oid = Oid::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
    /// Sigstore's otherName for user names.
    pub const FULCIO_USER_NAME: Oid = Oid::new_unwrap("1.3.6.1.4.1.57264.1.7");
    /// ecdsa-with-SHA256, -SHA384, -SHA512.
    pub const ECDSA_SHA256: Oid = Oid::new_unwrap("1.2.840.10045.4.3.2");
    /// ecdsa-with-SHA384.
    pub const ECDSA_SHA384: Oid = Oid::new_unwrap("1.2.840.10045.4.3.3");
    /// ecdsa-with-SHA512.
    pub const ECDSA_SHA512: Oid = Oid::new_unwrap("1.2.840.10045.4.3.4");
    /// Ed25519.
    pub const ED25519: Oid = Oid::new_unwrap("1.3.101.112");
    /// sha256WithRSAEncryption.
    pub const RSA_SHA256: Oid = Oid::new_unwrap("1.2.840.113549.1.1.11");
}
