//! The body of `add-checkpoint`.
//!
//! ```text
//! old 20852014                        size of the tree that the witness knows
//! PlRNCrwHpqhGrupue0L7...             consistency proof, base64, one hash a line
//!
//! example.com/behind-the-sofa         the checkpoint, a signed note
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use note::{Checkpoint, CheckpointError, MAX_NOTE_BYTES, Note, NoteError};
use tlog::{Hash, TreeSize};

/// C2SP tlog-witness: a client sends no more.
pub const MAX_PROOF_LINES: usize = 63;
/// Bytes of the longest submission: the old size, 63 hashes of 44 characters, a note.
pub const MAX_SUBMISSION: usize = MAX_NOTE_BYTES + 64 * 46;

/// A checkpoint that a log hands in. Read, not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Size of the tree that the log takes the witness to know.
    pub old: TreeSize,
    /// Consistency proof from there to the checkpoint.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Note,
    checkpoint: Checkpoint,
}

/// Why bytes are no submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// Longer than [`MAX_SUBMISSION`].
    #[error("the submission has {0} bytes, more than {MAX_SUBMISSION}")]
    TooLong(usize),
    /// The first line is not `old <size>`.
    #[error("the first line is not \"old\", a space and a tree size in decimal")]
    Old,
    /// A line of the proof is not the base64 of 32 bytes; counted from 1.
    #[error("line {0} of the consistency proof is not the base64 of 32 bytes")]
    Hash(usize),
    /// More than [`MAX_PROOF_LINES`].
    #[error("the consistency proof has more than {MAX_PROOF_LINES} lines")]
    TooManyHashes,
    /// No empty line between proof and checkpoint.
    #[error("no empty line and checkpoint after the consistency proof")]
    NoCheckpoint,
    /// The rest is no note.
    #[error("malformed note")]
    Note(#[source] NoteError),
    /// The note is no checkpoint.
    #[error("malformed checkpoint")]
    Checkpoint(#[source] CheckpointError),
}

impl Submission {
    /// Puts a submission together.
    pub fn new(old: TreeSize, proof: Vec<Hash>, note: Note) -> Result<Self, SubmissionError> {
        let checkpoint = Checkpoint::parse(note.text()).map_err(SubmissionError::Checkpoint)?;
        if proof.len() > MAX_PROOF_LINES {
            return Err(SubmissionError::TooManyHashes);
        }
        Ok(Self {
            old,
            proof,
            note,
            checkpoint,
        })
    }

    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, SubmissionError> {
        if bytes.len() > MAX_SUBMISSION {
            return Err(SubmissionError::TooLong(bytes.len()));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| SubmissionError::Note(NoteError::NotText))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(SubmissionError::NoCheckpoint)?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or(SubmissionError::Old)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() >= MAX_PROOF_LINES {
                return Err(SubmissionError::TooManyHashes);
            }
            let place = proof.len().saturating_add(1);
            let hash = STANDARD.decode(line).ok();
            let hash = hash.and_then(|hash| Hash::from_slice(&hash));
            proof.push(hash.ok_or(SubmissionError::Hash(place))?);
        }
        let note = Note::parse(note.as_bytes()).map_err(SubmissionError::Note)?;
        Self::new(TreeSize::new(old), proof, note)
    }

    /// The body of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            STANDARD.encode_string(hash.as_bytes(), &mut text);
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend(self.note.to_bytes());
        bytes
    }

    /// What the note says. Nobody has checked its signatures.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// Without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text.len() == 1 || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}
