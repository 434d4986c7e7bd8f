//! From bytes to a policy that can be met and that asks for something.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;
use jiff::Timestamp;
use keys::{Algorithm, PublicKey};
use pki::SubjectName;
use thiserror::Error;
use trust::Validity;
use verify::{Expect, Identities, IdentityPolicy, Matcher};
use wire::encoding::EnumValue;

use crate::judge::{Who, workflow};
use crate::shape;

/// The largest policy file.
pub const MAX_POLICY: usize = 1 << 20;
/// The longest list in one.
const MAX_LIST: usize = 256;

/// A policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) people: Vec<Person>,
    pub(crate) keys: Vec<KeyHolder>,
    /// None: signatures by a key need be in no log.
    pub(crate) logs: Option<usize>,
    pub(crate) ct_logs: usize,
    pub(crate) timestamps: usize,
    pub(crate) promises: usize,
    pub(crate) observers: usize,
    pub(crate) signers: usize,
    pub(crate) predicate_types: Vec<String>,
    pub(crate) builders: Vec<Matcher>,
    pub(crate) sources: Vec<Matcher>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) witnesses: Option<witness::Policy>,
}

/// Somebody whom an identity provider vouches for.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) identity: IdentityPolicy,
    pub(crate) kind: Option<Kind>,
    pub(crate) oids: Vec<(ObjectIdentifier, Vec<u8>)>,
}

/// `SubjectAlternativeNameType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Email,
    Uri,
    OtherName,
}

/// Somebody with a key of his own.
#[derive(Debug, Clone)]
pub(crate) struct KeyHolder {
    pub(crate) key: PublicKey,
    pub(crate) validity: Option<Validity>,
}

/// Why a file is no policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// More than [`MAX_POLICY`] bytes.
    #[error("the policy has {0} bytes, more than {MAX_POLICY}")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("not a policy: {0}")]
    Wire(#[from] wire::WireError),
    /// Nobody is named.
    #[error(
        "the policy names nobody who must have signed: certificateIdentities or publicKeys is needed"
    )]
    Nobody,
    /// A list with nothing in it, or with more than anybody has.
    #[error("{member} has {found} items, expected 1 to {MAX_LIST}")]
    List {
        /// Which.
        member: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A number that is none of signers or witnesses.
    #[error("{member} is {found}, expected 1 to {MAX_LIST}")]
    Threshold {
        /// Which.
        member: &'static str,
        /// The number.
        found: i64,
    },
    /// More signers than there are.
    #[error("requirements.signers is {needed}, and only {named} signer(s) are named")]
    TooManySigners {
        /// How many are needed.
        needed: usize,
        /// How many there can be.
        named: usize,
    },
    /// Something that is asked for and not done here.
    #[error("{member}: {why}")]
    Refused {
        /// Which member.
        member: &'static str,
        /// Why it is not done.
        why: &'static str,
    },
    /// A member whose value cannot be used.
    #[error("{member}: {why}")]
    Value {
        /// Which member.
        member: String,
        /// What is wrong.
        why: String,
    },
}

