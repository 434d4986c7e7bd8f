//! RFC 3161 tokens in a signature's unsigned attributes.
//!
//! A token must be about this signature and hold under a certificate that it or the signature brings along; who the authority is, and the time,
//! are not looked at, since the log says neither. A token that does not hold makes the whole signature unacceptable, as it does upstream.

use const_oid::ObjectIdentifier as Oid;

use super::algorithm::Identifier;
use super::cms::{SignedData, Signer, TST_INFO, contents, members, tag};
use crate::PackageError;

/// id-aa-timeStampToken (RFC 3161 A).
const TOKEN: Oid = Oid::new_unwrap("1.2.840.113549.1.9.16.2.14");
/// The same under Microsoft's name.
const MICROSOFT_TOKEN: Oid = Oid::new_unwrap("1.3.6.1.4.1.311.3.3.1");
/// countersignature (RFC 5652 11.4), a form of timestamp from before RFC 3161.
const COUNTERSIGNATURE: Oid = Oid::new_unwrap("1.2.840.113549.1.9.6");
const SIGNING_TIME: Oid = Oid::new_unwrap("1.2.840.113549.1.9.5");

const MALFORMED: PackageError = PackageError::Malformed("timestamp token");

/// Checks the token of a signer, if it has one.
pub(super) fn verify(signer: &Signer<'_>, certificates: &[&[u8]]) -> Result<(), PackageError> {
    if signer.unsigned_attribute(COUNTERSIGNATURE)?.is_some() {
        return Err(PackageError::Unsupported("a countersignature".into()));
    }
    for attribute in [TOKEN, MICROSOFT_TOKEN] {
        if let Some(token) = signer.unsigned_attribute(attribute)? {
            check(token, signer.signature, certificates)?;
        }
    }
    Ok(())
}

fn check(token: &[u8], stamped: &[u8], certificates: &[&[u8]]) -> Result<(), PackageError> {
    let token = SignedData::parse(token)?;
    let info = token.content.ok_or(MALFORMED)?;
    // RFC 3161 2.4.2: exactly one signer.
    let [signer] = token.signers.as_slice() else {
        return Err(MALFORMED);
    };
    if token.content_type() != TST_INFO {
        return Err(MALFORMED);
    }
    // version, policy, messageImprint, ...
    let parts = members(tag::SEQUENCE, info)?;
    let imprint = members(tag::SEQUENCE, parts.get(2).ok_or(MALFORMED)?)?;
    let [hash, digest] = imprint.as_slice() else {
        return Err(MALFORMED);
    };
    let hash = Identifier::parse(hash)?.hash()?;
    if contents(tag::OCTET_STRING, digest)? != hash.digest(stamped).as_ref() {
        return Err(PackageError::Digest("the timestamped signature".into()));
    }
    let certificates = [certificates, &token.certificates].concat();
    signer.verify(info, &certificates)?;
    signer.signed_attribute(SIGNING_TIME)?.ok_or(MALFORMED)?;
    Ok(())
}
