//! Where log lines go: standard error, as text for people or as JSON for machines.
//!
//! A busy service writes thousands of lines a second that say that a request was answered. They wait for a moment, so that many of them are one
//! write; every other line goes at once, behind those that wait. A process that is killed loses the lines of that moment, and no others; one that
//! ends in any other way ends with [`flush`].

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::observe;

/// How long a line may wait.
const WAIT: Duration = Duration::from_millis(100);
/// How much may wait, in bytes: some hundred lines.
const WAITING_MAX: usize = 64 << 10;

/// Those of this process.
static LINES: OnceLock<Lines<io::Stderr>> = OnceLock::new();

/// What is logged if nobody says otherwise.
pub(crate) const FILTER: &str = "info";

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line of text, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Is this a filter? An error that says what is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Starts logging for this process. `filter` is a `tracing` directive such as `info` or `warn,rekor_rs=debug`; the
/// environment variable `RUST_LOG` goes before it. A second call changes nothing, so tests may call it too.
pub fn init(format: Format, filter: &str) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(filter))
        .unwrap_or_else(|_| EnvFilter::new(FILTER));
    let lines = Lines::new(io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .with_target(true)
        // It would tell on standard error that it cannot write to standard error, and panic when that fails: a full disk with the lines on it
        // must not end the service.
        .log_internal_errors(false);
    // An Err means that somebody else already listens, and that is fine.
    let begun = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    if begun.is_ok() {
        // Without it every line goes at once.
        let writing = lines.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        lines.0.held().patient = thread.spawn(move || writing.write_on()).is_ok();
        let _set_once = LINES.set(lines);
    }
}

/// Writes the lines that wait: before the process ends.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        // Nobody could be told.
        let _ = lines.0.held().write();
    }
}

/// Writes the lines that wait when this goes, by a panic too.
#[derive(Debug)]
pub(crate) struct AtTheEnd;

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// Lines on their way to `W`. Clones are the same.
#[derive(Debug)]
struct Lines<W>(Arc<Inner<W>>);

#[derive(Debug)]
struct Inner<W> {
    held: Mutex<Held<W>>,
    some: Condvar,
}

#[derive(Debug)]
struct Held<W> {
    waiting: Vec<u8>,
    /// Whether somebody sees to lines that wait.
    patient: bool,
    to: W,
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Inner<W> {
    fn held(&self) -> MutexGuard<'_, Held<W>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Held<W> {
    fn write(&mut self) -> io::Result<()> {
        let written = self.to.write_all(&self.waiting);
        // What could not be written is gone: a full disk must not fill the memory too.
        self.waiting.clear();
        written
    }
}

impl<W: Write> Lines<W> {
    fn new(to: W) -> Self {
        Self(Arc::new(Inner {
            held: Mutex::new(Held {
                waiting: Vec::new(),
                patient: false,
                to,
            }),
            some: Condvar::new(),
        }))
    }

    /// Takes a line.
    fn take(&self, line: &[u8], may_wait: bool) -> io::Result<()> {
        let mut held = self.0.held();
        held.waiting.extend_from_slice(line);
        if !may_wait || !held.patient || held.waiting.len() >= WAITING_MAX {
            return held.write();
        }
        if held.waiting.len() == line.len() {
            self.0.some.notify_one();
        }
        Ok(())
    }

    /// Writes what waits, again and again.
    fn write_on(&self) {
        loop {
            let held = self.0.held();
            let some = self.0.some.wait_while(held, |held| held.waiting.is_empty());
            drop(some.unwrap_or_else(PoisonError::into_inner));
            std::thread::sleep(WAIT);
            // Nobody could be told.
            let _ = self.0.held().write();
        }
    }
}

/// One line.
#[derive(Debug)]
struct Line<'a, W> {
    lines: &'a Lines<W>,
    may_wait: bool,
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            lines: self,
            may_wait: false,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Line {
            lines: self,
            may_wait: metadata.target() == observe::TARGET && *metadata.level() >= Level::INFO,
        }
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.take(line, self.may_wait)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Lines<Vec<u8>> {
        let lines = Lines::new(Vec::new());
        lines.0.held().patient = true;
        lines
    }

    fn written(lines: &Lines<Vec<u8>>) -> String {
        String::from_utf8(lines.0.held().to.clone()).unwrap()
    }

    #[test]
    fn only_answers_wait_and_nothing_overtakes_them() {
        let lines = lines();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: observe::TARGET, "one");
            tracing::info!(target: observe::TARGET, "two");
            assert_eq!(written(&lines), "");
            // An audit line is worth nothing if it can be lost.
            tracing::info!("three");
            let order = |found: &str| -> Vec<usize> {
                let places = ["one", "two", "three", "four"].map(|word| found.find(word));
                places.into_iter().flatten().collect()
            };
            let found = order(&written(&lines));
            assert!(found.len() == 3 && found.is_sorted(), "{found:?}");
            tracing::warn!(target: observe::TARGET, "four");
            assert_eq!(order(&written(&lines)).len(), 4);
        });
        assert_eq!(written(&lines).lines().count(), 4);
    }

    #[test]
    fn what_waits_has_a_bound() {
        let lines = lines();
        let line = [b'x'; 1000];
        for _ in 0..1000 {
            lines.take(&line, true).unwrap();
            assert!(lines.0.held().waiting.len() < WAITING_MAX);
        }
        let waiting = lines.0.held().waiting.len();
        assert_eq!(written(&lines).len() + waiting, 1_000_000);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_is_not_there() {
        let lines = Lines::new(Vec::new());
        lines.take(b"line\n", true).unwrap();
        assert_eq!(written(&lines), "line\n");
    }

    #[test]
    fn what_waits_is_written_in_a_moment() {
        let lines = lines();
        let writing = lines.clone();
        std::thread::spawn(move || writing.write_on());
        for text in ["one\n", "one\ntwo\n"] {
            lines
                .take(
                    text.split_inclusive('\n').next_back().unwrap().as_bytes(),
                    true,
                )
                .unwrap();
            let begun = std::time::Instant::now();
            while written(&lines) != text {
                assert!(begun.elapsed() < Duration::from_secs(30));
                std::thread::yield_now();
            }
        }
    }
}
