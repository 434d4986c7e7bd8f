//! Step 1: are the entries in their logs?

use entry::LogEntry;
use jiff::Timestamp;
use keys::{Algorithm, KeyType};
use note::VerifierKey;
use tlog::{TreeHead, hash, proof};
use trust::{LogInstance, TrustedRoot};

use crate::error::VerifyError;

/// Entries that are in their logs; at least one, unless the caller said that there need be none. Only this file makes it.
#[derive(Debug)]
pub struct Recorded(Vec<RecordedEntry>);

/// An entry that is in its log.
#[derive(Debug, Clone)]
pub struct RecordedEntry {
    entry: LogEntry,
    log: String,
    operator: Option<String>,
    promised: Option<Timestamp>,
    checkpoint: Option<SeenCheckpoint>,
    validity: trust::Validity,
}

/// The checkpoint under which an entry was proven to be in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCheckpoint {
    origin: String,
    size: u64,
    note: String,
}

impl SeenCheckpoint {
    /// The log's name in it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries the tree had.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The whole signed note. Of its signature lines only the log's was checked: those of witnesses are claims.
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl RecordedEntry {
    /// Index in the log.
    pub const fn index(&self) -> u64 {
        self.entry.index
    }

    /// The log's URL.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The log's id.
    pub fn log_id(&self) -> &[u8] {
        &self.entry.log_id
    }

    /// Kind and version.
    pub fn kind(&self) -> (&str, &str) {
        (&self.entry.kind, &self.entry.version)
    }

    /// When the log promised it, where the promise was checked.
    pub const fn promised_at(&self) -> Option<Timestamp> {
        self.promised
    }

    /// Was an inclusion proof checked against a checkpoint of the log?
    pub const fn is_proven(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// The checkpoint that the inclusion proof was checked against.
    pub const fn checkpoint(&self) -> Option<&SeenCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// The time that the entry states; only where it is [promised](Self::promised_at) did the log sign it.
    pub const fn integrated_time(&self) -> Option<Timestamp> {
        self.entry.integrated_time
    }

    /// Who runs the log, where the trusted root says so: logs of one operator are one witness, and of those that nobody names it is not known
    /// that they are several.
    pub fn operator(&self) -> Option<&str> {
        self.operator.as_deref()
    }

    pub(crate) const fn entry(&self) -> &LogEntry {
        &self.entry
    }

    pub(crate) const fn validity(&self) -> &trust::Validity {
        &self.validity
    }
}

impl Recorded {
    pub(crate) fn entries(&self) -> &[RecordedEntry] {
        &self.0
    }

    pub(crate) fn into_vec(self) -> Vec<RecordedEntry> {
        self.0
    }
}

pub(crate) fn check(entries: &[LogEntry], root: &TrustedRoot) -> Result<Recorded, VerifyError> {
    let recorded = check_present(entries, root)?;
    if recorded.0.is_empty() {
        return Err(VerifyError::NoEntry {
            found: entries.len(),
            logs: entries
                .iter()
                .map(|entry| hex::encode(&entry.log_id))
                .collect(),
            trusted: root.tlogs.iter().map(|log| log.base_url.clone()).collect(),
        });
    }
    Ok(recorded)
}

/// Those entries that are there must hold; there may be none.
pub(crate) fn check_present(
    entries: &[LogEntry],
    root: &TrustedRoot,
) -> Result<Recorded, VerifyError> {
    let mut recorded = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        let twice = entries
            .iter()
            .take(position)
            .any(|other| other.index == entry.index && other.log_id == entry.log_id);
        if twice {
            return Err(VerifyError::DuplicateEntry { index: entry.index });
        }
        let logs: Vec<&LogInstance> = root
            .tlogs
            .iter()
            .filter(|log| log.id == entry.log_id)
            .collect();
        // An entry of a log that nobody told us about proves nothing and harms nothing; without any other the bundle is refused below.
        if !logs.is_empty() {
            recorded.push(check_entry(entry, &logs)?);
        }
    }
    Ok(Recorded(recorded))
}

fn check_entry(entry: &LogEntry, logs: &[&LogInstance]) -> Result<RecordedEntry, VerifyError> {
    let (index, log) = (
        entry.index,
        logs.first()
            .map(|log| log.base_url.clone())
            .unwrap_or_default(),
    );
    let log_of = at_its_time(entry, logs)?;
    let promised = match (&entry.promise, entry.integrated_time) {
        (Some(promise), Some(time)) => {
            check_promise(entry, promise, time, log_of)?;
            Some(time)
        }
        (Some(_), None) => {
            return Err(VerifyError::Unproven {
                index,
                log,
                what: "it has a promise without a time",
            });
        }
        (None, _) => None,
    };
    let checkpoint = match &entry.proof {
        // A proof without a checkpoint (v0.1 bundles) leads to a root that nobody signed: it must add up, and counts for nothing.
        Some(proof) if proof.checkpoint.is_empty() => {
            check_inclusion(entry, proof, log_of)?;
            None
        }
        Some(proof) => {
            let seen = check_checkpoint(entry, proof, logs, log_of)?;
            check_inclusion(entry, proof, log_of)?;
            Some(seen)
        }
        None => None,
    };
    let proven = checkpoint.is_some();
    if !proven && promised.is_none() {
        return Err(VerifyError::Unproven {
            index,
            log,
            what: "it has neither an inclusion proof with a checkpoint nor a promise",
        });
    }
    if !proven && is_v2(entry) {
        return Err(VerifyError::Unproven {
            index,
            log,
            what: "an entry of Rekor v2 needs an inclusion proof",
        });
    }
    // Rekor v2 counts in one tree and promises nothing: what the proof does not say about the index, nobody says.
    let other_index = |proof: &entry::InclusionProof| proof.index.get() != index;
    if is_v2(entry) && entry.proof.as_ref().is_some_and(other_index) {
        return Err(VerifyError::Unproven {
            index,
            log,
            what: "its index is not the one that its inclusion proof is about",
        });
    }
    Ok(RecordedEntry {
        entry: entry.clone(),
        log,
        operator: named(&log_of.operator),
        promised,
        checkpoint,
        validity: log_of.validity,
    })
}

/// Who speaks when this log or authority does, where the trusted root names one.
pub(crate) fn named(operator: &str) -> Option<String> {
    Some(operator.to_owned()).filter(|name| !name.is_empty())
}

/// Rekor v1 has `intoto` in this version too.
fn is_v2(entry: &LogEntry) -> bool {
    entry.version == "0.0.2" && entry.kind != "intoto"
}

/// The instance that signed at the entry's time. An entry without a time is checked against the observed times later.
fn at_its_time<'a>(
    entry: &LogEntry,
    logs: &[&'a LogInstance],
) -> Result<&'a LogInstance, VerifyError> {
    let fits = |log: &&&LogInstance| {
        // A time without a promise is nobody's word.
        let time = entry.promise.as_ref().and(entry.integrated_time);
        time.is_none_or(|time| log.validity.contains(time))
    };
    let Some(first) = logs.first() else {
        return Err(VerifyError::DuplicateEntry { index: entry.index });
    };
    logs.iter()
        .find(fits)
        .copied()
        .ok_or_else(|| VerifyError::LogNotValidAt {
            index: entry.index,
            log: first.base_url.clone(),
            validity: first.validity.to_string(),
            at: entry.integrated_time,
        })
}

