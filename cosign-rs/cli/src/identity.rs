//! The identity token to sign with: given, from the surroundings, or by signing in.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use client::ambient::{Kind, Surroundings};
use client::sign_in::{self, Prompt, Provider, Registration, SignInError};
use client::{Agent, Ambient, IdentityToken};
use jiff::Timestamp;
use trust::{ServiceKind, SigningConfig};
use zeroize::Zeroizing;

use crate::args::{AuthFlow, Identity};
use crate::failure::{advice, in_line, say, usage};
use crate::trust_files::read_at_most;

/// The largest file with a token.
const TOKEN_FILE_MAX: u64 = 64 << 10;
/// The largest file with a client secret.
const SECRET_FILE_MAX: u64 = 64 << 10;

/// Signs in, where no token [is at hand](token_at_hand). `before_signing_in` may object to a person being asked.
pub(crate) async fn sign_in(
    agent: &Agent,
    identity: &Identity,
    config: &SigningConfig,
    now: Timestamp,
    before_signing_in: impl FnOnce() -> Result<()>,
) -> Result<IdentityToken> {
    let secret = secret(identity)?;
    let way = Way::of(
        identity,
        secret.is_some(),
        &|name: &str| std::env::var(name).ok(),
        std::io::stderr().is_terminal(),
    )?;
    if way != Way::Itself {
        before_signing_in()?;
    }
    let issuer = match &identity.oidc_issuer {
        Some(issuer) => issuer.clone(),
        None => config
            .service(ServiceKind::Oidc, now)
            .context("where to sign in")?
            .url
            .clone(),
    };
    let registration = Registration {
        client_id: identity.oidc_client_id.clone(),
        secret,
        audience: identity.oidc_audience.clone(),
    };
    let provider = Provider::discover(agent, &issuer, &registration).await?;
    let token = go(&provider, identity, way).await?;
    for_whom(&token, identity)?;
    Ok(token)
}

/// A flag that says for whom the token is to be is obeyed, or said not to be: where the token is from decides about that.
fn for_whom(token: &IdentityToken, identity: &Identity) -> Result<()> {
    match &identity.oidc_audience {
        Some(audience) if token.is_for(audience) == Some(false) => Err(advice(
            format!("the identity token is not made for --oidc-audience {audience}"),
            "its audience is decided where it is made: at the provider, or in the settings of the job",
        )),
        _ => Ok(()),
    }
}

/// The token that is there without anybody signing in, if there is one.
pub(crate) async fn token_at_hand(
    agent: &Agent,
    identity: &Identity,
) -> Result<Option<IdentityToken>> {
    may_go_together(identity)?;
    let token = if let Some(given) = &identity.identity_token {
        given_token(given)?
    } else {
        let Some(ambient) = ambient(identity)? else {
            return Ok(None);
        };
        let name = ambient.name();
        let token = ambient.token(agent, audience(identity)).await;
        token.with_context(|| format!("the identity token of {name}"))?
    };
    for_whom(&token, identity)?;
    match &identity.oidc_issuer {
        Some(issuer) if issuer.trim_end_matches('/') != token.issuer().trim_end_matches('/') => {
            Err(advice(
                format!(
                    "the identity token is of {}, and --oidc-issuer is {issuer}",
                    in_line(token.issuer())
                ),
                "leave --oidc-issuer out, or sign in there: --oidc-disable-ambient-providers",
            ))
        }
        _ => Ok(Some(token)),
    }
}

/// Whether somebody has to be asked for the token that is at hand.
pub(crate) fn is_asked_for(identity: &Identity) -> Result<bool> {
    let found = match &identity.identity_token {
        Some(_) => None,
        None => ambient(identity)?,
    };
    Ok(found.is_some_and(|found| !matches!(found.kind(), Kind::Variable | Kind::File)))
}

