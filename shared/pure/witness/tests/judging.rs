//! A log and a witness: each refusal of C2SP tlog-witness, and a tree that grows.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a panic is a test's report"
)]

use keys::Algorithm;
use note::{Note, VerifierKey};
use signer::Signer;
use tlog::{Edge, Hash, Tile, TreeHead, TreeSize, hash, proof};
use witness::{MAX_PROOF_LINES, MAX_SUBMISSION, Refusal, Submission, SubmissionError, judge};

struct Log {
    signer: Signer,
    key: VerifierKey,
    leaves: Vec<Hash>,
}

impl Log {
    fn new(origin: &str, leaves: u64) -> Self {
        let signer = Signer::generate(Algorithm::Ed25519).unwrap();
        Self {
            key: VerifierKey::new(origin, signer.public_key().clone()).unwrap(),
            signer,
            leaves: (0..leaves).map(|n| hash::leaf(&n.to_be_bytes())).collect(),
        }
    }

    fn head(&self, size: usize) -> TreeHead {
        Edge::empty().append(&self.leaves[..size]).head
    }

    fn note_of(&self, head: TreeHead) -> Note {
        let prepared = note::prepare(&self.key, head);
        let signature = self.signer.sign_local(prepared.to_be_signed()).unwrap();
        Note::parse(&prepared.seal(signature).unwrap()).unwrap()
    }

    fn proof(&self, old: usize, new: usize) -> Vec<Hash> {
        // Small trees: one tile of leaves.
        let tile: Vec<u8> = self.leaves[..new]
            .iter()
            .flat_map(|leaf| *leaf.as_bytes())
            .collect();
        let mut tiles = tlog::TileSet::new();
        if new > 0 {
            tiles.insert(0, 0, Tile::parse(&tile).unwrap());
        }
        let size = |size: usize| TreeSize::new(u64::try_from(size).unwrap());
        proof::consistency(size(old), size(new), &tiles).unwrap()
    }

    fn submission(&self, old: usize, new: usize) -> Submission {
        let note = self.note_of(self.head(new));
        Submission::new(
            TreeSize::new(u64::try_from(old).unwrap()),
            self.proof(old, new),
            note,
        )
        .unwrap()
    }
}

#[test]
fn a_tree_that_grows_is_cosigned_from_every_size_to_every_size() {
    let log = Log::new("log.example", 40);
    let keys = [log.key.clone()];
    for old in 0..=40 {
        for new in old..=40 {
            let submission = log.submission(old, new);
            let read = Submission::parse(&submission.to_bytes()).unwrap();
            assert_eq!(read, submission);
            let known = (old > 0).then(|| log.head(old));
            let judged = judge(&read, &keys, known).unwrap();
            assert_eq!(judged.head(), log.head(new), "{old} -> {new}");
        }
    }
}

