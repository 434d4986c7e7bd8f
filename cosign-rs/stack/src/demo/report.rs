//! What a person sees of the demo: one line a step, with its time; what was said by the programs, indented; a summary.

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Columns of a step's line before its time.
const WIDTH: usize = 74;

/// Longest piece of another program's output that is shown.
const QUOTE_LINES: usize = 12;

/// The running report.
pub(super) struct Report<W> {
    out: W,
    colour: bool,
    start: Instant,
    steps: Vec<Outcome>,
}

struct Outcome {
    title: String,
    took: Duration,
    failed: Option<String>,
}

impl Report<std::io::Stdout> {
    pub(super) fn on_stdout() -> Self {
        let out = std::io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(out, colour)
    }
}

impl<W: Write> Report<W> {
    fn new(out: W, colour: bool) -> Self {
        Self {
            out,
            colour,
            start: Instant::now(),
            steps: Vec::new(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&mut self, text: &str) {
        // Whoever closed our output does not want to read on.
        let _closed = writeln!(self.out, "{text}");
    }

    /// A heading.
    pub(super) fn part(&mut self, title: &str) {
        let title = self.paint("1", title);
        self.line(&format!("\n{title}"));
    }

    /// Something to know, under the last line.
    pub(super) fn note(&mut self, text: &str) {
        let text = self.paint("2", text);
        self.line(&format!("      {text}"));
    }

    /// Output of a program, cut if it is long.
    pub(super) fn quote(&mut self, text: &str) {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        for line in lines.iter().take(QUOTE_LINES) {
            let line = self.paint("2", line);
            self.line(&format!("      | {line}"));
        }
        if lines.len() > QUOTE_LINES {
            self.line(&format!(
                "      | ... {} more lines",
                lines.len() - QUOTE_LINES
            ));
        }
    }

    /// Runs one step and says how it went; its error ends the demo.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        let result = work.await;
        let took = start.elapsed();
        let failed = result.as_ref().err().map(|error| format!("{error:#}"));
        let mark = if failed.is_some() {
            self.paint("31;1", "FAIL")
        } else {
            self.paint("32", " ok ")
        };
        let dots = ".".repeat(WIDTH.saturating_sub(title.chars().count()).max(2));
        let dots = self.paint("2", &dots);
        self.line(&format!(" {mark} {title} {dots} {}", duration(took)));
        if let Some(reason) = &failed {
            self.quote(reason);
        }
        self.steps.push(Outcome {
            title: title.to_owned(),
            took,
            failed,
        });
        result
    }

    /// The end; true if every step did what it should.
    pub(super) fn summary(&mut self, incomplete: bool) -> bool {
        let failed: Vec<String> = self
            .steps
            .iter()
            .filter_map(|step| Some(format!("{}: {}", step.title, step.failed.as_ref()?)))
            .collect();
        let total = duration(self.start.elapsed());
        let working: Duration = self.steps.iter().map(|step| step.took).sum();
        let count = self.steps.len();
        let good = failed.is_empty() && !incomplete;
        let line = if good {
            self.paint(
                "32;1",
                &format!(
                    "All {count} steps did what they should, in {total} ({} of it in the steps).",
                    duration(working).trim()
                ),
            )
        } else {
            self.paint(
                "31;1",
                &format!("The demo failed after {count} steps and {total}."),
            )
        };
        self.line(&format!("\n{line}"));
        good
    }
}

fn duration(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:6.1} ms")
    } else if milliseconds < 10_000.0 {
        format!("{milliseconds:6.0} ms")
    } else {
        format!("{:6.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[tokio::test]
    async fn a_failed_step_is_said_and_counted() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        report.step("one", async { Ok(()) }).await.unwrap();
        let error: Result<()> = report
            .step("two", async { Err(anyhow!("inner").context("outer")) })
            .await;
        assert!(error.is_err() && !report.summary(true));
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains(" ok  one ..")
                && text.contains("FAIL two ..")
                && text.contains("| outer: inner"),
            "{text}"
        );
        assert!(text.contains("failed after 2 steps"), "{text}");
    }

    #[test]
    fn times_line_up() {
        for time in [
            Duration::from_micros(1500),
            Duration::from_millis(150),
            Duration::from_secs(12),
        ] {
            assert!(duration(time).len() <= 9, "{}", duration(time));
        }
    }
}