impl Policy {
    /// Reads a policy.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError::TooLong(bytes.len()));
        }
        Self::from_shape(wire::parse(bytes)?)
    }

    fn from_shape(options: shape::Options) -> Result<Self, PolicyError> {
        let people = match options.certificate_identities {
            Some(list) => all("certificateIdentities.identities", list.identities, person)?,
            None => Vec::new(),
        };
        let keys = match options.public_keys {
            Some(list) => all("publicKeys.publicKeys", list.public_keys, |key| {
                key_holder(&key)
            })?,
            None => Vec::new(),
        };
        if people.is_empty() && keys.is_empty() {
            return Err(PolicyError::Nobody);
        }
        let logs = logs(options.tlog_options, people.is_empty())?;
        let ct_logs = threshold("ctlogOptions", options.ctlog_options)?;
        if ct_logs.is_some() && people.is_empty() {
            return Err(PolicyError::Refused {
                member: "ctlogOptions",
                why: "a key has no certificate that a CT log could have seen",
            });
        }
        let mut policy = Self {
            people,
            keys,
            logs,
            ct_logs: ct_logs.unwrap_or(1),
            timestamps: threshold("tsaOptions", options.tsa_options)?.unwrap_or(0),
            promises: threshold("integratedTsOptions", options.integrated_ts_options)?.unwrap_or(0),
            observers: threshold("observerOptions", options.observer_options)?.unwrap_or(0),
            signers: 1,
            predicate_types: Vec::new(),
            builders: Vec::new(),
            sources: Vec::new(),
            not_before: None,
            not_after: None,
            witnesses: None,
        };
        if let Some(requirements) = options.requirements {
            policy.require(requirements)?;
        }
        Ok(policy)
    }

    fn require(&mut self, requirements: shape::Requirements) -> Result<(), PolicyError> {
        if let Some(signers) = requirements.signers {
            self.signers = positive("requirements.signers", signers)?;
        }
        self.check_enough()?;
        if let Some(types) = requirements.predicate_types {
            self.predicate_types = all("requirements.predicateTypes", types, |kind| {
                if kind.is_empty() {
                    return Err("a predicate type is empty".to_owned());
                }
                Ok(kind)
            })?;
        }
        if let Some(builders) = requirements.builders {
            self.builders = all("requirements.builders", builders, one_of)?;
        }
        if let Some(sources) = requirements.source_repositories {
            self.sources = all("requirements.sourceRepositories", sources, one_of)?;
        }
        self.not_before = requirements.not_before;
        self.not_after = requirements.not_after;
        if let (Some(from), Some(to)) = (self.not_before, self.not_after)
            && to < from
        {
            return Err(PolicyError::Value {
                member: "requirements.notAfter".into(),
                why: format!("{to} is before notBefore, {from}"),
            });
        }
        if let Some(lines) = requirements.witnesses {
            self.witnesses = Some(quorum(&lines)?);
            if self.logs.is_none() {
                return Err(PolicyError::Refused {
                    member: "requirements.witnesses",
                    why: "witnesses cosign what is in a log, and tlogOptions asks for none",
                });
            }
        }
        Ok(())
    }

    /// A policy that nobody can meet is a mistake that should be seen today, and not when something is to be verified.
    fn check_enough(&self) -> Result<(), PolicyError> {
        let mut named: BTreeSet<Who> = BTreeSet::new();
        for person in &self.people {
            let (Matcher::Exact(subject), Matcher::Exact(issuer)) =
                (&person.identity.subject, &person.identity.issuer)
            else {
                return Ok(());
            };
            let subject = match person.kind {
                None | Some(Kind::Uri) if subject.contains("://") => workflow(subject),
                _ => subject.as_str(),
            };
            named.insert(Who::Identity {
                issuer: issuer.clone(),
                subject: subject.to_owned(),
            });
        }
        let keys = self.keys.iter();
        named.extend(keys.map(|holder| Who::Key(hex::encode(holder.key.key_id()))));
        if self.signers > named.len() {
            return Err(PolicyError::TooManySigners {
                needed: self.signers,
                named: named.len(),
            });
        }
        Ok(())
    }

    /// Whom a verifier expects, one after the other: any of the identities, or one of the keys. A bundle that none of them accepts cannot
    /// count.
    pub fn expectations(&self) -> Vec<Expect> {
        let people = self.people.iter().map(|person| person.identity.clone());
        let people = Identities::new(people.collect()).map(Expect::AnyOf);
        let keys = self.keys.iter().map(|holder| {
            if self.logs.is_some() {
                Expect::Key(holder.key.clone())
            } else {
                Expect::UnloggedKey(holder.key.clone())
            }
        });
        people.into_iter().chain(keys).collect()
    }

    /// The predicate types of which there must be statements.
    pub fn predicate_types(&self) -> &[String] {
        &self.predicate_types
    }
}