/// Flags that would not be obeyed beside one another are refused.
fn may_go_together(identity: &Identity) -> Result<()> {
    let flow = identity.fulcio_auth_flow;
    let signs_in = matches!(
        flow,
        Some(AuthFlow::Normal | AuthFlow::Device | AuthFlow::Oob | AuthFlow::ClientCredentials)
    );
    let redirect = identity.oidc_redirect_url.is_some();
    let secret = identity.oidc_client_secret_file.is_some();
    let (given, named) = (
        identity.identity_token.is_some(),
        identity.oidc_provider.is_some(),
    );
    let pairs = [
        (
            signs_in && given,
            "--fulcio-auth-flow",
            "--identity-token, which is there already",
        ),
        (
            signs_in && named,
            "--fulcio-auth-flow",
            "--oidc-provider, which has the token",
        ),
        (
            redirect && given,
            "--oidc-redirect-url",
            "--identity-token: nobody signs in",
        ),
        (
            redirect && named,
            "--oidc-redirect-url",
            "--oidc-provider: nobody signs in",
        ),
        (
            redirect && flow.is_some_and(|flow| flow != AuthFlow::Normal),
            "--oidc-redirect-url",
            "a --fulcio-auth-flow that sends no browser back",
        ),
        (
            secret && given,
            "--oidc-client-secret-file",
            "--identity-token: nobody signs in",
        ),
        (
            secret && named,
            "--oidc-client-secret-file",
            "--oidc-provider: nobody signs in",
        ),
        (
            secret && flow == Some(AuthFlow::Token),
            "--oidc-client-secret-file",
            "--fulcio-auth-flow token: nobody signs in",
        ),
    ];
    match pairs.into_iter().find(|(both, _, _)| *both) {
        Some((_, one, other)) => Err(usage(
            format!("{one} beside {other}"),
            "leave one of the two out: it would not be obeyed",
        )),
        None => Ok(()),
    }
}

/// Whom the token is to be for.
fn audience(identity: &Identity) -> &str {
    let audience = identity.oidc_audience.as_ref();
    audience.unwrap_or(&identity.oidc_client_id)
}

/// What this process has around it.
pub(crate) fn surroundings() -> Surroundings<'static> {
    Surroundings {
        variable: &|name: &str| std::env::var(name).ok(),
        root: Path::new("/"),
    }
}

/// The surroundings that have a token: those that are named, or any. Who says how to sign in wants to sign in.
fn ambient(identity: &Identity) -> Result<Option<Ambient>> {
    if let Some(name) = &identity.oidc_provider {
        let kinds = Kind::named(name);
        let Some(kind) = kinds.first() else {
            let names = Kind::ALL.map(Kind::name).join(", ");
            return Err(advice(
                format!("no surroundings are called {name}"),
                format!("--oidc-provider takes one of {names}, or google"),
            ));
        };
        let found = kinds.iter().find_map(|kind| kind.find(surroundings()));
        return found.map(Some).ok_or_else(|| {
            advice(
                format!("--oidc-provider {name}: nothing of it is here"),
                kind.wants(),
            )
        });
    }
    let otherwise = matches!(
        identity.fulcio_auth_flow,
        Some(AuthFlow::Normal | AuthFlow::Device | AuthFlow::Oob | AuthFlow::ClientCredentials)
    );
    let redirected = identity.oidc_redirect_url.is_some();
    let as_client = identity.oidc_client_secret_file.is_some();
    if identity.oidc_disable_ambient_providers || otherwise || redirected || as_client {
        return Ok(None);
    }
    Ok(Ambient::detect(surroundings()))
}

fn secret(identity: &Identity) -> Result<Option<Zeroizing<String>>> {
    let Some(path) = &identity.oidc_client_secret_file else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(read_at_most(path, SECRET_FILE_MAX)?);
    let text = std::str::from_utf8(&bytes)
        .with_context(|| format!("the client secret in {}", path.display()))?;
    Ok(Some(Zeroizing::new(text.trim().to_owned())))
}

/// How somebody signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With a browser here, and if none opens with a code.
    BrowserOrCode,
    /// With a browser here.
    Browser,
    /// With a code for another device, and where the provider has none of these with one that is copied.
    Code,
    /// With a code for another device.
    Device,
    /// With a code that is copied.
    Copied,
    /// As a client with a secret; nobody is needed.
    Itself,
}

