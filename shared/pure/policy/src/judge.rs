//! From signatures that hold to a decision.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use note::Note;
use pki::{Certificate, Field, SubjectName};
use thiserror::Error;
use verify::{Identity, Matcher, Verified, Witness};

use crate::SIGNATURE;
use crate::parse::{Person, Policy};
use crate::provenance::{self, Provenance};

/// What kind of signature was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// One over the artifact itself: a signed message, or cosign's statement that says nothing but "signed".
    Signature,
    /// A statement with this predicate type.
    Attestation(&'a str),
    /// A statement, whatever it says.
    AnyAttestation,
    /// Whatever there is.
    Any,
}

impl Asked<'_> {
    /// Is this one of that kind?
    pub fn is(self, verified: &Verified) -> bool {
        let kind = verified
            .statement()
            .map(|statement| statement.predicate_type.as_str());
        match self {
            Self::Any => true,
            Self::AnyAttestation => kind.is_some(),
            Self::Signature => kind.is_none_or(|kind| kind == SIGNATURE),
            Self::Attestation(wanted) => kind == Some(wanted),
        }
    }
}

/// A signer, as signers are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Somebody whom a provider vouches for. A workflow is named without the git ref that it ran on.
    Identity {
        /// The provider.
        issuer: String,
        /// The subject.
        subject: String,
    },
    /// The holder of a key: SHA-256 of its SPKI, hex.
    Key(String),
}

impl fmt::Display for Who {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { issuer, subject } => write!(formatter, "{subject} of {issuer}"),
            Self::Key(id) => write!(formatter, "the key sha256:{id}"),
        }
    }
}

/// Why a signature that holds does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// Not one of the signers of the policy.
    #[error("{0} is not among the signers that the policy names")]
    Stranger(Who),
    /// Too few witnesses: those of one operator are one, and those whose operator nobody names are not known to be several.
    #[error("{found} {what} of distinct operators, {needed} needed{}", of_nobody(*.unnamed))]
    Threshold {
        /// Of what.
        what: &'static str,
        /// How many distinct operators there are at least.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// Those for which the trusted root names no operator.
        unnamed: usize,
    },
    /// A builder that is not allowed, or none.
    #[error("{}", stated("builder", .0))]
    Builder(Vec<String>),
    /// A source repository that is not allowed, or none.
    #[error("{}", stated("source repository", .0))]
    Source(Vec<String>),
    /// A provenance that is not one.
    #[error("{0}")]
    Provenance(String),
    /// Signed too early, or too late.
    #[error("signed at {at}, outside of {}", window(*.from, *.to))]
    Outside {
        /// When.
        at: Timestamp,
        /// The first moment that is allowed.
        from: Option<Timestamp>,
        /// The last one.
        to: Option<Timestamp>,
    },
    /// Nobody says when, and it matters.
    #[error("nobody states when it was signed, and the policy asks")]
    NoTime,
    /// Too few cosignatures.
    #[error("no checkpoint has the cosignatures of a quorum of witnesses (found: {})", list(.0))]
    Witnesses(Vec<String>),
    /// Of another kind than the one that is counted.
    #[error("it is {0}")]
    OtherKind(String),
}

impl Why {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stranger(_) => "signer-not-allowed",
            Self::Threshold { .. } => "too-few-witnesses",
            Self::Builder(_) => "builder-not-allowed",
            Self::Source(_) => "source-not-allowed",
            Self::Provenance(_) => "bad-provenance",
            Self::Outside { .. } => "outside-time-window",
            Self::NoTime => "no-time",
            Self::Witnesses(_) => "no-witness-quorum",
            Self::OtherKind(_) => "other-kind",
        }
    }
}

/// Why the policy is not met.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// Too few distinct signers.
    #[error("{what}: {found} distinct signer(s) count, {needed} needed")]
    Signers {
        /// Of what: `signature`, `attestation of type ...`.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
}

impl Reason {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Signers { .. } => "too-few-signers",
        }
    }
}

/// A signature, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Whose it is.
    pub who: Who,
    /// What it is: `signature`, `attestation of type ...`.
    pub what: String,
    /// Why it does not count; none if it does.
    pub why_not: Option<Why>,
}

/// What became of it. Only [`Policy::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    considered: Vec<Considered>,
    signers: BTreeSet<Who>,
    reasons: Vec<Reason>,
}

