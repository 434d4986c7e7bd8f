//! One contestant under load, its table, and the ratio of two tables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::run::quiet;

/// Ticks in a second in `/proc/PID/stat`: the same on every Linux that we run on (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// Who is asked.
pub(crate) struct Contestant<'a> {
    /// What stands over the table.
    pub(crate) name: &'a str,
    /// The base URL.
    pub(crate) url: String,
    /// The process that does the work.
    pub(crate) process: u32,
}

/// What it is asked.
pub(crate) struct Work {
    /// The load tool's kind, and what that needs.
    pub(crate) kind: Vec<OsString>,
    /// Connections of each run.
    pub(crate) levels: &'static [u32],
    /// Length of each run.
    pub(crate) seconds: u32,
    /// More requests than any contestant answers in a second.
    pub(crate) rate_max: u32,
}

/// What the load tool says.
#[derive(Deserialize)]
struct Figures {
    connections: u32,
    answered: u32,
    errors: u32,
    per_second: f64,
    p50: u32,
    p95: u32,
    p99: u32,
    max: u32,
    reasons: BTreeMap<String, u32>,
}

/// One run, and the processor time that one request took of the contestant.
struct Row {
    figures: Figures,
    micros: f64,
}

/// The runs of one contestant.
pub(crate) struct Table {
    name: String,
    rows: Vec<Row>,
}

/// Runs every level against a contestant and prints its table.
pub(crate) fn measure(contestant: &Contestant<'_>, work: &Work) -> Result<Table> {
    println!("\n{}", contestant.name);
    println!(
        "{:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>15} {:>13}",
        "connections",
        "requests/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "CPU us/request",
        "resident MiB"
    );
    let mut rows = Vec::new();
    for connections in work.levels {
        let before = processor_seconds(contestant.process)?;
        let figures = load(contestant, work, *connections)?;
        let spent = processor_seconds(contestant.process)? - before;
        // One request of each connection warms it up.
        let all = f64::from(figures.answered.saturating_add(*connections).max(1));
        let micros = spent * 1e6 / all;
        let millis = |micros: u32| f64::from(micros) / 1e3;
        println!(
            "{:>12} {:>12.1} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>15.0} {:>13}",
            figures.connections,
            figures.per_second,
            millis(figures.p50),
            millis(figures.p95),
            millis(figures.p99),
            millis(figures.max),
            micros,
            resident(contestant.process)?
        );
        for (reason, count) in &figures.reasons {
            println!("             ERROR {count} times: {reason}");
        }
        rows.push(Row { figures, micros });
    }
    Ok(Table {
        name: contestant.name.to_owned(),
        rows,
    })
}

fn load(contestant: &Contestant<'_>, work: &Work, connections: u32) -> Result<Figures> {
    let requests = work
        .rate_max
        .saturating_mul(work.seconds)
        .max(connections.saturating_mul(2));
    let finished = quiet(
        Command::new(super::programs().join("load"))
            .args(&work.kind)
            .arg(&contestant.url)
            .args(["--connections", &connections.to_string()])
            .args(["--seconds", &work.seconds.to_string()])
            .args(["--requests", &requests.to_string()])
            .args(["--output", "json"]),
    )?;
    // Without figures it failed before the first request; with errors it ends with 1 and has figures all the same.
    match serde_json::from_str(&finished.stdout) {
        Ok(figures) => Ok(figures),
        Err(_) => bail!("{}: {}", contestant.name, finished.stderr.trim()),
    }
}

impl Table {
    /// Who it is about.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Did every request get what it asked for?
    pub(crate) fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.figures.errors == 0)
    }

    /// Prints how often `self` is as fast as a peer, at the levels that both were measured at.
    pub(crate) fn against(&self, peer: &Self) {
        println!("\n{} : {}", self.name, peer.name);
        for row in &self.rows {
            let ours = &row.figures;
            let other = peer
                .rows
                .iter()
                .find(|other| other.figures.connections == ours.connections);
            let Some(other) = other else { continue };
            let theirs = &other.figures;
            println!(
                "{:>12} connections: requests/s {} : 1, p50 1 : {}, p99 1 : {}, CPU/request 1 : {}",
                ours.connections,
                ratio(ours.per_second, theirs.per_second),
                ratio(f64::from(theirs.p50), f64::from(ours.p50)),
                ratio(f64::from(theirs.p99), f64::from(ours.p99)),
                ratio(other.micros, row.micros),
            );
        }
        println!(
            "{:>12} best of all levels: requests/s {} : 1",
            "",
            ratio(self.best(), peer.best())
        );
    }

    /// Requests a second of the fastest run.
    pub(crate) fn best(&self) -> f64 {
        self.rows
            .iter()
            .map(|row| row.figures.per_second)
            .fold(0.0, f64::max)
    }
}

/// Two digits that count.
pub(crate) fn ratio(over: f64, under: f64) -> String {
    let ratio = if under > 0.0 { over / under } else { f64::NAN };
    if ratio >= 10.0 {
        format!("{ratio:.0}")
    } else if ratio >= 1.0 {
        format!("{ratio:.1}")
    } else {
        format!("{ratio:.2}")
    }
}

/// User and system time of a process.
fn processor_seconds(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).context("the server has ended")?;
    // proc(5): the name in parentheses may hold spaces; utime and stime are the 12th and 13th field behind it.
    let (_, fields) = text
        .rsplit_once(')')
        .with_context(|| format!("{path} is cut short"))?;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

/// Memory that a process has now, in MiB.
fn resident(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).context("the server has ended")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    Ok(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_keep_what_counts() {
        assert_eq!(ratio(1234.0, 10.0), "123");
        assert_eq!(ratio(12.0, 10.0), "1.2");
        assert_eq!(ratio(5.0, 10.0), "0.50");
        assert_eq!(ratio(5.0, 0.0), "NaN");
    }

    #[test]
    fn a_process_is_read_from_the_system() {
        let own = std::process::id();
        assert!(processor_seconds(own).unwrap() >= 0.0);
        assert!(resident(own).unwrap() > 0);
        assert!(resident(u32::MAX).is_err());
    }
}
