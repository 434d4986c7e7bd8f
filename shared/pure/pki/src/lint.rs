//! Is a certificate that is about to leave the authority what the profile says?
//!
//! This page shares no code with the builder ([`crate::profile`]) and no parser with the rest of the crate: it reads the DER itself, byte by byte,
//! and knows what each byte has to be. A fault of the builder, of its libraries or of a setting is so found before anybody relies on the
//! certificate. Sources: sigstore/fulcio `docs/certificate-specification.md`, RFC 5280 section 4, RFC 6962 section 3.3.
//!
//! ```text
//! version 3 | serial positive, 8 to 20 octets | algorithm of the issuer's key | issuer as the issuer's subject | validity | empty subject | key
//! keyUsage! | extKeyUsage | subjectKeyIdentifier | authorityKeyIdentifier | subjectAltName! | 57264.1.1-6, .8-24 ascending | SCT list, or poison!
//! ```
//! `!` is critical; nothing else is there, and nothing twice.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use keys::{KeyType, PublicKey};
use sha1::{Digest as _, Sha1};
use thiserror::Error;

use crate::cert::Certificate;
use crate::ext::{FulcioExtensions, MAX_VALUE};
use crate::name::SubjectName;

/// What the certificate has to say, from those who know: the verified token and the authority's own settings.
#[derive(Debug)]
pub struct Expected<'a> {
    /// Who issues it.
    pub issuer: &'a Certificate,
    /// The key whose possession was proven.
    pub key: &'a PublicKey,
    /// Who it is about.
    pub subject: &'a SubjectName,
    /// What the token said.
    pub extensions: &'a FulcioExtensions,
    /// The longest validity.
    pub longest: SignedDuration,
    /// Which extension of CT it has.
    pub transparency: Transparency,
}

/// How far a certificate is on its way through a CT log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transparency {
    /// A precertificate, which has the critical poison.
    Poison,
    /// A certificate with a list of SCTs.
    Embedded,
    /// A certificate that no log vouches for.
    None,
}

/// A rule that the certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the certificate breaks the profile: {rule}")]
pub struct LintError {
    /// Which one, as it should be.
    pub rule: &'static str,
}

type Rule = Result<(), LintError>;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Context-specific, constructed, by number.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;
/// Context-specific, primitive: rfc822Name, uniformResourceIdentifier, keyIdentifier.
const EMAIL: u8 = 0x81;
const URI: u8 = 0x86;
const KEY_IDENTIFIER: u8 = 0x80;

/// Contents octets of object identifiers.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const POISON: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3];
const SCT_LIST: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
/// 1.3.6.1.4.1.57264.1, to be followed by one octet.
const FULCIO: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1];

/// Checks the DER of a leaf against each rule of the profile.
pub fn leaf(der: &[u8], expected: &Expected<'_>) -> Rule {
    let mut outside = Reader(der);
    let mut certificate = Reader(outside.take(SEQUENCE, "a certificate is a sequence")?);
    outside.end("nothing follows the certificate")?;
    let mut body = Reader(certificate.take(SEQUENCE, "it begins with its body")?);
    let algorithm = certificate.take(SEQUENCE, "its algorithm follows")?;
    let signature = certificate.take(BIT_STRING, "its signature comes last")?;
    certificate.end("nothing follows the signature")?;
    rule(
        signature.len() > 1 && signature.first() == Some(&0),
        "the signature is whole octets",
    )?;
    rule(
        algorithm == algorithm_of(expected.issuer.public_key()),
        "the algorithm is that of the issuer's key",
    )?;
    check_body(&mut body, algorithm, expected)
}

