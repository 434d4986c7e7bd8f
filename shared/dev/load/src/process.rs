//! One command as whole processes: what a person or a build job waits for, and what it takes of the machine.

use std::ffi::OsString;
use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

/// The figures of one command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// How often it ran.
    pub runs: usize,
    /// From start to end of the process, half of them took no longer, in milliseconds.
    pub wall_median_ms: f64,
    /// The quickest.
    pub wall_least_ms: f64,
    /// Processor time of one run, user and system with what the process started, on average, in milliseconds.
    pub cpu_ms: f64,
    /// The most memory that one of them had resident, in KiB. Never below what this program has itself: the kernel counts from the fork.
    pub resident_max_kib: i64,
}

/// Runs a command `runs` times, one after another, without input. That each succeeds is part of the figure.
pub fn run(runs: usize, command: &[OsString]) -> Result<Figures> {
    let (program, arguments) = command.split_first().context("no command is given")?;
    let mut taken = Vec::with_capacity(runs);
    let before = processor_time(children()?);
    for _ in 0..runs {
        let start = Instant::now();
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", program.display()))?;
        taken.push(start.elapsed());
        if !output.status.success() {
            bail!(
                "{}: {}: {}",
                program.display(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    let usage = children()?;
    let spent = processor_time(usage).saturating_sub(before);
    taken.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok(Figures {
        runs,
        wall_median_ms: millis(taken.get(taken.len() / 2)),
        wall_least_ms: millis(taken.first()),
        cpu_ms: spent.as_secs_f64() * 1e3 / f64::from(u32::try_from(runs.max(1))?),
        resident_max_kib: usage.max_rss(),
    })
}

/// Of all processes that this one has started and waited for.
fn children() -> Result<Usage> {
    getrusage(UsageWho::RUSAGE_CHILDREN).context("what child processes took")
}

fn processor_time(usage: Usage) -> Duration {
    let both = usage.user_time() + usage.system_time();
    Duration::from_micros(u64::try_from(both.num_microseconds()).unwrap_or_default())
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} processes: median {:.2} ms, least {:.2} ms, processor time {:.2} ms, at most {:.1} MiB resident",
            self.runs,
            self.wall_median_ms,
            self.wall_least_ms,
            self.cpu_ms,
            f64::from(i32::try_from(self.resident_max_kib).unwrap_or(i32::MAX)) / 1024.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_a_command_takes_is_seen() {
        let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        let figures = run(3, &command(&["sh", "-c", busy])).unwrap();
        assert_eq!(figures.runs, 3);
        assert!(
            figures.cpu_ms > 0.0 && figures.resident_max_kib > 0,
            "{figures}"
        );
        assert!(figures.wall_least_ms <= figures.wall_median_ms, "{figures}");
    }

    #[test]
    fn a_command_that_fails_is_no_figure() {
        let failed = run(
            1,
            &command(&["sh", "-c", "echo no such bundle >&2; exit 3"]),
        );
        let text = format!("{:#}", failed.unwrap_err());
        assert!(
            text.contains("no such bundle") && text.contains('3'),
            "{text}"
        );
        assert!(run(1, &[]).is_err());
    }
}
