//! Tags that a team answers for.

use clap::Args;

/// Whether a tag has to be one that the trust domain vouches for: of every command that takes an image by its tag to trust it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TagTrust {
    /// Take an image only if its tag points where the trust domain's repository says (`root tag`): the newest digest that the team signed, and no
    /// older one. With =NAME the tags of another trust domain than the one that the signature is verified with. The repository is asked each
    /// time (for many images in one run, every ten seconds), but with --offline or --trust-refresh until-expiry
    #[arg(long, value_name = "NAME|URL", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = domain)]
    pub(crate) tag_trust: Option<String>,
}

/// A variable says `true` where a flag is just there.
fn domain(text: &str) -> Result<String, String> {
    match text {
        "true" => Ok(String::new()),
        "false" => Err("leave it out where tags need not be vouched for".to_owned()),
        name => Ok(name.to_owned()),
    }
}
