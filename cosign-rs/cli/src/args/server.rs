//! Many verifications by one process.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::registry::Registry;
use super::tag_trust::TagTrust;
use super::trust::Trust;
use super::verifying::{Expected, Judging};

/// Answer on a Unix socket whether images and files are signed, a line each
#[derive(Debug, Args)]
pub(crate) struct VerifyServer {
    /// The Unix socket to listen on; only this user may connect
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// How many clients are served at a time; others wait
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clients)]
    pub(crate) clients: u16,
    /// How long one verification may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub(crate) request_timeout: Duration,
    /// How often trust and policy are read again
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    pub(crate) refresh: Duration,
    #[command(flatten)]
    pub(crate) expected: Expected,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) tag_trust: TagTrust,
    #[command(flatten)]
    pub(crate) registry: Registry,
}

fn clients(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("expected 1 to 1024".into()),
    }
}
