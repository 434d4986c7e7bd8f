//! Whom to trust and whom to call, as a trust domain's repository says (TUF).

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use trust::{SigningConfig, TrustedRoot};
use tuf::{File, Target, TargetPath, UpdateError};
use tuf_client::{
    Built, Cache, Client, Domain, DomainError, Folder, Follow, FollowError, Followed, Mirror,
    Refresh, agent,
};

use crate::args::{Following, TrustRefresh};
use crate::failure::{advice, in_line, say};
use crate::trust_files;

/// The largest file with certificate authorities; as much as is remembered of them.
const AUTHORITIES_MAX: u64 = 1 << 20;
/// The target with the trusted root.
pub(crate) const TRUSTED_ROOT: &str = "trusted_root.json";
/// The target with the signing config.
pub(crate) const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// The one for those who sign with Rekor v2.
pub(crate) const SIGNING_CONFIG_REKOR_V2: &str = "signing_config_rekor_v2.v0.2.json";
/// The targets with the signing config, the better one first: we sign with Rekor v2.
const SIGNING_CONFIGS: [&str; 2] = [SIGNING_CONFIG_REKOR_V2, SIGNING_CONFIG];

/// A trust domain that is followed.
pub(crate) struct Followable {
    pub(crate) domain: Domain,
    pub(crate) client: Client,
    pub(crate) refresh: Refresh,
    /// The time that somebody set.
    set: Option<Timestamp>,
    mirror: Mirror,
}

/// A trust domain that was followed.
pub(crate) struct Trusting {
    domain: Domain,
    client: Client,
    refresh: Refresh,
    set: Option<Timestamp>,
    followed: Followed,
    /// Warnings that were told.
    told: usize,
}

/// What is trusted: a repository that was followed, or what is built in where there is none.
enum Origin {
    Followed(Box<Trusting>),
    Built(Built),
}

/// Whom to trust.
pub(crate) async fn trusted_root(following: &Following) -> Result<TrustedRoot> {
    match open(following).await? {
        Origin::Followed(mut trusting) => trusting.trusted_root().await,
        Origin::Built(built) => built_root(built),
    }
}

/// Whom to trust and whom to call.
pub(crate) async fn for_signing(following: &Following) -> Result<(TrustedRoot, SigningConfig)> {
    let origin = open(following).await?;
    let (name, pair) = match origin {
        Origin::Followed(mut trusting) => {
            let root = trusting.trusted_root().await?;
            let config = trusting.signing_config().await?;
            (trusting.domain.name.clone(), (root, config))
        }
        Origin::Built(built) => {
            let (_, _, config) = built.seed.context("nothing is built in")?;
            let config = SigningConfig::parse(config).context("the built-in signing config")?;
            (built.name.to_owned(), (built_root(built)?, config))
        }
    };
    if Built::find(&name).is_some() {
        say(&format!(
            "note: signing with the {name} instance: your identity goes into its public logs; --trust-config or --trust-domain names another one"
        ));
    }
    Ok(pair)
}

/// Whom to call, by the target of this name alone.
pub(crate) async fn signing_config_of(following: &Following, name: &str) -> Result<SigningConfig> {
    match open(following).await? {
        Origin::Followed(mut trusting) => {
            let bytes = trusting.target(name).await?;
            SigningConfig::parse(&bytes)
                .with_context(|| format!("{name} of {}", trusting.domain.mirror))
        }
        // What is built in is for signing with Rekor v2.
        Origin::Built(built) => match built.seed {
            Some((_, _, config)) if name == SIGNING_CONFIG_REKOR_V2 => {
                SigningConfig::parse(config).context("the built-in signing config")
            }
            _ => Err(advice(
                format!("{name} of the trust domain {} is not built in", built.name),
                format!(
                    "with a connection, `cosign-rs trust refresh --trust-domain {}` gets it",
                    built.name
                ),
            )),
        },
    }
}

async fn open(following: &Following) -> Result<Origin> {
    let followable = followable(following)?;
    match followable.follow().await {
        Ok(trusting) => Ok(Origin::Followed(Box::new(trusting))),
        Err((domain, error)) => match standing_in(&domain, &error) {
            Some(built) => seed(built, &error, following.offline),
            None => Err(explained(&domain, error)),
        },
    }
}

/// What is built in of the domain, where there is nothing else.
fn standing_in(domain: &Domain, error: &FollowError) -> Option<Built> {
    let nothing = error.is_nothing_there() && is_nothing_cached(domain);
    domain.built.filter(|_| nothing)
}

