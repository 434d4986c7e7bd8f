//! subjectAltName: who a certificate is about.

use std::fmt;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, Ia5String, Utf8StringRef};
use der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use crate::oid;

/// The most names that are read; Fulcio's certificates have one.
const MAX_NAMES: usize = 32;

/// One alternative name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectName {
    /// rfc822Name: a mail address.
    Email(String),
    /// uniformResourceIdentifier: a workflow, a SPIFFE id, a service account.
    Uri(String),
    /// otherName 1.3.6.1.4.1.57264.1.7 with a UTF8String: a user name, `name!domain`.
    UserName(String),
    /// dNSName.
    Dns(String),
    /// A name of a kind that no Sigstore identity has.
    Other(String),
}

impl SubjectName {
    /// The name without its kind, as identities are compared.
    pub fn value(&self) -> &str {
        match self {
            Self::Email(value)
            | Self::Uri(value)
            | Self::UserName(value)
            | Self::Dns(value)
            | Self::Other(value) => value,
        }
    }

    /// The extension's value with this one name; an error when the text does not fit the kind (IA5 is ASCII).
    pub fn to_extension_der(&self) -> Result<Vec<u8>, der::Error> {
        let name = match self {
            Self::Email(value) => GeneralName::Rfc822Name(Ia5String::new(value)?),
            Self::Uri(value) => GeneralName::UniformResourceIdentifier(Ia5String::new(value)?),
            Self::Dns(value) => GeneralName::DnsName(Ia5String::new(value)?),
            Self::UserName(value) => GeneralName::OtherName(OtherName {
                type_id: oid::FULCIO_USER_NAME,
                value: Any::encode_from(&Utf8StringRef::new(value)?)?,
            }),
            Self::Other(_) => return Err(der::ErrorKind::Failed.into()),
        };
        SubjectAltName(vec![name]).to_der()
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.value())
    }
}

pub(crate) fn parse(extension: &[u8]) -> Result<Vec<SubjectName>, der::Error> {
    let names = SubjectAltName::from_der(extension)?.0;
    if names.len() > MAX_NAMES {
        return Err(der::ErrorKind::Failed.into());
    }
    Ok(names.into_iter().map(from_general).collect())
}

fn from_general(name: GeneralName) -> SubjectName {
    match name {
        GeneralName::Rfc822Name(value) => SubjectName::Email(value.to_string()),
        GeneralName::UniformResourceIdentifier(value) => SubjectName::Uri(value.to_string()),
        GeneralName::DnsName(value) => SubjectName::Dns(value.to_string()),
        GeneralName::OtherName(other) => {
            user_name(&other).map_or_else(|| unknown(other.type_id), SubjectName::UserName)
        }
        GeneralName::DirectoryName(name) => SubjectName::Other(name.to_string()),
        GeneralName::EdiPartyName(_) => SubjectName::Other("ediPartyName".into()),
        GeneralName::IpAddress(bytes) => {
            SubjectName::Other(format!("iPAddress {:02x?}", bytes.as_bytes()))
        }
        GeneralName::RegisteredId(id) => SubjectName::Other(id.to_string()),
    }
}

fn user_name(other: &OtherName) -> Option<String> {
    if other.type_id != oid::FULCIO_USER_NAME {
        return None;
    }
    Some(
        other
            .value
            .decode_as::<Utf8StringRef<'_>>()
            .ok()?
            .as_str()
            .to_owned(),
    )
}

fn unknown(id: ObjectIdentifier) -> SubjectName {
    SubjectName::Other(format!("otherName {id}"))
}
