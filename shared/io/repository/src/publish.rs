//! Publishing: what has its signatures comes into force, and the online key vouches for it.
//!
//! The order of writes, and what a client sees when we stop after each:
//!
//! 1. contents of targets, delegated roles, `N.targets.json`, `N.snapshot.json`: nobody asks for them yet, all see what was before;
//! 2. `timestamp.json`: all see the new targets. Where a new root changes the keys of an online role or of targets, these files are signed for
//!    both roots, so that they hold under either;
//! 3. `N.root.json`: clients come to the new root; what they find with it is signed for it;
//! 4. `root.json`, for people, who hand it to `cosign initialize --root`;
//! 5. the staged requests are taken away. A stop before that repeats step 3 at the next publication, with the same bytes.
//!
//! Only when the old online key is lost can the timestamp not be signed for both roots. Then the root goes first, and a client that comes between
//! the two writes has to come again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use signer::Signer;
use tuf::document::target_path;
use tuf::metadata::Version;
use tuf::{Ceremony, Document, RoleName, Sealed};

use crate::error::RepositoryError;
use crate::published::{Held, Published, chain, walk};
use crate::repository::{Repository, Writer, at_the_end, new_findings, online_required};
use crate::{SIGNING_CONFIG, TRUSTED_ROOT, trusted};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were written, in order.
    pub written: Vec<String>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// Whether to sign a new timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// When it is time, or something changed.
    WhenDue,
    /// In any case.
    Always,
}

