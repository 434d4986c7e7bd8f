//! C2SP tlog-checkpoint: a tree head in a note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tlog::{Hash, TreeHead, TreeSize};

use crate::key::VerifierKey;
use crate::signed::{Note, NoteError, SignatureLine};

/// The text of a checkpoint, read but not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log speaks: its first line.
    pub origin: String,
    /// What it says.
    pub head: TreeHead,
    /// Further lines; Rekor v1 used to write a timestamp here.
    pub extensions: Vec<String>,
}

/// Which line of a checkpoint is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin line is missing or empty.
    #[error("the checkpoint has no origin line")]
    Origin,
    /// The second line is no decimal number without leading zeros.
    #[error("the checkpoint has no tree size in its second line")]
    Size,
    /// The third line is not the base64 of 32 bytes.
    #[error("the checkpoint has no root hash in its third line")]
    Root,
    /// An extension line is empty, or the final newline is missing.
    #[error("the checkpoint has an empty extension line")]
    Extension,
}

/// A checkpoint with a signature of a trusted key. Only [`open`] makes one.
#[derive(Clone, Debug)]
pub struct OpenedCheckpoint {
    checkpoint: Checkpoint,
    key: VerifierKey,
    timestamp_ms: Option<u64>,
}

/// Why a checkpoint was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are no note.
    #[error("malformed note")]
    Note(#[source] NoteError),
    /// The text is no checkpoint.
    #[error("malformed checkpoint")]
    Checkpoint(#[source] CheckpointError),
    /// No signature line has the name and hint of a trusted key.
    #[error("the checkpoint of {origin} is signed by {}, and none of these is a trusted key of that log", signers.join(", "))]
    NoTrustedSignature {
        /// Origin line of the checkpoint.
        origin: String,
        /// Name and hint of each signature line.
        signers: Vec<String>,
    },
    /// A signature line names a trusted key, and its signature does not hold.
    #[error("the checkpoint of {origin} has a wrong signature by {signer}")]
    WrongSignature {
        /// Origin line of the checkpoint.
        origin: String,
        /// Name and hint of the signature line.
        signer: String,
    },
    /// The signature holds, and the key belongs to another log than the one in the origin line.
    #[error("the checkpoint of {origin} is signed by the key of {key_name}")]
    OtherOrigin {
        /// Origin line of the checkpoint.
        origin: String,
        /// Name of the key that signed.
        key_name: String,
    },
}

/// Opens a checkpoint with the keys of the logs that are trusted.
///
/// A signature line counts when name and hint are those of a trusted key, wherever it stands; other lines (witnesses,
/// keys of the same log that we were not told about) are ignored. A line that counts must verify.
pub fn open(envelope: &[u8], trusted: &[VerifierKey]) -> Result<OpenedCheckpoint, OpenError> {
    let note = Note::parse(envelope).map_err(OpenError::Note)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(OpenError::Checkpoint)?;
    let mut opened = None;
    for line in note.signatures() {
        let mut candidates = trusted.iter().filter(|key| key.made(line)).peekable();
        if candidates.peek().is_none() {
            continue;
        }
        // The same key may be listed twice (two validity periods), and two keys may share a hint: one must fit.
        let Some((key, timestamp_ms)) = candidates.find_map(|key| {
            Some((
                key,
                key.verify(note.text(), &checkpoint.head, line.signature())
                    .ok()?,
            ))
        }) else {
            return Err(OpenError::WrongSignature {
                origin: checkpoint.origin,
                signer: describe(line),
            });
        };
        if opened.is_none() {
            opened = Some((key.clone(), timestamp_ms));
        }
    }
    let Some((key, timestamp_ms)) = opened else {
        let signers = note.signatures().iter().map(describe).collect();
        return Err(OpenError::NoTrustedSignature {
            origin: checkpoint.origin,
            signers,
        });
    };
    if !is_origin_of(&checkpoint.origin, key.name()) {
        return Err(OpenError::OtherOrigin {
            origin: checkpoint.origin,
            key_name: key.name().to_owned(),
        });
    }
    Ok(OpenedCheckpoint {
        checkpoint,
        key,
        timestamp_ms,
    })
}

/// Makes the text of a checkpoint that waits for its signature.
///
/// The key's name is the origin, as in every log but Rekor v1.
pub fn prepare(key: &VerifierKey, head: TreeHead) -> Prepared {
    prepare_for(key.name(), key, head)
}

/// [`prepare`], for an origin that is not the key's name: in Rekor v1 it is `<name> - <tree id>`. Any other one is
/// refused when the checkpoint is sealed.
pub fn prepare_for(origin: &str, key: &VerifierKey, head: TreeHead) -> Prepared {
    prepare_with(origin, key, head, Vec::new())
}

/// [`prepare_for`], with extension lines. One that is empty or has a line end makes a checkpoint that is refused when it is sealed.
pub fn prepare_with(
    origin: &str,
    key: &VerifierKey,
    head: TreeHead,
    extensions: Vec<String>,
) -> Prepared {
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        head,
        extensions,
    };
    Prepared {
        text: checkpoint.to_text(),
        key: key.clone(),
    }
}

