//! Services in the trusted root and the signing config.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use client::Agent;
use jiff::Timestamp;
use keys::PublicKey;
use pki::Certificate;
use repository::discover::{self, Services};
use repository::{Repository, SIGNING_CONFIG, TRUSTED_ROOT};
use trust::ServiceKind;
use trust::author::{self, AuthorityKind, LogKind, Part};
use trust::{SigningConfig, TrustedRoot};
use wire::trustroot as shape;

use super::args::{AddCa, AddLog, AddShard, Init, Log, Retire, RetiredPart, TrustedLog};
use super::{public_key, tell};
use crate::failure::say;
use crate::trust_files::read;

/// The two targets of a new repository, from services that run.
pub(super) async fn discover(init: &Init, now: Timestamp) -> Result<BTreeMap<String, Vec<u8>>> {
    let named = &init.services;
    let services = Services {
        fulcio: named.fulcio.clone(),
        ctlog: logs(&named.ctlog)?,
        rekor: logs(&named.rekor)?,
        rekor_v1: logs(&named.rekor_v1)?,
        tsa: named.tsa.clone(),
        oidc: named.oidc.clone(),
    };
    let none = services.fulcio.is_empty()
        && services.ctlog.is_empty()
        && services.rekor.is_empty()
        && services.rekor_v1.is_empty()
        && services.tsa.is_empty();
    if none {
        return Ok(BTreeMap::new());
    }
    let since = init.since.unwrap_or_else(|| whole_second(now));
    let found = discover::discover(&agent(), &services, &init.operator, since).await?;
    for seen in &found.seen {
        say(&format!("found {seen}"));
    }
    written(&found.root, &found.config)
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn logs(named: &[Log]) -> Result<Vec<(url::Url, Option<PublicKey>)>> {
    named
        .iter()
        .map(|log| {
            Ok((
                log.url.clone(),
                log.key.as_deref().map(public_key).transpose()?,
            ))
        })
        .collect()
}

fn agent() -> Agent {
    Agent::new(client::Settings::default())
}

pub(super) async fn add_shard(repository: &Repository, add: &AddShard) -> Result<()> {
    let now = Timestamp::now();
    let given = add.log.key.as_deref().map(public_key).transpose()?;
    let key = discover::log_key(&agent(), LogKind::RekorV2, &add.log.url, given.as_ref()).await?;
    say(&format!(
        "found {}: log key {}",
        add.log.url,
        hex::encode(key.key_id())
    ));
    let policy = repository.policy();
    let start = author::start(add.start, now, &policy.rollout)?;
    let operator = add.operator.as_deref().unwrap_or(&policy.operator);
    let url = add.log.url.as_str();
    change(repository, now, |root, config| {
        author::add_log(
            root,
            LogKind::RekorV2,
            url,
            &key,
            add.since.unwrap_or_else(|| whole_second(now)),
        )?;
        author::open_service(config, ServiceKind::Rekor, url, 2, operator, start)?;
        Ok(())
    })?;
    say(&format!(
        "clients sign with it from {start} on, {}",
        if_published(repository, start)
    ));
    Ok(())
}

/// Verifiers with a timestamp of the last moment before the publication know of it when that ends.
fn if_published(repository: &Repository, start: Timestamp) -> String {
    let life = repository.policy().rollout.life;
    format!(
        "if this is published before {}",
        start.checked_sub(life).unwrap_or(start)
    )
}

pub(super) async fn add_ca(repository: &Repository, add: &AddCa) -> Result<()> {
    let now = Timestamp::now();
    let chains = match (&add.chain, add.tsa) {
        (Some(file), _) => {
            let text = String::from_utf8(read(file)?).context("the chain is not PEM")?;
            vec![Certificate::chain_from_pem(&text)?]
        }
        (None, true) => vec![discover::tsa_chain(&agent(), &add.url).await?],
        (None, false) => discover::fulcio_chains(&agent(), &add.url).await?,
    };
    let policy = repository.policy();
    let start = author::start(add.start, now, &policy.rollout)?;
    let operator = add.operator.as_deref().unwrap_or(&policy.operator);
    let (kind, service, url) = if add.tsa {
        let endpoint = discover::tsa_endpoint(&add.url);
        (AuthorityKind::Timestamps, ServiceKind::Tsa, endpoint)
    } else {
        let base = add.url.as_str().trim_end_matches('/').to_owned();
        (AuthorityKind::Certificates, ServiceKind::Fulcio, base)
    };
    let since = add.since.unwrap_or_else(|| whole_second(now));
    let mut is_new = false;
    change(repository, now, |root, config| {
        let mut new = 0;
        for chain in &chains {
            match author::add_authority(root, kind, add.url.as_str(), chain, since) {
                Ok(()) => new += 1,
                Err(author::AuthorError::Listed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::ensure!(new > 0, "{} is listed already with its chain(s)", add.url);
        let called = author::services(config, service).iter().any(|known| {
            known.url == url && known.valid_for.is_some_and(|window| window.end.is_none())
        });
        if !called {
            author::open_service(config, service, &url, 1, operator, start)?;
        }
        is_new = !called;
        Ok(())
    })?;
    let published = if_published(repository, start);
    say(&if is_new {
        format!("clients call it from {start} on, {published}")
    } else {
        // Nothing in the signing config keeps it from the new chain until then.
        format!(
            "all verifiers know the new chain from {start} on, {published}: let it sign with it no sooner"
        )
    });
    Ok(())
}

pub(super) async fn add_log(repository: &Repository, add: &AddLog) -> Result<()> {
    let now = Timestamp::now();
    let kind = match add.kind {
        TrustedLog::Ctlog => LogKind::Ct,
        TrustedLog::RekorV1 => LogKind::RekorV1,
        TrustedLog::Rekor => LogKind::RekorV2,
    };
    let given = add.log.key.as_deref().map(public_key).transpose()?;
    let key = discover::log_key(&agent(), kind, &add.log.url, given.as_ref()).await?;
    say(&format!(
        "found {}: log key {}",
        add.log.url,
        hex::encode(key.key_id())
    ));
    change(repository, now, |root, _| {
        Ok(author::add_log(
            root,
            kind,
            add.log.url.as_str(),
            &key,
            add.since.unwrap_or_else(|| whole_second(now)),
        )?)
    })?;
    let start = author::start(None, now, &repository.policy().rollout)?;
    say(&format!(
        "all verifiers know it from {start} on, {}: let nothing rely on it sooner",
        if_published(repository, start)
    ));
    Ok(())
}

pub(super) fn retire(repository: &Repository, retire: &Retire) -> Result<()> {
    let now = Timestamp::now();
    let part = match retire.part {
        RetiredPart::Rekor => Part::Tlogs,
        RetiredPart::Ctlog => Part::Ctlogs,
        RetiredPart::Fulcio => Part::CertificateAuthorities,
        RetiredPart::Tsa => Part::TimestampAuthorities,
    };
    change(repository, now, |root, config| {
        Ok(author::close(
            root,
            config,
            part,
            &retire.url,
            retire.end.unwrap_or_else(|| whole_second(now)),
        )?)
    })
}

/// Changes both targets, from what is staged or published, and stages what comes out.
fn change(
    repository: &Repository,
    now: Timestamp,
    edit: impl FnOnce(&mut shape::TrustedRoot, &mut shape::SigningConfig) -> Result<()>,
) -> Result<()> {
    // Before anything is read: of two that change them at the same time the second one goes on from what the first one wrote.
    let writer = repository.write_soon()?;
    let root = repository.content(TRUSTED_ROOT)?;
    let config = repository.content(SIGNING_CONFIG)?;
    let mut root = root
        .map_or_else(|| Ok(author::empty_root()), |bytes| wire::parse(&bytes))
        .context(TRUSTED_ROOT)?;
    let mut config = config
        .map_or_else(|| Ok(author::empty_config()), |bytes| wire::parse(&bytes))
        .context(SIGNING_CONFIG)?;
    edit(&mut root, &mut config)?;
    writer.edit_targets(now, &written(&root, &config)?, |_| Ok(()))?;
    drop(writer);
    tell::staged(repository, now)
}

/// As files; read again before anybody signs them.
fn written(
    root: &shape::TrustedRoot,
    config: &shape::SigningConfig,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let (root, config) = (
        author::to_json(root)?.into_bytes(),
        author::to_json(config)?.into_bytes(),
    );
    TrustedRoot::parse(&root).context("the trusted root as written")?;
    SigningConfig::parse(&config).context("the signing config as written")?;
    Ok(BTreeMap::from([
        (TRUSTED_ROOT.to_owned(), root),
        (SIGNING_CONFIG.to_owned(), config),
    ]))
}
