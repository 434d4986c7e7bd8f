//! The refreshes between a mirror and a cache.

use std::io;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tuf::{
    File, Keep, Mode, Place, Target, TargetError, TargetPath, Trusted, Update, UpdateError, Want,
};

use crate::cache::Cache;
use crate::mirror::{Mirror, MirrorError};

/// How old a cache may be that nobody asks the repository about. The public repository makes a timestamp a day.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// Within this time a repository is not asked a second time for what it does not have, or when it was not reached.
const JUST_NOW: SignedDuration = SignedDuration::from_mins(1);
/// Warnings that are kept of a repository that is followed for a long time.
const WARNINGS_MAX: usize = 64;

/// When the repository is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refresh {
    /// When the cache is older than a day, or expired.
    #[default]
    Daily,
    /// Each time.
    Always,
    /// Only when what is in the cache is expired.
    UntilExpiry,
    /// Never: no connection is opened.
    Offline {
        /// Take what is expired. For air gaps.
        allow_expired: bool,
    },
}

/// How to follow a repository.
#[derive(Debug, Clone, Copy)]
pub struct Follow {
    /// When it is asked.
    pub refresh: Refresh,
    /// The time of the whole update, or of the search in what it found.
    pub now: Timestamp,
}

/// A repository, its cache, and the root that everything is verified from.
#[derive(Debug, Clone)]
pub struct Client {
    pinned: Vec<u8>,
    metadata: Mirror,
    targets: Mirror,
    cache: Cache,
}

/// What holds now.
#[derive(Debug)]
pub struct Followed {
    trusted: Trusted,
    /// When the repository was asked.
    updated: Timestamp,
    /// The time of the update, in which it may not have been reached.
    tried: Timestamp,
    source: Source,
    warnings: Vec<Warning>,
}

/// Where that is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The repository was asked.
    Repository,
    /// Only the cache was.
    Cache,
}

/// What somebody should know, and what stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Warning {
    /// The repository is away.
    #[error(
        "the repository cannot be reached ({why}); going on with what was fetched at {refreshed}, which holds until {until}"
    )]
    Outage {
        /// What happened.
        why: String,
        /// When the cache was refreshed.
        refreshed: String,
        /// When it ends.
        until: Timestamp,
    },
    /// The cache was refreshed later than now.
    #[error("the cache was refreshed at {refreshed}, and it is {now}: did the clock go back?")]
    Clock {
        /// When it says that it was refreshed.
        refreshed: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The cache cannot be written.
    #[error("{path} cannot be written ({why}): nothing is cached, and each call fetches again")]
    NotKept {
        /// Where.
        path: String,
        /// Why not.
        why: String,
    },
    /// Taken although its time is over.
    #[error(
        "{file} expired at {expires} and is trusted all the same, as was asked for: what was revoked since then is not known"
    )]
    Expired {
        /// Which file.
        file: File,
        /// Its end.
        expires: Timestamp,
    },
}

/// Why nothing holds.
#[derive(Debug, Error)]
pub enum FollowError {
    /// A file does not hold, or is too old or missing.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The repository could not be asked.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Another process does not end.
    #[error("waiting for the cache")]
    Lock(#[source] io::Error),
    /// No role lists it.
    #[error("the repository has no target {0}")]
    NoTarget(TargetPath),
    /// Not what the metadata vouches for.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Offline, and not there.
    #[error("{0} is not in the cache, or not the one that the metadata vouches for")]
    TargetNotCached(TargetPath),
}

impl FollowError {
    /// Is it only that there is nothing to go on: no cache, or no way to the repository?
    pub fn is_nothing_there(&self) -> bool {
        match self {
            Self::Update(UpdateError::NotCached { .. }) | Self::TargetNotCached(_) => true,
            Self::Mirror(error) => error.is_outage(),
            _ => false,
        }
    }

    /// Is it a role that does not hold, or is not there as it was promised?
    fn is_about_a_role(&self) -> bool {
        match self {
            Self::Update(_) => true,
            Self::Mirror(error) => !error.is_outage(),
            _ => false,
        }
    }
}

impl Client {
    /// A client of the repository at `mirror`, whose targets are in its folder `targets`.
    pub fn new(pinned: Vec<u8>, mirror: Mirror, cache: Cache) -> Self {
        Self {
            pinned,
            targets: mirror.folder("targets"),
            metadata: mirror,
            cache,
        }
    }

