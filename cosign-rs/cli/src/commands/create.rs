//! `trusted-root create` and `signing-config create`: the two files out of keys, certificates and addresses.
//!
//! The flags are cosign's, and what comes out says the same. Beyond that, what no client could use is refused here, where somebody can mend it,
//! and instances stand in the order that the formats ask for: oldest first in a trusted root, newest first in a signing config.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use keys::PublicKey;
use pki::Certificate;
use trust::{
    CertificateAuthority, LogInstance, SELECT_ALL, SELECT_ANY, SELECT_EXACT, SigningConfig,
    TrustedRoot, Validity, author, review,
};
use wire::common::TimeRange;
use wire::encoding::EnumValue;
use wire::trustroot::{Service, ServiceConfiguration};

use crate::args::{CreateSigningConfig, CreateTrustedRoot, OlderTrustedRoot};
use crate::bundle_file::BundleFile;
use crate::failure::{advice, say};
use crate::{report, trust_domain, trust_files};

/// The largest file with a key or a chain.
const PEM_MAX: u64 = 1 << 20;

// --- trusted-root create --------------------------------------------------------------------------------------------

pub(super) async fn trusted_root(arguments: &CreateTrustedRoot) -> Result<()> {
    let specs = Specs::of(arguments)?;
    let mut root = if arguments.with_default_services {
        let mut root = trust_domain::trusted_root(&arguments.following).await?;
        for (leave_out, list) in [
            (arguments.no_default_rekor, &mut root.tlogs),
            (arguments.no_default_ctfe, &mut root.ctlogs),
        ] {
            if leave_out {
                list.clear();
            }
        }
        for (leave_out, list) in [
            (arguments.no_default_fulcio, &mut root.authorities),
            (arguments.no_default_tsa, &mut root.timestamp_authorities),
        ] {
            if leave_out {
                list.clear();
            }
        }
        root
    } else {
        TrustedRoot::default()
    };
    for spec in &specs.fulcio {
        let chain = chain(spec)?;
        let since = chain.last().map(Certificate::not_before);
        root.authorities.push(authority(spec, chain, since)?);
    }
    for spec in &specs.tsa {
        let chain = chain(spec)?;
        ensure!(
            chain.first().is_some_and(|leaf| !leaf.is_ca()),
            advice(
                format!("{}: its first certificate is an authority's", spec.text),
                "the chain of a timestamp authority begins with the certificate that it signs with"
            )
        );
        // cosign's older form takes the root's.
        let whose = if spec.is_older {
            chain.last()
        } else {
            chain.first()
        };
        let since = whose.map(Certificate::not_before);
        root.timestamp_authorities
            .push(authority(spec, chain, since)?);
    }
    for spec in &specs.ctfe {
        replace(&mut root.ctlogs, log(spec, None)?);
    }
    for spec in &specs.rekor {
        let origin = spec.get("origin");
        replace(&mut root.tlogs, log(spec, origin)?);
    }
    root.tlogs.sort_by_key(|log| log.validity.start);
    root.ctlogs.sort_by_key(|log| log.validity.start);
    root.authorities.sort_by_key(|one| one.validity.start);
    root.timestamp_authorities
        .sort_by_key(|one| one.validity.start);
    let json = root.to_json()?;
    TrustedRoot::parse(json.as_bytes()).context("the trusted root as written")?;
    for finding in review::root(json.as_bytes()) {
        say(&format!("warning: {finding}"));
    }
    write(arguments.out.as_deref(), &json)
}

/// A log of the same id is described anew.
fn replace(logs: &mut Vec<LogInstance>, log: LogInstance) {
    logs.retain(|known| known.id != log.id);
    logs.push(log);
}

fn log(spec: &Spec, origin: Option<&str>) -> Result<LogInstance> {
    let key = public_key(spec)?;
    let id =
        author::log_id(&key, origin).with_context(|| format!("the origin in {}", spec.text))?;
    Ok(LogInstance {
        base_url: spec.get("url").unwrap_or_default().to_owned(),
        algorithm: key.default_algorithm(),
        key,
        checkpoint_id: id.clone(),
        id,
        validity: validity(spec, None)?,
        // A field of v0.2, which clients that were built before it refuse: only where somebody asks for it.
        operator: spec.get("operator").unwrap_or_default().to_owned(),
    })
}

fn authority(
    spec: &Spec,
    chain: Vec<Certificate>,
    since: Option<Timestamp>,
) -> Result<CertificateAuthority> {
    Ok(CertificateAuthority {
        uri: spec.get("url").unwrap_or_default().to_owned(),
        chain,
        validity: validity(spec, since)?,
        operator: spec.get("operator").unwrap_or_default().to_owned(),
    })
}