fn check_body(body: &mut Reader<'_>, algorithm: &[u8], expected: &Expected<'_>) -> Rule {
    let version = body.take(CONTEXT_0, "the body begins with its version")?;
    rule(version == [INTEGER, 1, 2], "version 3")?;
    let serial = body.take(INTEGER, "a serial number")?;
    rule(
        (8..=20).contains(&serial.len()),
        "the serial number has 8 to 20 octets",
    )?;
    let positive = match serial {
        [0, second, ..] => *second >= 0x80,
        [first, ..] => *first < 0x80,
        [] => false,
    };
    rule(positive, "the serial number is positive and minimal")?;
    let named = body.take(SEQUENCE, "the algorithm again")?;
    rule(named == algorithm, "both algorithms are the same")?;
    let issuer = body.whole(SEQUENCE, "the issuer's name")?;
    rule(
        issuer == expected.issuer.subject_der(),
        "the issuer's name is the subject of its certificate",
    )?;
    check_validity(body.take(SEQUENCE, "the validity")?, expected)?;
    let subject = body.take(SEQUENCE, "the subject")?;
    rule(subject.is_empty(), "the subject is empty")?;
    let key = body.whole(SEQUENCE, "the key")?;
    rule(
        key == expected.key.spki_der(),
        "the key is the one whose possession was proven",
    )?;
    let mut extensions = Reader(body.take(CONTEXT_3, "extensions follow the key")?);
    body.end("nothing follows the extensions")?;
    let list = extensions.take(SEQUENCE, "extensions are a sequence")?;
    extensions.end("one sequence of extensions")?;
    check_extensions(&mut Reader(list), key, expected)
}

fn check_validity(validity: &[u8], expected: &Expected<'_>) -> Rule {
    let mut validity = Reader(validity);
    let from = validity.time("notBefore")?;
    let to = validity.time("notAfter")?;
    validity.end("two times")?;
    let lasts = to.duration_since(from);
    rule(from < to, "it begins before it ends")?;
    rule(
        lasts <= expected.longest,
        "it is valid no longer than the settings say",
    )?;
    rule(
        expected.issuer.not_before() <= from && to <= expected.issuer.not_after(),
        "it is valid only while its issuer is",
    )
}

fn check_extensions(list: &mut Reader<'_>, key: &[u8], expected: &Expected<'_>) -> Rule {
    let usage = list.extension(KEY_USAGE, true, "keyUsage comes first, critical")?;
    rule(
        usage == [BIT_STRING, 2, 7, 0x80],
        "keyUsage is digitalSignature alone",
    )?;
    let purposes = list.extension(EXTENDED_KEY_USAGE, false, "extKeyUsage comes second")?;
    let mut purposes = Reader(purposes);
    let mut purpose = Reader(purposes.take(SEQUENCE, "extKeyUsage is a sequence")?);
    purposes.end("nothing follows the purposes")?;
    rule(
        purpose.take(OID, "extKeyUsage names a purpose")? == CODE_SIGNING,
        "the purpose is codeSigning",
    )?;
    purpose.end("one purpose alone")?;
    let mut id = Reader(list.extension(SUBJECT_KEY_ID, false, "subjectKeyIdentifier is third")?);
    let id = id.take(OCTET_STRING, "subjectKeyIdentifier is octets")?;
    rule(
        id == key_identifier(key)?,
        "subjectKeyIdentifier is SHA-1 of the key",
    )?;
    let mut id =
        Reader(list.extension(AUTHORITY_KEY_ID, false, "authorityKeyIdentifier is fourth")?);
    let mut id = Reader(id.take(SEQUENCE, "authorityKeyIdentifier is a sequence")?);
    let authority = id.take(
        KEY_IDENTIFIER,
        "authorityKeyIdentifier has a key identifier",
    )?;
    id.end("authorityKeyIdentifier has nothing else")?;
    let issuers = match expected.issuer.subject_key_id() {
        Some(named) => named,
        None => key_identifier(expected.issuer.public_key().spki_der())?,
    };
    rule(
        authority == issuers,
        "authorityKeyIdentifier is that of the issuer",
    )?;
    let names = list.extension(SUBJECT_ALT_NAME, true, "subjectAltName is fifth, critical")?;
    check_name(names, expected.subject)?;
    check_claims(list, expected)
}

