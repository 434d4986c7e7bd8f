//! C2SP tlog-policy: which logs, which witnesses, and which sets of witnesses are enough.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> <k|any|all> <name>...
//! quorum <name|none>
//! ```

use std::collections::{HashMap, HashSet};

use note::{CosignerKey, KeyError, VerifierKey};

/// Bytes of the longest policy: 256 witnesses with ML-DSA-44 keys, whose vkeys have 1.8 kB each.
pub const MAX_POLICY: usize = 1 << 20;
/// Most logs, witnesses and groups, of each. The specification asks for 32.
const MAX_EACH: usize = 256;

/// A policy. Names and groups are resolved: only rules that can be met are left.
#[derive(Clone, Debug)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A log of the policy.
#[derive(Clone, Debug)]
pub struct PolicyLog {
    /// Its key, whose name is the log's origin.
    pub key: VerifierKey,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness of the policy.
#[derive(Clone, Debug)]
pub struct PolicyWitness {
    /// Its name in this file.
    pub name: String,
    /// Its key.
    pub key: CosignerKey,
    /// Its submission prefix.
    pub url: Option<String>,
}

#[derive(Clone, Debug)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    /// No cosignature is asked for.
    None,
    Of(Member),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// Why a file is no policy. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY`].
    #[error("the policy has {0} bytes, more than {MAX_POLICY}")]
    TooLong(usize),
    /// A control character that is neither tab nor newline, or not UTF-8. (The specification allows any octets above 0x7f.)
    #[error("the policy is not UTF-8 text without control characters")]
    NotText,
    /// What is wrong with a line.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A key in a line.
    #[error("line {line}: the key cannot be used")]
    Key {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: KeyError,
    },
    /// Nothing says what is enough.
    #[error("the policy has no quorum line; \"quorum none\" asks for no cosignature")]
    NoQuorum,
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::NotText)?;
        let odd = |byte: u8| (byte < 0x20 && !matches!(byte, b'\t' | b'\n')) || byte == 0x7f;
        if text.bytes().any(odd) {
            return Err(PolicyError::NotText);
        }
        let mut reader = Reader::default();
        for (place, line) in text.split('\n').enumerate() {
            let items: Vec<&str> = line
                .split([' ', '\t'])
                .filter(|item| !item.is_empty())
                .collect();
            match items.first() {
                None => {}
                Some(first) if first.starts_with('#') => {}
                Some(_) => reader.line(place.saturating_add(1), &items)?,
            }
        }
        let quorum = reader.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Self {
            logs: reader.logs,
            witnesses: reader.witnesses,
            groups: reader.groups,
            quorum,
        })
    }

    /// The logs; there may be none.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses; there may be none.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Whether the policy asks for any cosignature.
    pub const fn asks(&self) -> bool {
        matches!(self.quorum, Quorum::Of(_))
    }

    /// Whether these witnesses are enough, by their places in [`Policy::witnesses`]. A witness is one, however many keys it has: of several with
    /// one key name the first that cosigned counts.
    pub fn met_by(&self, cosigned: impl Fn(usize) -> bool) -> bool {
        let Quorum::Of(quorum) = self.quorum else {
            return true;
        };
        let mut names = HashSet::new();
        let counts: Vec<bool> = self
            .witnesses
            .iter()
            .enumerate()
            .map(|(place, witness)| cosigned(place) && names.insert(witness.key.name()))
            .collect();
        let cosigned = |place: usize| counts.get(place).copied().unwrap_or(false);
        // A group refers only to groups before it, so one pass in order settles them all.
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let counted = group
                .members
                .iter()
                .filter(|member| witnessed(**member, &groups, &cosigned))
                .count();
            groups.push(counted >= group.threshold);
        }
        witnessed(quorum, &groups, &cosigned)
    }
}

fn witnessed(member: Member, groups: &[bool], cosigned: &impl Fn(usize) -> bool) -> bool {
    match member {
        Member::Witness(place) => cosigned(place),
        Member::Group(place) => groups.get(place).copied().unwrap_or(false),
    }
}

