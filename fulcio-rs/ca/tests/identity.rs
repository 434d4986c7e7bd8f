//! What a token makes of its holder, and each refusal: an identity provider on loopback, and the cases of `testdata/fulcio-issuers`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    reason = "a panic is the failure report"
)]

mod provider;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fulcio_rs::{Deps, Issuers, Policy};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use keys::Algorithm;
use pki::profile::{self, Authority, AuthorityParameters};
use pki::{Certificate, FulcioExtensions, SubjectName};
use serde::Deserialize;
use serde_json::{Value, json};
use serve::Clock;
use signer::Signer;
use tower::ServiceExt as _;

use provider::{Answer, Provider, now};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/fulcio-issuers"
    ))
    .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(testdata(name)).unwrap()
}

fn settings() -> client::Settings {
    client::Settings {
        attempts: 1,
        ..client::Settings::default()
    }
}

/// An authority without a log, and its clock.
struct Ca {
    router: Router,
    clock: Clock,
}

impl Ca {
    fn new(issuers: &str) -> Self {
        Self::with(Issuers::parse(issuers.as_bytes(), &settings()).unwrap())
    }

    fn with(issuers: Issuers) -> Self {
        let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let parameters = AuthorityParameters {
            authority: Authority::Root,
            organization: "Example".into(),
            common_name: "Root".into(),
            key: key.public_key().clone(),
            serial: [3; 20],
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2036-01-01T00:00:00Z".parse().unwrap(),
        };
        let unsigned = profile::prepare_authority(&parameters, None).unwrap();
        let signature = key.sign_local(unsigned.to_be_signed()).unwrap();
        let clock = Clock::fixed(now());
        let deps = Deps {
            signer: key,
            chain: vec![unsigned.seal(&signature).unwrap()],
            next: Vec::new(),
            retired: Vec::new(),
            ct_log: None,
            policy: Policy::default(),
            issuers,
            clock: clock.clone(),
        };
        Self {
            router: fulcio_rs::build(deps).unwrap(),
            clock,
        }
    }

    /// Status and body of an answer to a token, with a proof over `name`.
    async fn sign(&self, token: &str, name: &str) -> (u16, Value) {
        let body = request(token, name).to_string();
        let request = Request::post("/api/v2/signingCert").body(Body::from(body));
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn configuration(&self) -> Value {
        let request = Request::get("/api/v2/configuration").body(Body::empty());
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

/// With a new key, and its signature over `name`.
fn request(token: &str, name: &str) -> Value {
    let key = Signer::generate(Algorithm::EcdsaP256Sha256).unwrap();
    json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": STANDARD.encode(key.sign_local(name.as_bytes()).unwrap()),
        },
    })
}

fn leaf(answer: &Value) -> Certificate {
    let text = &answer["signedCertificateDetachedSct"]["chain"]["certificates"][0];
    Certificate::from_pem(text.as_str().unwrap()).unwrap()
}

/// Upstream's file with the provider in the place of one of its issuers.
fn shipped(place: &str, to: &str) -> String {
    let file = read("config.yaml");
    let (from, to) = if place.contains('*') {
        (format!("  {place}:\n"), format!("  {to}:\n"))
    } else {
        let entry = |url: &str| format!("  {url}:\n    issuer-url: {url}\n");
        (entry(place), entry(to))
    };
    assert_eq!(file.matches(&from).count(), 1, "{place}");
    file.replace(&from, &to)
}

/// A file of `cases`: a token and the certificate that it becomes, written out from upstream's documents and tests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    /// Settings, or the place in upstream's settings where the provider stands.
    config: Option<String>,
    place: Option<String>,
    to: Option<String>,
    /// The issuer that the provider's document names, if not by its path.
    document: Option<String>,
    claims: Value,
    /// What the key signs, if not `sub`.
    proof: Option<String>,
    /// Kind and value of the one name.
    subject: BTreeMap<String, String>,
    /// All extensions by the last number of their identifier.
    extensions: BTreeMap<u32, String>,
}

impl Case {
    fn config(&self) -> String {
        match (&self.config, &self.place, &self.to) {
            (Some(config), None, None) => config.clone(),
            (None, Some(place), Some(to)) => shipped(place, to),
            _ => panic!("config, or place and to"),
        }
    }
}

