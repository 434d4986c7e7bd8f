//! The JSON shape: members and their types, no judgement. Member names are read in lowerCamelCase only, which is what people write.

#![expect(
    clippy::struct_field_names,
    reason = "the fields are named as the members are"
)]

use jiff::Timestamp;
use serde::Deserialize;
use wire::common::PublicKey;
use wire::encoding::{Bytes, EnumValue};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Options {
    /// For people; JSON has no comments.
    #[serde(default, rename = "$comment")]
    pub(crate) _comment: Option<String>,
    #[serde(default, rename = "$schema")]
    pub(crate) _schema: Option<String>,
    #[serde(default)]
    pub(crate) certificate_identities: Option<CertificateIdentities>,
    #[serde(default)]
    pub(crate) public_keys: Option<PublicKeys>,
    #[serde(default)]
    pub(crate) tlog_options: Option<TlogOptions>,
    #[serde(default)]
    pub(crate) ctlog_options: Option<Threshold>,
    #[serde(default)]
    pub(crate) tsa_options: Option<Threshold>,
    #[serde(default)]
    pub(crate) integrated_ts_options: Option<Threshold>,
    #[serde(default)]
    pub(crate) observer_options: Option<Threshold>,
    #[serde(default)]
    pub(crate) requirements: Option<Requirements>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CertificateIdentities {
    pub(crate) identities: Vec<CertificateIdentity>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CertificateIdentity {
    #[serde(default, rename = "$comment")]
    pub(crate) _comment: Option<String>,
    pub(crate) issuer: String,
    pub(crate) san: SubjectAlternativeName,
    #[serde(default)]
    pub(crate) oids: Option<Vec<OidValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SubjectAlternativeName {
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<EnumValue>,
    #[serde(default)]
    pub(crate) value: Option<String>,
    #[serde(default)]
    pub(crate) regexp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OidValue {
    pub(crate) oid: Oid,
    pub(crate) value: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Oid {
    pub(crate) id: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PublicKeys {
    pub(crate) public_keys: Vec<PublicKey>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TlogOptions {
    #[serde(default)]
    pub(crate) threshold: Option<i64>,
    #[serde(default)]
    pub(crate) perform_online_verification: Option<bool>,
    #[serde(default)]
    pub(crate) disable: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Threshold {
    #[serde(default)]
    pub(crate) threshold: Option<i64>,
    #[serde(default)]
    pub(crate) disable: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Requirements {
    #[serde(default, rename = "$comment")]
    pub(crate) _comment: Option<String>,
    #[serde(default)]
    pub(crate) signers: Option<i64>,
    #[serde(default)]
    pub(crate) predicate_types: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) builders: Option<Vec<OneOf>>,
    #[serde(default)]
    pub(crate) source_repositories: Option<Vec<OneOf>>,
    #[serde(default)]
    pub(crate) not_before: Option<Timestamp>,
    #[serde(default)]
    pub(crate) not_after: Option<Timestamp>,
    /// Lines of a C2SP tlog-policy.
    #[serde(default)]
    pub(crate) witnesses: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OneOf {
    #[serde(default)]
    pub(crate) value: Option<String>,
    #[serde(default)]
    pub(crate) regexp: Option<String>,
}
