//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::io::{self, IsTerminal as _};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(true)
        // It would tell on standard error that it cannot write to standard error, and panic when that fails: a full disk with the lines on it
        // must not end the service.
        .log_internal_errors(false);
    // An Err means that somebody else already listens, and that is fine.
    let _already = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder
            .json()
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
}