#[derive(Default)]
struct Reader {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Quorum>,
    names: HashMap<String, Named>,
}

struct Named {
    member: Member,
    /// A name may be a member once: each witness counts in one way only.
    in_group: bool,
}

impl Reader {
    fn line(&mut self, line: usize, items: &[&str]) -> Result<(), PolicyError> {
        let wrong = |what: String| Err(PolicyError::Line { line, what });
        let key = |source| PolicyError::Key { line, source };
        match items {
            ["log", vkey, url @ ..] if url.len() <= 1 => {
                let log = PolicyLog {
                    key: vkey.parse().map_err(key)?,
                    url: url.first().map(ToString::to_string),
                };
                let same = |other: &PolicyLog| other.key.public_key() == log.key.public_key();
                if self.logs.iter().any(same) {
                    return wrong("this log's key is there already".to_owned());
                }
                self.logs.push(log);
            }
            ["witness", name, vkey, url @ ..] if url.len() <= 1 => {
                let witness = PolicyWitness {
                    name: (*name).to_owned(),
                    key: vkey.parse().map_err(key)?,
                    url: url.first().map(ToString::to_string),
                };
                let same = |other: &PolicyWitness| other.key.raw() == witness.key.raw();
                if self.witnesses.iter().any(same) {
                    return wrong("this witness's key is there already".to_owned());
                }
                self.define(line, name, Member::Witness(self.witnesses.len()))?;
                self.witnesses.push(witness);
            }
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                let group = self.group(line, threshold, members)?;
                self.define(line, name, Member::Group(self.groups.len()))?;
                self.groups.push(group);
            }
            ["quorum", name] => {
                if self.quorum.is_some() {
                    return wrong("a second quorum".to_owned());
                }
                let member = match *name {
                    "none" => Quorum::None,
                    name => match self.names.get(name) {
                        Some(named) => Quorum::Of(named.member),
                        None => return wrong(undefined(name)),
                    },
                };
                self.quorum = Some(member);
            }
            [word @ ("log" | "witness" | "group" | "quorum"), ..] => {
                return wrong(format!("too few or too many items after {word:?}"));
            }
            [word, ..] => {
                return wrong(format!("{word:?} is none of log, witness, group, quorum"));
            }
            [] => {}
        }
        let most = self
            .logs
            .len()
            .max(self.witnesses.len())
            .max(self.groups.len());
        if most > MAX_EACH {
            return wrong(format!("more than {MAX_EACH} logs, witnesses or groups"));
        }
        Ok(())
    }

    fn group(
        &mut self,
        line: usize,
        threshold: &str,
        names: &[&str],
    ) -> Result<Group, PolicyError> {
        let wrong = |what: String| Err(PolicyError::Line { line, what });
        let threshold = match threshold {
            "any" => 1,
            "all" => names.len(),
            digits => {
                let number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = number.then(|| digits.parse().ok()).flatten();
                match number {
                    Some(number) if (1..=names.len()).contains(&number) => number,
                    _ => {
                        return wrong(format!(
                            "the threshold {digits:?} is not \"any\", \"all\" or 1 to {}",
                            names.len()
                        ));
                    }
                }
            }
        };
        let mut members = Vec::new();
        for name in names {
            let Some(named) = self.names.get_mut(*name) else {
                return wrong(undefined(name));
            };
            if std::mem::replace(&mut named.in_group, true) {
                return wrong(format!("{name:?} is a member already"));
            }
            members.push(named.member);
        }
        Ok(Group { threshold, members })
    }

    fn define(&mut self, line: usize, name: &str, member: Member) -> Result<(), PolicyError> {
        let named = Named {
            member,
            in_group: false,
        };
        if name == "none" || self.names.contains_key(name) {
            return Err(PolicyError::Line {
                line,
                what: format!("the name {name:?} is taken"),
            });
        }
        self.names.insert(name.to_owned(), named);
        Ok(())
    }
}

fn undefined(name: &str) -> String {
    format!("no line before this one defines {name:?}")
}