impl Decision {
    /// Is the policy met?
    pub const fn is_accepted(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Each signature that was judged, in the order in which they were given.
    pub fn considered(&self) -> &[Considered] {
        &self.considered
    }

    /// The distinct signers whose signatures count.
    pub const fn signers(&self) -> &BTreeSet<Who> {
        &self.signers
    }

    /// What is missing; nothing if it is accepted.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

impl Policy {
    /// Judges the signatures about one artifact. All of them must have been verified against that artifact and against one of the
    /// [expectations](Policy::expectations), or a stricter one.
    pub fn judge(&self, asked: Asked<'_>, held: &[&Verified]) -> Decision {
        let judged: Vec<(Who, Option<Why>)> = held
            .iter()
            .map(|verified| (who(verified), self.counts(verified).err()))
            .collect();
        let of_kind = |asked: Asked<'_>| -> BTreeSet<Who> {
            held.iter()
                .zip(&judged)
                .filter(|(verified, (_, why_not))| why_not.is_none() && asked.is(verified))
                .map(|(_, (who, _))| who.clone())
                .collect()
        };
        let mut reasons = Vec::new();
        let signers = of_kind(asked);
        let mut need = |what: Asked<'_>, found: usize| {
            if found < self.signers {
                reasons.push(Reason::Signers {
                    what: name(what),
                    found,
                    needed: self.signers,
                });
            }
        };
        need(asked, signers.len());
        for kind in &self.predicate_types {
            let required = Asked::Attestation(kind);
            if required != asked {
                need(required, of_kind(required).len());
            }
        }
        let considered = held
            .iter()
            .zip(judged)
            .map(|(verified, (who, why_not))| Considered {
                who,
                what: kind_of(verified),
                why_not: why_not.or_else(|| {
                    let required = |kind: &String| Asked::Attestation(kind).is(verified);
                    let wanted = asked.is(verified) || self.predicate_types.iter().any(required);
                    (!wanted).then(|| Why::OtherKind(kind_of(verified)))
                }),
            })
            .collect();
        Decision {
            considered,
            signers,
            reasons,
        }
    }

    /// Everything that a single signature must have.
    fn counts(&self, verified: &Verified) -> Result<(), Why> {
        self.check_signer(verified)?;
        self.check_witnesses(verified)?;
        self.check_times(verified)?;
        self.check_origin(verified)
    }

    fn check_signer(&self, verified: &Verified) -> Result<(), Why> {
        let named = match verified.identity() {
            Some(identity) => self.people.iter().any(|person| person.is(identity)),
            None => self.keys.iter().any(|holder| {
                holder.key == *verified.key()
                    && holder.validity.is_none_or(|validity| {
                        // A key that is good for a while is of no use to whoever cannot say when he signed.
                        !verified.times().is_empty()
                            && verified
                                .times()
                                .iter()
                                .all(|observed| validity.contains(observed.time))
                    })
            }),
        };
        if named {
            Ok(())
        } else {
            Err(Why::Stranger(who(verified)))
        }
    }

