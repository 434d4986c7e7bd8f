//! `fulcio-rs explain-token`: what stands in a refusal as one word, with everything around it, for whoever has the token and the rules.
//!
//! The token's provider is asked for its keys as the service asks it, so what is said holds where this runs: a provider that the service cannot reach
//! may answer here. Nothing of the token is shown but what would stand in a certificate, or what the refusal is about.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};

use anyhow::{Context as _, anyhow};
use client::printable;
use jiff::Timestamp;
use pki::SubjectName;

use crate::args::ExplainToken;
use crate::follow::read_issuers;
use crate::issuers::Principal;

pub(super) async fn run(arguments: &ExplainToken) -> anyhow::Result<()> {
    let issuers = read_issuers(&arguments.issuers)?;
    let token = match &arguments.token_file {
        Some(path) => File::open(path)
            .map_err(Into::into)
            .and_then(read_token)
            .with_context(|| path.display().to_string())?,
        None => read_token(io::stdin().lock()).context("standard input")?,
    };
    match issuers.identify(&token, Timestamp::now()).await {
        Ok(principal) => io::stdout()
            .write_all(certificate(&principal).as_bytes())
            .context("standard output"),
        Err(error) => {
            let mut what = error.reason().to_owned();
            for (name, value) in error.about() {
                what = format!("{what} {name}={:?}", printable(&value));
            }
            Err(anyhow!(error).context(what))
        }
    }
}

fn read_token(from: impl Read) -> anyhow::Result<String> {
    let most = u64::try_from(oidc::MAX_TOKEN).unwrap_or(u64::MAX);
    let mut text = String::new();
    // One more than is taken: it is for the reader of tokens to say that it is too large.
    from.take(most.saturating_add(1))
        .read_to_string(&mut text)?;
    Ok(text)
}

/// What the certificate would say, a line each.
fn certificate(principal: &Principal) -> String {
    let kind = match principal.subject {
        SubjectName::Email(_) => "rfc822Name",
        SubjectName::Uri(_) => "URI",
        SubjectName::UserName(_) => "user name",
        _ => "another kind of name",
    };
    let subject = format!("{} ({kind})", principal.subject);
    let fields = principal.extensions.iter();
    let fields = fields.map(|(field, value)| (field.name(), value.to_owned()));
    let lines = [("Subject", subject)]
        .into_iter()
        .chain(fields)
        .chain([("Proof of possession over", principal.proofs.join(" or "))]);
    let mut text = String::new();
    for (name, value) in lines {
        // A text takes everything.
        let _ = writeln!(text, "{name:<36}{}", printable(&value));
    }
    text
}