    /// With the targets elsewhere.
    #[must_use]
    pub fn targets_at(mut self, mirror: Mirror) -> Self {
        self.targets = mirror;
        self
    }

    /// Its cache.
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Finds out what holds now.
    pub async fn follow(&self, follow: Follow) -> Result<Followed, FollowError> {
        let now = follow.now;
        if let Refresh::Offline { allow_expired } = follow.refresh {
            return Ok(self.offline(now, allow_expired)?);
        }
        let refreshed = self.cache.refreshed();
        if let Some(followed) = self.young_enough(follow, refreshed) {
            return Ok(followed);
        }
        let held = self.cache.lock().await.map_err(FollowError::Lock)?;
        // Somebody else may have refreshed it meanwhile.
        let again = self.cache.refreshed();
        if again != refreshed
            && let Some(followed) = self.young_enough(follow, again)
        {
            return Ok(followed);
        }
        let outcome = self.online(now).await;
        drop(held);
        let mut followed = match outcome {
            Err(FollowError::Mirror(error))
                if error.is_outage() && follow.refresh == Refresh::Daily =>
            {
                self.through_an_outage(now, again, error)?
            }
            outcome => outcome?,
        };
        if let Some(refreshed) = refreshed.filter(|refreshed| *refreshed > now) {
            followed.warnings.push(Warning::Clock { refreshed, now });
        }
        Ok(followed)
    }

    /// What holds by the cache alone. No connection is opened.
    pub fn offline(&self, now: Timestamp, allow_expired: bool) -> Result<Followed, UpdateError> {
        let mode = Mode::Offline { allow_expired };
        // Nothing at all is another matter than something old, also where the pinned root is old.
        let last = File::Timestamp.in_cache();
        if self
            .cache
            .read(&last, tuf::Role::Timestamp.size_max())
            .is_none()
        {
            return Err(UpdateError::NotCached {
                file: File::Timestamp,
                why: "there is none".to_owned(),
            });
        }
        match self.cached(now, mode, File::in_cache) {
            // Another process refreshes at this moment, or one never came to its end: what held before it holds as long as it ever did.
            Err(error @ UpdateError::NotCached { .. }) => {
                self.cached(now, mode, last_whole).map_err(|_| error)
            }
            whole => whole,
        }
    }

    /// An update from the cache, whose files have these names.
    fn cached(
        &self,
        now: Timestamp,
        mode: Mode,
        name: fn(&File) -> String,
    ) -> Result<Followed, UpdateError> {
        let mut update = Update::start(&self.pinned, now, mode)?;
        let mut warnings = Vec::new();
        while let Some(want) = update.wants() {
            let found = self.cache.read(&name(&want.file), want.max_bytes);
            let kept = update.feed(found.as_deref())?;
            self.keep(kept, &mut warnings);
        }
        let mut followed = finish(update, Source::Cache, warnings)?;
        if let Some(refreshed) = self.cache.refreshed() {
            followed.updated = refreshed.min(now);
        }
        Ok(followed)
    }

    /// The content of a target, from the cache or from the repository; as [`find`](Self::find) finds it.
    pub async fn target(
        &self,
        followed: &mut Followed,
        path: TargetPath,
        follow: Follow,
    ) -> Result<Vec<u8>, FollowError> {
        let target = self.find(followed, path.clone(), follow).await?;
        let (name, limit) = (path.file_name(), target.max_bytes()?);
        if let Some(cached) = self.cache.read_target(&name, limit)
            && target.check(&cached).is_ok()
        {
            return Ok(cached);
        }
        if is_offline(follow.refresh) {
            return Err(FollowError::TargetNotCached(path));
        }
        let bytes = self
            .targets
            .get(target.in_repository(), limit, false)
            .await?
            .unwrap_or_default();
        target.check(&bytes)?;
        if let Err(error) = self.cache.write_target(&name, &bytes) {
            self.not_kept(&error, &mut followed.warnings);
        }
        Ok(bytes.to_vec())
    }

