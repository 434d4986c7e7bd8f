//! The log engine alone: no HTTP, no signatures of clients. How fast it takes leaves, and whether a large log stays as fast as a small one.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use keys::Algorithm;
use sequencer::{Config, Leaf, Log, NoteSigner, SealedLeaf, StoredLeaf};
use serde::Serialize;
use signer::Signer;
use store::Disk;
use tlog::{Hash, LeafIndex, hash};
use tokio::task::JoinSet;

/// Leaves after which the log is warm; windows whose rates are compared have as many or up to ten times as many.
const PIECE: u64 = 10_000;
/// Proofs that are asked for.
const PROOFS: u64 = 2_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct RawFigures {
    /// Leaves of the log at the end.
    pub leaves: u64,
    /// Bytes of each.
    pub leaf_bytes: usize,
    /// Leaves that were on their way at the same time.
    pub in_flight: usize,
    /// Leaves a second, all in all, each durable when it counts.
    pub per_second: f64,
    /// Leaves of the two windows whose rates are compared.
    pub window: u64,
    /// The rate of the window after the first 10,000 leaves, and of the last window.
    pub first_per_second: f64,
    /// See `first_per_second`.
    pub last_per_second: f64,
    /// Milliseconds from handing a leaf in to its answer: half took no longer, and 99 of 100.
    pub append_p50_ms: f64,
    /// See `append_p50_ms`.
    pub append_p99_ms: f64,
    /// Milliseconds to open the log again.
    pub start_ms: f64,
    /// Microseconds for an inclusion proof of a random leaf, files included: half took no longer, and 99 of 100.
    pub proof_p50_us: u64,
    /// See `proof_p50_us`.
    pub proof_p99_us: u64,
    /// Resident memory of the process after that, in MiB.
    pub resident_mib: u64,
}

/// A leaf as Rekor v2 frames it.
#[derive(Debug)]
struct Plain {
    framed: Vec<u8>,
    hash: Hash,
}

impl Plain {
    /// The leaf of a number: no two are alike.
    fn of(number: u64, bytes: usize) -> Self {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(bytes.max(8), b'x');
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
        Self {
            framed: [&len.to_be_bytes(), body.as_slice()].concat(),
            hash: hash::leaf(&body),
        }
    }
}

impl Leaf for Plain {
    const BUNDLE: &'static str = "entries";

    fn dedup_key(&self) -> [u8; 32] {
        self.hash.into_bytes()
    }

    fn seal(self, _index: LeafIndex, _timestamp_ms: u64) -> SealedLeaf {
        SealedLeaf {
            entry: self.framed,
            hash: self.hash,
        }
    }

    fn entry_len(bundle: &[u8]) -> Option<usize> {
        let (len, rest) = bundle.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len));
        (rest.len() >= len).then(|| len.saturating_add(2))
    }

    fn open(entry: &[u8], _index: LeafIndex) -> Option<StoredLeaf> {
        let (_, body) = entry.split_first_chunk::<2>()?;
        let hash = hash::leaf(body);
        Some(StoredLeaf {
            hash,
            dedup_key: hash.into_bytes(),
            timestamp_ms: None,
        })
    }
}