/// A checkpoint without its signature; [`Prepared::seal`] consumes it.
#[derive(Clone, Debug)]
pub struct Prepared {
    text: String,
    key: VerifierKey,
}

impl Prepared {
    /// The bytes to sign with the private half of the key. (RFC 6962 tree heads sign other bytes:
    /// [`crate::tree_head::to_be_signed`].)
    pub fn to_be_signed(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Adds the signature, and opens the result before giving it out: a wrong key or signer shows here, not in public.
    pub fn seal(self, signature: Vec<u8>) -> Result<Vec<u8>, OpenError> {
        let line = SignatureLine::new(self.key.name().to_owned(), self.key.hint(), signature);
        let envelope = Note::assemble(self.text, vec![line]).to_bytes();
        open(&envelope, std::slice::from_ref(&self.key))?;
        Ok(envelope)
    }
}

impl Checkpoint {
    /// Reads the text of a note as a checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Extension)?;
        let mut lines = text.split('\n');
        let origin = lines
            .next()
            .filter(|line| !line.is_empty())
            .ok_or(CheckpointError::Origin)?;
        let size = lines
            .next()
            .and_then(decimal)
            .ok_or(CheckpointError::Size)?;
        let root = lines
            .next()
            .and_then(|line| STANDARD.decode(line).ok())
            .and_then(|root| Hash::from_slice(&root));
        let root = root.ok_or(CheckpointError::Root)?;
        let extensions: Vec<_> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Extension);
        }
        Ok(Self {
            origin: origin.to_owned(),
            head: TreeHead {
                size: TreeSize::new(size),
                root,
            },
            extensions,
        })
    }

    /// Writes the text of the note.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.head.size,
            STANDARD.encode(self.head.root.as_bytes())
        );
        for extension in &self.extensions {
            text.push_str(extension);
            text.push('\n');
        }
        text
    }
}

impl OpenedCheckpoint {
    /// What the log says about its tree.
    pub const fn head(&self) -> &TreeHead {
        &self.checkpoint.head
    }

    /// The origin line.
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// The lines of the text.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The trusted key whose signature held.
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Time that an RFC 6962 tree head signature covers, in milliseconds since 1970.
    pub const fn timestamp_ms(&self) -> Option<u64> {
        self.timestamp_ms
    }
}

/// Rekor v1 appends ` - <tree id>` to the key's name.
fn is_origin_of(origin: &str, key_name: &str) -> bool {
    match origin.strip_prefix(key_name) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix(" - ")
            .is_some_and(|tree| !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_digit())),
        None => false,
    }
}

fn describe(line: &SignatureLine) -> String {
    format!("{} (key {})", line.name(), line.hint())
}

fn decimal(line: &str) -> Option<u64> {
    let plain = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (line.len() == 1 || !line.starts_with('0')))
        .then(|| line.parse().ok())
        .flatten()
}