    /// What the repository says of a target, without its content. Roles on the way that are not in the cache are fetched, and where one of them
    /// does not hold by metadata that only the cache was asked for, the repository is asked whether there is newer: a delegated role may end, and
    /// be renewed, before the cache is old.
    ///
    /// The time is that of the question and not that of the update, which may be long ago: what is over by now is asked for again, and what is a day
    /// older than the update too where that is how the repository is followed.
    pub async fn find(
        &self,
        followed: &mut Followed,
        path: TargetPath,
        follow: Follow,
    ) -> Result<Target, FollowError> {
        self.bring_up_to(followed, follow).await?;
        let first = self.search(followed, &path, follow.refresh).await;
        let Err(error) = first else { return first };
        // What the repository itself said just now, it would say again.
        let asked = followed.source == Source::Repository && followed.age(follow.now) < JUST_NOW;
        if is_offline(follow.refresh) || asked || !error.is_about_a_role() {
            return Err(error);
        }
        let again = Follow {
            refresh: Refresh::Always,
            ..follow
        };
        match self.follow(again).await {
            Ok(newer) => followed.become_newer(newer),
            Err(FollowError::Mirror(away)) if away.is_outage() => return Err(error),
            Err(other) => return Err(other),
        }
        self.search(followed, &path, follow.refresh).await
    }

    /// Makes what was found out some time ago hold now, by another update if it does not.
    async fn bring_up_to(
        &self,
        followed: &mut Followed,
        follow: Follow,
    ) -> Result<(), FollowError> {
        let judged = followed
            .trusted
            .judge_at(follow.now, mode_of(follow.refresh));
        followed.tell_expired();
        if is_offline(follow.refresh) {
            return Ok(judged?);
        }
        // Where it could not be reached a moment ago, what was found out then stands.
        let old = follow.refresh != Refresh::UntilExpiry
            && followed.age(follow.now) >= FRESH
            && follow.now.duration_since(followed.tried) >= JUST_NOW;
        if judged.is_err() || old {
            let newer = self.follow(follow).await?;
            followed.become_newer(newer);
        }
        Ok(())
    }

    /// Finds out again what holds, if it was found out at least so long ago. For those who ask often and for a long time.
    pub async fn renew(
        &self,
        followed: &mut Followed,
        follow: Follow,
        age: SignedDuration,
    ) -> Result<(), FollowError> {
        if !is_offline(follow.refresh) && followed.age(follow.now) >= age {
            let newer = self.follow(follow).await?;
            followed.become_newer(newer);
        }
        Ok(())
    }

    async fn search(
        &self,
        followed: &mut Followed,
        path: &TargetPath,
        refresh: Refresh,
    ) -> Result<Target, FollowError> {
        let mode = mode_of(refresh);
        let mut search = followed.trusted.search(path.clone(), mode);
        while let Some(want) = search.wants()? {
            let found = self.fetch(&want, refresh).await?;
            let kept = search.feed(found.as_deref())?;
            self.keep(kept, &mut followed.warnings);
        }
        let found = search.finish();
        followed.tell_expired();
        found.ok_or_else(|| FollowError::NoTarget(path.clone()))
    }

    /// The cache, if the policy says that it need not be asked about, and it holds.
    fn young_enough(&self, follow: Follow, refreshed: Option<Timestamp>) -> Option<Followed> {
        let age = follow.now.duration_since(refreshed?);
        let young = match follow.refresh {
            Refresh::Daily => !age.is_negative() && age < FRESH,
            Refresh::UntilExpiry => true,
            Refresh::Always | Refresh::Offline { .. } => false,
        };
        // What does not hold is fetched again; that is where an error is told.
        young
            .then(|| self.offline(follow.now, false).ok())
            .flatten()
    }

    async fn online(&self, now: Timestamp) -> Result<Followed, FollowError> {
        let mut update = Update::start(&self.pinned, now, Mode::Online)?;
        self.metadata.begin();
        let mut warnings = Vec::new();
        while let Some(want) = update.wants() {
            let found = self.fetch(&want, Refresh::Always).await?;
            let kept = update.feed(found.as_deref())?;
            // A crash after any of these leaves what the next update begins with: it checks each file again, and fetches what does not go together.
            self.keep(kept, &mut warnings);
        }
        self.keep_whole(&mut warnings);
        // Last, so that a cache that is half refreshed is no young one.
        if let Err(error) = self.cache.set_refreshed(now) {
            self.not_kept(&error, &mut warnings);
        }
        let followed = finish(update, Source::Repository, warnings)?;
        if let Ok((pinned, _)) = tuf::describe_root(&self.pinned) {
            self.cache.tidy(pinned, followed.trusted.root_version());
        }
        Ok(followed)
    }

