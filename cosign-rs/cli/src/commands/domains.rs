//! Trust domains: initialize, and trust list, status, refresh, diff, export.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use client::Call;
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use serde::Serialize;
use trust::{CertificateAuthority, ClientTrustConfig, LogInstance, TrustedRoot, Validity};
use tuf_client::{Built, DOMAINS, Domain, DomainError, Refresh, Warning, agent};
use url::Url;

use crate::args::{ExportFormat, Following, Initialize, Output, TrustCommand};
use crate::bundle_file::BundleFile;
use crate::failure::{advice, in_line, say, usage};
use crate::trust_domain::{self, Followable, Trusting, explained};
use crate::{report, trust_files};

/// The largest root (tuf).
const ROOT_MAX: usize = tuf::Role::Root.size_max();
/// Characters of a key's id or a certificate's hash that are shown.
const ID_SHOWN: usize = 12;

pub(super) async fn run(command: TrustCommand) -> Result<()> {
    match command {
        TrustCommand::List { output } => list(output.unwrap_or(Output::Text)),
        TrustCommand::Status { output, following } => {
            status(output.unwrap_or(Output::Text), following).await
        }
        TrustCommand::Refresh { following } => refresh(&following).await,
        TrustCommand::Diff { against, following } => diff(against.as_deref(), &following).await,
        TrustCommand::Export {
            to,
            format,
            following,
        } => export(&to, format, &following).await,
    }
}

// --- initialize -----------------------------------------------------------------------------------------------------

/// The repository is followed before anything is written down, so that a mistake costs nothing that was there.
pub(super) async fn initialize(arguments: Initialize) -> Result<()> {
    let folder = trust_domain::folder();
    let staging = Built::find("staging").filter(|_| arguments.staging);
    let mirror = staging
        .map(|built| built.mirror)
        .or(arguments.mirror.as_deref())
        .unwrap_or(DOMAINS[0].mirror);
    let authorities = match &arguments.mirror_cacert {
        Some(path) => trust_domain::authorities(path)?,
        None => Vec::new(),
    };
    let root = match (&arguments.root, Built::find(mirror)) {
        (Some(named), _) => {
            named_root(named, arguments.root_checksum.as_deref(), &authorities).await?
        }
        (None, Some(built)) => built.root.to_vec(),
        (None, None) => {
            return Err(usage(
                format!("{mirror} is not built in, so it takes a root to begin from"),
                "get it from somebody you trust, and pass it with --root",
            ));
        }
    };
    let digest = Digest::of(HashAlgorithm::Sha256, &root).to_hex();
    let domain = Domain::new(arguments.name.as_deref(), mirror, root)?;
    let before = match folder.domain(Some(mirror)) {
        Err(taken @ DomainError::FolderTaken { .. }) => return Err(taken.into()),
        other => other.ok(),
    };
    // From the same root on, what was seen before still counts: a rollback would be noticed.
    let same = before.is_some_and(|before| before.root == domain.root);
    let cache = if same {
        folder.cache(mirror)
    } else {
        folder.staging()
    };
    let followable = Followable::new(
        &folder,
        domain.clone(),
        authorities.clone(),
        Refresh::Always,
        arguments.now,
    )?
    .cached_in(cache.clone());
    let trusting = everything(followable).await;
    let done = trusting.and_then(|trusting| {
        let staged = (!same).then_some(&cache);
        folder.initialize(&domain, staged, &authorities, !arguments.no_default)?;
        Ok(trusting)
    });
    if done.is_err() && !same {
        let _left = cache.forget();
    }
    let trusting = done?;
    let (version, _) = domain.root_version().context("the root")?;
    say(&format!(
        "trusting {} at {mirror}{} from root {version} on, sha256:{digest}\n{}",
        domain.name,
        if arguments.no_default {
            ""
        } else {
            ", also where nobody names a trust domain,"
        },
        roles(&trusting)
    ));
    Ok(())
}

/// Follows a repository now and gets what one needs to sign and to verify; a repository without a signing config is for verifiers.
async fn everything(followable: Followable) -> Result<Trusting> {
    let mut trusting = followable
        .follow()
        .await
        .map_err(|(domain, error)| trust_domain::unasked(&domain, error))?;
    trusting.trusted_root().await?;
    let _for_signers = trusting.signing_config().await;
    let not_kept = trusting
        .followed()
        .warnings()
        .iter()
        .find(|warning| matches!(warning, Warning::NotKept { .. }));
    if let Some(warning) = not_kept {
        return Err(advice(
            warning.to_string(),
            "name a folder that can be written in TUF_ROOT",
        ));
    }
    Ok(trusting)
}