fn check_promise(
    entry: &LogEntry,
    promise: &[u8],
    time: Timestamp,
    log: &LogInstance,
) -> Result<(), VerifyError> {
    let wrong = || VerifyError::Promise {
        index: entry.index,
        log: log.base_url.clone(),
    };
    let signed = entry::promise(&entry.body, time.as_second(), &entry.log_id, entry.index)
        .ok_or_else(wrong)?;
    // Rekor v1 hashes with SHA-256 whatever its curve.
    let algorithm = match log.key.key_type() {
        KeyType::EcdsaP384 => Algorithm::EcdsaP384Sha256,
        KeyType::EcdsaP521 => Algorithm::EcdsaP521Sha256,
        _ => log.algorithm,
    };
    log.key
        .verify(algorithm, &signed, promise)
        .map_err(|_| wrong())
}

fn check_checkpoint(
    entry: &LogEntry,
    proof: &entry::InclusionProof,
    logs: &[&LogInstance],
    log: &LogInstance,
) -> Result<SeenCheckpoint, VerifyError> {
    let (index, name) = (entry.index, log.base_url.clone());
    let keys: Vec<VerifierKey> = logs.iter().flat_map(|log| log.verifier_keys()).collect();
    let opened = note::open(proof.checkpoint.as_bytes(), &keys).map_err(|source| {
        VerifyError::Checkpoint {
            index,
            log: name.clone(),
            source,
        }
    })?;
    let head = opened.head();
    if head.size != proof.size || head.root != proof.root {
        return Err(VerifyError::OtherTree {
            index,
            log: name,
            proof: proof.size.get(),
            checkpoint: head.size.get(),
        });
    }
    Ok(SeenCheckpoint {
        origin: opened.origin().to_owned(),
        size: head.size.get(),
        note: proof.checkpoint.clone(),
    })
}

fn check_inclusion(
    entry: &LogEntry,
    proof: &entry::InclusionProof,
    log: &LogInstance,
) -> Result<(), VerifyError> {
    let head = TreeHead {
        size: proof.size,
        root: proof.root,
    };
    proof::verify_inclusion(&hash::leaf(&entry.body), proof.index, &proof.hashes, &head).map_err(
        |source| VerifyError::Inclusion {
            index: entry.index,
            log: log.base_url.clone(),
            source,
        },
    )
}