#[test]
fn each_rule_refuses() {
    let log = Log::new("log.example", 20);
    let fork = Log {
        leaves: Log::new("x", 30).leaves.split_off(10),
        signer: log.signer.clone(),
        key: log.key.clone(),
    };
    let keys = [log.key.clone()];
    let refused = |submission: &Submission, known: Option<TreeHead>| {
        judge(submission, &keys, known).unwrap_err()
    };

    let other = Log::new("log.example", 20);
    assert!(matches!(
        refused(&other.submission(0, 5), None),
        Refusal::Signature(note::OpenError::NoTrustedSignature { .. })
    ));
    assert!(matches!(
        judge(&log.submission(0, 5), &[], None).unwrap_err(),
        Refusal::Signature(_)
    ));
    let mut reversed = log.submission(0, 5);
    reversed.old = TreeSize::new(6);
    assert_eq!(
        refused(&reversed, Some(log.head(6))),
        Refusal::OldIsLarger {
            old: TreeSize::new(6),
            new: TreeSize::new(5)
        }
    );
    let conflict = |old, known| Refusal::Conflict {
        old: TreeSize::new(old),
        known: TreeSize::new(known),
    };
    assert_eq!(
        refused(&log.submission(5, 9), Some(log.head(7))),
        conflict(5, 7)
    );
    assert_eq!(refused(&log.submission(5, 9), None), conflict(5, 0));
    assert_eq!(
        refused(&log.submission(0, 9), Some(log.head(9))),
        conflict(0, 9),
        "the same checkpoint, but the log thinks that we know nothing"
    );

    for (old, new) in [(5, 9), (8, 9), (9, 9), (1, 20)] {
        let Refusal::Inconsistent(_) = refused(&fork.submission(old, new), Some(log.head(old)))
        else {
            panic!("a fork from {old} to {new}");
        };
    }
    let mut damaged = log.submission(5, 9);
    damaged.proof[0] = hash::EMPTY;
    assert!(matches!(
        refused(&damaged, Some(log.head(5))),
        Refusal::Inconsistent(_)
    ));
    let mut short = log.submission(5, 9);
    short.proof.pop();
    assert!(matches!(
        refused(&short, Some(log.head(5))),
        Refusal::Inconsistent(_)
    ));
    let mut needless = log.submission(0, 9);
    needless.proof.push(hash::EMPTY);
    assert!(matches!(refused(&needless, None), Refusal::Inconsistent(_)));

    let odd = TreeHead {
        size: TreeSize::EMPTY,
        root: hash::leaf(b"not empty"),
    };
    let empty = Submission::new(TreeSize::EMPTY, Vec::new(), log.note_of(odd)).unwrap();
    assert_eq!(refused(&empty, None), Refusal::EmptyRoot);
}

#[test]
fn lines_of_strangers_are_not_kept() {
    let log = Log::new("log.example", 3);
    let submission = log.submission(0, 3);
    let stranger = Log::new("stranger.example", 3).submission(0, 3).note;
    let note = submission.note.with_signatures(stranger.signatures());
    let mixed = Submission::new(TreeSize::EMPTY, Vec::new(), note).unwrap();
    let judged = judge(&mixed, std::slice::from_ref(&log.key), None).unwrap();
    assert_eq!(judged.note(), &submission.note);
}

#[test]
fn what_is_no_submission() {
    let log = Log::new("log.example", 9);
    let good = String::from_utf8(log.submission(5, 9).to_bytes()).unwrap();
    let hash = good.lines().nth(1).unwrap().to_owned();
    let many = format!("{hash}\n").repeat(MAX_PROOF_LINES);
    let cases = [
        (String::new(), SubmissionError::NoCheckpoint),
        ("old 5\n".to_owned(), SubmissionError::NoCheckpoint),
        (good.replacen("old 5", "old 05", 1), SubmissionError::Old),
        (good.replacen("old 5", "old -5", 1), SubmissionError::Old),
        (good.replacen("old 5", "old ", 1), SubmissionError::Old),
        (good.replacen("old 5", "5", 1), SubmissionError::Old),
        (
            good.replacen("old 5", "old 18446744073709551616", 1),
            SubmissionError::Old,
        ),
        (good.replacen(&hash, "AAAA", 1), SubmissionError::Hash(1)),
        (good.replacen(&hash, "*", 1), SubmissionError::Hash(1)),
        (
            good.replacen(&hash, &format!("{hash}\n{many}"), 1),
            SubmissionError::TooManyHashes,
        ),
        (
            good.replacen("log.example\n9\n", "log.example\n9x\n", 1),
            SubmissionError::Checkpoint(note::CheckpointError::Size),
        ),
        (
            "a".repeat(MAX_SUBMISSION + 1),
            SubmissionError::TooLong(MAX_SUBMISSION + 1),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            Submission::parse(text.as_bytes()),
            Err(expected),
            "{text:.80}"
        );
    }
    assert!(matches!(
        Submission::parse(b"old 0\n\nno note\n"),
        Err(SubmissionError::Note(_))
    ));
}