impl Writer<'_> {
    /// Puts all that is staged into force. Refused as a whole when signatures are missing, or a client would break.
    pub async fn publish(&self, online: &[Signer], now: Time) -> Result<Done, RepositoryError> {
        let repository = self.repository();
        let staged = repository.staged(now)?;
        let mut missing = Vec::new();
        let mut sealed = Vec::new();
        for one in staged {
            for progress in one
                .ceremony
                .progress()
                .iter()
                .filter(|progress| !progress.is_reached())
            {
                missing.push(format!(
                    "{} {}: {} of {} for {}",
                    one.role,
                    one.ceremony.document().version(),
                    progress.have,
                    progress.threshold,
                    progress.by
                ));
            }
            if one.ceremony.is_complete() {
                let findings = new_findings(one.ceremony.document(), one.previous.as_ref());
                if !findings.is_empty() {
                    return Err(RepositoryError::Lint(findings));
                }
                sealed.push(one.ceremony.seal()?);
            }
        }
        if !missing.is_empty() {
            return Err(RepositoryError::Unsigned(missing));
        }
        self.put_into_force(sealed, online, Timestamp::WhenDue, now)
            .await
    }

    /// Signs what the online key signs, where it is time: snapshot and timestamp. What people sign is not touched.
    pub async fn refresh(
        &self,
        online: &[Signer],
        timestamp: Timestamp,
        now: Time,
    ) -> Result<Done, RepositoryError> {
        self.put_into_force(Vec::new(), online, timestamp, now)
            .await
    }

    async fn put_into_force(
        &self,
        sealed: Vec<Sealed>,
        online: &[Signer],
        wanted: Timestamp,
        now: Time,
    ) -> Result<Done, RepositoryError> {
        let repository = self.repository();
        let before = repository.published()?;
        let next = Next::of(before.as_ref(), sealed)?;
        let contents = self.contents(before.as_ref(), &next)?;
        self.check_trust(before.as_ref(), &next, &contents, now)?;

        let old_root = before.as_ref().map(|published| &published.root.document);
        let roots: Vec<&Document> = old_root
            .into_iter()
            .chain(next.new_root.as_ref().map(Sealed::document))
            .collect();
        let newest: Vec<&Document> = roots.last().copied().into_iter().collect();
        let snapshot = self
            .snapshot(before.as_ref(), &next, &roots, online, now)
            .await?;
        let (timestamp, for_both) = self
            .timestamp(
                before.as_ref(),
                &snapshot,
                (&roots, &newest),
                online,
                wanted,
                now,
            )
            .await?;

        let mut plan = Plan::default();
        for (path, content) in contents {
            plan.add(format!("targets/{path}"), content);
        }
        for sealed in next.delegated.iter().chain(&next.new_targets) {
            plan.add(sealed.file_name(), sealed.bytes().to_vec());
        }
        if let Some(sealed) = &snapshot.new {
            plan.add(sealed.file_name(), sealed.bytes().to_vec());
        }
        let late: Vec<(String, Vec<u8>)> = timestamp
            .iter()
            .map(|sealed| (sealed.file_name(), sealed.bytes().to_vec()))
            .collect();
        let root: Vec<(String, Vec<u8>)> = next
            .new_root
            .iter()
            .flat_map(|sealed| {
                [
                    (sealed.file_name(), sealed.bytes().to_vec()),
                    ("root.json".to_owned(), sealed.bytes().to_vec()),
                ]
            })
            .collect();
        let mut notes = Vec::new();
        if before.is_none() {
            // A first root has nobody to confuse, and everything else is read through it.
            plan.files.extend(root);
            plan.files.extend(late);
        } else if for_both {
            plan.files.extend(late);
            plan.files.extend(root);
        } else {
            notes.push("the old online key is not at hand: a client that comes between the new root and the new timestamp has to come again".to_owned());
            plan.files.extend(root);
            plan.files.extend(late);
        }
        self.check_clients(before.as_ref(), &plan, for_both)?;
        let mut done = Done {
            written: Vec::new(),
            notes,
        };
        for (name, content) in &plan.files {
            if repository
                .published_file(name)?
                .is_some_and(|there| there == *content)
            {
                continue;
            }
            self.put(&format!("published/{name}"), content)?;
            done.written.push(name.clone());
        }
        done.notes.extend(self.clear_staged()?);
        Ok(done)
    }

    /// Takes away what came into force, also what a stop left after an earlier publication. What it cannot read is told and left there: a damaged
    /// proposal does not keep the repository from its next timestamp.
    fn clear_staged(&self) -> Result<Vec<String>, RepositoryError> {
        let repository = self.repository();
        let mut notes = Vec::new();
        let staged = repository.list("staged")?;
        if staged.is_empty() {
            return Ok(notes);
        }
        let Some(published) = repository.published()? else {
            return Ok(notes);
        };
        let mut targets_wait = false;
        for name in staged {
            let Some(role) = name.strip_suffix(".json") else {
                continue;
            };
            let Some(bytes) =
                crate::repository::read(repository.disk(), &format!("staged/{name}"), 64 << 20)?
            else {
                continue;
            };
            let read = RoleName::parse(role)
                .map_err(RepositoryError::from)
                .and_then(|role| Ok((role, tuf::Request::parse(&bytes)?)));
            let (role, request) = match read {
                Ok(read) => read,
                Err(source) => {
                    targets_wait |= role == RoleName::TARGETS.as_str();
                    let role = role.to_owned();
                    let source = Box::new(source);
                    notes.push(chain(&RepositoryError::Staged { role, source }));
                    continue;
                }
            };
            let held = published.of(&role);
            if held.is_some_and(|held| {
                request.metadata.get("signed") == Some(&held.document.to_value())
            }) {
                self.remove(&format!("staged/{name}"))?;
            } else {
                targets_wait |= role == RoleName::TARGETS;
            }
        }
        if !targets_wait {
            self.remove_staged_contents()?;
        }
        Ok(notes)
    }

    /// Contents of all targets of the new version, by their path.
    fn contents(
        &self,
        before: Option<&Published>,
        next: &Next,
    ) -> Result<BTreeMap<String, Vec<u8>>, RepositoryError> {
        let mut contents = BTreeMap::new();
        let Some(targets) = &next.new_targets else {
            return Ok(contents);
        };
        let published = before.and_then(|before| before.targets.as_ref());
        let known = match published {
            Some(held) => held.document.targets()?,
            None => BTreeMap::new(),
        };
        for (name, file) in targets.document().targets()? {
            let path = target_path(&name, &file);
            if known.get(&name) == Some(&file)
                && self
                    .repository()
                    .published_file(&format!("targets/{path}"))?
                    .is_some()
            {
                continue;
            }
            let content = self.repository().content(&name)?;
            let content = content.filter(|content| tuf::TargetFile::of(content) == file);
            let content = content.ok_or_else(|| {
                RepositoryError::Missing(format!(
                    "staged/targets/{name} with the hash that targets names"
                ))
            })?;
            contents.insert(path, content);
        }
        Ok(contents)
    }

    /// The trusted root and signing config that clients will have, against those that they have.
    fn check_trust(
        &self,
        before: Option<&Published>,
        next: &Next,
        contents: &BTreeMap<String, Vec<u8>>,
        now: Time,
    ) -> Result<(), RepositoryError> {
        let Some(targets) = &next.new_targets else {
            return Ok(());
        };
        let listed = targets.document().targets()?;
        let new = |name: &str| -> Result<Option<Vec<u8>>, RepositoryError> {
            let Some(file) = listed.get(name) else {
                return Ok(None);
            };
            let path = target_path(name, file);
            match contents.get(&path) {
                Some(content) => Ok(Some(content.clone())),
                None => self.repository().published_file(&format!("targets/{path}")),
            }
        };
        let root = new(TRUSTED_ROOT)?;
        let mut findings = Vec::new();
        let old_root = self.repository().published_content(TRUSTED_ROOT)?;
        let looked_at = |name: &&String| *name == TRUSTED_ROOT || trusted::is_signing_config(name);
        for name in listed.keys().filter(looked_at) {
            if let Some(content) = new(name)? {
                let old = self.repository().published_content(name)?;
                findings.extend(trusted::new_findings(
                    name,
                    (&content, root.as_deref()),
                    (old.as_deref(), old_root.as_deref()),
                ));
            }
        }
        // In development there is nobody to break, and services move as they like.
        if before.is_some() && self.repository().policy().production {
            let old = (
                self.repository().published_content(TRUSTED_ROOT)?,
                self.repository().published_content(SIGNING_CONFIG)?,
            );
            let rollout = &self.repository().policy().rollout;
            findings.extend(trusted::rollout_findings(
                old,
                (root, new(SIGNING_CONFIG)?),
                now,
                rollout,
            ));
        }
        if findings.is_empty() {
            Ok(())
        } else {
            Err(RepositoryError::Lint(findings))
        }
    }

    async fn snapshot(
        &self,
        before: Option<&Published>,
        next: &Next,
        roots: &[&Document],
        online: &[Signer],
        now: Time,
    ) -> Result<Snapshot, RepositoryError> {
        let repository = self.repository();
        let old = before.and_then(|before| before.snapshot.as_ref());
        let end = repository.end(&RoleName::SNAPSHOT, now);
        let mut document = match old {
            Some(old) => old.document.clone(),
            None => Document::new(RoleName::SNAPSHOT, Version::ONE, end),
        };
        // TUF 5.5.5: what a snapshot has named the next one names too, in no lower version, or clients that have seen it refuse the next. So what
        // stands there of roles that are gone, or were never ours, stays.
        let seen = document.meta()?;
        for (role, version, file) in next.current(before) {
            let name = role.meta_name();
            if let Some(seen) = seen.get(&name).filter(|seen| **seen > version) {
                return Err(RepositoryError::Refused(format!(
                    "clients have seen {name} in version {seen} and would refuse {version}: give it a higher version"
                )));
            }
            document.set_meta(&name, version, &file);
        }
        let period = repository.policy().period(&RoleName::SNAPSHOT);
        if let Some(old) = old {
            let mut same = document.meta()? == seen;
            same &= document.meta()?.keys().all(|name| {
                old.document
                    .meta_file(name)
                    .is_none_or(|file| document.meta_file(name) == Some(file))
            });
            let due = old
                .document
                .expires()
                .checked_sub(period.renew)
                .is_ok_and(|due| due <= now);
            let held = for_all(old, &RoleName::SNAPSHOT, roots)?;
            if same && !due && held {
                return Ok(Snapshot {
                    new: None,
                    held: Some(old.clone()),
                });
            }
        }
        let newest = repository.versions(&RoleName::SNAPSHOT)?.last().copied();
        let version = match newest.max(old.map(|old| old.document.version())) {
            Some(version) => version.next().map_err(at_the_end)?,
            None => Version::ONE,
        };
        document.set_version(version);
        document.set_expires(end);
        let (sealed, _) = sign_online(document, roots, online, now).await?;
        Ok(Snapshot {
            new: Some(sealed),
            held: None,
        })
    }

    async fn timestamp(
        &self,
        before: Option<&Published>,
        snapshot: &Snapshot,
        (roots, newest): (&[&Document], &[&Document]),
        online: &[Signer],
        wanted: Timestamp,
        now: Time,
    ) -> Result<(Option<Sealed>, bool), RepositoryError> {
        let repository = self.repository();
        let old = before.and_then(|before| before.timestamp.as_ref());
        let period = repository.policy().period(&RoleName::TIMESTAMP);
        if let Some(old) = old
            && snapshot.new.is_none()
            && wanted == Timestamp::WhenDue
            && old
                .document
                .expires()
                .checked_sub(period.renew)
                .is_ok_and(|due| due > now)
            && for_all(old, &RoleName::TIMESTAMP, roots)?
        {
            return Ok((None, true));
        }
        let end = repository.end(&RoleName::TIMESTAMP, now);
        let mut document = match old {
            Some(old) => old.document.clone(),
            None => Document::new(RoleName::TIMESTAMP, Version::ONE, end),
        };
        let version = match before.and_then(|before| before.timestamp_version) {
            Some(version) => version.next().map_err(at_the_end)?,
            None => Version::ONE,
        };
        document.clear_meta();
        let (of, file) = match (&snapshot.new, &snapshot.held) {
            (Some(sealed), _) => (sealed.document().version(), sealed.file()),
            (None, Some(held)) => (held.document.version(), held.file()),
            (None, None) => return Err(RepositoryError::Missing("a snapshot".to_owned())),
        };
        document.set_meta(&RoleName::SNAPSHOT.meta_name(), of, &file);
        document.set_version(version);
        document.set_expires(end);
        debug_assert!(!newest.is_empty(), "there is a root by now");
        let (sealed, for_both) = sign_online(document, roots, online, now).await?;
        // The snapshot has to hold under both roots, too.
        let snapshot_for_both = match &snapshot.new {
            Some(sealed) => signed_for_all(sealed, roots)?,
            None => true,
        };
        Ok((Some(sealed), for_both && snapshot_for_both))
    }

    /// Walks as a client from every root that there is, in what stands there after each step that clients can see.
    fn check_clients(
        &self,
        before: Option<&Published>,
        plan: &Plan,
        for_both: bool,
    ) -> Result<(), RepositoryError> {
        let overlay: RefCell<BTreeMap<&str, &[u8]>> = RefCell::new(BTreeMap::new());
        let files = |name: &str| -> Result<Option<Vec<u8>>, RepositoryError> {
            if let Some(bytes) = overlay.borrow().get(name) {
                return Ok(Some(bytes.to_vec()));
            }
            self.repository().published_file(name)
        };
        let last = plan.files.len();
        for (position, (name, content)) in plan.files.iter().enumerate() {
            overlay.borrow_mut().insert(name, content);
            let is_root = name.ends_with(".root.json");
            let seen = name == "timestamp.json" || is_root;
            let at_the_end = position + 1 == last;
            let between = seen && before.is_some() && for_both;
            if !(at_the_end || between) {
                continue;
            }
            let mut starts = before
                .map(|before| before.roots.clone())
                .unwrap_or_default();
            if is_root || before.is_none() {
                starts.extend(plan.root_version());
            }
            // Many roots lead over the same files: the first, the last few, and the new one.
            let skipped = starts.len().saturating_sub(8);
            let chosen = starts
                .iter()
                .enumerate()
                .filter(|(place, _)| *place == 0 || *place >= skipped);
            // Expired or not: what is about to be written holds, and what is not is the reason why it is. `status` tells of the rest.
            for (_, start) in chosen {
                walk(&files, *start, Time::MIN)?;
            }
        }
        Ok(())
    }
}

