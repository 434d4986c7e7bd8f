//! `tsa-rs init`: everything that a new authority needs, made together so that it fits together, and tested before anybody relies on it.
//!
//! ```text
//! FOLDER/tsa-rs.toml                    settings
//! FOLDER/key.pem                        private key, mode 0600, unless it is elsewhere
//! FOLDER/chain.pem                      its certificate, perhaps an intermediate, the root
//! FOLDER/trusted_root.fragment.json     for verifiers: the `timestampAuthorities` of a trusted root
//! FOLDER/signing_config.fragment.json   for signers: the `tsaUrls` of a signing config
//! FOLDER/csr.pem                        with --csr, instead of the last three
//! ```
//!
//! The settings come last, since a folder that has them is taken for finished: an attempt that was cut short leaves none.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request as HttpRequest, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use keys::{Algorithm, HashAlgorithm};
use pki::Certificate;
use pki::profile::{Authority, AuthorityParameters, prepare_authority};
use serde_json::{Value, json};
use serve::Clock;
use signer::{KeyRef, Signer};
use tower::ServiceExt as _;
use tsp::{Request, verify_answer};

use crate::app::{self, App, Deps};
use crate::args::{Curve, Init};
use crate::config::TsaConfig;
use crate::time::Timekeeper;

const SETTINGS: &str = "tsa-rs.toml";
/// Of the certificate, and in the trusted root.
const COMMON_NAME: &str = "timestamp authority";
/// The largest file of certificates that is read.
const CHAIN_MAX: u64 = 256 * 1024;

