//! Following the files of the settings: a new key, a new chain, other issuers, without turning anybody away.
//!
//! Two things are followed, each on its own: key, chains and policy; and the issuers. What can be used replaces what was there between two
//! requests; what cannot be used is said in the log and in the figure `reload_failing`, is tried again, and changes nothing. So it does not
//! matter in which order key and chain are replaced. The settings of `[server]` and `[ct_log]` are read at the start only.
//!
//! A rotation without downtime: the new chain goes into `next`, and clients learn of it from the trust bundle and the trusted root; then `key` and
//! `chain` become the new ones and the old chain goes into `retired`; there it stays as long as anybody verifies its certificates.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pki::Certificate;
use serve::reload::{Account, LOOK, Look, check_regular};
use serve::{Allowance, Clock, Live};
use signer::Signer;
use tokio::task::JoinSet;

use crate::ceremony;
use crate::chain::Chain;
use crate::config::{AuthorityConfig, Config, IssuingConfig};
use crate::ctlog::CtLog;
use crate::figures::{Shown, ShownIssuers};
use crate::issue::Authority;
use crate::issuers::{Issuers, MAX_FILE};

/// How often it is seen to that the keys of every issuer are there; those that are fresh are not asked for again.
const ASK: Duration = Duration::from_mins(1);

/// Keeps a running authority as its files say. Dropping it leaves the authority as it is.
#[derive(Debug)]
pub struct Follower {
    settings: PathBuf,
    authority: Live<Authority>,
    issuers: Live<Issuers>,
    clock: Clock,
    /// What that which is there was made of.
    authority_files: Seen,
    issuers_files: Seen,
    authority_account: Account,
    issuers_account: Account,
    shown: Shown,
}

/// The settings file as it was before it was read, and the files that it names before they were: what changes in between is seen at the next
/// look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    settings: Look,
    named: Look,
}

impl Follower {
    /// Reads everything for the first time; `seen` is the settings file before `config` was read from it, and `witness` finds the CT log of the authority.
    pub(crate) async fn begin(
        settings: &Path,
        seen: Look,
        config: &AuthorityConfig,
        clock: Clock,
        witness: impl AsyncFnOnce(&Authority) -> anyhow::Result<Option<CtLog>>,
    ) -> anyhow::Result<Self> {
        let seen = |named| Seen {
            settings: seen,
            named,
        };
        let authority_files = seen(Look::at(authority_paths(config)));
        let issuers_files = seen(Look::at([&config.issuers]));
        let issuers = load_issuers(config)?;
        let mut authority = load_authority(config, None, &clock).await?;
        authority.ct_log = witness(&authority).await?;
        let mut shown = Shown::default();
        serve::metrics::init();
        shown.show(&authority, clock.now());
        Ok(Self {
            settings: settings.to_owned(),
            authority: Live::new(authority),
            issuers: Live::new(issuers),
            clock,
            authority_files,
            issuers_files,
            authority_account: Account::new("CA key and chains"),
            issuers_account: Account::new("issuers"),
            shown,
        })
    }

    pub(crate) const fn authority(&self) -> &Live<Authority> {
        &self.authority
    }

    pub(crate) const fn issuers(&self) -> &Live<Issuers> {
        &self.issuers
    }

    /// Looks every few seconds, until the authority is gone. Beside that the keys of the issuers are asked for before somebody needs them.
    pub async fn follow(mut self) {
        let (issuers, clock) = (self.issuers.clone(), self.clock.clone());
        // On its own: an issuer that hangs does not hold up a reload. It ends with this.
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut shown = ShownIssuers::default();
            loop {
                // Those of now, whose keys may come late; a reload in between is seen the next time.
                let issuers = issuers.now();
                issuers.fetch_keys(clock.now()).await;
                shown.show(&issuers.status(), clock.now());
                tokio::time::sleep(ASK).await;
            }
        });
        while self.authority.is_shared() {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    /// Looks once; whether something new was taken. What is wrong is said in the log.
    pub async fn look(&mut self) -> bool {
        let (settings, config) = match self.config().await {
            Ok(read) => read,
            Err(error) => {
                // Nobody knows which files are meant.
                self.authority_account.note(&Err::<bool, _>(error));
                return false;
            }
        };
        let authority = self.look_at_authority(settings, &config).await;
        self.authority_account.note(&authority);
        let issuers = self.look_at_issuers(settings, &config).await;
        self.issuers_account.note(&issuers);
        self.shown.show(&self.authority.now(), self.clock.now());
        authority.unwrap_or_default() | issuers.unwrap_or_default()
    }

    async fn config(&self) -> anyhow::Result<(Look, AuthorityConfig)> {
        let settings = self.settings.clone();
        let read = move || {
            check_regular(&settings)?;
            anyhow::Ok((Look::at([&settings]), Config::load(&settings)?))
        };
        let (seen, config) = tokio::task::spawn_blocking(read).await??;
        Ok((seen, config.authority))
    }

    async fn look_at_authority(
        &mut self,
        settings: Look,
        config: &AuthorityConfig,
    ) -> anyhow::Result<bool> {
        let named = look(authority_paths(config)).await?;
        let files = Seen { settings, named };
        if files == self.authority_files {
            return Ok(false);
        }
        let old = self.authority.now();
        let new = load_authority(config, Some(&old), &self.clock).await?;
        if let Some(ct_log) = &new.ct_log {
            // Before the first certificate that ends in one of them.
            ct_log
                .believe(&new.roots(), self.clock.now())
                .context("the roots of the CT log")?;
        }
        tracing::info!(
            issuing = new.chain.issuing().subject_text(),
            serial = hex::encode(new.chain.issuing().serial()),
            next = new.next.len(),
            retired = new.retired.len(),
            "issuing from now on"
        );
        self.authority.set(new);
        self.authority_files = files;
        Ok(true)
    }

    async fn look_at_issuers(
        &mut self,
        settings: Look,
        config: &AuthorityConfig,
    ) -> anyhow::Result<bool> {
        let named = look(vec![config.issuers.clone()]).await?;
        let files = Seen { settings, named };
        if files == self.issuers_files {
            return Ok(false);
        }
        let config = config.clone();
        let new = tokio::task::spawn_blocking(move || load_issuers(&config)).await??;
        // Keys that were fetched and tokens that were used are not forgotten.
        let new = new.replacing(&self.issuers.now());
        self.issuers.set(new);
        self.issuers_files = files;
        Ok(true)
    }
}

