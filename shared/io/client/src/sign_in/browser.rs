//! The authorization code flow with a browser and a port of this machine to come back to (RFC 8252 7.3).

use std::time::Duration;

use url::Url;

use super::loopback::{Callback, Loopback};
use super::question::Question;
use super::{Prompt, Provider, SignInError};
use crate::identity::IdentityToken;

/// How long a person has to sign in.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Signs in with a browser: `open` is given the link and says whether a browser took it; `tell` shows the link to the person.
///
/// `redirect` is where the provider sends the browser, where it knows only one address: port and path of this machine, and port 0 for any.
pub async fn browser(
    provider: &Provider,
    redirect: Option<&Url>,
    open: impl FnOnce(&str) -> bool + Send + 'static,
    tell: impl Fn(Prompt<'_>) + Send,
) -> Result<IdentityToken, SignInError> {
    with(provider, redirect, open, tell, true).await
}

/// The same, but [`SignInError::NoBrowser`] at once where no browser opens, and nothing is told then: there are other ways.
pub async fn browser_only(
    provider: &Provider,
    redirect: Option<&Url>,
    open: impl FnOnce(&str) -> bool + Send + 'static,
    tell: impl Fn(Prompt<'_>) + Send,
) -> Result<IdentityToken, SignInError> {
    with(provider, redirect, open, tell, false).await
}

async fn with(
    provider: &Provider,
    redirect: Option<&Url>,
    open: impl FnOnce(&str) -> bool + Send + 'static,
    tell: impl Fn(Prompt<'_>) + Send,
    insist: bool,
) -> Result<IdentityToken, SignInError> {
    let loopback = Loopback::bind(redirect).await?;
    let question = Question::new(provider, loopback.url())?;
    let link = question.link().to_owned();
    // The call may wait for a text browser to end, and answers are to be taken meanwhile.
    let opening = {
        let link = link.clone();
        tokio::task::spawn_blocking(move || open(&link))
    };
    let waiting = loopback.wait(question.state());
    let callback = {
        let mut waiting = std::pin::pin!(tokio::time::timeout(PATIENCE, waiting));
        tokio::select! {
            biased;
            opened = opening => {
                let opened = opened.unwrap_or(false);
                if !opened && !insist {
                    return Err(SignInError::NoBrowser);
                }
                tell(Prompt::Link { url: &link, opened });
                waiting.await
            }
            callback = &mut waiting => callback,
        }
    };
    match callback {
        Err(_) => Err(SignInError::Timeout(PATIENCE)),
        Ok(Err(error)) => Err(SignInError::Listen(error)),
        Ok(Ok(Callback::Refused(why))) => Err(provider.refused(&why)),
        Ok(Ok(Callback::Code(code))) => question.redeem(code).await,
    }
}

/// Opens a link in the person's browser (`$BROWSER` first); says whether one was found.
pub fn open_in_browser(link: &str) -> bool {
    webbrowser::open(link).is_ok()
}
