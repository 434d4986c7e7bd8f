//! The client credentials grant (RFC 6749 4.4): a program that the provider knows by a secret, and no person.

use openidconnect::core::CoreTokenResponse;
use openidconnect::{Nonce, OAuth2TokenResponse as _, Scope, TokenResponse as _};
use zeroize::Zeroizing;

use super::{CLIENT_ID, Provider, SignInError, transport};
use crate::identity::IdentityToken;

/// Signs in as the client itself. The standard promises an access token only; where the provider gives no identity token beside it, that one is
/// taken if it is a token of this provider. Who it names is for the certificate authority to say.
pub async fn client_credentials(provider: &Provider) -> Result<IdentityToken, SignInError> {
    if !provider.has_secret {
        return Err(SignInError::NoSecret);
    }
    let http = transport(&provider.agent);
    let mut request = provider
        .client
        .exchange_client_credentials()
        .map_err(|_| provider.missing("token endpoint"))?
        .add_scope(Scope::new("openid".to_owned()))
        .add_scope(Scope::new("email".to_owned()));
    if let Some(audience) = &provider.audience {
        request = request.add_extra_param("audience", audience.clone());
    }
    let response: CoreTokenResponse = request
        .request_async(&http)
        .await
        .map_err(|error| provider.failed(error))?;
    if response.id_token().is_some() {
        // Nothing was asked that a nonce could be bound to.
        return provider.accept(&response, |_: Option<&Nonce>| Ok(()));
    }
    let text = Zeroizing::new(response.access_token().secret().clone());
    let token = IdentityToken::parse(&text).map_err(|_| {
        provider
            .missing("token for a client itself that says who it is (its access tokens are no JWT)")
    })?;
    if token.issuer().trim_end_matches('/') != provider.issuer.trim_end_matches('/') {
        return Err(SignInError::Unverified {
            issuer: provider.issuer.clone(),
            why: format!("it is of {}", crate::agent::printable(token.issuer())),
        });
    }
    // It may be good at other services of the provider, whom the certificate authority is none of.
    let client = provider.client.client_id().as_str();
    let meant = provider.audience.as_deref().unwrap_or(client);
    if [meant, client, CLIENT_ID]
        .iter()
        .all(|audience| token.is_for(audience) == Some(false))
    {
        return Err(SignInError::Unverified {
            issuer: provider.issuer.clone(),
            why: format!("it is an access token for somebody else, and not for {meant}"),
        });
    }
    Ok(token)
}
