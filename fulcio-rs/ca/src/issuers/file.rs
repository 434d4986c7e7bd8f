//! The file of identity providers: upstream's `config.yaml` or `config.json`, key by key, and what we add to it.
//!
//! Read as JSON, and if it is none as YAML, as upstream does. Keys that nobody knows are passed over, since upstream's own file has a list
//! that only holds anchors; but those within an issuer or a provider are told as warnings, for a misspelt key is a rule that does not hold.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use pki::Field;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// The largest file of providers that is read; upstream's has 20 kB.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// The file. A name that stands twice is an error: one of the two would count for nothing.
#[derive(Deserialize)]
pub(super) struct RawFile {
    #[serde(default, rename = "oidc-issuers", alias = "OIDCIssuers")]
    pub(super) issuers: Unique<RawIssuer>,
    #[serde(default, rename = "meta-issuers", alias = "MetaIssuers")]
    pub(super) meta_issuers: Unique<RawIssuer>,
    #[serde(default, rename = "ci-issuer-metadata", alias = "CIIssuerMetadata")]
    pub(super) providers: Unique<RawProvider>,
}

/// An issuer of either kind.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawIssuer {
    #[serde(rename = "issuer-url", alias = "IssuerURL")]
    pub(super) url: Option<String>,
    #[serde(rename = "client-id", alias = "ClientID")]
    pub(super) audience: Option<String>,
    #[serde(rename = "type", alias = "Type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "ci-provider", alias = "CIProvider")]
    pub(super) ci_provider: Option<String>,
    #[serde(rename = "issuer-claim", alias = "IssuerClaim")]
    pub(super) issuer_claim: Option<String>,
    #[serde(rename = "subject-domain", alias = "SubjectDomain")]
    pub(super) subject_domain: Option<String>,
    #[serde(rename = "spiffe-trust-domain", alias = "SPIFFETrustDomain")]
    pub(super) spiffe_trust_domain: Option<String>,
    #[serde(rename = "challenge-claim", alias = "ChallengeClaim")]
    pub(super) challenge_claim: Option<String>,
    #[serde(rename = "ca-cert", alias = "CACert")]
    pub(super) ca_cert: Option<String>,
    #[serde(rename = "skip-email-verification", alias = "SkipEmailVerification")]
    pub(super) skip_email_verification: Option<bool>,
    /// Ours: what claims must be for a certificate to be issued.
    #[serde(rename = "allow-claims", alias = "AllowClaims")]
    pub(super) allow_claims: Option<Unique<Vec<String>>>,
    /// Ours: where the repositories of a self-hosted service are.
    #[serde(rename = "base-url", alias = "BaseURL")]
    pub(super) base_url: Option<String>,
}

impl RawIssuer {
    /// Everything but its name and authority, as one text: two issuers with the same say the same about a token.
    pub(super) fn rules(&self) -> String {
        let allowed = self.allow_claims.as_ref().map(|rules| &rules.0);
        format!(
            "{:?}",
            (
                (
                    &self.audience,
                    &self.kind,
                    &self.ci_provider,
                    &self.issuer_claim
                ),
                (&self.subject_domain, &self.challenge_claim, &self.base_url),
                (self.skip_email_verification.unwrap_or_default(), allowed),
            )
        )
    }
}

/// How tokens of a CI service become certificates.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawProvider {
    #[serde(rename = "default-template-values", alias = "DefaultTemplateValues")]
    pub(super) defaults: Unique<Option<String>>,
    #[serde(rename = "extension-templates", alias = "ExtensionTemplates")]
    pub(super) extensions: Unique<Option<String>>,
    #[serde(
        rename = "subject-alternative-name-template",
        alias = "SubjectAlternativeNameTemplate"
    )]
    pub(super) subject: Option<String>,
}