/// What is new, and what stays.
struct Next {
    new_root: Option<Sealed>,
    new_targets: Option<Sealed>,
    delegated: Vec<Sealed>,
}

impl Next {
    fn of(before: Option<&Published>, sealed: Vec<Sealed>) -> Result<Self, RepositoryError> {
        let mut next = Self {
            new_root: None,
            new_targets: None,
            delegated: Vec::new(),
        };
        for one in sealed {
            match one.document().role().clone() {
                role if role == RoleName::ROOT => next.new_root = Some(one),
                role if role == RoleName::TARGETS => next.new_targets = Some(one),
                _ => next.delegated.push(one),
            }
        }
        let root = next.new_root.is_some() || before.is_some();
        let targets =
            next.new_targets.is_some() || before.is_some_and(|before| before.targets.is_some());
        if !root || !targets {
            return Err(RepositoryError::Missing(
                "a root and targets to publish: `init` stages the first ones".to_owned(),
            ));
        }
        Ok(next)
    }

    /// What the snapshot vouches for.
    fn current(&self, before: Option<&Published>) -> Vec<(RoleName, Version, tuf::TargetFile)> {
        let mut current = BTreeMap::new();
        let held = before
            .into_iter()
            .flat_map(|before| before.targets.iter().chain(before.delegated.values()));
        for held in held {
            current.insert(
                held.document.role().clone(),
                (held.document.version(), held.file()),
            );
        }
        for sealed in self.new_targets.iter().chain(&self.delegated) {
            current.insert(
                sealed.document().role().clone(),
                (sealed.document().version(), sealed.file()),
            );
        }
        let delegator = self.new_targets.as_ref().map(Sealed::document);
        let delegator = delegator.or_else(|| {
            before
                .and_then(|before| before.targets.as_ref())
                .map(|held| &held.document)
        });
        let delegations = delegator
            .and_then(|targets| targets.delegations().ok())
            .unwrap_or_default();
        current
            .into_iter()
            .filter(|(role, _)| {
                *role == RoleName::TARGETS || delegations.iter().any(|one| one.name == *role)
            })
            .map(|(role, (version, file))| (role, version, file))
            .collect()
    }
}