    fn through_an_outage(
        &self,
        now: Timestamp,
        refreshed: Option<Timestamp>,
        error: MirrorError,
    ) -> Result<Followed, FollowError> {
        let mut followed = match self.offline(now, false) {
            Ok(followed) => followed,
            // Of the two the one that a person can do something about.
            Err(UpdateError::NotCached { .. }) => return Err(error.into()),
            Err(expired) => return Err(expired.into()),
        };
        followed.warnings.push(Warning::Outage {
            why: error.to_string(),
            refreshed: refreshed.map_or_else(|| "some time".to_owned(), |time| time.to_string()),
            until: followed.trusted.expires(),
        });
        Ok(followed)
    }

    async fn fetch(&self, want: &Want, refresh: Refresh) -> Result<Option<Vec<u8>>, FollowError> {
        if want.place == Place::Cache || is_offline(refresh) {
            return Ok(self.cache.read(&want.file.in_cache(), want.max_bytes));
        }
        let path = want.file.in_repository();
        let found = self
            .metadata
            .get(&path, want.max_bytes, want.may_be_absent())
            .await?;
        Ok(found.map(Vec::from))
    }

    /// Copies of what goes together, for those who come while the next update is under way, or after one that was cut off.
    fn keep_whole(&self, warnings: &mut Vec<Warning>) {
        let targets = File::Targets {
            role: tuf::Role::Targets.name().to_owned(),
            version: None,
        };
        for (file, role) in [
            (File::Timestamp, tuf::Role::Timestamp),
            (File::Snapshot(None), tuf::Role::Snapshot),
            (targets, tuf::Role::Targets),
        ] {
            let copy = last_whole(&file);
            let current = self.cache.read(&file.in_cache(), role.size_max());
            if let Some(current) = current
                && self.cache.read(&copy, role.size_max()).as_ref() != Some(&current)
                && let Err(error) = self.cache.write(&copy, &current)
            {
                self.not_kept(&error, warnings);
            }
        }
    }

    fn keep(&self, kept: Option<Keep>, warnings: &mut Vec<Warning>) {
        let Some(kept) = kept else { return };
        for file in &kept.files {
            if let Err(error) = self.cache.write(&file.in_cache(), &kept.bytes) {
                self.not_kept(&error, warnings);
            }
        }
    }

    /// Told once.
    fn not_kept(&self, error: &io::Error, warnings: &mut Vec<Warning>) {
        let told = |warning: &Warning| matches!(warning, Warning::NotKept { .. });
        if !warnings.iter().any(told) {
            warnings.push(Warning::NotKept {
                path: self.cache.folder().display().to_string(),
                why: error.to_string(),
            });
        }
    }
}

fn finish(update: Update, source: Source, warnings: Vec<Warning>) -> Result<Followed, UpdateError> {
    let trusted = update.finish().ok_or(UpdateError::Unlisted)?;
    let mut followed = Followed {
        updated: trusted.now(),
        tried: trusted.now(),
        trusted,
        source,
        warnings,
    };
    followed.tell_expired();
    Ok(followed)
}

/// Where a file is in the cache as the last update left it that came to its end. Roots have a name for each version, and need no second one.
fn last_whole(file: &File) -> String {
    match file {
        File::Root(_) | File::NewestRoot => file.in_cache(),
        File::Timestamp | File::Snapshot(_) | File::Targets { .. } => {
            format!("root_history/last.{}", file.in_cache())
        }
    }
}

const fn is_offline(refresh: Refresh) -> bool {
    matches!(refresh, Refresh::Offline { .. })
}

const fn mode_of(refresh: Refresh) -> Mode {
    match refresh {
        Refresh::Offline { allow_expired } => Mode::Offline { allow_expired },
        Refresh::Daily | Refresh::Always | Refresh::UntilExpiry => Mode::Online,
    }
}

impl Followed {
    /// What the repository says.
    pub const fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Where it is from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// What somebody should know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How long ago the repository was asked.
    fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.updated)
    }

    /// What another update found out since; what it warns of comes behind what was warned of before.
    fn become_newer(&mut self, newer: Self) {
        let told = std::mem::replace(self, newer).warnings;
        let new = std::mem::replace(&mut self.warnings, told);
        for warning in new {
            if self.warnings.len() < WARNINGS_MAX && !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn tell_expired(&mut self) {
        for (file, expires) in self.trusted.expired() {
            let warning = Warning::Expired {
                file: file.clone(),
                expires: *expires,
            };
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}
