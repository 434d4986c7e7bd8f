//! The device authorization grant (RFC 8628): for a shell without a browser.

use openidconnect::core::{CoreDeviceAuthorizationResponse, CoreTokenResponse};
use openidconnect::{Nonce, PkceCodeChallenge, Scope};
use url::Url;

use super::{Prompt, Provider, SignInError, transport};
use crate::identity::IdentityToken;

/// Whether the provider has this flow.
pub fn has_device_flow(provider: &Provider) -> bool {
    provider.additional.device_authorization_endpoint.is_some()
}

/// Shows a code, and waits until somebody has typed it at the provider, as long as the provider lets the code live.
pub async fn device(
    provider: &Provider,
    tell: impl Fn(Prompt<'_>) + Send,
) -> Result<IdentityToken, SignInError> {
    let endpoint = provider
        .additional
        .device_authorization_endpoint
        .clone()
        .ok_or_else(|| provider.missing("device authorization endpoint"))?;
    let client = provider
        .client
        .clone()
        .set_device_authorization_url(endpoint);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let http = transport(&provider.agent);
    let mut request = client
        .exchange_device_code()
        .add_scope(Scope::new("email".to_owned()))
        // Not in RFC 8628, and ignored by who does not know it; Sigstore's provider binds the code to it.
        .add_extra_param("code_challenge", challenge.as_str().to_owned())
        .add_extra_param(
            "code_challenge_method",
            challenge.method().as_str().to_owned(),
        );
    if let Some(audience) = &provider.audience {
        request = request.add_extra_param("audience", audience.clone());
    }
    let details: CoreDeviceAuthorizationResponse = request
        .request_async(&http)
        .await
        .map_err(|error| provider.failed(error))?;
    let whole = details.verification_uri_complete();
    let links = [
        Some(details.verification_uri().as_str()),
        whole.map(|link| link.secret().as_str()),
    ];
    for link in links.into_iter().flatten() {
        let link = Url::parse(link).map_err(|_| provider.missing("address to type the code at"))?;
        provider.check_link(&link)?;
    }
    tell(Prompt::Code {
        url: details.verification_uri().as_str(),
        complete: whole.map(|link| link.secret().as_str()),
        code: details.user_code().secret(),
    });
    let response: CoreTokenResponse = client
        .exchange_device_access_token(&details)
        .map_err(|_| provider.missing("token endpoint"))?
        .add_extra_param("code_verifier", verifier.secret().clone())
        .request_async(&http, tokio::time::sleep, None)
        .await
        .map_err(|error| provider.failed(error))?;
    // This flow has no place for a nonce.
    provider.accept(&response, |_: Option<&Nonce>| Ok(()))
}
