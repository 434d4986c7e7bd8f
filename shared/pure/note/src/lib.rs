//! Signed notes and checkpoints: how a log says what it holds.
//!
//! Specifications: C2SP signed-note 1.0 and tlog-checkpoint 1.0; static-ct-api 1.1 for the RFC 6962 tree head signature
//! (type 0x05); the key hints of Rekor v1 and v2 (sigstore/rekor and sigstore/rekor-tiles: pkg/note).
//!
//! ```text
//! log.example/2026                     origin
//! 736                                  tree size, decimal
//! rs1YPY0ydAV0lxgfrq5pE4oRpUJwo3...    root hash, base64
//! <extension lines, if any>
//!                                      empty line; all before it is the signed text
//! — log.example/2026 8w1amdbj1mj...    key name, base64(4-byte key hint ‖ signature)
//! — witness.example/w1 O8PH5AAAA...    lines of keys that we do not know are ignored
//! ```
//!
//! Invariants:
//! - only [`open`] makes an [`OpenedCheckpoint`], after a trusted key's signature held;
//! - a signature line that names a trusted key and does not verify refuses the whole note;
//! - what is sealed here was opened with the signer's public key before it is given out.
//!
//! Cosignatures of witnesses (C2SP tlog-cosignature 1.0.1) are in [`cosignature`].

mod checkpoint;
pub mod cosignature;
mod key;
mod signed;
pub mod tree_head;

pub use checkpoint::{
    Checkpoint, CheckpointError, OpenError, OpenedCheckpoint, Prepared, open, prepare, prepare_for,
    prepare_with,
};
pub use cosignature::{Cosignature, CosignerKey, CosignerKind};
pub use key::{KeyError, KeyHint, VerifierKey};
pub use signed::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, SignatureLine, signature_lines};