impl Way {
    fn of(
        identity: &Identity,
        secret: bool,
        variable: &dyn Fn(&str) -> Option<String>,
        terminal: bool,
    ) -> Result<Self> {
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        match identity.fulcio_auth_flow {
            Some(AuthFlow::Token) => Err(advice(
                "no identity token, and --fulcio-auth-flow token forbids to sign in",
                "pass --identity-token, or set SIGSTORE_ID_TOKEN",
            )),
            Some(AuthFlow::Device) => Ok(Self::Device),
            Some(AuthFlow::Oob) => Ok(Self::Copied),
            Some(AuthFlow::ClientCredentials) if secret => Ok(Self::Itself),
            Some(AuthFlow::ClientCredentials) => Err(advice(
                "--fulcio-auth-flow client_credentials without a client secret",
                "name the file that holds it with --oidc-client-secret-file",
            )),
            Some(AuthFlow::Normal) | None if set("BROWSER") => Ok(Self::Browser),
            // A job without a person would wait for one until it is stopped.
            Some(AuthFlow::Normal) | None if !terminal && !secret => Err(advice(
                "no identity token, and no terminal at which somebody could sign in",
                "pass --identity-token, set SIGSTORE_ID_TOKEN, or in GitHub Actions give the job `permissions: id-token: write`",
            )),
            Some(AuthFlow::Normal) => Ok(Self::Browser),
            // Only a browser is sent back.
            None if identity.oidc_redirect_url.is_some() => Ok(Self::Browser),
            None if !terminal => Ok(Self::Itself),
            // The browser that would open is not where the person sits.
            None if set("SSH_CONNECTION") && !set("DISPLAY") && !set("WAYLAND_DISPLAY") => {
                Ok(Self::Code)
            }
            None => Ok(Self::BrowserOrCode),
        }
    }
}

async fn go(
    provider: &Provider,
    identity: &Identity,
    way: Way,
) -> Result<IdentityToken, SignInError> {
    let redirect = identity.oidc_redirect_url.as_ref();
    let open = sign_in::open_in_browser;
    match way {
        Way::Browser => sign_in::browser(provider, redirect, open, tell).await,
        Way::BrowserOrCode => match sign_in::browser_only(provider, redirect, open, tell).await {
            Err(SignInError::NoBrowser) => with_code(provider).await,
            outcome => outcome,
        },
        Way::Code => with_code(provider).await,
        Way::Device => sign_in::device(provider, tell).await,
        Way::Copied => sign_in::out_of_band(provider, tell, type_code).await,
        Way::Itself => sign_in::client_credentials(provider).await,
    }
}

async fn with_code(provider: &Provider) -> Result<IdentityToken, SignInError> {
    if sign_in::has_device_flow(provider) {
        sign_in::device(provider, tell).await
    } else {
        sign_in::out_of_band(provider, tell, type_code).await
    }
}

fn type_code() -> std::io::Result<String> {
    let mut err = std::io::stderr();
    write!(err, "The code: ")?;
    err.flush()?;
    let mut code = String::new();
    std::io::stdin().read_line(&mut code)?;
    Ok(code)
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
        Prompt::Copy { url } => say(&format!(
            "Sign in with any browser at:\n  {url}\nand type the code that it shows in the end."
        )),
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
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn way(
        flags: &[&str],
        secret: bool,
        set: &[&str],
        terminal: bool,
    ) -> Result<Way, anyhow::Error> {
        let mut line = vec!["cosign-rs", "sign-blob", "--bundle", "b", "f"];
        line.extend(flags);
        let Command::SignBlob(sign) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("another command")
        };
        let variable = |name: &str| set.contains(&name).then(|| "x".to_owned());
        Way::of(&sign.identity, secret, &variable, terminal)
    }

    #[test]
    fn how_somebody_signs_in_follows_from_where_they_sit() {
        let flow = "--fulcio-auth-flow";
        for (flags, secret, set, terminal, expected) in [
            (&[][..], false, &[][..], true, Some(Way::BrowserOrCode)),
            (&[], false, &[], false, None),
            (&[], true, &[], false, Some(Way::Itself)),
            (&[], false, &["BROWSER"], false, Some(Way::Browser)),
            (&[], false, &["SSH_CONNECTION"], true, Some(Way::Code)),
            (
                &[],
                false,
                &["SSH_CONNECTION", "DISPLAY"],
                true,
                Some(Way::BrowserOrCode),
            ),
            (&[flow, "normal"], false, &[], true, Some(Way::Browser)),
            (&[flow, "normal"], false, &[], false, None),
            (&[flow, "device"], false, &[], false, Some(Way::Device)),
            (&[flow, "oob"], false, &[], false, Some(Way::Copied)),
            (
                &[flow, "client_credentials"],
                true,
                &[],
                false,
                Some(Way::Itself),
            ),
            (&[flow, "client_credentials"], false, &[], true, None),
            (&[flow, "token"], false, &[], true, None),
        ] {
            let found = way(flags, secret, set, terminal).ok();
            assert_eq!(found, expected, "{flags:?} {secret} {set:?} {terminal}");
        }
    }

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