/// The day of what is built in of the domain, where that is what is trusted.
pub(crate) fn built_in(domain: &Domain, error: &FollowError) -> Option<&'static str> {
    let (taken, ..) = standing_in(domain, error)?.seed?;
    Some(taken)
}

/// Whoever can keep us from a repository must not take us back to what is built in when we have seen more than that.
fn is_nothing_cached(domain: &Domain) -> bool {
    let cache = folder().cache(&domain.mirror);
    [
        "root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
    ]
    .iter()
    .all(|file| !cache.folder().join(file).exists())
}

/// Neither network nor cache: what is built in is authentic, since the program is, but as old as the program.
fn seed(built: Built, error: &FollowError, offline: bool) -> Result<Origin> {
    let Some((taken, ..)) = built.seed else {
        return Err(advice(
            format!(
                "nothing is cached of the trust domain {}, and nothing is built in: {error}",
                built.name
            ),
            format!(
                "with a connection, `cosign-rs trust refresh --trust-domain {}` gets it",
                built.name
            ),
        ));
    };
    let why = if offline {
        "nobody was asked (--offline)"
    } else {
        "the repository was not reached"
    };
    say(&format!(
        "warning: {}: nothing is cached, and {why}; trusting what is built in, of {taken}. What was revoked or added since then is not known; \
         `cosign-rs trust refresh --trust-domain {}` gets it",
        built.name, built.name
    ));
    Ok(Origin::Built(built))
}

fn built_root(built: Built) -> Result<TrustedRoot> {
    let (_, root, _) = built.seed.context("nothing is built in")?;
    TrustedRoot::parse(root).context("the built-in trusted root")
}

/// The folder with the caches: `TUF_ROOT`, or where cosign has them.
pub(crate) fn folder() -> Folder {
    if let Some(named) = variable("TUF_ROOT") {
        return Folder::new(named);
    }
    // Without a home there is nothing to cache in; a folder that cannot be made is not used.
    let home = variable("HOME").unwrap_or_else(|| "/nonexistent".into());
    Folder::new(PathBuf::from(home).join(".sigstore/root"))
}

/// The trust domain that is meant, and how it is followed. Nothing is opened.
pub(crate) fn followable(following: &Following) -> Result<Followable> {
    let folder = folder();
    let domain = named(&folder, following.trust_domain.as_deref())?;
    if domain.built.is_none() && Built::find(&domain.mirror).is_some() {
        say_once(&format!(
            "warning: {} is followed from a root that was initialised here, not from the one that is built in",
            domain.mirror
        ));
    }
    let authorities = match &following.mirror_cacert {
        Some(path) => authorities(path)?,
        None => folder.authorities(&domain.mirror),
    };
    let refresh = refresh(following);
    Followable::new(&folder, domain, authorities, refresh, following.now)
}