/// Makes it all, has the authority stamp something once, and verifies that with the fragment.
pub async fn run(init: &Init) -> anyhow::Result<()> {
    ensure!(
        matches!(init.url.scheme(), "http" | "https"),
        "--url {}: expected http or https",
        init.url
    );
    let host = init.url.host_str().unwrap_or_default();
    ensure!(!host.is_empty(), "--url {}: it has no host", init.url);
    let operator = init.operator.as_deref().unwrap_or(host);
    let folder = &init.folder;
    let settings = folder.join(SETTINGS);
    ensure!(
        !settings.exists(),
        "{} is there: this folder has an authority already",
        settings.display()
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let signer = key(init).await?;
    if !matches!(
        signer.algorithm(),
        Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP384Sha384
    ) {
        bail!(
            "the key is one of {}: sigstore-js verifies timestamps by ECDSA on P-256 and P-384 only",
            signer.algorithm().registry_name()
        );
    }
    let out = &mut std::io::stdout();
    if init.csr {
        let request =
            pki::request::prepare_timestamping(operator, COMMON_NAME, signer.public_key())?;
        let signature = signer.sign(request.to_be_signed()).await?;
        write(folder, "csr.pem", &request.seal(&signature)?)?;
        write(folder, SETTINGS, &text(init))?;
        writeln!(out, "settings    {}", settings.display())?;
        writeln!(out, "request     {}", folder.join("csr.pem").display())?;
        writeln!(
            out,
            "next        have it signed (extendedKeyUsage critical,timeStamping and nothing else), put the certificate and its issuers, the root \
             last, into {}, then tsa-rs --config {}",
            folder.join("chain.pem").display(),
            settings.display()
        )?;
        return Ok(());
    }
    let now = Timestamp::now();
    let chain = certificates(init, operator, &signer, now).await?;
    let root = trusted_root(init, operator, &chain, now);
    test(&signer, &root)
        .await
        .context("the authority does not work with what was made for it")?;
    let pem: String = chain.iter().map(Certificate::to_pem).collect();
    write(folder, "chain.pem", &pem)?;
    write(folder, "trusted_root.fragment.json", &format!("{root:#}\n"))?;
    let signing = signing_config(init, operator, now);
    write(
        folder,
        "signing_config.fragment.json",
        &format!("{signing:#}\n"),
    )?;
    write(folder, SETTINGS, &text(init))?;
    writeln!(out, "settings    {}", settings.display())?;
    for certificate in &chain {
        writeln!(
            out,
            "certificate {}, until {}",
            certificate.subject_text(),
            certificate.not_after()
        )?;
    }
    writeln!(
        out,
        "tested      a timestamp was made, and verified with trusted_root.fragment.json"
    )?;
    writeln!(out, "next        tsa-rs --config {}", settings.display())?;
    Ok(())
}

/// The authority's own key: made, or found where it is.
async fn key(init: &Init) -> anyhow::Result<Signer> {
    let here = Path::new("");
    let Some(named) = &init.key else {
        let algorithm = match init.curve {
            Curve::P256 => Algorithm::EcdsaP256Sha256,
            Curve::P384 => Algorithm::EcdsaP384Sha384,
        };
        // After an attempt that was cut short the key is there.
        return Ok(Signer::load_or_create(
            &init.folder.join("key.pem"),
            algorithm,
        )?);
    };
    let named = KeyRef::parse(named, init.key_secret_file.as_deref(), here).context("--key")?;
    Signer::open(&named).await.context("--key")
}

/// The certificate of the key and those above it.
async fn certificates(
    init: &Init,
    operator: &str,
    signer: &Signer,
    now: Timestamp,
) -> anyhow::Result<Vec<Certificate>> {
    let days = i64::from(init.years).saturating_mul(365);
    let until = now.checked_add(SignedDuration::from_hours(days.saturating_mul(24)))?;
    let (mut issuer, mut above) =
        if let (Some(key), Some(chain)) = (&init.issuer_key, &init.issuer_chain) {
            let key = KeyRef::parse(key, init.issuer_secret_file.as_deref(), Path::new(""))
                .context("--issuer-key")?;
            let key = Signer::open(&key).await.context("--issuer-key")?;
            let chain = read_chain(chain)
                .with_context(|| format!("--issuer-chain: {}", chain.display()))?;
            let first = chain.first().context("--issuer-chain has no certificate")?;
            ensure!(
                first.public_key() == key.public_key(),
                "the first certificate in --issuer-chain is not that of --issuer-key"
            );
            (key, chain)
        } else {
            let algorithm = Algorithm::EcdsaP384Sha384;
            let key = match &init.root_key {
                Some(path) => Signer::create(path, algorithm).context("--root-key")?,
                None => Signer::generate(algorithm)?,
            };
            let parameters = parameters(
                Authority::Root,
                operator,
                "timestamp root",
                &key,
                now,
                until,
            )?;
            let root = issue(&parameters, None, &key).await?;
            (key, vec![root])
        };
    // What is below an issuer does not outlast it.
    let lasts = |above: &[Certificate]| {
        let ends = above.iter().map(Certificate::not_after);
        ends.fold(until, Ord::min)
    };
    if init.intermediate {
        let key = Signer::generate(Algorithm::EcdsaP384Sha384)?;
        let until = lasts(&above);
        let name = "timestamp intermediate";
        let kind = Authority::TimestampingIntermediate;
        let parameters = parameters(kind, operator, name, &key, now, until)?;
        let certificate = issue(&parameters, above.first(), &issuer).await?;
        above.insert(0, certificate);
        issuer = key;
    }
    let until = lasts(&above);
    let parameters = parameters(
        Authority::TimestampingLeaf,
        operator,
        COMMON_NAME,
        signer,
        now,
        until,
    )?;
    let leaf = issue(&parameters, above.first(), &issuer).await?;
    above.insert(0, leaf);
    Ok(above)
}

fn parameters(
    authority: Authority,
    operator: &str,
    name: &str,
    key: &Signer,
    now: Timestamp,
    until: Timestamp,
) -> anyhow::Result<AuthorityParameters> {
    Ok(AuthorityParameters {
        authority,
        organization: operator.to_owned(),
        common_name: name.to_owned(),
        key: key.public_key().clone(),
        serial: signer::random::bytes()?,
        not_before: now,
        not_after: until,
    })
}

async fn issue(
    parameters: &AuthorityParameters,
    issuer: Option<&Certificate>,
    key: &Signer,
) -> anyhow::Result<Certificate> {
    let unsigned = prepare_authority(parameters, issuer)?;
    let signature = key.sign(unsigned.to_be_signed()).await?;
    Ok(unsigned.seal(&signature)?)
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(CHAIN_MAX).read_to_string(&mut text)?;
    Ok(Certificate::chain_from_pem(&text)?)
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The settings; tsa-rs.example.toml explains these keys and all others.
fn text(init: &Init) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let key = init
        .key
        .as_deref()
        .map_or_else(|| quoted("key.pem"), |key| quoted(&absolute(key)));
    let mut text = format!(
        "# Made by `tsa-rs init`. tsa-rs.example.toml in the source names and explains all keys. Paths are relative to this file.\n\n\
         [server]\nlisten = \"{}\"\n\n[tsa]\nkey = {key}\n",
        init.listen
    );
    if let Some(file) = &init.key_secret_file {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let file = quoted(&file.display().to_string());
        // A String takes everything.
        let _written = writeln!(text, "key_secret_file = {file}");
    }
    text.push_str("chain = \"chain.pem\"\n");
    text
}

/// A path on the command line is seen from where the command was given, and one in the settings from there.
fn absolute(key: &str) -> String {
    match key.split_once(':') {
        Some(_) => key.to_owned(),
        None => std::path::absolute(key)
            .map_or_else(|_| key.to_owned(), |path| path.display().to_string()),
    }
}

fn endpoint(init: &Init) -> String {
    let base = init.url.as_str().trim_end_matches('/');
    format!("{base}/api/v1/timestamp")
}

fn trusted_root(init: &Init, operator: &str, chain: &[Certificate], now: Timestamp) -> Value {
    let certificates: Vec<Value> = chain
        .iter()
        .map(|certificate| json!({ "rawBytes": STANDARD.encode(certificate.der()) }))
        .collect();
    json!({ "timestampAuthorities": [{
        "subject": { "organization": operator, "commonName": COMMON_NAME },
        "uri": endpoint(init),
        "certChain": { "certificates": certificates },
        "validFor": { "start": now.to_string() },
    }] })
}

fn signing_config(init: &Init, operator: &str, now: Timestamp) -> Value {
    json!({
        "tsaUrls": [{
            "url": endpoint(init),
            "majorApiVersion": 1,
            "validFor": { "start": now.to_string() },
            "operator": operator,
        }],
        "tsaConfig": { "selector": "ANY" },
    })
}

/// Has the authority stamp something, as the service will, and verifies it with what verifiers will have.
async fn test(signer: &Signer, root: &Value) -> anyhow::Result<()> {
    let certificates = root.pointer("/timestampAuthorities/0/certChain/certificates");
    let certificates = certificates.and_then(Value::as_array);
    let mut chain = Vec::new();
    for certificate in certificates.into_iter().flatten() {
        let bytes = certificate.get("rawBytes").and_then(Value::as_str);
        let der = STANDARD.decode(bytes.unwrap_or_default())?;
        chain.push(Certificate::from_der(&der)?);
    }
    let clock = Clock::system();
    let deps = Deps {
        signer: signer.clone(),
        chain: chain.clone(),
        clock: clock.clone(),
        time: Timekeeper::unwatched(clock),
    };
    let App { router, .. } = app::build(&TsaConfig::default(), deps)?;
    let request = Request {
        imprint: HashAlgorithm::Sha256.digest(b"tsa-rs init"),
        policy: None,
        nonce: Some(vec![1]),
        certificates: true,
    };
    let asked = HttpRequest::post("/api/v1/timestamp")
        .header("content-type", "application/timestamp-query")
        .body(Body::from(request.to_der()?))?;
    let answer = router.oneshot(asked).await?;
    ensure!(
        answer.status() == StatusCode::OK,
        "a request for a timestamp was answered with {}",
        answer.status()
    );
    let token = to_bytes(answer.into_body(), 1 << 20).await?;
    verify_answer(&token, &request, &chain)?;
    Ok(())
}