fn all<T, U>(
    member: &'static str,
    items: Vec<T>,
    read: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, PolicyError> {
    if items.is_empty() || items.len() > MAX_LIST {
        return Err(PolicyError::List {
            member,
            found: items.len(),
        });
    }
    items
        .into_iter()
        .enumerate()
        .map(|(place, item)| {
            read(item).map_err(|why| PolicyError::Value {
                member: format!("{member}[{place}]"),
                why,
            })
        })
        .collect()
}

fn person(shape: shape::CertificateIdentity) -> Result<Person, String> {
    if shape.issuer.is_empty() {
        return Err("the issuer is empty: anybody may be called that at another provider".into());
    }
    let kind = match shape.san.kind {
        None | Some(EnumValue::Number(0)) => None,
        Some(EnumValue::Number(1)) => Some(Kind::Email),
        Some(EnumValue::Number(2)) => Some(Kind::Uri),
        Some(EnumValue::Number(3)) => Some(Kind::OtherName),
        Some(EnumValue::Number(other)) => return Err(format!("san.type {other} is not known")),
        Some(EnumValue::Name(name)) => match name.as_str() {
            "SUBJECT_ALTERNATIVE_NAME_TYPE_UNSPECIFIED" => None,
            "EMAIL" => Some(Kind::Email),
            "URI" => Some(Kind::Uri),
            "OTHER_NAME" => Some(Kind::OtherName),
            _ => return Err(format!("san.type {name:?} is not known")),
        },
    };
    let subject =
        matcher(shape.san.value, shape.san.regexp).map_err(|why| format!("san: {why}"))?;
    let oids = match shape.oids {
        None => Vec::new(),
        Some(list) if list.is_empty() || list.len() > MAX_LIST => {
            return Err(format!(
                "oids has {} items, expected 1 to {MAX_LIST}",
                list.len()
            ));
        }
        Some(list) => list.into_iter().map(oid).collect::<Result<_, _>>()?,
    };
    Ok(Person {
        identity: IdentityPolicy {
            subject,
            issuer: Matcher::Exact(shape.issuer),
            extensions: Vec::new(),
        },
        kind,
        oids,
    })
}

fn oid(pair: shape::OidValue) -> Result<(ObjectIdentifier, Vec<u8>), String> {
    let text: Vec<String> = pair.oid.id.iter().map(ToString::to_string).collect();
    let text = text.join(".");
    let oid = ObjectIdentifier::new(&text)
        .map_err(|_| format!("oid {text:?} is no object identifier"))?;
    if pair.value.0.is_empty() {
        return Err(format!("the value of oid {text} is empty"));
    }
    Ok((oid, pair.value.0))
}

fn one_of(shape: shape::OneOf) -> Result<Matcher, String> {
    matcher(shape.value, shape.regexp)
}

fn matcher(value: Option<String>, regexp: Option<String>) -> Result<Matcher, String> {
    match (value, regexp) {
        (Some(value), None) if !value.is_empty() => Ok(Matcher::Exact(value)),
        (None, Some(regexp)) if !regexp.is_empty() => {
            Matcher::pattern(&regexp).map_err(|error| error.to_string())
        }
        _ => Err("exactly one of value and regexp must be there, and not empty".into()),
    }
}

fn key_holder(shape: &wire::common::PublicKey) -> Result<KeyHolder, String> {
    let key = PublicKey::from_spki_der(&shape.raw_bytes.0).map_err(|error| error.to_string())?;
    let algorithm = match &shape.key_details {
        // Unspecified: the key says what it is.
        EnumValue::Number(0) => None,
        EnumValue::Name(name) if name == "PUBLIC_KEY_DETAILS_UNSPECIFIED" => None,
        EnumValue::Number(number) => Some(Algorithm::from_wire_number(*number)),
        EnumValue::Name(name) => Some(Algorithm::from_wire_name(name)),
    };
    if let Some(algorithm) = algorithm
        && algorithm.map(Algorithm::key_type) != Some(key.key_type())
    {
        return Err(format!(
            "keyDetails {} does not fit the key, which is for {}",
            shape.key_details,
            key.default_algorithm().wire_name()
        ));
    }
    let validity = shape
        .valid_for
        .map(|range| {
            let start = range.start.ok_or("validFor has no start")?;
            if range.end.is_some_and(|end| end < start) {
                return Err("validFor ends before it starts");
            }
            Ok(Validity {
                start,
                end: range.end,
            })
        })
        .transpose()?;
    Ok(KeyHolder { key, validity })
}

fn logs(
    options: Option<shape::TlogOptions>,
    keys_only: bool,
) -> Result<Option<usize>, PolicyError> {
    let member = "tlogOptions";
    let Some(options) = options else {
        return Ok(Some(1));
    };
    if options.perform_online_verification == Some(true) {
        return Err(PolicyError::Refused {
            member: "tlogOptions.performOnlineVerification",
            why: "the proof in the bundle is checked, and no log is asked",
        });
    }
    if options.disable == Some(true) {
        if !keys_only {
            return Err(PolicyError::Refused {
                member: "tlogOptions.disable",
                why: "a short-lived certificate proves nothing without a log",
            });
        }
        if options.threshold.is_some() {
            return Err(PolicyError::Refused {
                member,
                why: "a threshold and disable exclude one another",
            });
        }
        return Ok(None);
    }
    match options.threshold {
        Some(count) => Ok(Some(positive("tlogOptions.threshold", count)?)),
        None => Err(PolicyError::Refused {
            member,
            why: "it says nothing: state a threshold, or leave it out",
        }),
    }
}

fn threshold(
    member: &'static str,
    options: Option<shape::Threshold>,
) -> Result<Option<usize>, PolicyError> {
    let Some(options) = options else {
        return Ok(None);
    };
    match (options.threshold, options.disable) {
        (Some(count), None | Some(false)) => Ok(Some(positive(member, count)?)),
        (None, Some(true)) if member == "ctlogOptions" => Err(PolicyError::Refused {
            member: "ctlogOptions.disable",
            why: "a certificate that no CT log has seen may be one that its owner never asked for",
        }),
        (None, Some(true)) => Ok(None),
        (Some(_), Some(true)) => Err(PolicyError::Refused {
            member,
            why: "a threshold and disable exclude one another",
        }),
        (None, None | Some(false)) => Err(PolicyError::Refused {
            member,
            why: "it says nothing: state a threshold, or leave it out",
        }),
    }
}

fn positive(member: &'static str, found: i64) -> Result<usize, PolicyError> {
    usize::try_from(found)
        .ok()
        .filter(|count| (1..=MAX_LIST).contains(count))
        .ok_or(PolicyError::Threshold { member, found })
}

fn quorum(lines: &[String]) -> Result<witness::Policy, PolicyError> {
    let wrong = |why: String| PolicyError::Value {
        member: "requirements.witnesses".into(),
        why,
    };
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let policy = witness::Policy::parse(text.as_bytes()).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        wrong(match cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    })?;
    if !policy.asks() {
        return Err(wrong(
            "its quorum is none: leave it out, or say which witnesses are enough".into(),
        ));
    }
    Ok(policy)
}

impl Kind {
    pub(crate) const fn fits(self, name: &SubjectName) -> bool {
        matches!(
            (self, name),
            (Self::Email, SubjectName::Email(_))
                | (Self::Uri, SubjectName::Uri(_))
                | (Self::OtherName, SubjectName::UserName(_))
        )
    }
}
