//! Algorithm identifiers below a PKCS#7 signature.

use const_oid::ObjectIdentifier as Oid;

use super::cms::{contents, members, oid, tag};
use crate::PackageError;
use crate::crypto::{Hash, Scheme};

const SHA1: Oid = Oid::new_unwrap("1.3.14.3.2.26");
const SHA256: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: Oid = Oid::new_unwrap("2.16.840.1.101.3.4.2.3");
/// id-mgf1.
const MGF1: Oid = Oid::new_unwrap("1.2.840.113549.1.1.8");
/// id-RSASSA-PSS.
const PSS: Oid = Oid::new_unwrap("1.2.840.113549.1.1.10");

/// Signature algorithms, with the hash that they name. Those that name none are a key's algorithm, which PKCS#7 allows in this place.
const SCHEMES: [(Oid, Scheme, Option<Hash>); 11] = [
    (Oid::new_unwrap("1.2.840.113549.1.1.1"), Scheme::Pkcs1, None),
    (
        Oid::new_unwrap("1.2.840.113549.1.1.5"),
        Scheme::Pkcs1,
        Some(Hash::Sha1),
    ),
    // The same, as ISO named it.
    (
        Oid::new_unwrap("1.3.14.3.2.29"),
        Scheme::Pkcs1,
        Some(Hash::Sha1),
    ),
    (pki::oid::RSA_SHA256, Scheme::Pkcs1, Some(Hash::Sha256)),
    (
        Oid::new_unwrap("1.2.840.113549.1.1.12"),
        Scheme::Pkcs1,
        Some(Hash::Sha384),
    ),
    (
        Oid::new_unwrap("1.2.840.113549.1.1.13"),
        Scheme::Pkcs1,
        Some(Hash::Sha512),
    ),
    (Oid::new_unwrap("1.2.840.10045.2.1"), Scheme::Ecdsa, None),
    (
        Oid::new_unwrap("1.2.840.10045.4.1"),
        Scheme::Ecdsa,
        Some(Hash::Sha1),
    ),
    (pki::oid::ECDSA_SHA256, Scheme::Ecdsa, Some(Hash::Sha256)),
    (pki::oid::ECDSA_SHA384, Scheme::Ecdsa, Some(Hash::Sha384)),
    (pki::oid::ECDSA_SHA512, Scheme::Ecdsa, Some(Hash::Sha512)),
];

/// An `AlgorithmIdentifier` (RFC 5280 4.1.1.2).
pub(super) struct Identifier<'a> {
    oid: Oid,
    parameters: Option<&'a [u8]>,
}

impl<'a> Identifier<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, PackageError> {
        let (kind, parameters) = match members(tag::SEQUENCE, der)?[..] {
            [kind] => (kind, None),
            [kind, parameters] => (kind, Some(parameters)),
            _ => return Err(PackageError::Malformed("PKCS#7 signature: algorithm")),
        };
        Ok(Self {
            oid: oid(kind)?,
            parameters,
        })
    }

    /// The hash function that it names. MD5 and SHA-224, which upstream takes too, are refused.
    pub(super) fn hash(&self) -> Result<Hash, PackageError> {
        Ok(match self.oid {
            SHA1 => Hash::Sha1,
            SHA256 => Hash::Sha256,
            SHA384 => Hash::Sha384,
            SHA512 => Hash::Sha512,
            other => {
                return Err(PackageError::Unsupported(format!("hash algorithm {other}")));
            }
        })
    }

    /// The scheme that it names, where it goes with the hash of what is signed.
    pub(super) fn scheme(&self, hash: Hash) -> Result<Scheme, PackageError> {
        let unsupported =
            || PackageError::Unsupported(format!("signature algorithm {} with {hash:?}", self.oid));
        if self.oid == PSS {
            return if self.is_pss_of(hash) {
                Ok(Scheme::Pss)
            } else {
                Err(unsupported())
            };
        }
        SCHEMES
            .into_iter()
            .find(|(oid, _, named)| *oid == self.oid && named.is_none_or(|named| named == hash))
            .map(|(_, scheme, _)| scheme)
            .ok_or_else(unsupported)
    }

    /// `RSASSA-PSS-params` (RFC 8017 A.2.3): one hash for everything, and a salt of its length.
    fn is_pss_of(&self, hash: Hash) -> bool {
        let same = |der| Self::parse(der).and_then(|found| found.hash()) == Ok(hash);
        let is = || {
            let parts = members(tag::SEQUENCE, self.parameters?).ok()?;
            let [digest, mask, salt, trailer @ ..] = parts.as_slice() else {
                return None;
            };
            let mask = Self::parse(contents(tag::CONTEXT_0 + 1, mask).ok()?).ok()?;
            let salt = contents(tag::INTEGER, contents(tag::CONTEXT_0 + 2, salt).ok()?).ok()?;
            let length = usize::from(*salt.first()?);
            Some(
                same(contents(tag::CONTEXT_0, digest).ok()?)
                    && mask.oid == MGF1
                    && same(mask.parameters?)
                    && salt.len() == 1
                    && length == hash.digest(b"").as_ref().len()
                    && matches!(trailer, [] | [[0xa3, 3, tag::INTEGER, 1, 1]]),
            )
        };
        is() == Some(true)
    }
}