fn validity(spec: &Spec, since: Option<Timestamp>) -> Result<Validity> {
    let start = spec.time("start-time")?.or(since);
    let start = start.with_context(|| format!("{}: start-time is missing", spec.text))?;
    let end = spec.time("end-time")?;
    ensure!(
        end.is_none_or(|end| start <= end),
        "{}: it would end before it starts, at {start}",
        spec.text
    );
    Ok(Validity { start, end })
}

fn chain(spec: &Spec) -> Result<Vec<Certificate>> {
    let path = spec.get("certificate-chain").unwrap_or_default();
    let text = pem(path)?;
    Certificate::chain_from_pem(&text).with_context(|| format!("the certificates in {path}"))
}

fn public_key(spec: &Spec) -> Result<PublicKey> {
    let path = spec.get("public-key").unwrap_or_default();
    PublicKey::from_pem(&pem(path)?).with_context(|| format!("the public key in {path}"))
}

fn pem(path: &str) -> Result<String> {
    let bytes = trust_files::read_at_most(Path::new(path), PEM_MAX)?;
    String::from_utf8(bytes).with_context(|| format!("{path} is not PEM"))
}

/// What a trusted root is made of, however it was named.
struct Specs {
    fulcio: Vec<Spec>,
    tsa: Vec<Spec>,
    ctfe: Vec<Spec>,
    rekor: Vec<Spec>,
}

impl Specs {
    fn of(arguments: &CreateTrustedRoot) -> Result<Self> {
        const AUTHORITY: Keys = Keys {
            needed: &["url", "certificate-chain"],
            known: &["start-time", "end-time", "operator"],
        };
        const LOG: Keys = Keys {
            needed: &["url", "public-key", "start-time"],
            known: &["end-time", "origin", "operator"],
        };
        let parsed = |flag: &str, texts: &[String], keys: Keys| -> Result<Vec<Spec>> {
            let specs = texts.iter().map(|text| Spec::parse(flag, text, keys));
            specs.collect()
        };
        let mut specs = Self {
            fulcio: parsed("--fulcio", &arguments.fulcio, AUTHORITY)?,
            tsa: parsed("--tsa", &arguments.tsa, AUTHORITY)?,
            ctfe: parsed("--ctfe", &arguments.ctfe, LOG)?,
            rekor: parsed("--rekor", &arguments.rekor, LOG)?,
        };
        specs.add_older(&arguments.older)?;
        Ok(specs)
    }

    /// The older flags say the same in pieces. As in cosign what is named twice, in both ways, is refused (by clap).
    fn add_older(&mut self, older: &OlderTrustedRoot) -> Result<()> {
        const EPOCH: &str = "1970-01-01T00:00:00Z";
        for (flag, keys, keys_flag, more) in [
            (
                "--fulcio",
                &older.certificate_chain,
                "--certificate-chain",
                vec![("url", &older.fulcio_uri)],
            ),
            (
                "--tsa",
                &older.timestamp_certificate_chain,
                "--timestamp-certificate-chain",
                vec![("url", &older.timestamp_uri)],
            ),
            (
                "--ctfe",
                &older.ctfe_key,
                "--ctfe-key",
                vec![
                    ("url", &older.ctfe_url),
                    ("start-time", &older.ctfe_start_time),
                    ("end-time", &older.ctfe_end_time),
                ],
            ),
            (
                "--rekor",
                &older.rekor_key,
                "--rekor-key",
                vec![
                    ("url", &older.rekor_url),
                    ("start-time", &older.rekor_start_time),
                    ("end-time", &older.rekor_end_time),
                ],
            ),
        ] {
            let most = more.iter().map(|(_, values)| values.len()).max();
            ensure!(
                most.unwrap_or(0) <= keys.len(),
                advice(
                    format!(
                        "the older flags of {flag} have more values than there are {keys_flag}"
                    ),
                    format!("name each instance with one {flag}")
                )
            );
            if !keys.is_empty() {
                say(&format!(
                    "warning: {keys_flag} and what goes with it is the older form: name each instance with {flag} KEY=VALUE,..."
                ));
            }
            let is_log = flag == "--ctfe" || flag == "--rekor";
            for (at, file) in keys.iter().enumerate() {
                let mut values: BTreeMap<String, String> = more
                    .iter()
                    .filter_map(|(key, values)| Some(((*key).to_owned(), values.get(at)?.clone())))
                    .collect();
                if is_log {
                    values
                        .entry("start-time".to_owned())
                        .or_insert_with(|| EPOCH.to_owned());
                }
                let file = match file.split_once(',') {
                    // --rekor-key FILE,ORIGIN
                    Some((file, origin)) if flag == "--rekor" => {
                        values.insert("origin".to_owned(), origin.to_owned());
                        file
                    }
                    _ => file,
                };
                let key = if is_log {
                    "public-key"
                } else {
                    "certificate-chain"
                };
                values.insert(key.to_owned(), file.to_owned());
                let list = match flag {
                    "--fulcio" => &mut self.fulcio,
                    "--tsa" => &mut self.tsa,
                    "--ctfe" => &mut self.ctfe,
                    _ => &mut self.rekor,
                };
                list.push(Spec {
                    text: format!("{keys_flag} {file}"),
                    values,
                    is_older: true,
                });
            }
        }
        Ok(())
    }
}