async fn named_root(named: &str, checksum: Option<&str>, authorities: &[u8]) -> Result<Vec<u8>> {
    let url = Url::parse(named)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()));
    let root = match url {
        None => trust_files::read_at_most(
            Path::new(named),
            u64::try_from(ROOT_MAX).unwrap_or(u64::MAX),
        )?,
        Some(_) if checksum.is_none() => {
            return Err(usage(
                "a root from a URL without --root-checksum: whoever answers there would be trusted with everything",
                "pass the SHA-256 that its operators state elsewhere, or the root as a file",
            ));
        }
        Some(url) => {
            let call = Call::get(url).limit(ROOT_MAX);
            let answer = agent(authorities.to_vec())
                .send(&call)
                .await?
                .expect(&[200])?;
            answer.body.to_vec()
        }
    };
    if let Some(expected) = checksum {
        let found = Digest::of(HashAlgorithm::Sha256, &root).to_hex();
        let stated = expected.trim_start_matches("sha256:").to_ascii_lowercase();
        if found != stated {
            return Err(advice(
                format!("the root {named} has the SHA-256 {found}, not {stated}"),
                "do not trust it: get root and checksum again, each from its own place",
            ));
        }
    }
    Ok(root)
}

// --- trust list, status, refresh ------------------------------------------------------------------------------------

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    mirror: String,
    is_default: bool,
    is_built_in: bool,
    root_version: Option<u64>,
    cached: bool,
}