struct Snapshot {
    new: Option<Sealed>,
    held: Option<Held>,
}

#[derive(Default)]
struct Plan {
    files: Vec<(String, Vec<u8>)>,
}

impl Plan {
    fn add(&mut self, name: String, content: Vec<u8>) {
        self.files.push((name, content));
    }

    fn root_version(&self) -> Option<Version> {
        self.files
            .iter()
            .find_map(|(name, _)| Version::new(name.strip_suffix(".root.json")?.parse().ok()?).ok())
    }
}

/// Signs for every root if the keys are at hand, for the last one in any case; whether it was for all.
async fn sign_online(
    document: Document,
    roots: &[&Document],
    online: &[Signer],
    now: Time,
) -> Result<(Sealed, bool), RepositoryError> {
    let role = document.role().clone();
    let last: Vec<&Document> = roots.last().copied().into_iter().collect();
    for (roots, all) in [(roots, true), (last.as_slice(), false)] {
        let mut ceremony = Ceremony::new(document.clone(), online_required(&role, roots)?, now)?;
        for key in online {
            let ids = ceremony.ids_of(key.public_key().spki_der());
            if ids.is_empty() {
                continue;
            }
            let signature = key.sign(ceremony.to_be_signed()).await.map_err(|source| {
                RepositoryError::Signer {
                    what: format!("signing {role} metadata with the online key"),
                    source,
                }
            })?;
            for id in ids {
                ceremony.add(&id, signature.clone())?;
            }
        }
        if ceremony.is_complete() || !all {
            return Ok((ceremony.seal()?, all));
        }
    }
    Err(RepositoryError::Missing("a root".to_owned()))
}

fn for_all(held: &Held, role: &RoleName, roots: &[&Document]) -> Result<bool, RepositoryError> {
    let envelope = held.envelope()?;
    for root in roots {
        if envelope.verified(&root.signers(role)?).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn signed_for_all(sealed: &Sealed, roots: &[&Document]) -> Result<bool, RepositoryError> {
    let held = Held {
        document: sealed.document().clone(),
        bytes: sealed.bytes().to_vec(),
    };
    for_all(&held, sealed.document().role(), roots)
}

impl Repository {
    /// The online keys of the policy that are at hand; the others are told.
    pub async fn online_signers(&self) -> (Vec<Signer>, Vec<String>) {
        let mut signers = Vec::new();
        let mut notes = Vec::new();
        for key in &self.policy().online {
            match Signer::open(key).await {
                Ok(signer) => signers.push(signer),
                Err(error) => notes.push(format!("the online key {key} is not at hand: {error}")),
            }
        }
        (signers, notes)
    }
}
