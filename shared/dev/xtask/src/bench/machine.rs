//! What the figures depend on and the code does not decide.

use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// One page, about what a log writes for a handful of entries.
const BLOCK: usize = 4096;
const SYNCS: usize = 200;

/// One line: cores, processor, how busy the machine is without us, and how long the disk takes to make a page durable.
pub(crate) fn describe(folder: &Path) -> Result<String> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split(' ').next().unwrap_or("unknown").to_owned();
    let mut syncs = syncs(folder).context("measuring the disk")?;
    syncs.sort_unstable();
    let at = |percent: usize| {
        let rank = syncs.len().saturating_mul(percent) / 100;
        syncs.get(rank).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    Ok(format!(
        "machine: {cores} cores ({}), load average {busy}; write of 4 KiB + fdatasync: p50 {:.2} ms, p99 {:.2} ms ({SYNCS} times)",
        processor().unwrap_or_else(|| "unknown".to_owned()),
        at(50),
        at(99)
    ))
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Appending to one file, as a write-ahead log does.
fn syncs(folder: &Path) -> Result<Vec<Duration>> {
    let path = folder.join("syncs");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0x5a; BLOCK])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}
