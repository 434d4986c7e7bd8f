//! The authorization code flow with a person who copies the code: where there is no browser on this machine, and the provider has no device flow.
//!
//! The redirect is a name that a provider knows instead of an address, by custom and not by a standard. PKCE binds the code to this process, so that
//! a code somebody else made is of no use here, nor this one elsewhere.

use super::question::Question;
use super::{Prompt, Provider, SignInError};
use crate::identity::IdentityToken;

/// Shows the code instead of sending the browser anywhere.
const REDIRECT: &str = "urn:ietf:wg:oauth:2.0:oob";
/// The longest code.
const CODE_MAX: usize = 4096;

/// Shows a link, and asks for the code that the provider shows after signing in.
pub async fn out_of_band(
    provider: &Provider,
    tell: impl Fn(Prompt<'_>) + Send,
    ask: impl FnOnce() -> std::io::Result<String> + Send + 'static,
) -> Result<IdentityToken, SignInError> {
    let question = Question::new(provider, REDIRECT.to_owned())?;
    tell(Prompt::Copy {
        url: question.link(),
    });
    let typed = tokio::task::spawn_blocking(ask).await;
    let typed = typed.map_err(|_| SignInError::NoCode)?;
    let code = typed.map_err(|_| SignInError::NoCode)?.trim().to_owned();
    if code.is_empty() || code.len() > CODE_MAX {
        return Err(SignInError::NoCode);
    }
    question.redeem(code).await
}
