//! The issuer's endpoints.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};

use super::grants::{DEVICE_LIFE, GrantError, Grants, INTERVAL, Login, Pending};
use super::pages;
use super::tokens::{LIFE, Minter, is_email};

/// The redirect of clients that have none: the person copies the code (RFC 6749 had this only by custom).
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Longest value of a parameter. A redirect URI with a path is the longest honest one.
const PARAMETER_MAX: usize = 2048;

/// What the issuer needs to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Makes the tokens, and knows the issuer's URL.
    pub minter: Minter,
    /// The clients that may ask; a token's audience is the client. Sigstore's is called `sigstore`.
    pub clients: Vec<String>,
    /// Where it reads the time.
    pub clock: serve::Clock,
}

struct Issuer {
    settings: Settings,
    /// Held only while a table is looked at, never across an await.
    grants: Mutex<Grants>,
}

/// Brings the issuer to life.
pub fn build(settings: Settings) -> Router {
    let issuer = Arc::new(Issuer {
        settings,
        grants: Mutex::default(),
    });
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/keys", get(key_set))
        .route("/authorize", get(authorize).post(log_in))
        .route("/token", post(token))
        .route("/device/code", post(device_code))
        .route("/device", get(device_page).post(device_approve))
        .route(
            "/github/.well-known/openid-configuration",
            get(github_discovery),
        )
        .route("/github/keys", get(key_set))
        .with_state(issuer)
        .merge(serve::Health::serving().routes())
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> axum::Json<Value> {
    let base = issuer.settings.minter.issuer();
    axum::Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "device_authorization_endpoint": format!("{base}/device/code"),
        "jwks_uri": format!("{base}/keys"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", DEVICE_GRANT],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "email", "email_verified", "nonce"],
    }))
}