fn list(output: Output) -> Result<()> {
    let listed: Vec<Listed> = trust_domain::folder()
        .domains()
        .into_iter()
        .map(|known| Listed {
            root_version: known.domain.root_version().map(|(root, _)| root.get()),
            is_built_in: known.domain.built.is_some(),
            name: known.domain.name,
            mirror: known.domain.mirror,
            is_default: known.is_default,
            cached: known.cached,
        })
        .collect();
    if output == Output::Json {
        return report::print_json(&listed);
    }
    let mut text = String::new();
    for domain in &listed {
        let version = domain
            .root_version
            .map_or_else(|| "?".to_owned(), |version| version.to_string());
        writeln!(
            text,
            "{} {}: {}, from root {version} on, {}, {}",
            if domain.is_default { "*" } else { " " },
            in_line(&domain.name),
            in_line(&domain.mirror),
            if domain.is_built_in {
                "built in"
            } else {
                "initialised here"
            },
            if domain.cached {
                "cached"
            } else {
                "nothing cached"
            },
        )?;
    }
    report::print(text.trim_end())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: String,
    mirror: String,
    cache: String,
    refreshed: Option<Timestamp>,
    /// Nothing is cached, and what is built in is trusted: the day it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    built_in: Option<&'static str>,
    holds: bool,
    holds_until: Option<Timestamp>,
    roles: Vec<RoleStatus>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct RoleStatus {
    role: &'static str,
    version: u64,
    expires: Timestamp,
}

async fn status(output: Output, mut following: Following) -> Result<()> {
    following.offline = true;
    let followable = trust_domain::followable(&following)?;
    let cache = followable.client.cache().clone();
    let domain = followable.domain.clone();
    let outcome = followable.follow().await.map_err(|(_, error)| error);
    let trusting = outcome.as_ref().ok();
    let error = outcome.as_ref().err();
    let built_in = error.and_then(|error| trust_domain::built_in(&domain, error));
    let status = Status {
        name: domain.name.clone(),
        mirror: domain.mirror.clone(),
        cache: cache.folder().display().to_string(),
        refreshed: cache.refreshed(),
        built_in,
        holds: trusting.is_some() || built_in.is_some(),
        holds_until: trusting.map(|trusting| trusting.followed().trusted().expires()),
        roles: trusting.map(role_status).unwrap_or_default(),
        problem: error
            .filter(|_| built_in.is_none())
            .map(ToString::to_string),
    };
    match output {
        Output::Json => report::print_json(&status)?,
        Output::Text => {
            let mut text = format!("{}: {}\n", in_line(&status.name), in_line(&status.mirror));
            writeln!(text, "  cache: {}", status.cache)?;
            let refreshed = status
                .refreshed
                .map_or_else(|| "never".to_owned(), |time| time.to_string());
            writeln!(text, "  refreshed: {refreshed}")?;
            if let Some(trusting) = trusting {
                write!(text, "{}", roles(trusting))?;
            }
            if let Some(taken) = built_in {
                writeln!(
                    text,
                    "  nothing is cached yet: until the repository is asked, what is built in is trusted, of {taken}"
                )?;
            }
            report::print(text.trim_end())?;
        }
    }
    match outcome {
        Err(error) if built_in.is_none() => Err(explained(&domain, error)),
        _ => Ok(()),
    }
}

fn role_status(trusting: &Trusting) -> Vec<RoleStatus> {
    let roles = trusting.followed().trusted().roles();
    roles
        .into_iter()
        .map(|(role, version, expires)| RoleStatus {
            role: role.name(),
            version: version.get(),
            expires,
        })
        .collect()
}

/// One line for each role.
fn roles(trusting: &Trusting) -> String {
    let mut text = String::new();
    for role in role_status(trusting) {
        // Writing to a string does not fail.
        let _written = writeln!(
            text,
            "  {}: version {}, until {}",
            role.role, role.version, role.expires
        );
    }
    text
}

async fn refresh(following: &Following) -> Result<()> {
    if following.offline {
        return Err(usage(
            "trust refresh asks the repository, and --offline says not to",
            "leave one of them out",
        ));
    }
    let mut followable = trust_domain::followable(following)?;
    followable.refresh = Refresh::Always;
    let trusting = everything(followable).await?;
    let domain = trusting.domain();
    say(&format!(
        "{} is what {} says now\n{}",
        domain.name,
        domain.mirror,
        roles(&trusting)
    ));
    Ok(())
}

// --- trust diff, export ---------------------------------------------------------------------------------------------

async fn diff(against: Option<&Path>, following: &Following) -> Result<()> {
    let cached = Following {
        offline: true,
        ..following.clone()
    };
    let now = trust_domain::trusted_root(&cached).await?;
    let then = match against {
        Some(path) => trust_files::root_of(path)?,
        None => newest(following).await?,
    };
    let lines = changes(&now, &then);
    if lines.is_empty() {
        return report::print("nothing would change");
    }
    report::print(&lines.join("\n"))
}

/// The repository's newest trusted root, with the cache left as it is.
async fn newest(following: &Following) -> Result<TrustedRoot> {
    let mut followable = trust_domain::followable(following)?;
    let beside = trust_domain::folder().staging();
    followable.refresh = Refresh::Always;
    let outcome = match followable.cached_in(beside.clone()).follow().await {
        Ok(mut trusting) => trusting.trusted_root().await,
        Err((domain, error)) => Err(explained(&domain, error)),
    };
    let _left = beside.forget();
    outcome
}

/// What a trusted root says, each thing under a name that stays the same when its end changes.
fn things(root: &TrustedRoot) -> BTreeMap<String, Validity> {
    let log = |kind: &str, log: &LogInstance| {
        let id = hex::encode(log.key.key_id());
        let id = id.get(..ID_SHOWN).unwrap_or_default();
        (
            format!("{kind} {} (key {id})", in_line(&log.base_url)),
            log.validity,
        )
    };
    let authority = |kind: &str, authority: &CertificateAuthority| {
        let chain: Vec<u8> = authority
            .chain
            .iter()
            .flat_map(|certificate| certificate.der().iter().copied())
            .collect();
        let hash = Digest::of(HashAlgorithm::Sha256, &chain).to_hex();
        let hash = hash.get(..ID_SHOWN).unwrap_or_default();
        (
            format!("{kind} {} (chain {hash})", in_line(&authority.uri)),
            authority.validity,
        )
    };
    let logs = root.tlogs.iter().map(|one| log("transparency log", one));
    let ctlogs = root.ctlogs.iter().map(|one| log("CT log", one));
    let authorities = root
        .authorities
        .iter()
        .map(|one| authority("certificate authority", one));
    let timestamps = root
        .timestamp_authorities
        .iter()
        .map(|one| authority("timestamp authority", one));
    logs.chain(ctlogs)
        .chain(authorities)
        .chain(timestamps)
        .collect()
}

fn changes(now: &TrustedRoot, then: &TrustedRoot) -> Vec<String> {
    let (now, then) = (things(now), things(then));
    let mut lines = Vec::new();
    for (name, validity) in &then {
        match now.get(name) {
            None => lines.push(format!("+ {name}: trusted {}", window(validity))),
            Some(before) if before != validity => lines.push(format!(
                "~ {name}: trusted {}, not {}",
                window(validity),
                window(before)
            )),
            Some(_) => {}
        }
    }
    for name in now.keys().filter(|name| !then.contains_key(*name)) {
        lines.push(format!("- {name}: not trusted any more"));
    }
    lines
}

fn window(validity: &Validity) -> String {
    match validity.end {
        Some(end) => format!("from {} to {end}", validity.start),
        None => format!("from {} on", validity.start),
    }
}

async fn export(to: &Path, format: ExportFormat, following: &Following) -> Result<()> {
    let file = BundleFile::prepare(to, [])?;
    let json = match format {
        ExportFormat::TrustedRoot => trust_domain::trusted_root(following).await?.to_json()?,
        ExportFormat::TrustConfig => {
            let (root, signing) = trust_domain::for_signing(following).await?;
            ClientTrustConfig { root, signing }.to_json()?
        }
    };
    file.write(json.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_says_what_comes_what_goes_and_what_ends() {
        let built = Built::find("public-good").unwrap();
        let (_, root, _) = built.seed.unwrap();
        let now = TrustedRoot::parse(root).unwrap();
        assert_eq!(changes(&now, &now), Vec::<String>::new());
        let mut then = now.clone();
        let gone = then.ctlogs.remove(0);
        let end = "2026-12-01T00:00:00Z".parse().unwrap();
        then.tlogs[1].validity.end = Some(end);
        let lines = changes(&now, &then);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("~ transparency log https://"),
            "{lines:?}"
        );
        assert!(
            lines[0].contains(" to 2026-12-01T00:00:00Z, not from "),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with(&format!("- CT log {}", gone.base_url)),
            "{lines:?}"
        );
        assert!(changes(&then, &now)[0].starts_with("+ CT log"));
    }
}