async fn look(paths: Vec<PathBuf>) -> anyhow::Result<Look> {
    let looking = move || {
        for path in &paths {
            check_regular(path)?;
        }
        Ok(Look::at(paths))
    };
    tokio::task::spawn_blocking(looking).await?
}

fn authority_paths(config: &AuthorityConfig) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let IssuingConfig::Kept { key, chain } = &config.issuing {
        paths.extend(key.files().into_iter().map(Path::to_owned));
        paths.push(chain.clone());
    }
    paths.extend(config.next.iter().chain(&config.retired).cloned());
    paths
}

/// `old` is what issues now: what need not change is kept.
async fn load_authority(
    config: &AuthorityConfig,
    old: Option<&Authority>,
    clock: &Clock,
) -> anyhow::Result<Authority> {
    let now = clock.now();
    let (signer, chain, ephemeral) = match &config.issuing {
        IssuingConfig::Kept { key, chain } => {
            let signer = Signer::open(key).await.context("ca.key")?;
            let certificates = read_chain("ca.chain", chain)?;
            let checked = Chain::active(certificates, signer.public_key(), now);
            let checked = checked.with_context(|| format!("ca.chain: {}", chain.display()))?;
            (signer, checked, false)
        }
        IssuingConfig::Ephemeral => {
            if let Some(old) = old.filter(|old| old.ephemeral) {
                (old.signer.clone(), old.chain.clone(), true)
            } else {
                tracing::warn!(
                    "EPHEMERAL: key and chain are made now and end with this process. This is for development: nobody can verify \
                     its certificates afterwards, and every start is another authority"
                );
                let made = ceremony::ephemeral(now).await?;
                let chain = Chain::active(made.chain, made.signer.public_key(), now)?;
                (made.signer, chain, true)
            }
        }
    };
    let known = |key: &'static str, paths: &[PathBuf]| {
        let known = |path: &PathBuf| {
            let chain = Chain::known(read_chain(key, path)?);
            chain.with_context(|| format!("{key}: {}", path.display()))
        };
        paths.iter().map(known).collect::<anyhow::Result<Vec<_>>>()
    };
    let policy = config.policy.clone();
    let allowance = match old.filter(|old| old.policy.identity_rate == policy.identity_rate) {
        Some(old) => old.allowance.clone(),
        None => policy
            .identity_rate
            .map(|(rate, burst)| Arc::new(Allowance::new(rate, burst))),
    };
    Ok(Authority {
        signer,
        chain,
        ephemeral,
        next: known("ca.next", &config.next)?,
        retired: known("ca.retired", &config.retired)?,
        ct_log: old.and_then(|old| old.ct_log.clone()),
        policy,
        allowance,
        watch: old.map(|old| old.watch.clone()).unwrap_or_default(),
    })
}

fn read_chain(key: &'static str, path: &Path) -> anyhow::Result<Vec<Certificate>> {
    // What cannot be read names its path itself.
    let text = read(path).context(key)?;
    Certificate::chain_from_pem(&text).with_context(|| format!("{key}: {}", path.display()))
}

fn load_issuers(config: &AuthorityConfig) -> anyhow::Result<Issuers> {
    let issuers = read_issuers(&config.issuers)?
        .requiring(&config.required_issuers)
        .context("ca.required_issuers")?;
    Ok(if config.single_use_tokens {
        issuers.using_tokens_once()
    } else {
        issuers
    })
}

/// A file of issuers; what in it says nothing is told.
pub(crate) fn read_issuers(path: &Path) -> anyhow::Result<Issuers> {
    let settings = client::Settings {
        attempts: 2,
        // A client waits for it, and has less patience than a request's limit.
        connect_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(4),
        call_timeout: Duration::from_secs(4),
        ..client::Settings::default()
    };
    let issuers = Issuers::parse(read(path)?.as_bytes(), &settings)
        .with_context(|| path.display().to_string())?;
    for warning in issuers.warnings() {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    Ok(issuers)
}

/// The text of a file of the settings.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MAX_FILE.saturating_add(1))
        .read_to_string(&mut text)
        .with_context(|| path.display().to_string())?;
    // A file that is cut may be a file that says something else.
    anyhow::ensure!(
        u64::try_from(text.len()).is_ok_and(|length| length <= MAX_FILE),
        "{} is larger than {MAX_FILE} bytes",
        path.display()
    );
    Ok(text)
}
