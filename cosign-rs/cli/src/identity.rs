//! The identity token to sign with: given, from the surroundings, or by signing in.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use client::sign_in::{self, Prompt, Provider};
use client::{Agent, Ambient, IdentityToken};
use jiff::Timestamp;
use trust::{ServiceKind, SigningConfig};
use zeroize::Zeroizing;

use crate::args::{AuthFlow, Identity};
use crate::failure::{advice, say};
use crate::trust_files::read_at_most;

/// The largest file with a token.
const TOKEN_FILE_MAX: u64 = 64 << 10;

/// Gets the token. Nothing is asked of a person who passed one.
pub(crate) async fn token(
    agent: &Agent,
    identity: &Identity,
    config: &SigningConfig,
    now: Timestamp,
) -> Result<IdentityToken> {
    if let Some(given) = &identity.identity_token {
        return given_token(given);
    }
    if !identity.oidc_disable_ambient_providers
        && let Some(ambient) = Ambient::detect(|name| std::env::var(name).ok())
    {
        let name = ambient.name();
        return ambient
            .token(agent, &identity.oidc_client_id)
            .await
            .with_context(|| format!("the identity token of {name}"));
    }
    let device = match identity.fulcio_auth_flow {
        AuthFlow::Token => {
            return Err(advice(
                "no identity token, and --fulcio-auth-flow token forbids to sign in",
                "pass --identity-token, or set SIGSTORE_ID_TOKEN",
            ));
        }
        AuthFlow::Device => true,
        AuthFlow::Normal => false,
    };
    // A job without a person would wait for one until it is stopped.
    if !std::io::stderr().is_terminal() && std::env::var_os("BROWSER").is_none() && !device {
        return Err(advice(
            "no identity token, and no terminal at which somebody could sign in",
            "pass --identity-token, set SIGSTORE_ID_TOKEN, or in GitHub Actions give the job `permissions: id-token: write`",
        ));
    }
    consent(identity.yes)?;
    let issuer = match &identity.oidc_issuer {
        Some(issuer) => issuer.clone(),
        None => config
            .service(ServiceKind::Oidc, now)
            .context("where to sign in")?
            .url
            .clone(),
    };
    let provider = Provider::discover(agent, &issuer, &identity.oidc_client_id).await?;
    let token = if device {
        sign_in::device(&provider, tell).await
    } else {
        sign_in::browser(&provider, sign_in::open_in_browser, tell).await
    }?;
    Ok(token)
}

/// A token, or a file that holds one. What it is not is not repeated: it may be a secret nevertheless.
fn given_token(given: &str) -> Result<IdentityToken> {
    let wrong = match IdentityToken::parse(given) {
        Ok(token) => return Ok(token),
        Err(wrong) => wrong,
    };
    let path = Path::new(given);
    if given.len() < 4096 && path.exists() {
        let text = Zeroizing::new(read_at_most(path, TOKEN_FILE_MAX)?);
        let text = std::str::from_utf8(&text).context("the file with the identity token")?;
        return IdentityToken::parse(text)
            .with_context(|| format!("the identity token in {}", path.display()));
    }
    // A path is no secret.
    if given.starts_with(['/', '.', '~']) && given.len() < 4096 {
        return Err(advice(
            format!("--identity-token {given}: there is no such file"),
            "pass an identity token, or a file that holds one",
        ));
    }
    Err(anyhow::Error::from(wrong)
        .context("--identity-token is neither an identity token nor a file that exists"))
}

/// What is signed under an identity stands in public logs for ever; whoever signs in by hand is asked once.
fn consent(given: bool) -> Result<()> {
    agree(
        given,
        "Your identity at the provider (a mail address, say) goes into the certificate and with it into a log that everybody can read\nand nothing is ever deleted from.",
    )
}

/// Who signs with a key and names no services may not know that others will see it.
pub(crate) fn consent_to_publish_key(given: bool) -> Result<()> {
    agree(
        given,
        "The digest of what you sign, the signature and your public key go into a log that everybody can read and nothing is ever deleted\nfrom. --tlog-upload=false signs without it; --trust-config names a log of your own.",
    )
}

fn agree(given: bool, to_what: &str) -> Result<()> {
    if given {
        return Ok(());
    }
    say(to_what);
    if !std::io::stdin().is_terminal() {
        return Err(advice(
            "nobody is there to agree to that",
            "agree with --yes",
        ));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "Continue? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(advice("not signed", "agree with --yes"))
    }
}

fn tell(prompt: Prompt<'_>) {
    match prompt {
        Prompt::Link { url, opened: true } => {
            say(&format!(
                "Sign in with the browser that opened now, or at:\n  {url}"
            ));
        }
        Prompt::Link { url, opened: false } => {
            say(&format!(
                "Sign in with a browser on this machine at:\n  {url}"
            ));
        }
        Prompt::Code {
            url,
            complete,
            code,
        } => say(&format!(
            "Sign in on any device at:\n  {}\nand check that it shows the code {code}",
            complete.unwrap_or(url)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_not_repeated() {
        let error = given_token("my-secret-that-is-no-token").unwrap_err();
        assert!(!format!("{error:#}").contains("my-secret"), "{error:#}");
    }

    #[test]
    fn a_token_may_be_in_a_file() {
        // {"alg":"none"} . {"iss":"https://i","sub":"s","exp":1} . x
        let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2kiLCJzdWIiOiJzIiwiZXhwIjoxfQ.eA";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let read = given_token(file.path().to_str().unwrap()).unwrap();
        assert_eq!(read.issuer(), "https://i");
        assert_eq!(given_token(token).unwrap().issuer(), "https://i");
    }
}