/// Certificate authorities for calls to a repository.
pub(crate) fn authorities(path: &Path) -> Result<Vec<u8>> {
    let pem = trust_files::read_at_most(path, AUTHORITIES_MAX).context("--mirror-cacert")?;
    // An empty list would silently be the system's alone.
    let found =
        std::str::from_utf8(&pem).is_ok_and(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    if found {
        return Ok(pem);
    }
    Err(advice(
        format!("{} has no certificate in PEM", path.display()),
        "--mirror-cacert takes the certificate of the authority that the repository's host has its own from",
    ))
}

/// What several steps of one command find is told once.
fn say_once(text: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(text.to_owned()) {
        say(text);
    }
}

fn named(folder: &Folder, flag: Option<&str>) -> Result<Domain> {
    let mirror = variable("TUF_MIRROR");
    let named = flag.map(str::to_owned).or(mirror);
    // cosign's variable for a root that nobody initialised. Who pins one must not go by another one.
    if let Some(path) = variable("TUF_ROOT_JSON") {
        return match (flag, &named) {
            (None, Some(mirror)) => {
                let root = trust_files::read(&PathBuf::from(path));
                let root = root.context("the root in TUF_ROOT_JSON")?;
                Ok(Domain::new(None, mirror, root)?)
            }
            (Some(flag), _) => Err(advice(
                format!(
                    "TUF_ROOT_JSON names a root, and --trust-domain {flag} a domain that has its own"
                ),
                "leave one of the two out",
            )),
            (None, None) => Err(advice(
                "TUF_ROOT_JSON names a root, and nothing says of which repository",
                "set TUF_MIRROR to its address, or run `cosign-rs initialize --mirror ADDRESS --root ROOT`",
            )),
        };
    }
    folder.domain(named.as_deref()).map_err(|error| {
        let hint = match &error {
            DomainError::Default { .. } => {
                "name one with --trust-domain, or run `cosign-rs initialize` again: it writes the note anew".to_owned()
            }
            DomainError::Unknown(_) => "`cosign-rs trust list` shows those that are known".to_owned(),
            DomainError::NotInitialised(mirror) => format!(
                "get its root from somebody you trust, and run `cosign-rs initialize --mirror {mirror} --root ROOT`"
            ),
            _ => return error.into(),
        };
        advice(error.to_string(), hint)
    })
}

const fn refresh(following: &Following) -> Refresh {
    if following.offline {
        return Refresh::Offline {
            allow_expired: following.allow_expired_trust,
        };
    }
    match following.trust_refresh {
        TrustRefresh::Daily => Refresh::Daily,
        TrustRefresh::Always => Refresh::Always,
        TrustRefresh::UntilExpiry => Refresh::UntilExpiry,
    }
}

/// Now, or the time that somebody set, which is said loudly.
pub(crate) fn clock(set: Option<Timestamp>) -> Timestamp {
    if let Some(set) = set {
        say_once(&format!(
            "WARNING: whether trust is expired is judged as of {set}, and not as of now: --now is for tests and air gaps"
        ));
    }
    set.unwrap_or_else(Timestamp::now)
}

impl Followable {
    pub(crate) fn new(
        folder: &Folder,
        domain: Domain,
        authorities: Vec<u8>,
        refresh: Refresh,
        set: Option<Timestamp>,
    ) -> Result<Self> {
        let mirror = Mirror::new(&domain.mirror, agent(authorities))?;
        let cache = folder.cache(&domain.mirror);
        Ok(Self {
            client: Client::new(domain.root.clone(), mirror.clone(), cache),
            mirror,
            domain,
            refresh,
            set,
        })
    }

    /// The same repository with another cache.
    pub(crate) fn cached_in(mut self, cache: Cache) -> Self {
        self.client = Client::new(self.domain.root.clone(), self.mirror.clone(), cache);
        self
    }

    pub(crate) async fn follow(self) -> Result<Trusting, (Domain, FollowError)> {
        let follow = Follow {
            refresh: self.refresh,
            now: clock(self.set),
        };
        match self.client.follow(follow).await {
            Ok(followed) => {
                let mut trusting = Trusting {
                    domain: self.domain,
                    client: self.client,
                    refresh: self.refresh,
                    set: self.set,
                    followed,
                    told: 0,
                };
                trusting.tell();
                Ok(trusting)
            }
            Err(error) => Err((self.domain, error)),
        }
    }
}

impl Trusting {
    pub(crate) const fn followed(&self) -> &Followed {
        &self.followed
    }

    pub(crate) const fn domain(&self) -> &Domain {
        &self.domain
    }

    pub(crate) async fn trusted_root(&mut self) -> Result<TrustedRoot> {
        let bytes = self.target(TRUSTED_ROOT).await?;
        TrustedRoot::parse(&bytes)
            .with_context(|| format!("{TRUSTED_ROOT} of {}", self.domain.mirror))
    }

    pub(crate) async fn signing_config(&mut self) -> Result<SigningConfig> {
        for name in SIGNING_CONFIGS {
            match self.content(name).await {
                Ok(bytes) => {
                    return SigningConfig::parse(&bytes)
                        .with_context(|| format!("{name} of {}", self.domain.mirror));
                }
                Err(FollowError::NoTarget(_)) => {}
                Err(error) => return Err(explained(&self.domain, error)),
            }
        }
        Err(advice(
            format!(
                "the repository {} has no signing config: which certificate authority, log and timestamp authority sign with you?",
                self.domain.mirror
            ),
            "pass --trusted-root and --signing-config, or --trust-config",
        ))
    }

    pub(crate) async fn target(&mut self, name: &str) -> Result<Vec<u8>> {
        let found = self.content(name).await;
        found.map_err(|error| explained(&self.domain, error))
    }

    /// What the repository says of a target, without its content.
    pub(crate) async fn find(&mut self, path: TargetPath) -> Result<Target, FollowError> {
        let follow = self.asking();
        let found = self.client.find(&mut self.followed, path, follow).await;
        self.tell();
        found
    }

    async fn content(&mut self, name: &str) -> Result<Vec<u8>, FollowError> {
        // Constants of ours, and names that were checked.
        let Ok(path) = TargetPath::new(name) else {
            return Ok(Vec::new());
        };
        let follow = self.asking();
        let found = self.client.target(&mut self.followed, path, follow).await;
        self.tell();
        found
    }

    /// Follows it again, if that was longer ago.
    pub(crate) async fn renew(&mut self, age: SignedDuration) -> Result<(), FollowError> {
        let follow = self.asking();
        let renewed = self.client.renew(&mut self.followed, follow, age).await;
        self.tell();
        renewed
    }

    /// How it is asked now, which may be long after it was followed.
    fn asking(&self) -> Follow {
        Follow {
            refresh: self.refresh,
            now: clock(self.set),
        }
    }

    /// What is new to tell.
    fn tell(&mut self) {
        for warning in self.followed.warnings().iter().skip(self.told) {
            let text = in_line(&warning.to_string());
            say(&format!("warning: {}: {text}", self.domain.name));
        }
        self.told = self.followed.warnings().len();
    }
}

/// The same for a command that is there to ask the repository.
pub(crate) fn unasked(domain: &Domain, error: FollowError) -> anyhow::Error {
    if let FollowError::Mirror(_) = &error {
        let what = format!("the trust domain {}", domain.name);
        let hint = format!("is {} right, and is there a connection?", domain.mirror);
        return anyhow::Error::from(error).context(Hinted { what, hint });
    }
    explained(domain, error)
}

/// An error with the trust domain that it is about, and what to do.
pub(crate) fn explained(domain: &Domain, error: FollowError) -> anyhow::Error {
    let name = &domain.name;
    let hint = match &error {
        FollowError::Update(UpdateError::Expired { file: File::Root(_), .. }) => Some(format!(
            "its operators have to publish a newer root; `cosign-rs trust refresh --trust-domain {name}` gets it when they have, and a newer cosign-rs may have one. In an air gap --offline --allow-expired-trust goes on with what is cached"
        )),
        FollowError::Update(UpdateError::Expired { .. }) => Some(format!(
            "`cosign-rs trust refresh --trust-domain {name}` gets newer metadata, if there is any. In an air gap --offline --allow-expired-trust goes on with what is cached"
        )),
        FollowError::Update(UpdateError::NotCached { .. }) | FollowError::TargetNotCached(_) => Some(format!(
            "with a connection, `cosign-rs trust refresh --trust-domain {name}` gets it"
        )),
        FollowError::Update(UpdateError::Pinned(_)) => Some(
            "get the right root from somebody you trust, and run `cosign-rs initialize` with it".to_owned(),
        ),
        FollowError::Update(UpdateError::TooManyRoots) => Some("run it again: it goes on from there".to_owned()),
        FollowError::Update(_) | FollowError::Target(_) => Some(
            "what the repository, or somebody on the way to it, offers does not hold: nothing of it is trusted. If it stays so, ask whoever runs it".to_owned(),
        ),
        FollowError::Mirror(_) => Some(format!(
            "is {} right, and is there a connection? --offline trusts what is cached",
            domain.mirror
        )),
        FollowError::Lock(_) | FollowError::NoTarget(_) => None,
    };
    let what = format!("the trust domain {name}");
    match hint {
        Some(hint) => anyhow::Error::from(error).context(Hinted { what, hint }),
        None => anyhow::Error::from(error).context(what),
    }
}

/// A context that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Hinted {
    what: String,
    pub(crate) hint: String,
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_readable_and_names_all_four_kinds() {
        for (name, tlogs, ctlogs, authorities, timestamps) in
            [("public-good", 2, 2, 2, 1), ("staging", 5, 5, 2, 2)]
        {
            let root = built_root(Built::find(name).unwrap()).unwrap();
            assert_eq!(root.tlogs.len(), tlogs, "{name}");
            assert_eq!(root.ctlogs.len(), ctlogs, "{name}");
            assert_eq!(root.authorities.len(), authorities, "{name}");
            assert_eq!(root.timestamp_authorities.len(), timestamps, "{name}");
        }
    }

    #[test]
    fn the_built_in_services_are_those_of_the_built_in_root() {
        let built = Built::find("public-good").unwrap();
        let (taken, _, config) = built.seed.unwrap();
        let config = SigningConfig::parse(config).unwrap();
        let now = format!("{taken}T00:00:00Z").parse().unwrap();
        let services = sign::Services::select(&config, false, now, 0).unwrap();
        assert_eq!(
            services.fulcio().map(url::Url::as_str),
            Some("https://fulcio.sigstore.dev/")
        );
        let root = built_root(built).unwrap();
        let log = services.logs()[0].as_str().trim_end_matches('/');
        assert!(
            root.tlogs.iter().any(|known| known.base_url == log),
            "{log}"
        );
    }
}