/// RFC 5280 4.2.1.6; Fulcio's certificates have exactly one name.
fn check_name(names: &[u8], subject: &SubjectName) -> Rule {
    let mut outer = Reader(names);
    let mut names = Reader(outer.take(SEQUENCE, "subjectAltName is a sequence")?);
    outer.end("nothing follows the names")?;
    let visible = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    let found = match subject {
        SubjectName::Email(_) => {
            let name = names.take(EMAIL, "the name is a mail address")?;
            rule(
                visible(name) && name.split(|byte| *byte == b'@').count() == 2,
                "a mail address is visible ASCII with one @",
            )?;
            name
        }
        SubjectName::Uri(_) => {
            let name = names.take(URI, "the name is a URI")?;
            rule(visible(name), "a URI is visible ASCII")?;
            name
        }
        SubjectName::UserName(_) => {
            let mut other = Reader(names.take(CONTEXT_0, "the name is an otherName")?);
            let kind = other.take(OID, "an otherName has a type")?;
            rule(
                kind.split_last() == Some((&7, FULCIO)),
                "the type is that of Fulcio's user names",
            )?;
            let mut value = Reader(other.take(CONTEXT_0, "an otherName has a value")?);
            other.end("an otherName has nothing else")?;
            let name = value.take(UTF8, "a user name is UTF-8")?;
            value.end("one user name")?;
            rule(
                name.contains(&b'!') && std::str::from_utf8(name).is_ok(),
                "a user name is name!domain",
            )?;
            name
        }
        SubjectName::Dns(_) | SubjectName::Other(_) => {
            return rule(false, "the name is of a kind that is issued");
        }
    };
    names.end("one name alone")?;
    rule(
        found == subject.value().as_bytes(),
        "the name is the identity's",
    )
}

fn check_claims(list: &mut Reader<'_>, expected: &Expected<'_>) -> Rule {
    let mut claims = Vec::new();
    let mut found = Transparency::None;
    let mut last = 0;
    while !list.0.is_empty() {
        rule(
            found == Transparency::None,
            "the extension of CT comes last, and is one",
        )?;
        let (id, critical, value) = list.any_extension()?;
        if id == POISON {
            rule(
                critical && value == [NULL, 0],
                "the poison is critical and NULL",
            )?;
            found = Transparency::Poison;
            continue;
        }
        rule(!critical, "no other extension is critical")?;
        if id == SCT_LIST {
            check_scts(value)?;
            found = Transparency::Embedded;
            continue;
        }
        let number = match id.split_last() {
            Some((number, FULCIO)) => *number,
            _ => return rule(false, "no extension but those of the profile"),
        };
        rule(
            matches!(number, 1..=6 | 8..=24),
            "extensions of Fulcio are .1 to .6 and .8 to .24",
        )?;
        rule(
            number > last,
            "extensions of Fulcio are in order, each once",
        )?;
        last = number;
        let text = if number <= 6 {
            value
        } else {
            let mut value = Reader(value);
            let text = value.take(UTF8, "extensions from .8 on are UTF8String")?;
            value.end("one UTF8String")?;
            text
        };
        let text = std::str::from_utf8(text).map_err(|_| LintError {
            rule: "values are UTF-8",
        })?;
        rule(
            (1..=MAX_VALUE).contains(&text.len()),
            "values are neither empty nor too long",
        )?;
        claims.push((u32::from(number), text));
    }
    let issuer = |wanted| claims.iter().find(|claim| claim.0 == wanted);
    rule(
        issuer(1).is_some() && issuer(1).map(|claim| claim.1) == issuer(8).map(|claim| claim.1),
        "the issuer is there in both its extensions",
    )?;
    let wanted = expected.extensions.iter();
    let wanted = wanted.map(|(field, value)| (field.number(), value));
    rule(
        wanted.eq(claims.iter().copied()),
        "the extensions are what the token said",
    )?;
    rule(
        found == expected.transparency,
        "it has the extension of CT that it has to have",
    )
}

/// RFC 6962 3.3: an OCTET STRING with a list that has a length, of SCTs that have one each.
fn check_scts(value: &[u8]) -> Rule {
    let mut value = Reader(value);
    let list = value.take(OCTET_STRING, "the SCT list is octets")?;
    value.end("one SCT list")?;
    let broken = || LintError {
        rule: "the SCT list is as long as it says, and not empty",
    };
    let vector = |bytes: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (inside, after) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        (!inside.is_empty()).then(|| (inside.to_vec(), after.to_vec()))
    };
    let (mut scts, after) = vector(list).ok_or_else(broken)?;
    rule(after.is_empty(), "nothing follows the SCTs")?;
    while !scts.is_empty() {
        (_, scts) = vector(&scts).ok_or_else(broken)?;
    }
    Ok(())
}

fn rule(holds: bool, rule: &'static str) -> Rule {
    if holds {
        Ok(())
    } else {
        Err(LintError { rule })
    }
}