/// Nobody logs in there: jobs get their tokens from `sigstack token`.
async fn github_discovery(State(issuer): State<Arc<Issuer>>) -> axum::Json<Value> {
    let base = issuer.settings.minter.github_issuer();
    axum::Json(json!({
        "issuer": base,
        "jwks_uri": format!("{base}/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn key_set(State(issuer): State<Arc<Issuer>>) -> axum::Json<Value> {
    axum::Json(issuer.settings.minter.key_set())
}

#[derive(Debug, Deserialize)]
struct AuthorizeRequest {
    response_type: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    /// OpenID Connect Core 3.1.2.1: fills the field of the page.
    login_hint: Option<String>,
    /// Ours, for scripts and tests: logs in as this address without a page.
    auto_login: Option<String>,
    /// From the page.
    email: Option<String>,
}

/// A request whose answer may go to `redirect`.
struct Authorization {
    client: String,
    redirect: Redirect,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
}

enum Redirect {
    To(Url),
    Page,
}

async fn authorize(
    State(issuer): State<Arc<Issuer>>,
    Query(request): Query<AuthorizeRequest>,
) -> Response {
    let authorization = match issuer.admit(&request) {
        Ok(authorization) => authorization,
        Err(response) => return *response,
    };
    if let Some(email) = &request.auto_login {
        return issuer.complete(&authorization, email, &request);
    }
    let hidden: Vec<(&str, &str)> = [
        ("response_type", &request.response_type),
        ("client_id", &request.client_id),
        ("redirect_uri", &request.redirect_uri),
        ("scope", &request.scope),
        ("state", &request.state),
        ("nonce", &request.nonce),
        ("code_challenge", &request.code_challenge),
        ("code_challenge_method", &request.code_challenge_method),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    html(
        StatusCode::OK,
        pages::login(
            "/authorize",
            &hidden,
            request.login_hint.as_deref().unwrap_or_default(),
        ),
    )
}

async fn log_in(
    State(issuer): State<Arc<Issuer>>,
    Form(request): Form<AuthorizeRequest>,
) -> Response {
    match issuer.admit(&request) {
        Ok(authorization) => issuer.complete(
            &authorization,
            request.email.as_deref().unwrap_or_default(),
            &request,
        ),
        Err(response) => *response,
    }
}

impl Issuer {
    /// Client and redirect first: until both are right nothing is sent to the redirect (RFC 6749 4.1.2.1).
    fn admit(&self, request: &AuthorizeRequest) -> Result<Authorization, Box<Response>> {
        let refuse = |text: &str| {
            Box::new(html(
                StatusCode::BAD_REQUEST,
                pages::message("This request cannot be answered", text),
            ))
        };
        let all = [
            &request.client_id,
            &request.redirect_uri,
            &request.scope,
            &request.state,
            &request.nonce,
            &request.code_challenge,
        ];
        if all
            .into_iter()
            .flatten()
            .any(|value| value.len() > PARAMETER_MAX)
        {
            return Err(refuse("A parameter is too long."));
        }
        let client = request.client_id.clone().unwrap_or_default();
        if !self.settings.clients.contains(&client) {
            return Err(refuse(
                "The client is not known here; Sigstore's is called 'sigstore'.",
            ));
        }
        let redirect = request
            .redirect_uri
            .as_deref()
            .and_then(redirect)
            .ok_or_else(|| refuse("The redirect has to go to http://localhost, 127.0.0.1 or [::1], at any port and path."))?;
        let wrong = if request.response_type.as_deref() != Some("code") {
            Some(("unsupported_response_type", "response_type has to be code"))
        } else if !request
            .scope
            .as_deref()
            .unwrap_or_default()
            .split(' ')
            .any(|scope| scope == "openid")
        {
            Some(("invalid_scope", "scope has to contain openid"))
        } else if request.code_challenge_method.as_deref() != Some("S256")
            || request
                .code_challenge
                .as_deref()
                .is_none_or(|text| text.len() != 43)
        {
            Some(("invalid_request", "PKCE with S256 is required"))
        } else {
            None
        };
        let authorization = Authorization {
            client,
            redirect,
            state: request.state.clone(),
            nonce: request.nonce.clone(),
            challenge: request.code_challenge.clone().unwrap_or_default(),
        };
        match wrong {
            None => Ok(authorization),
            Some((error, description)) => Err(Box::new(authorization.answer(
                &[("error", error), ("error_description", description)],
                description,
            ))),
        }
    }

    fn complete(
        &self,
        authorization: &Authorization,
        email: &str,
        request: &AuthorizeRequest,
    ) -> Response {
        if !is_email(email) {
            return html(
                StatusCode::BAD_REQUEST,
                pages::message("Not signed in", "That is not an e-mail address."),
            );
        }
        let pending = Pending {
            login: Login {
                email: email.to_owned(),
                client: authorization.client.clone(),
                nonce: authorization.nonce.clone(),
            },
            redirect: request.redirect_uri.clone().unwrap_or_default(),
            challenge: authorization.challenge.clone(),
        };
        let code = random().and_then(|random| self.grants().issue(pending, random, self.now()));
        match code {
            Ok(code) => authorization.answer(&[("code", &code)], &code),
            Err(error) => authorization.answer(
                &[("error", error.name())],
                "Too many logins are pending; try again in a few minutes.",
            ),
        }
    }

    fn grants(&self) -> std::sync::MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }
}

impl Authorization {
    fn answer(&self, parameters: &[(&str, &str)], text: &str) -> Response {
        match &self.redirect {
            Redirect::To(url) => {
                let mut url = url.clone();
                url.query_pairs_mut()
                    .extend_pairs(parameters)
                    .extend_pairs(self.state.as_deref().map(|state| ("state", state)));
                // 303: a POST of the form becomes a GET at the client (RFC 9700 4.12).
                let location =
                    HeaderValue::from_str(url.as_str()).unwrap_or(HeaderValue::from_static("/"));
                (
                    StatusCode::SEE_OTHER,
                    [
                        (header::LOCATION, location),
                        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                    ],
                )
                    .into_response()
            }
            Redirect::Page => html(StatusCode::OK, pages::code(text)),
        }
    }
}

/// RFC 8252 7.3: loopback, any port. Nothing else: a token must not leave the machine by way of a link.
fn redirect(text: &str) -> Option<Redirect> {
    if text == OUT_OF_BAND {
        return Some(Redirect::Page);
    }
    let url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    (url.scheme() == "http"
        && loopback
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none())
    .then_some(Redirect::To(url))
}

#[derive(Debug, Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    device_code: Option<String>,
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Response {
    let client = basic_user(&headers)
        .or_else(|| request.client_id.clone())
        .unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let login = match request.grant_type.as_deref() {
        Some("authorization_code") => issuer.grants().redeem(
            &text(&request.code),
            &client,
            &text(&request.redirect_uri),
            &text(&request.code_verifier),
            issuer.now(),
        ),
        Some(DEVICE_GRANT) => issuer.grants().poll(
            &text(&request.device_code),
            &client,
            request.code_verifier.as_deref(),
            issuer.now(),
        ),
        _ => return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    let login = match login {
        Ok(login) => login,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error.name()),
    };
    let minter = &issuer.settings.minter;
    match minter
        .email(
            &login.email,
            &login.client,
            login.nonce.as_deref(),
            issuer.now(),
            LIFE,
        )
        .await
    {
        Ok(token) => {
            // Nothing here takes an access token; the field is required (RFC 6749 5.1), and clients hash it against the other.
            let body = json!({ "access_token": "unused", "id_token": token, "token_type": "Bearer", "expires_in": LIFE.as_secs() });
            ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "no token");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error")
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], GrantError> {
    signer::random::bytes().map_err(|_| GrantError::Unavailable)
}

/// Clients that were configured with an empty secret send their name this way (RFC 6749 2.3.1).
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let encoded = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, _secret) = decoded.split_once(':')?;
    url::form_urlencoded::parse(user.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
}

#[derive(Debug, Deserialize)]
struct DeviceRequest {
    client_id: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

async fn device_code(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    Form(request): Form<DeviceRequest>,
) -> Response {
    let client = basic_user(&headers)
        .or(request.client_id)
        .unwrap_or_default();
    if !issuer.settings.clients.contains(&client) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let method_known = request
        .code_challenge_method
        .as_deref()
        .is_none_or(|method| method == "S256");
    let short = [&request.nonce, &request.code_challenge]
        .into_iter()
        .flatten()
        .all(|text| text.len() <= PARAMETER_MAX);
    if !method_known || !short {
        return refusal(StatusCode::BAD_REQUEST, GrantError::InvalidRequest.name());
    }
    let begun = random().and_then(|random| {
        issuer.grants().begin_device(
            client,
            request.nonce,
            request.code_challenge,
            random,
            issuer.now(),
        )
    });
    match begun {
        Err(error) => refusal(StatusCode::BAD_REQUEST, error.name()),
        Ok(codes) => {
            let page = format!("{}/device", issuer.settings.minter.issuer());
            let body = json!({
                "device_code": codes.device_code,
                "user_code": codes.user_code,
                "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code={}", codes.user_code),
                "expires_in": DEVICE_LIFE.as_secs(),
                "interval": INTERVAL,
            });
            ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct DeviceForm {
    user_code: Option<String>,
    email: Option<String>,
}

async fn device_page(Query(form): Query<DeviceForm>) -> Response {
    html(
        StatusCode::OK,
        pages::device("/device", form.user_code.as_deref().unwrap_or_default()),
    )
}

async fn device_approve(
    State(issuer): State<Arc<Issuer>>,
    Form(form): Form<DeviceForm>,
) -> Response {
    let email = form.email.unwrap_or_default();
    let approved = is_email(&email)
        && issuer
            .grants()
            .approve(&form.user_code.unwrap_or_default(), &email, issuer.now())
            .is_ok();
    if approved {
        html(
            StatusCode::OK,
            pages::message(
                "Signed in",
                "You can close this page and go back to the program.",
            ),
        )
    } else {
        html(
            StatusCode::BAD_REQUEST,
            pages::message(
                "Not signed in",
                "The code is not known or no longer valid, or that is not an e-mail address.",
            ),
        )
    }
}

fn refusal(status: StatusCode, error: &'static str) -> Response {
    (
        status,
        [(header::CACHE_CONTROL, "no-store")],
        axum::Json(json!({ "error": error })),
    )
        .into_response()
}

/// No script, no frame, no foreign resource; forms may lead to loopback, where the redirect after a login goes.
fn html(status: StatusCode, page: String) -> Response {
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_this_machine() {
        for good in [
            "http://localhost:1234/auth/callback",
            "http://127.0.0.1:1/",
            "http://[::1]:9/x?y=z",
            OUT_OF_BAND,
        ] {
            assert!(redirect(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "https://example.org/",
            "http://example.org/",
            "http://localhost.example.org/",
            "http://localhost@example.org/",
            "http://user@localhost/",
            "http://localhost/#x",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "//localhost/",
        ] {
            assert!(redirect(bad).is_none(), "{bad}");
        }
    }
}
