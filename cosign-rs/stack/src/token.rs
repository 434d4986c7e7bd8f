//! `sigstack token`: a token for scripts, signed with the key in the state folder. Whoever can read that key could make it anyway.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use signer::Signer;

use crate::args::Token;
use crate::issuer::{GitHubJob, Minter};
use crate::material::file;
use crate::state::Addresses;

/// Makes the token that the arguments ask for.
pub async fn make(arguments: &Token, now: Timestamp) -> Result<String> {
    let addresses = Addresses::read(&arguments.state)?;
    let minter = Minter::new(
        addresses.issuer,
        Signer::load(&arguments.state.join(file::ISSUER))?,
    )?;
    let life = Duration::from_secs(arguments.seconds);
    match (&arguments.email, &arguments.github) {
        (Some(email), None) => Ok(minter
            .email(email, &arguments.audience, None, now, life)
            .await?),
        (None, Some(job)) => Ok(minter
            .github(&GitHubJob::parse(job)?, &arguments.audience, now, life)
            .await?),
        _ => bail!("either --email or --github"),
    }
}