fn cases(provider: &Provider) -> Vec<(String, Case)> {
    let mut cases: Vec<_> = std::fs::read_dir(testdata("cases"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace("@ISSUER@", &provider.url);
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    cases.sort_by(|a: &(String, Case), b| a.0.cmp(&b.0));
    assert!(cases.len() >= 37, "{}", cases.len());
    cases
}

fn proof(case: &Case) -> &str {
    let subject = case.claims["sub"].as_str().unwrap();
    case.proof.as_deref().unwrap_or(subject)
}

#[tokio::test]
async fn each_token_becomes_the_documented_certificate() {
    let provider = Provider::start().await;
    for (name, case) in cases(&provider) {
        let ca = Ca::new(&case.config().replace("@ISSUER@", &provider.url));
        let document = case
            .document
            .clone()
            .map_or(Answer::Usual, Answer::DocumentOf);
        *provider.answer.lock().unwrap() = document;
        let token = provider.token(&case.claims);
        let (status, answer) = ca.sign(&token, proof(&case)).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let leaf = leaf(&answer);
        let (kind, value) = case.subject.first_key_value().unwrap();
        let value = value.clone();
        let subject = match kind.as_str() {
            "email" => SubjectName::Email(value),
            "uri" => SubjectName::Uri(value),
            "username" => SubjectName::UserName(value),
            other => panic!("{name}: {other}"),
        };
        assert_eq!(leaf.subject_names(), [subject], "{name}");
        let found: BTreeMap<u32, String> = FulcioExtensions::from_certificate(&leaf)
            .unwrap()
            .iter()
            .map(|(field, value)| (field.number(), value.to_owned()))
            .collect();
        assert_eq!(found, case.extensions, "{name}");
        // Nobody else's name proves anything.
        let (status, answer) = ca.sign(&token, "somebody-else").await;
        let reason = &answer["details"][0]["reason"];
        assert_eq!((status, reason), (400, &json!("PROOF_INVALID")), "{name}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_proves_nothing() {
    let provider = Provider::start().await;
    let config = one(&provider, "github-workflow", "");
    let (_, case) = cases(&provider)
        .into_iter()
        .find(|case| case.0 == "github-workflow")
        .unwrap();
    let ca = Ca::new(&config);
    for (verified, expected) in [(json!(true), 200), (json!(false), 400), (Value::Null, 400)] {
        let mut claims = case.claims.clone();
        claims["email"] = json!("dev@example.com");
        claims["email_verified"] = verified;
        let (status, answer) = ca.sign(&provider.token(&claims), "dev@example.com").await;
        assert_eq!(status, expected, "{answer}");
    }
}

fn one(provider: &Provider, kind: &str, more: &str) -> String {
    let url = &provider.url;
    format!(
        "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {kind}\n{more}"
    )
}

/// A line of `refused.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    name: String,
    /// A case whose token and settings are good.
    like: String,
    /// Instead of the case's settings.
    config: Option<String>,
    /// Instead of the claims of the case; null takes one away.
    #[serde(default)]
    claims: serde_json::Map<String, Value>,
    /// Seconds from now, instead of `exp` and `nbf`.
    #[serde(default)]
    times: BTreeMap<String, i64>,
    /// What is done to the token: see [`provider::Forgery`].
    forge: Option<provider::Forgery>,
    /// What the provider answers.
    provider: Option<Answer>,
    status: u16,
    reason: String,
    #[serde(default)]
    about: BTreeMap<String, String>,
}

#[tokio::test]
async fn each_refusal_has_its_status_and_reason() {
    let identity = "There was an error processing the identity token";
    let lines = read("refused.jsonl");
    let mut rows = 0;
    for line in lines.lines() {
        let provider = Provider::start().await;
        let row: Refusal = serde_json::from_str(&line.replace("@ISSUER@", &provider.url)).unwrap();
        let (_, case) = cases(&provider)
            .into_iter()
            .find(|case| case.0 == row.like)
            .expect(&row.name);
        let config = row.config.unwrap_or_else(|| case.config());
        let ca = Ca::new(&config.replace("@ISSUER@", &provider.url));
        let mut claims = case.claims.clone();
        for (name, value) in &row.claims {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        for (name, offset) in &row.times {
            claims[name] = json!(now().as_second() + offset);
        }
        if let Some(answer) = row.provider {
            *provider.answer.lock().unwrap() = answer;
        }
        let token = provider.forged(&claims, row.forge);
        let (status, answer) = ca.sign(&token, proof(&case)).await;
        let detail = &answer["details"][0];
        assert_eq!(
            (status, &detail["reason"]),
            (row.status, &json!(row.reason)),
            "{}: {answer}",
            row.name
        );
        if status == 400 {
            assert_eq!(answer["message"], identity, "{}", row.name);
        }
        for (key, value) in &row.about {
            assert_eq!(detail["metadata"][key], *value, "{}: {answer}", row.name);
        }
        rows += 1;
    }
    assert!(rows >= 60, "{rows}");
}

#[tokio::test]
async fn the_claims_of_each_built_in_type_are_asked_for() {
    let provider = Provider::start().await;
    let required = [
        (
            "github-workflow",
            "job_workflow_ref sha event_name repository workflow ref job_workflow_sha runner_environment repository_id repository_owner repository_owner_id repository_visibility workflow_ref workflow_sha run_id run_attempt sub",
        ),
        (
            "gitlab-pipeline",
            "project_path pipeline_source pipeline_id ci_config_ref_uri job_id ref ref_type namespace_path namespace_id project_id sha runner_environment runner_id sub",
        ),
        ("buildkite-job", "organization_slug pipeline_slug sub"),
        (
            "codefresh-workflow",
            "account_id pipeline_id workflow_id sub",
        ),
        ("email", "email sub"),
        ("kubernetes-eks", "sub"),
        (
            "buddy",
            "workspace_domain project_name pipeline_id execution_id triggered_on runner_environment sub",
        ),
    ];
    let cases: BTreeMap<String, Case> = cases(&provider).into_iter().collect();
    for (name, claims) in required {
        let case = &cases[name];
        let ca = Ca::new(&case.config().replace("@ISSUER@", &provider.url));
        for claim in claims.split(' ') {
            for missing in [Value::Null, json!("")] {
                // A template may write an empty value.
                if name == "buddy" && missing != Value::Null && claim != "sub" {
                    continue;
                }
                let mut changed = case.claims.clone();
                changed[claim] = missing;
                let (status, answer) = ca.sign(&provider.token(&changed), proof(case)).await;
                let detail = &answer["details"][0];
                assert_eq!(
                    (status, &detail["reason"], &detail["metadata"]["claim"]),
                    (400, &json!("TOKEN_MISSING_CLAIM"), &json!(claim)),
                    "{name} {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn upstreams_own_file_loads_unchanged() {
    let issuers = Issuers::parse(read("config.yaml").as_bytes(), &client::Settings::default());
    let issuers = issuers.unwrap();
    assert!(issuers.warnings().is_empty(), "{:?}", issuers.warnings());
    let ca = Ca::with(issuers);
    let configuration = ca.configuration().await;
    let issuers = configuration["issuers"].as_array().unwrap();
    assert_eq!(issuers.len(), 22 + 9);
    let urls: Vec<&str> = issuers
        .iter()
        .filter_map(|issuer| issuer["issuerUrl"].as_str())
        .collect();
    let wildcards: Vec<&str> = issuers
        .iter()
        .filter_map(|issuer| issuer["wildcardIssuerUrl"].as_str())
        .collect();
    assert!(urls.is_sorted() && wildcards.is_sorted());
    assert_eq!((urls.len(), wildcards.len()), (22, 9));
    assert_eq!(
        issuers[0],
        json!({
            "issuerUrl": "https://accounts.google.com", "audience": "sigstore", "challengeClaim": "email", "issuerType": "email",
            "spiffeTrustDomain": "", "subjectDomain": "", "skipEmailVerification": false,
        })
    );
    assert!(issuers.iter().any(|issuer| *issuer
        == json!({
            "wildcardIssuerUrl": "https://oidc.eks.*.amazonaws.com/id/*", "audience": "sigstore", "challengeClaim": "sub",
            "issuerType": "kubernetes", "spiffeTrustDomain": "", "subjectDomain": "", "skipEmailVerification": false,
        })));
}

#[test]
fn files_say_what_is_wrong_with_them() {
    let file: Vec<Value> = read("config_fail.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(file.len() >= 30);
    for case in file {
        let (config, says) = (
            case["config"].as_str().unwrap(),
            case["says"].as_str().unwrap(),
        );
        let outcome = Issuers::parse(config.as_bytes(), &client::Settings::default());
        let error = outcome.expect_err(config).to_string();
        assert!(error.contains(says), "{config}: {error}");
    }
    let large = format!("#{}\n", "x".repeat(2 << 20));
    assert!(Issuers::parse(large.as_bytes(), &settings()).is_err());
    // Deep ones, and one that would be a billion words if its aliases were followed.
    let mut bomb = "define:\n- &a0 {x: y}\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        writeln!(bomb, "- &a{level} [{aliases}]").unwrap();
    }
    for deep in [
        "[".repeat(100_000),
        "{".repeat(100_000),
        "- ".repeat(100_000),
        r#"{"oidc-issuers":"#.repeat(10_000),
        format!("{bomb}oidc-issuers: {{https://a.example: *a9}}\n"),
        format!("{bomb}ci-issuer-metadata: {{p: {{extension-templates: {{x: *a9}}}}}}\n"),
    ] {
        assert!(Issuers::parse(deep.as_bytes(), &settings()).is_err());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_file_is_read_or_refused(
        at in 0_usize..20_000,
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4),
        cut in 0_usize..40,
    ) {
        let mut file = read("config.yaml").into_bytes();
        let at = at.min(file.len());
        let end = at.saturating_add(cut).min(file.len());
        file.splice(at..end, bytes);
        let _ = Issuers::parse(&file, &settings());
    }
}

#[test]
fn keys_that_nobody_reads_are_told() {
    let config = "define: [x]\noidc-issuers:\n  https://a.example:\n    client-id: x\n    type: ci-provider\n    ci-provider: p\n    allowed-claims: {a: [b]}\n    contact: c\nci-issuer-metadata:\n  p:\n    subject-alternative-name-template: x\n    extension-template: {}\n    extension-templates:\n      build-signer-urri: x\n      issuer: x\n";
    let issuers = Issuers::parse(config.as_bytes(), &settings()).unwrap();
    assert_eq!(
        issuers.warnings(),
        [
            "issuer https://a.example: nobody reads the key \"allowed-claims\"",
            "ci-issuer-metadata p: nobody reads the key \"extension-template\"",
            "ci-issuer-metadata p: no extension is called \"build-signer-urri\"",
        ]
    );
}

#[tokio::test]
async fn the_most_specific_pattern_decides() {
    let provider = Provider::start().await;
    let url = &provider.url;
    let config = format!(
        "meta-issuers:\n  {url}/*/*:\n    client-id: wide\n    type: email\n  {url}/org/*:\n    client-id: narrow\n    type: email\n  {url}/org/acme-*:\n    client-id: narrowest\n    type: email\n"
    );
    let ca = Ca::new(&config);
    for (path, audience) in [
        ("/x/y", "wide"),
        ("/org/y", "narrow"),
        ("/org/acme-1", "narrowest"),
    ] {
        for tried in ["wide", "narrow", "narrowest"] {
            let claims = json!({"iss": format!("{url}{path}"), "sub": "s", "email": "a@b", "email_verified": true, "aud": tried});
            let (status, answer) = ca.sign(&provider.token(&claims), "a@b").await;
            assert_eq!(
                status,
                if tried == audience { 200 } else { 400 },
                "{path} {tried} {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_is_good_for_one_certificate_where_the_operator_wants_that() {
    let provider = Provider::start().await;
    let config = one(&provider, "email", "");
    let parse = || Issuers::parse(config.as_bytes(), &settings()).unwrap();
    let claims = |more: Value| {
        let mut claims =
            json!({"iss": provider.url, "sub": "s", "email": "a@b", "email_verified": true});
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        claims
    };
    let reason = |answer: &Value| answer["details"][0]["reason"].clone();
    let first = parse().using_tokens_once();
    let second = parse().using_tokens_once().replacing(&first);
    let (ca, reloaded) = (Ca::with(first), Ca::with(second));
    let token = provider.token(&claims(json!({})));
    // A request that fails for its proof does not use the token up.
    assert_eq!(reason(&ca.sign(&token, "x@y").await.1), "PROOF_INVALID");
    assert_eq!(ca.sign(&token, "a@b").await.0, 200);
    let (status, answer) = ca.sign(&token, "a@b").await;
    assert_eq!(
        (status, reason(&answer)),
        (400, json!("TOKEN_ALREADY_USED"))
    );
    assert_eq!(
        reason(&reloaded.sign(&token, "a@b").await.1),
        "TOKEN_ALREADY_USED"
    );
    // Another token with the same name for itself is the same; one with another name is another.
    let jti = |jti: &str, exp: i64| {
        provider.token(&claims(json!({"jti": jti, "exp": now().as_second() + exp})))
    };
    assert_eq!(ca.sign(&jti("1", 60), "a@b").await.0, 200);
    assert_eq!(
        reason(&ca.sign(&jti("1", 61), "a@b").await.1),
        "TOKEN_ALREADY_USED"
    );
    assert_eq!(ca.sign(&jti("2", 60), "a@b").await.0, 200);
    // Without the switch each may be used again.
    let ca = Ca::with(parse());
    for _ in 0..2 {
        assert_eq!(ca.sign(&token, "a@b").await.0, 200);
    }
}

#[tokio::test]
async fn keys_stay_over_a_new_file() {
    let provider = Provider::start().await;
    let claims = json!({"iss": provider.url, "sub": "s", "email": "a@b", "email_verified": true});
    let token = provider.token(&claims);
    let issuers = Issuers::parse(one(&provider, "email", "").as_bytes(), &settings()).unwrap();
    issuers.fetch_keys(now()).await;
    assert_eq!(provider.asked(), 1);
    assert_eq!(issuers.status()[0].keys_since, Some(now()));
    // Another type, the same provider.
    let config = one(&provider, "email", "    skip-email-verification: true\n");
    let next = Issuers::parse(config.as_bytes(), &settings())
        .unwrap()
        .replacing(&issuers);
    *provider.answer.lock().unwrap() = Answer::Down;
    assert_eq!(Ca::with(next).sign(&token, "a@b").await.0, 200);
    assert_eq!(provider.asked(), 1);
    // Another certificate authority is another way to the provider: its keys must come by it.
    let authority = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let pem: String = authority
        .cert
        .pem()
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    let config = one(&provider, "email", &format!("    ca-cert: |\n{pem}"));
    let other = Issuers::parse(config.as_bytes(), &settings())
        .unwrap()
        .replacing(&issuers);
    assert_eq!(Ca::with(other).sign(&token, "a@b").await.0, 503);
    assert_eq!(provider.asked(), 2);
    let failure = issuers.status()[0].failure.clone();
    assert_eq!(failure, None);
}

#[tokio::test]
async fn an_issuer_of_a_pattern_is_asked_once() {
    let provider = Provider::start().await;
    let config = format!(
        "meta-issuers:\n  {}/*:\n    client-id: sigstore\n    type: email\n",
        provider.url
    );
    let ca = Ca::new(&config);
    let claims = |path: &str| json!({"iss": format!("{}/{path}", provider.url), "sub": "s", "email": "a@b", "email_verified": true, "exp": now().as_second() + 1000});
    for _ in 0..3 {
        assert_eq!(ca.sign(&provider.token(&claims("a")), "a@b").await.0, 200);
    }
    assert_eq!(provider.asked(), 1);
    assert_eq!(ca.sign(&provider.token(&claims("b")), "a@b").await.0, 200);
    assert_eq!(provider.asked(), 2);
    // One that does not answer is not asked again at once, and is no fault of the client's.
    *provider.answer.lock().unwrap() = Answer::Down;
    for _ in 0..3 {
        assert_eq!(ca.sign(&provider.token(&claims("c")), "a@b").await.0, 503);
    }
    assert_eq!(provider.asked(), 3);
    *provider.answer.lock().unwrap() = Answer::Usual;
    ca.clock.advance(Duration::from_secs(6));
    assert_eq!(ca.sign(&provider.token(&claims("c")), "a@b").await.0, 200);
}

#[tokio::test]
async fn many_who_come_at_once_ask_the_provider_once() {
    let provider = Provider::start().await;
    let ca = Arc::new(Ca::new(&one(&provider, "email", "")));
    let claims = json!({"iss": provider.url, "sub": "s", "email": "a@b", "email_verified": true});
    let token = provider.token(&claims);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (ca, token) = (ca.clone(), token.clone());
        tasks.spawn(async move { ca.sign(&token, "a@b").await.0 });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn an_issuer_has_its_own_certificate_authority() {
    let (provider, pem) = Provider::start_with_tls().await;
    let claims = json!({"iss": provider.url, "sub": "s", "email": "a@b", "email_verified": true});
    let token = provider.token(&claims);
    let indented: String = pem.lines().map(|line| format!("      {line}\n")).collect();
    let with = one(&provider, "email", &format!("    ca-cert: |\n{indented}"));
    let (status, answer) = Ca::new(&with).sign(&token, "a@b").await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = Ca::new(&one(&provider, "email", ""))
        .sign(&token, "a@b")
        .await;
    assert_eq!(
        (status, &answer["details"][0]["reason"]),
        (503, &json!("ISSUER_UNAVAILABLE"))
    );
    // A pattern has one too.
    let with = with.replace("oidc-issuers", "meta-issuers").replace(
        &format!("  {0}:\n    issuer-url: {0}\n", provider.url),
        &format!("  {}/*:\n", provider.url),
    );
    let claims = json!({"iss": format!("{}/x", provider.url), "sub": "s", "email": "a@b", "email_verified": true});
    assert_eq!(
        Ca::new(&with).sign(&provider.token(&claims), "a@b").await.0,
        200
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_brings_no_keys() {
    // GHSA-f5mr-q85p-6hh6: whoever can make the provider redirect must not be able to swap the keys.
    let (provider, attacker) = (Provider::start().await, Provider::start().await);
    let claims = json!({"iss": provider.url, "sub": "s", "email": "a@b", "email_verified": true});
    let forged = attacker.token(&claims);
    for answer in [
        Answer::RedirectDiscovery(attacker.url.clone()),
        Answer::RedirectKeys(attacker.url.clone()),
    ] {
        *provider.answer.lock().unwrap() = answer;
        let ca = Ca::new(&one(&provider, "email", ""));
        let (status, answer) = ca.sign(&forged, "a@b").await;
        let reason = &answer["details"][0]["reason"];
        assert_eq!((status, reason), (503, &json!("ISSUER_UNAVAILABLE")));
        assert_eq!(
            attacker.requests.load(Ordering::SeqCst),
            0,
            "the attacker is not even asked"
        );
    }
    // Within the provider's own host a redirect is followed.
    *provider.answer.lock().unwrap() = Answer::RedirectKeys(provider.url.clone());
    let ca = Ca::new(&one(&provider, "email", ""));
    assert_eq!(ca.sign(&provider.token(&claims), "a@b").await.0, 200);
    assert_eq!(
        ca.sign(&forged, "a@b").await.1["details"][0]["reason"],
        "TOKEN_UNKNOWN_KEY"
    );
}

/// Cases that upstream's Fulcio 1.8.8 has no answer to, or another one, and why.
const OURS_ALONE: [(&str, &str); 7] = [
    (
        "chainguard-person-by-subject",
        "it takes a proof over the address alone",
    ),
    (
        "email-by-subject",
        "it takes a proof over the address alone",
    ),
    ("github-enterprise-server", "base-url is ours"),
    ("gitlab-pipeline-of-ones-own", "base-url is ours"),
    ("allowed-claims", "allow-claims is ours"),
    (
        "claims-in-words",
        "it writes a million as 1e+06; corrected after 1.8.8",
    ),
    (
        "settings-in-json",
        "the settings go into one file in YAML here",
    ),
];

/// One file of settings with an issuer for each case, below the provider's address, and the claims of each case for it.
fn all_in_one(provider: &Provider) -> (String, Vec<(String, Value, String)>) {
    use yaml_serde::{Mapping, Value as Yaml};
    let mut all: Yaml = yaml_serde::from_str(&read("config.yaml")).unwrap();
    let mut issuers = Mapping::new();
    let mut tokens = Vec::new();
    for (name, case) in cases(provider) {
        if OURS_ALONE.iter().any(|row| row.0 == name) {
            continue;
        }
        let config: Yaml =
            yaml_serde::from_str(&case.config().replace("@ISSUER@", &provider.url)).unwrap();
        let ours = |kind: &str| {
            let entries = config.get(kind)?.as_mapping()?;
            let found = entries.iter().find(|(url, _)| {
                url.as_str()
                    .is_some_and(|url| url.starts_with(&provider.url))
            });
            found.map(|(_, settings)| settings.clone())
        };
        let mut settings = ours("oidc-issuers")
            .or_else(|| ours("meta-issuers"))
            .unwrap();
        let url = format!("{}/{name}", provider.url);
        settings
            .as_mapping_mut()
            .unwrap()
            .insert("issuer-url".into(), url.as_str().into());
        issuers.insert(url.as_str().into(), settings);
        let mut claims = case.claims.clone();
        claims["iss"] = json!(url);
        // It writes null out as <nil>.
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        tokens.push((name, claims, proof(&case).to_owned()));
    }
    let top = all.as_mapping_mut().unwrap();
    top.insert("oidc-issuers".into(), issuers.into());
    top.remove("meta-issuers");
    (yaml_serde::to_string(&all).unwrap(), tokens)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Upstream's program with a key of its own, and its address.
async fn upstream(program: &str, config: &std::path::Path) -> (tokio::process::Child, url::Url) {
    let port = free_port();
    let child = tokio::process::Command::new(program)
        .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
        .args([
            "--grpc-host",
            "127.0.0.1",
            "--grpc-port",
            &free_port().to_string(),
        ])
        .args(["--metrics-port", &free_port().to_string()])
        .args([
            "--log_type",
            "prod",
            "--ca",
            "ephemeralca",
            "--ct-log-url",
            "",
        ])
        .args([
            "--legacy-unix-domain-socket",
            &format!("@fulcio-identity-{port}"),
        ])
        .arg("--config-path")
        .arg(config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let agent = client::Agent::new(settings());
    // It is another process: there is no other way to know when it answers.
    for _ in 0..300 {
        let call = client::Call::get(url.join("/api/v2/configuration").unwrap());
        if agent.send(&call).await.is_ok() {
            return (child, url);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{program} does not answer");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs upstream's Fulcio: cargo xtask peers"]
async fn upstream_writes_the_same_bytes() {
    let program = std::env::var("FULCIO_PEER").expect("FULCIO_PEER is the program");
    let provider = Provider::start().await;
    let (config, tokens) = all_in_one(&provider);
    // Where a provider announces nothing, upstream takes RS256 alone.
    *provider.answer.lock().unwrap() = Answer::Announces(vec!["ES256".into()]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, &config).unwrap();
    let ca = Ca::new(&config);
    let (_child, url) = upstream(&program, &file).await;
    let agent = client::Agent::new(settings());
    let expiry = Timestamp::now().as_second() + 600;
    assert!(tokens.len() >= 30, "{}", tokens.len());
    for (name, mut claims, proof) in tokens {
        claims["exp"] = json!(expiry);
        let token = provider.token(&claims);
        let (status, answer) = ca.sign(&token, &proof).await;
        assert_eq!(status, 200, "{name}: {answer}");
        let ours = leaf(&answer);
        let body = request(&token, &proof).to_string().into_bytes();
        let place = url.join("/api/v2/signingCert").unwrap();
        let call = client::Call::post(place, "application/json", body);
        let answer = agent.send(&call).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{name}: {body}");
        let theirs = leaf(&body);
        let names = pki::oid::SUBJECT_ALT_NAME;
        for id in pki::Field::all().map(pki::Field::oid).chain([names]) {
            assert_eq!(ours.extension(id), theirs.extension(id), "{name}: {id}");
        }
    }
}
