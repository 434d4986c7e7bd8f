//! What browser and copied codes have in common: the authorization code flow with PKCE, one question and one answer.

use std::borrow::Cow;

use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::{
    AuthorizationCode, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
};

use super::{Provider, SignInError, transport};
use crate::identity::IdentityToken;

/// A question to the provider that a person takes there.
pub(super) struct Question<'a> {
    provider: &'a Provider,
    redirect: RedirectUrl,
    link: String,
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

impl<'a> Question<'a> {
    pub(super) fn new(provider: &'a Provider, redirect: String) -> Result<Self, SignInError> {
        provider.check_pkce()?;
        let redirect =
            RedirectUrl::new(redirect.clone()).map_err(|_| SignInError::Redirect(redirect))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = provider
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scope(Scope::new("email".to_owned()))
            .set_redirect_uri(Cow::Owned(redirect.clone()))
            .set_pkce_challenge(challenge);
        if let Some(audience) = &provider.audience {
            request = request.add_extra_param("audience", audience.clone());
        }
        let (link, state, nonce) = request.url();
        provider.check_link(&link)?;
        Ok(Self {
            provider,
            redirect,
            link: link.to_string(),
            state,
            nonce,
            verifier,
        })
    }

    /// Where the person goes.
    pub(super) fn link(&self) -> &str {
        &self.link
    }

    /// What the answer has to carry (RFC 6749 10.12).
    pub(super) fn state(&self) -> &str {
        self.state.secret()
    }

    /// Turns the answer's code into a token.
    pub(super) async fn redeem(self, code: String) -> Result<IdentityToken, SignInError> {
        let provider = self.provider;
        let http = transport(&provider.agent);
        let response = provider
            .client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| provider.missing("token endpoint"))?
            .set_redirect_uri(Cow::Owned(self.redirect))
            .set_pkce_verifier(self.verifier)
            .request_async(&http)
            .await
            .map_err(|error| provider.failed(error))?;
        provider.accept(&response, &self.nonce)
    }
}