    fn check_witnesses(&self, verified: &Verified) -> Result<(), Why> {
        let logs = verified.entries().iter();
        let logs: Operators<'_> = logs.map(verify::RecordedEntry::operator).collect();
        logs.enough("log(s)", self.logs.unwrap_or(0))?;
        if let Some(certified) = verified.certified() {
            let logs = certified.ct_logs().iter();
            let logs: Operators<'_> = logs.map(|log| log.operator.as_deref()).collect();
            logs.enough("CT log(s)", self.ct_logs)?;
        }
        let of = |takes: fn(&Witness) -> bool| -> Operators<'_> {
            let times = verified.times().iter();
            times
                .filter(|observed| takes(&observed.witness))
                .map(|observed| observed.operator.as_deref())
                .collect()
        };
        of(|witness| matches!(witness, Witness::TimestampAuthority(_)))
            .enough("timestamp authorit(ies)", self.timestamps)?;
        of(|witness| matches!(witness, Witness::Log(_)))
            .enough("log(s) that promise a time", self.promises)?;
        // Who stamps and logs as well is one observer.
        of(|_| true).enough("observer(s) of the time", self.observers)?;
        self.check_quorum(verified)
    }

    fn check_quorum(&self, verified: &Verified) -> Result<(), Why> {
        let Some(quorum) = &self.witnesses else {
            return Ok(());
        };
        let mut found = BTreeSet::new();
        for entry in verified.entries() {
            let Some(note) = entry
                .checkpoint()
                .filter(|seen| of_a_log(quorum, seen.note()))
                .and_then(|seen| Note::parse(seen.note().as_bytes()).ok())
            else {
                continue;
            };
            let cosigned: Vec<bool> = quorum
                .witnesses()
                .iter()
                .map(|witness| witness.key.find(&note, note.signatures()).is_ok())
                .collect();
            for (witness, _) in quorum
                .witnesses()
                .iter()
                .zip(&cosigned)
                .filter(|(_, did)| **did)
            {
                found.insert(witness.name.clone());
            }
            if quorum.met_by(|place| cosigned.get(place).copied().unwrap_or(false)) {
                return Ok(());
            }
        }
        Err(Why::Witnesses(found.into_iter().collect()))
    }

    fn check_times(&self, verified: &Verified) -> Result<(), Why> {
        if self.not_before.is_none() && self.not_after.is_none() {
            return Ok(());
        }
        if verified.times().is_empty() {
            return Err(Why::NoTime);
        }
        for observed in verified.times() {
            let at = observed.time;
            let early = self.not_before.is_some_and(|from| at < from);
            let late = self.not_after.is_some_and(|to| to < at);
            if early || late {
                return Err(Why::Outside {
                    at,
                    from: self.not_before,
                    to: self.not_after,
                });
            }
        }
        Ok(())
    }

    /// Everything that is stated about builder and source must be allowed, and something must be stated.
    fn check_origin(&self, verified: &Verified) -> Result<(), Why> {
        if self.builders.is_empty() && self.sources.is_empty() {
            return Ok(());
        }
        let provenance = match verified.statement() {
            Some(statement) => provenance::read(
                &statement.predicate_type,
                statement.predicate.as_ref().map(|raw| raw.get()),
            )
            .map_err(Why::Provenance)?,
            None => None,
        };
        let provenance = provenance.unwrap_or_default();
        if !self.builders.is_empty() {
            let stated = builders(verified, &provenance);
            if !allowed(&stated, &self.builders) {
                return Err(Why::Builder(stated));
            }
        }
        if !self.sources.is_empty() {
            let stated = sources(verified, &provenance);
            if !allowed(&stated, &self.sources) {
                return Err(Why::Source(stated));
            }
        }
        Ok(())
    }
}

/// Who runs the witnesses of something.
#[derive(Default)]
struct Operators<'a> {
    named: BTreeSet<&'a str>,
    unnamed: usize,
}

impl<'a> FromIterator<Option<&'a str>> for Operators<'a> {
    fn from_iter<T: IntoIterator<Item = Option<&'a str>>>(operators: T) -> Self {
        let mut all = Self::default();
        for operator in operators {
            match operator {
                Some(name) => {
                    all.named.insert(name);
                }
                None => all.unnamed = all.unnamed.saturating_add(1),
            }
        }
        all
    }
}

impl Operators<'_> {
    /// How many they are at least: one that is not named may be any of the others, and all that are not named may be one.
    fn count(&self) -> usize {
        self.named.len().max(self.unnamed.min(1))
    }

    fn enough(&self, what: &'static str, needed: usize) -> Result<(), Why> {
        let found = self.count();
        if found < needed {
            return Err(Why::Threshold {
                what,
                found,
                needed,
                unnamed: self.unnamed,
            });
        }
        Ok(())
    }
}

impl Person {
    fn is(&self, identity: &Identity) -> bool {
        self.identity.check(identity).is_ok()
            && self.kind.is_none_or(|kind| kind.fits(identity.subject()))
            && self
                .oids
                .iter()
                .all(|(oid, value)| states(identity.certificate(), *oid, value))
    }
}

/// The certificate's extension has this value: as it stands there, or, where it is a DER string, the text in it.
fn states(certificate: &Certificate, oid: const_oid::ObjectIdentifier, value: &[u8]) -> bool {
    let Some((_, found)) = certificate.extension(oid) else {
        return false;
    };
    found == value || utf8_string(found) == Some(value)
}