/// The contents of an AlgorithmIdentifier (RFC 5758, RFC 8410, RFC 4055).
const fn algorithm_of(key: &PublicKey) -> &'static [u8] {
    match key.key_type() {
        KeyType::EcdsaP256 => &[OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        KeyType::EcdsaP384 => &[OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
        KeyType::EcdsaP521 => &[OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
        KeyType::Ed25519 => &[OID, 3, 0x2b, 0x65, 0x70],
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            &[OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 5, 0]
        }
    }
}

/// RFC 5280 4.2.1.2 method 1, from the SubjectPublicKeyInfo itself.
fn key_identifier(spki: &[u8]) -> Result<Vec<u8>, LintError> {
    let mut info = Reader(spki);
    let mut info = Reader(info.take(SEQUENCE, "a key is a sequence")?);
    info.take(SEQUENCE, "a key has an algorithm")?;
    let bits = info.take(BIT_STRING, "a key is a bit string")?;
    match bits.split_first() {
        Some((0, key)) => Ok(Sha1::digest(key).to_vec()),
        _ => Err(LintError {
            rule: "a key is whole octets",
        }),
    }
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The contents of the next value, which must have this tag.
    fn take(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], LintError> {
        self.next(tag)
            .map(|(_, contents)| contents)
            .ok_or(LintError { rule: what })
    }

    /// The next value with its tag and length.
    fn whole(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], LintError> {
        self.next(tag)
            .map(|(whole, _)| whole)
            .ok_or(LintError { rule: what })
    }

    /// X.690 10.1: the length in as few octets as it needs.
    fn next(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let bytes = self.0;
        let (length, header) = match bytes {
            [found, short, ..] if *found == tag && *short < 0x80 => (usize::from(*short), 2),
            [found, 0x81, one, ..] if *found == tag && *one >= 0x80 => (usize::from(*one), 3),
            [found, 0x82, high, low, ..] if *found == tag && *high > 0 => {
                (usize::from(u16::from_be_bytes([*high, *low])), 4)
            }
            _ => return None,
        };
        let (whole, rest) = bytes.split_at_checked(length.checked_add(header)?)?;
        self.0 = rest;
        Some((whole, whole.split_at_checked(header)?.1))
    }

    fn end(&self, what: &'static str) -> Rule {
        rule(self.0.is_empty(), what)
    }

    /// An extension that must come now.
    fn extension(
        &mut self,
        wanted: &[u8],
        critical: bool,
        what: &'static str,
    ) -> Result<&'a [u8], LintError> {
        let (id, found, value) = self.any_extension()?;
        rule(id == wanted && found == critical, what)?;
        Ok(value)
    }

    /// Identifier, critical, value. FALSE is the default and so is not written (X.690 11.5).
    fn any_extension(&mut self) -> Result<(&'a [u8], bool, &'a [u8]), LintError> {
        let mut extension = Reader(self.take(SEQUENCE, "an extension is a sequence")?);
        let id = extension.take(OID, "an extension has an identifier")?;
        let critical = match extension.0.first() {
            Some(&BOOLEAN) => {
                rule(
                    extension.take(BOOLEAN, "critical is a boolean")? == [0xff],
                    "critical is written only where it is true",
                )?;
                true
            }
            _ => false,
        };
        let value = extension.take(OCTET_STRING, "an extension has a value")?;
        extension.end("an extension has nothing else")?;
        Ok((id, critical, value))
    }

    /// RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050, both to the second and in UTC.
    fn time(&mut self, what: &'static str) -> Result<Timestamp, LintError> {
        let general = self.0.first() == Some(&GENERALIZED_TIME);
        let text = if general {
            self.take(GENERALIZED_TIME, what)?
        } else {
            self.take(UTC_TIME, what)?
        };
        let moment = || {
            let digits = std::str::from_utf8(text.strip_suffix(b"Z")?).ok()?;
            let (year, rest) = digits.split_at_checked(if general { 4 } else { 2 })?;
            if rest.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let year = match (general, year.parse().ok()?) {
                (true, year @ 2050..) => year,
                (false, year @ 0..50) => 2000_i16.checked_add(year)?,
                _ => return None,
            };
            let part = |at: usize| rest.get(at..at.checked_add(2)?)?.parse().ok();
            let date = Date::new(year, part(0)?, part(2)?).ok()?;
            let time = Time::new(part(4)?, part(6)?, part(8)?, 0).ok()?;
            let zoned = DateTime::from_parts(date, time).to_zoned(TimeZone::UTC);
            zoned.ok().map(|zoned| zoned.timestamp())
        };
        moment().ok_or(LintError {
            rule: "times are as RFC 5280 has them",
        })
    }
}