/// Keys of an issuer, in both spellings, with those that only tell people something.
const ISSUER_KEYS: [&str; 30] = [
    "issuer-url",
    "IssuerURL",
    "client-id",
    "ClientID",
    "type",
    "Type",
    "ci-provider",
    "CIProvider",
    "issuer-claim",
    "IssuerClaim",
    "subject-domain",
    "SubjectDomain",
    "spiffe-trust-domain",
    "SPIFFETrustDomain",
    "challenge-claim",
    "ChallengeClaim",
    "ca-cert",
    "CACert",
    "skip-email-verification",
    "SkipEmailVerification",
    "allow-claims",
    "AllowClaims",
    "base-url",
    "BaseURL",
    "description",
    "Description",
    "contact",
    "Contact",
    "environment",
    "Environment",
];
const PROVIDER_KEYS: [&str; 6] = [
    "default-template-values",
    "DefaultTemplateValues",
    "extension-templates",
    "ExtensionTemplates",
    "subject-alternative-name-template",
    "SubjectAlternativeNameTemplate",
];

/// The same file, for its keys alone.
#[derive(Deserialize)]
struct Keys {
    #[serde(default, rename = "oidc-issuers", alias = "OIDCIssuers")]
    issuers: Unique<Unique<IgnoredAny>>,
    #[serde(default, rename = "meta-issuers", alias = "MetaIssuers")]
    meta_issuers: Unique<Unique<IgnoredAny>>,
    #[serde(default, rename = "ci-issuer-metadata", alias = "CIIssuerMetadata")]
    providers: Unique<Unique<IgnoredAny>>,
}

/// Reads a file: what it says, and what in it says nothing.
pub(super) fn read(bytes: &[u8]) -> Result<(RawFile, Vec<String>), String> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    // A list would else do for the keys in our order.
    let _: Unique<IgnoredAny> = parse(bytes)?;
    let keys: Keys = parse(bytes)?;
    let file: RawFile = parse(bytes)?;
    let mut warnings = Vec::new();
    let places = [
        ("issuer", keys.issuers, &ISSUER_KEYS[..]),
        ("meta-issuer", keys.meta_issuers, &ISSUER_KEYS[..]),
        ("ci-issuer-metadata", keys.providers, &PROVIDER_KEYS[..]),
    ];
    for (what, entries, known) in places {
        for (name, entry) in entries.0 {
            for key in entry.0.into_keys() {
                if key == "<<" {
                    return Err(format!(
                        "{what} {name}: the merge key << is not read: write the keys out"
                    ));
                }
                if !known.contains(&key.as_str()) {
                    warnings.push(format!("{what} {name}: nobody reads the key {key:?}"));
                }
            }
        }
    }
    for (name, provider) in &file.providers.0 {
        for key in provider.extensions.0.keys() {
            if field(key).is_none() {
                warnings.push(format!(
                    "ci-issuer-metadata {name}: no extension is called {key:?}"
                ));
            }
        }
    }
    Ok((file, warnings))
}

/// The extension of a template's key, in the spelling of YAML or of JSON. Issuer and subject come from the token, whatever is written there.
pub(super) fn field(key: &str) -> Option<Field> {
    Field::all().find(|field| field.setting_name() == key || field.name().eq_ignore_ascii_case(key))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let json = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    // A YAML parser says strange things about JSON with a mistake in it.
    if bytes.trim_ascii_start().first() == Some(&b'{') && !json.is_syntax() {
        return Err(json.to_string());
    }
    yaml_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// An object none of whose members stands twice; null is none at all.
#[derive(Clone)]
pub(super) struct Unique<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Unique<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("names with values")
            }
            fn visit_unit<E>(self) -> Result<Unique<T>, E> {
                Ok(Unique::default())
            }
            fn visit_none<E>(self) -> Result<Unique<T>, E> {
                Ok(Unique::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique<T>, A::Error> {
                let mut found = BTreeMap::new();
                while let Some(name) = members.next_key::<String>()? {
                    if found.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name} stands there twice")));
                    }
                    let value = members.next_value()?;
                    found.insert(name, value);
                }
                Ok(Unique(found))
            }
        }
        deserializer.deserialize_any(Members(PhantomData))
    }
}