/// Fills a log in an empty folder, or a tree without entries, and looks at it.
pub async fn run(
    files: Arc<dyn Disk>,
    leaves: u64,
    leaf_bytes: usize,
    in_flight: usize,
) -> Result<RawFigures> {
    ensure!(leaves >= PIECE * 4, "at least {} leaves", PIECE * 4);
    let key = Signer::generate(Algorithm::Ed25519)?;
    let open = || open(files.clone(), in_flight, key.clone());
    let log = open().await?;
    ensure!(
        log.published().head.size.get() == 0,
        "there is a log already"
    );
    let window = (leaves / 20).clamp(PIECE, 10 * PIECE);
    let mut took = Times::new(leaves);
    let begun = Instant::now();
    let mut part = async |numbers| append(&log, numbers, leaf_bytes, in_flight, &mut took).await;
    part(0..PIECE).await?;
    let first = part(PIECE..PIECE + window).await?;
    part(PIECE + window..leaves - window).await?;
    let last = part(leaves - window..leaves).await?;
    let all = begun.elapsed();
    let mut took = took.sample;
    took.sort_unstable();
    log.close().await;
    drop(log);

    let begun = Instant::now();
    let log = open().await?;
    let start = begun.elapsed();
    ensure!(
        log.published().head.size.get() == leaves,
        "leaves were lost"
    );
    let mut proofs = Vec::new();
    for number in 0..PROOFS {
        // Spread over the whole log, in no order that a disk would like.
        let index = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % leaves;
        let asked = Instant::now();
        log.inclusion(LeafIndex::new(index)).await?;
        proofs.push(asked.elapsed());
    }
    proofs.sort_unstable();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(RawFigures {
        leaves,
        leaf_bytes,
        in_flight,
        per_second: rate(leaves, all),
        window,
        first_per_second: rate(window, first),
        last_per_second: rate(window, last),
        append_p50_ms: percentile(&took, 50).as_secs_f64() * 1e3,
        append_p99_ms: percentile(&took, 99).as_secs_f64() * 1e3,
        start_ms: start.as_secs_f64() * 1e3,
        proof_p50_us: micros(percentile(&proofs, 50)),
        proof_p99_us: micros(percentile(&proofs, 99)),
        resident_mib: resident_kib()? / 1024,
    })
}

/// Some of the times that leaves took: all of ten million would be most of the memory that is measured.
struct Times {
    sample: Vec<Duration>,
    every: u64,
    seen: u64,
}

impl Times {
    fn new(leaves: u64) -> Self {
        Self {
            sample: Vec::new(),
            every: leaves / 200_000 + 1,
            seen: 0,
        }
    }

    fn push(&mut self, time: Duration) {
        self.seen += 1;
        if self.seen.is_multiple_of(self.every) {
            self.sample.push(time);
        }
    }
}

/// Of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = times.len() * percent / 100;
    let time = times.get(rank.min(times.len().saturating_sub(1)));
    time.copied().unwrap_or_default()
}

async fn open(files: Arc<dyn Disk>, in_flight: usize, key: Signer) -> Result<Log<Plain>> {
    let config = Config {
        queue: in_flight,
        batch_leaves: in_flight,
        ..Config::new("unused")
    };
    let signer = Arc::new(NoteSigner::new("raw.example.org", key)?);
    Ok(Log::open_on(files, None, config, signer, Arc::new(Timestamp::now)).await?)
}

async fn append(
    log: &Log<Plain>,
    numbers: std::ops::Range<u64>,
    leaf_bytes: usize,
    in_flight: usize,
    took: &mut Times,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut numbers = numbers;
    let mut running = JoinSet::new();
    loop {
        while running.len() < in_flight
            && let Some(number) = numbers.next()
        {
            let log = log.clone();
            running.spawn(async move {
                let begun = Instant::now();
                let appended = log.append(Plain::of(number, leaf_bytes)).await;
                appended.map(|_| begun.elapsed())
            });
        }
        let Some(appended) = running.join_next().await else {
            return Ok(begun.elapsed());
        };
        took.push(appended??);
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    count / took.as_secs_f64().max(1e-9)
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.context("no VmRSS in /proc/self/status")
}

impl fmt::Display for RawFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} leaves of {} bytes, {} in flight: {:.0} leaves/s (of {} after the first 10,000 {:.0}, of the last {:.0}), \
             append p50 {:.1} ms, p99 {:.1} ms, opened again in {:.0} ms, proofs p50 {} us, p99 {} us, {} MiB resident",
            self.leaves,
            self.leaf_bytes,
            self.in_flight,
            self.per_second,
            self.window,
            self.first_per_second,
            self.last_per_second,
            self.append_p50_ms,
            self.append_p99_ms,
            self.start_ms,
            self.proof_p50_us,
            self.proof_p99_us,
            self.resident_mib
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_log_has_all_figures() {
        let folder = tempfile::tempdir().unwrap();
        let files: Arc<dyn Disk> = Arc::new(store::fs::Folder::open(folder.path()).unwrap());
        let figures = run(files.clone(), PIECE * 4, 100, 1000).await.unwrap();
        assert_eq!(figures.leaves, PIECE * 4);
        assert!(figures.per_second > 0.0 && figures.resident_mib > 0);
        let again = run(files, PIECE * 4, 100, 1000).await;
        assert!(again.is_err(), "the folder is not empty any more");
    }
}