/// The contents of a DER UTF8String in the short and the two usual long forms of its length.
fn utf8_string(der: &[u8]) -> Option<&[u8]> {
    let (length, rest) = match der {
        [0x0c, length @ 0..=0x7f, rest @ ..] | [0x0c, 0x81, length @ 0x80..=0xff, rest @ ..] => {
            (usize::from(*length), rest)
        }
        [0x0c, 0x82, high @ 1..=0xff, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    (rest.len() == length).then_some(rest)
}

/// A policy that names logs means those alone.
fn of_a_log(quorum: &witness::Policy, note: &str) -> bool {
    quorum.logs().is_empty()
        || quorum
            .logs()
            .iter()
            .any(|log| note::open(note.as_bytes(), std::slice::from_ref(&log.key)).is_ok())
}

fn allowed(stated: &[String], matchers: &[Matcher]) -> bool {
    !stated.is_empty()
        && stated
            .iter()
            .all(|value| matchers.iter().any(|matcher| matcher.matches(value)))
}

fn builders(verified: &Verified, provenance: &Provenance) -> Vec<String> {
    let certified = verified
        .identity()
        .and_then(|identity| identity.extensions().get(Field::BuildSignerUri))
        .map(str::to_owned);
    distinct(certified, provenance.builder.clone())
}

fn sources(verified: &Verified, provenance: &Provenance) -> Vec<String> {
    let certified = verified.identity().and_then(|identity| {
        let extensions = identity.extensions();
        let now = extensions
            .get(Field::SourceRepositoryUri)
            .map(provenance::repository);
        // Certificates from before that extension.
        now.or_else(|| {
            let repository = extensions.get(Field::GithubWorkflowRepository)?;
            Some(format!("https://github.com/{repository}"))
        })
    });
    let told = provenance.source.as_deref().map(provenance::repository);
    distinct(certified, told)
}

fn distinct(one: Option<String>, two: Option<String>) -> Vec<String> {
    let all: BTreeSet<String> = one.into_iter().chain(two).collect();
    all.into_iter().collect()
}

fn who(verified: &Verified) -> Who {
    match verified.identity() {
        Some(identity) => Who::Identity {
            issuer: identity.issuer().to_owned(),
            subject: counted(identity.subject()).to_owned(),
        },
        None => Who::Key(hex::encode(verified.key().key_id())),
    }
}

/// A workflow on two branches, or at two commits, is one workflow: whoever may push would else be as many signers as he likes. The first `@refs/`
/// ends its name, since a branch may be called anything, `x@refs/y` too.
fn counted(subject: &SubjectName) -> &str {
    let value = subject.value();
    let SubjectName::Uri(_) = subject else {
        return value;
    };
    workflow(value)
}

/// A workflow's name without the git ref that it ran on; another URI as it is.
pub(crate) fn workflow(value: &str) -> &str {
    if let Some((workflow, _)) = value.split_once("@refs/") {
        return workflow;
    }
    match value.rsplit_once('@') {
        Some((workflow, commit))
            if matches!(commit.len(), 40 | 64)
                && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            workflow
        }
        _ => value,
    }
}

fn kind_of(verified: &Verified) -> String {
    match verified.statement() {
        Some(statement) if statement.predicate_type != SIGNATURE => {
            name(Asked::Attestation(&statement.predicate_type))
        }
        _ => name(Asked::Signature),
    }
}

fn name(asked: Asked<'_>) -> String {
    match asked {
        Asked::Signature => "signature".into(),
        Asked::Attestation(kind) => format!("attestation of type {kind}"),
        Asked::AnyAttestation => "attestation".into(),
        Asked::Any => "signature of any kind".into(),
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".into()
    } else {
        items.join(", ")
    }
}

fn of_nobody(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(
            " (for {count} of them the trusted root names no operator, and they are not known to be of several)"
        ),
    }
}

fn stated(what: &str, found: &[String]) -> String {
    if found.is_empty() {
        format!("it states no {what}, and the policy says which are allowed")
    } else {
        format!("{what} not allowed: {}", found.join(", "))
    }
}

fn window(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    let end = |time: Option<Timestamp>| time.map_or_else(|| "...".into(), |time| time.to_string());
    format!("{} to {}", end(from), end(to))
}
