//! Each target with its seeds, and with each seed changed a few hundred times. The changes are the same in every run.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_collect,
    reason = "a test"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuzz::{TARGETS, Target};

/// Changed copies of one seed. More is for libFuzzer.
const ROUNDS: u64 = 300;
/// Bytes that one target hands over, all seeds together: large seeds get fewer rounds.
const BYTES: usize = 6 << 20;

/// xorshift64*: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }
}

/// Values at which parsers change their mind: lengths, signs, quotes, separators.
const BYTES_OF_INTEREST: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, b'"', b'\\', b'{', b'[', b'-', b'9', b'\n', b'.',
];

fn changed(seed: &[u8], others: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[at] = BYTES_OF_INTEREST[numbers.below(16)],
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + numbers.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            4 => {
                let end = (at + 1 + numbers.below(64)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let what = BYTES_OF_INTEREST[numbers.below(16)];
                let times = 1 + numbers.below(40);
                bytes.splice(at..at, std::iter::repeat_n(what, times));
            }
            6 => {
                let other = &others[numbers.below(others.len())];
                let from = numbers.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let to = numbers.below(bytes.len());
                if to < bytes.len() && at < bytes.len() {
                    bytes.swap(at, to);
                }
            }
        }
    }
    bytes
}

fn survives(target: &Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        let shown: String = bytes
            .iter()
            .take(2_000)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        panic!(
            "target {} fell over {} bytes: {shown}",
            target.name,
            bytes.len()
        );
    }
}

fn check(targets: &[Target]) {
    for target in targets {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "target {} has no seed", target.name);
        let total: usize = seeds.iter().map(Vec::len).sum();
        let rounds = u64::try_from(BYTES / total.max(1))
            .unwrap()
            .clamp(10, ROUNDS);
        survives(target, b"");
        for (position, seed) in seeds.iter().enumerate() {
            survives(target, seed);
            let start = u64::try_from(position).unwrap() + 1;
            let mut numbers = Numbers(start.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..rounds {
                survives(target, &changed(seed, &seeds, &mut numbers));
            }
        }
    }
}

// Two halves, so that both cores have one.

#[test]
fn no_parser_falls_over_changed_bytes() {
    check(&TARGETS[..TARGETS.len() / 2]);
}

#[test]
fn nor_do_the_others() {
    check(&TARGETS[TARGETS.len() / 2..]);
}

#[test]
fn names_are_in_order_and_found() {
    assert!(TARGETS.windows(2).all(|two| two[0].name < two[1].name));
    assert!(TARGETS.len() >= 30);
    assert!(
        TARGETS
            .iter()
            .all(|target| fuzz::target(target.name).is_some_and(|found| found.name == target.name))
    );
    assert!(fuzz::target("nothing").is_none());
}
