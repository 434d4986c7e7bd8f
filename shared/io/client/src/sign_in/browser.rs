//! The authorization code flow with a browser and a port of this machine to come back to (RFC 8252 7.3).

use std::time::Duration;

use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::{AuthorizationCode, CsrfToken, Nonce, PkceCodeChallenge, RedirectUrl, Scope};

use super::loopback::{Callback, Loopback};
use super::{Prompt, Provider, SignInError, transport};
use crate::identity::IdentityToken;

/// How long a person has to sign in.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Signs in with a browser: `open` is given the link and says whether a browser took it; `tell` shows the link to the person.
pub async fn browser(
    provider: &Provider,
    open: impl FnOnce(&str) -> bool + Send + 'static,
    tell: impl Fn(Prompt<'_>) + Send,
) -> Result<IdentityToken, SignInError> {
    provider.check_pkce()?;
    let loopback = Loopback::bind().await.map_err(SignInError::Listen)?;
    let redirect =
        RedirectUrl::new(loopback.url()).map_err(|_| SignInError::Issuer(loopback.url()))?;
    let client = provider.client.clone().set_redirect_uri(redirect);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (link, state, nonce) = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        )
        .add_scope(Scope::new("email".to_owned()))
        .set_pkce_challenge(challenge)
        .url();
    let link = link.to_string();
    // The call may wait for a text browser to end, and answers are to be taken meanwhile.
    let opening = {
        let link = link.clone();
        tokio::task::spawn_blocking(move || open(&link))
    };
    let waiting = loopback.wait(state.secret());
    let callback = {
        let mut waiting = std::pin::pin!(tokio::time::timeout(PATIENCE, waiting));
        tokio::select! {
            biased;
            opened = opening => {
                let opened = opened.unwrap_or(false);
                tell(Prompt::Link { url: &link, opened });
                waiting.await
            }
            callback = &mut waiting => callback,
        }
    };
    let code = match callback {
        Err(_) => return Err(SignInError::Timeout(PATIENCE)),
        Ok(Err(error)) => return Err(SignInError::Listen(error)),
        Ok(Ok(Callback::Refused(why))) => return Err(provider.refused(&why)),
        Ok(Ok(Callback::Code(code))) => code,
    };
    let http = transport(&provider.agent);
    let response = client
        .exchange_code(AuthorizationCode::new(code))
        .map_err(|_| provider.missing("token endpoint"))?
        .set_pkce_verifier(verifier)
        .request_async(&http)
        .await
        .map_err(|error| provider.failed(error))?;
    provider.accept(&response, &nonce)
}

/// Opens a link in the person's browser (`$BROWSER` first); says whether one was found.
pub fn open_in_browser(link: &str) -> bool {
    webbrowser::open(link).is_ok()
}