// --- signing-config create ------------------------------------------------------------------------------------------

pub(super) async fn signing_config(arguments: &CreateSigningConfig) -> Result<()> {
    let base = base(arguments).await?;
    let mut config = base.map_or_else(
        || {
            let mut config = author::empty_config();
            config.rekor_tlog_config = None;
            config.tsa_config = None;
            config
        },
        |base| base.to_wire().clone(),
    );
    for (leave_out, list) in [
        (arguments.no_default_fulcio, &mut config.ca_urls),
        (arguments.no_default_rekor, &mut config.rekor_tlog_urls),
        (arguments.no_default_oidc, &mut config.oidc_urls),
        (arguments.no_default_tsa, &mut config.tsa_urls),
    ] {
        if leave_out {
            list.clear();
        }
    }
    if arguments.no_default_rekor {
        config.rekor_tlog_config = None;
    }
    if arguments.no_default_tsa {
        config.tsa_config = None;
    }
    for (flag, text, place) in [
        (
            "--rekor-config",
            &arguments.rekor_config,
            &mut config.rekor_tlog_config,
        ),
        (
            "--tsa-config",
            &arguments.tsa_config,
            &mut config.tsa_config,
        ),
    ] {
        if let Some(text) = text {
            *place = Some(selector(flag, text)?);
        }
    }
    for (flag, texts, list) in [
        ("--fulcio", &arguments.fulcio, &mut config.ca_urls),
        ("--rekor", &arguments.rekor, &mut config.rekor_tlog_urls),
        (
            "--oidc-provider",
            &arguments.oidc_provider,
            &mut config.oidc_urls,
        ),
        ("--tsa", &arguments.tsa, &mut config.tsa_urls),
    ] {
        for text in texts {
            list.push(service(flag, text)?);
        }
        list.sort_by_key(|service| {
            std::cmp::Reverse(service.valid_for.and_then(|window| window.start))
        });
    }
    let config = SigningConfig::from_wire(config)?;
    let json = config.to_json()?;
    SigningConfig::parse(json.as_bytes()).context("the signing config as written")?;
    for finding in review::config(json.as_bytes(), None) {
        say(&format!("warning: {finding}"));
    }
    write(arguments.out.as_deref(), &json)
}

/// What it begins with.
async fn base(arguments: &CreateSigningConfig) -> Result<Option<SigningConfig>> {
    let following = &arguments.following;
    if let Some(path) = &arguments.base_config {
        return trust_files::config_of(path).map(Some);
    }
    let name = match (
        arguments.with_default_services,
        arguments.with_default_rekor_v2,
    ) {
        (true, _) => trust_domain::SIGNING_CONFIG,
        (_, true) => trust_domain::SIGNING_CONFIG_REKOR_V2,
        (false, false) => return Ok(None),
    };
    trust_domain::signing_config_of(following, name)
        .await
        .map(Some)
}

fn service(flag: &str, text: &str) -> Result<Service> {
    const SERVICE: Keys = Keys {
        needed: &["url", "api-version", "start-time", "operator"],
        known: &["end-time"],
    };
    let spec = Spec::parse(flag, text, SERVICE)?;
    let version = spec.get("api-version").unwrap_or_default();
    let window = validity(&spec, None)?;
    Ok(Service {
        url: spec.get("url").unwrap_or_default().to_owned(),
        major_api_version: version
            .parse()
            .with_context(|| format!("{}: api-version is no number", spec.text))?,
        valid_for: Some(TimeRange {
            start: Some(window.start),
            end: window.end,
        }),
        operator: spec.get("operator").unwrap_or_default().to_owned(),
    })
}

/// `ANY`, `ALL` or `EXACT:2`, in capitals or not.
fn selector(flag: &str, text: &str) -> Result<ServiceConfiguration> {
    let wrong = || {
        advice(
            format!("{flag} {text} is none of ANY, ALL and EXACT:NUMBER"),
            "as in --rekor-config ANY, or EXACT:2",
        )
    };
    let (mode, count) = match text.split_once(':') {
        Some((mode, count)) => (mode, Some(count)),
        None => (text, None),
    };
    let (name, count) = match (mode.to_ascii_uppercase().as_str(), count) {
        ("ANY", None) => (SELECT_ANY, 0),
        ("ALL", None) => (SELECT_ALL, 0),
        ("EXACT", Some(count)) => (SELECT_EXACT, count.parse().map_err(|_| wrong())?),
        _ => return Err(wrong()),
    };
    if name == SELECT_EXACT && count == 0 {
        return Err(wrong());
    }
    Ok(ServiceConfiguration {
        selector: EnumValue::name(name),
        count,
    })
}

