//! What was checked, how it went and how long it took; the last line is the count.

use std::time::{Duration, Instant};

use anyhow::Result;

/// How one named check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold; the text says why.
    Failed(String),
    /// It could not be run; the text names what is not installed.
    Skipped(String),
}

/// The rows of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, Outcome, Duration)>,
}

impl Report {
    /// Runs one part of the test command; an error inside it is a failed row and the next part still runs.
    pub(crate) fn step(&mut self, name: &str, step: fn(&mut Self) -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let before = self.failures();
        if let Err(error) = step(self) {
            self.add(name, Outcome::Failed(format!("{error:#}")), start.elapsed());
        }
        let word = if self.failures() == before {
            "done"
        } else {
            "FAILED"
        };
        println!(
            "== {name}: {word} in {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }

    /// Runs one check, prints its row and keeps it.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let outcome = match check() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        self.add(name, outcome, start.elapsed());
    }

    /// Keeps a check that could not run because `missing` is not installed.
    pub(crate) fn skip(&mut self, name: &str, missing: &str) {
        self.add(name, Outcome::Skipped(missing.to_owned()), Duration::ZERO);
    }

    fn add(&mut self, name: &str, outcome: Outcome, took: Duration) {
        let seconds = took.as_secs_f64();
        match &outcome {
            Outcome::Passed => println!("   ok      {name} ({seconds:.2} s)"),
            Outcome::Failed(why) => {
                println!(
                    "   FAILED  {name} ({seconds:.2} s)\n           {}",
                    why.replace('\n', "\n           ")
                );
            }
            Outcome::Skipped(missing) => println!("   skipped {name}: {missing} is not installed"),
        }
        self.rows.push((name.to_owned(), outcome, took));
    }

    fn failures(&self) -> usize {
        self.rows
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
            .count()
    }

    /// Prints what failed or was skipped and the count; true when the run counts as passed. With `no_skip` a skip is a failure.
    pub(crate) fn finish(&self, no_skip: bool) -> bool {
        let mut skipped = 0_usize;
        println!();
        for (name, outcome, _) in &self.rows {
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => {
                    println!("FAILED {name}: {}", why.lines().next().unwrap_or_default());
                }
                Outcome::Skipped(missing) => {
                    skipped = skipped.saturating_add(1);
                    println!(
                        "skipped {name}: {missing} is not installed (cargo xtask peers install)"
                    );
                }
            }
        }
        let failed = self.failures();
        let passed = self
            .rows
            .len()
            .saturating_sub(failed)
            .saturating_sub(skipped);
        if no_skip && skipped > 0 {
            println!("skips are not allowed here (CI is set or --no-skip was given)");
        }
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        failed == 0 && passed > 0 && !(no_skip && skipped > 0)
    }
}