// --- specifications -------------------------------------------------------------------------------------------------

/// `key=value,key=value`.
struct Spec {
    /// As it was written, for errors.
    text: String,
    values: BTreeMap<String, String>,
    /// Put together out of older flags.
    is_older: bool,
}

/// The keys of a specification.
#[derive(Clone, Copy)]
struct Keys {
    needed: &'static [&'static str],
    known: &'static [&'static str],
}

impl Spec {
    fn parse(flag: &str, text: &str, keys: Keys) -> Result<Self> {
        let all = || [keys.needed, keys.known].concat().join(", ");
        let hint = || {
            format!(
                "its keys are {}; those that have to be there: {}",
                all(),
                keys.needed.join(", ")
            )
        };
        let mut values = BTreeMap::new();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(advice(
                    format!("{flag} {text}: '{pair}' is no KEY=VALUE"),
                    hint(),
                ));
            };
            let (key, value) = (key.trim(), value.trim());
            // cosign passes over what it does not know; a key that is spelled wrong would then silently say nothing.
            if !keys.needed.contains(&key) && !keys.known.contains(&key) {
                return Err(advice(format!("{flag} {text}: what is '{key}'?"), hint()));
            }
            if values.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(advice(
                    format!("{flag} {text}: {key} is there twice"),
                    hint(),
                ));
            }
        }
        let missing = keys
            .needed
            .iter()
            .find(|key| values.get(**key).is_none_or(String::is_empty));
        match missing {
            Some(missing) => Err(advice(
                format!("{flag} {text}: {missing} is missing or empty"),
                hint(),
            )),
            None => Ok(Self {
                text: format!("{flag} {text}"),
                values,
                is_older: false,
            }),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        let value = self.values.get(key)?;
        (!value.is_empty()).then_some(value)
    }

    fn time(&self, key: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        let time = text.parse().map_err(|_| {
            advice(
                format!("{}: '{text}' is no time", self.text),
                "as in 2026-11-28T10:00:00Z (RFC 3339)",
            )
        })?;
        Ok(Some(time))
    }
}

fn write(out: Option<&Path>, json: &str) -> Result<()> {
    match out {
        Some(path) => BundleFile::prepare(path, [])?.write(json.as_bytes()),
        None => report::print(json.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_cosign_reads_them() {
        for (text, name, count) in [
            ("ANY", SELECT_ANY, 0),
            ("all", SELECT_ALL, 0),
            ("EXACT:2", SELECT_EXACT, 2),
        ] {
            let read = selector("--rekor-config", text).unwrap();
            assert_eq!((read.selector, read.count), (EnumValue::name(name), count));
        }
        for text in [
            "", "ANY:1", "ALL:", "EXACT", "EXACT:", "EXACT:0", "EXACT:-1", "SOME",
        ] {
            let error = selector("--rekor-config", text).unwrap_err();
            assert!(error.to_string().contains("is none of ANY"), "{text}");
        }
    }

    #[test]
    fn a_specification_has_the_keys_that_it_needs_and_no_others() {
        let full =
            "url=https://log.example, api-version=2,start-time=2026-01-01T00:00:00Z,operator=o=p";
        let read = service("--rekor", full).unwrap();
        assert_eq!((read.major_api_version, read.operator.as_str()), (2, "o=p"));
        for (text, expected) in [
            ("url", "'url' is no KEY=VALUE"),
            ("url=u,what=1", "what is 'what'?"),
            ("url=u,url=v", "url is there twice"),
            (
                "url=u,api-version=2,start-time=2026-01-01T00:00:00Z",
                "operator is missing",
            ),
            (
                "url=u,api-version=2,start-time=2026-01-01T00:00:00Z,operator=",
                "operator is missing",
            ),
            (
                "url=u,api-version=two,start-time=2026-01-01T00:00:00Z,operator=o",
                "api-version is no number",
            ),
            (
                "url=u,api-version=2,start-time=soon,operator=o",
                "'soon' is no time",
            ),
            (
                "url=u,api-version=2,start-time=2026-01-01T00:00:00Z,end-time=2025-01-01T00:00:00Z,operator=o",
                "it would end before it starts",
            ),
        ] {
            let error = format!("{:#}", service("--rekor", text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
