//! The state folder, and what people do in it: stage, sign, merge.
//!
//! ```text
//! policy.toml          what people decide (policy.rs)
//! keys/NAME.pem        public halves
//! staged/ROLE.json     signing requests that wait for signatures (tuf::request)
//! staged/targets/NAME  contents of targets to come
//! published/           exactly what is served
//! ```
//!
//! All of it may be kept in git; private keys are elsewhere. Each file is written as a whole (temporary file, sync, rename), by one process at a
//! time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp as Time;
use keys::PublicKey;
use signer::Signer;
use store::{Disk, Lock};
use tuf::document::target_path;
use tuf::lint;
use tuf::metadata::{TargetFile, Version};
use tuf::request::Content;
use tuf::{Ceremony, Delegation, Document, Key, KeyId, Progress, Request, Required, RoleName};

use crate::error::RepositoryError;
use crate::policy::Policy;
use crate::published::{Held, Published};

/// Largest content of a target that is handled here: a trusted root has ten kilobytes.
const CONTENT_MAX: u64 = 16 << 20;
/// Largest of the other files.
const FILE_MAX: u64 = 64 << 20;

/// A repository's state folder.
#[derive(Debug)]
pub struct Repository {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    policy: Policy,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub struct Writer<'a> {
    repository: &'a Repository,
    _lock: Box<dyn Lock>,
}

/// A role's signers, as somebody wants them.
#[derive(Clone, Debug)]
pub struct Signers {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many of them have to sign.
    pub threshold: usize,
}

/// What a new repository begins with.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Signers of root.
    pub root: Signers,
    /// Signers of targets.
    pub targets: Signers,
    /// The key of snapshot and timestamp.
    pub online: PublicKey,
    /// Targets, by name.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// A request that waits for signatures.
#[derive(Debug)]
pub struct Staged {
    /// Whose next version it is.
    pub role: RoleName,
    /// The request.
    pub request: Request,
    /// The document with its signatures.
    pub ceremony: Ceremony,
    /// What it takes the place of.
    pub previous: Option<Document>,
}

/// What a signer is shown before signing.
#[derive(Debug)]
pub struct Review {
    /// What changes, in words.
    pub words: Vec<String>,
    /// What would break clients.
    pub findings: Vec<String>,
    /// How far the signatures are.
    pub progress: Vec<Progress>,
    /// SHA-256 of the root in force, in hex.
    pub root_sha256: Option<String>,
}

impl Repository {
    /// Opens a folder that has a policy.
    pub fn open(disk: Arc<dyn Disk>, folder: &std::path::Path) -> Result<Self, RepositoryError> {
        let text = read(&*disk, "policy.toml", FILE_MAX)?
            .ok_or_else(|| RepositoryError::Missing("policy.toml".to_owned()))?;
        let text = String::from_utf8_lossy(&text);
        Ok(Self {
            policy: Policy::parse(&text, folder)?,
            folder: folder.to_owned(),
            disk,
        })
    }

    /// Makes a folder into a repository: writes the policy, and stages the first root and targets.
    pub fn init(
        disk: Arc<dyn Disk>,
        folder: &std::path::Path,
        policy: &str,
        beginning: &Beginning,
        now: Time,
    ) -> Result<Self, RepositoryError> {
        for there in ["policy.toml", "published/1.root.json", "staged/root.json"] {
            if read(&*disk, there, FILE_MAX)?.is_some() {
                return Err(RepositoryError::Exists(there.to_owned()));
            }
        }
        let repository = Self {
            policy: Policy::parse(policy, folder)?,
            folder: folder.to_owned(),
            disk,
        };
        let online = Signers {
            keys: vec![beginning.online.clone()],
            threshold: 1,
        };
        let roles = [
            (RoleName::ROOT, &beginning.root),
            (RoleName::TARGETS, &beginning.targets),
            (RoleName::SNAPSHOT, &online),
            (RoleName::TIMESTAMP, &online),
        ];
        let mut root = Document::new(
            RoleName::ROOT,
            Version::ONE,
            repository.end(&RoleName::ROOT, now),
        );
        for (role, signers) in &roles {
            repository.check_signers(role, signers)?;
            root.set_signers(role, &tuf_keys(&signers.keys)?, signers.threshold)?;
        }
        let end = repository.end(&RoleName::TARGETS, now);
        let targets = Document::new(RoleName::TARGETS, Version::ONE, end);
        let writer = repository.write()?;
        // The policy first: with it there is a repository, and what is missing is staged again by the same command after `rm policy.toml`.
        writer.put("policy.toml", policy.as_bytes())?;
        writer.put(".gitignore", b"lock\n.new-*\n*.key\n")?;
        writer.stage(root, None, now)?;
        writer.stage_targets_as(targets, &beginning.contents, None, now)?;
        drop(writer);
        Ok(repository)
    }

    /// The same folder with the policy as it is by now.
    pub fn reopened(&self) -> Result<Self, RepositoryError> {
        Self::open(self.disk.clone(), &self.folder)
    }

    /// The settings.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The folder.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Takes the right to write.
    pub fn write(&self) -> Result<Writer<'_>, RepositoryError> {
        let lock = self.disk.lock().map_err(|source| RepositoryError::Disk {
            path: "lock".to_owned(),
            action: "taking the lock",
            source,
        })?;
        Ok(Writer {
            repository: self,
            _lock: lock.ok_or(RepositoryError::Locked)?,
        })
    }

    /// [`write`](Self::write), and waits some seconds for another process that writes: a daemon that refreshes is soon done. Blocks.
    pub fn write_soon(&self) -> Result<Writer<'_>, RepositoryError> {
        for _ in 0..50 {
            match self.write() {
                Err(RepositoryError::Locked) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                other => return other,
            }
        }
        self.write()
    }

    /// Reads what is published.
    pub fn published(&self) -> Result<Option<Published>, RepositoryError> {
        Published::read(
            &|name| self.published_file(name),
            self.versions(&RoleName::ROOT)?.first().copied(),
        )
    }

    /// One file of the folder `published`.
    pub fn published_file(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        read(&*self.disk, &format!("published/{name}"), CONTENT_MAX)
    }

    /// All versions of a role that have a file, published or not, lowest first: a number is never used for two contents.
    pub fn versions(&self, role: &RoleName) -> Result<Vec<Version>, RepositoryError> {
        let suffix = format!(".{role}.json");
        let mut versions: Vec<Version> = self
            .list("published")?
            .iter()
            .filter_map(|name| Version::new(name.strip_suffix(&suffix)?.parse().ok()?).ok())
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// Names in one of the folders.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, RepositoryError> {
        self.disk
            .list(&path(folder)?)
            .map_err(|source| RepositoryError::Disk {
                path: folder.to_owned(),
                action: "listing it",
                source,
            })
    }

    /// What waits for signatures, against what is published now. Refused as a whole where one of the files cannot be used; see
    /// [`staged_each`](Self::staged_each).
    pub fn staged(&self, now: Time) -> Result<Vec<Staged>, RepositoryError> {
        self.staged_each(now)?.into_iter().collect()
    }

    /// What waits for signatures, one by one: a file that cannot be used (damaged, grown too old, without its delegation) says nothing about the
    /// others.
    pub fn staged_each(
        &self,
        now: Time,
    ) -> Result<Vec<Result<Staged, RepositoryError>>, RepositoryError> {
        let published = self.published()?;
        let mut staged = Vec::new();
        for file in self.list("staged")? {
            let Some(name) = file.strip_suffix(".json") else {
                continue;
            };
            let one = RoleName::parse(name)
                .map_err(RepositoryError::from)
                .and_then(|role| self.staged_one(&role, published.as_ref(), now));
            match one {
                Ok(None) => {}
                Ok(Some(one)) => staged.push(Ok(one)),
                Err(source) => staged.push(Err(RepositoryError::Staged {
                    role: name.to_owned(),
                    source: Box::new(source),
                })),
            }
        }
        Ok(staged)
    }

    fn staged_one(
        &self,
        role: &RoleName,
        published: Option<&Published>,
        now: Time,
    ) -> Result<Option<Staged>, RepositoryError> {
        let Some(bytes) = read(&*self.disk, &format!("staged/{role}.json"), FILE_MAX)? else {
            return Ok(None);
        };
        let mut request = Request::parse(&bytes)?;
        // What is in force is read from what is published, whatever a file that was carried around says.
        let context = self.context(role, published)?;
        request.root = context.root;
        request.next = context.next;
        request.previous = context.previous;
        request.delegator = context.delegator;
        let in_force = published.and_then(|published| published.of(role));
        if in_force
            .is_some_and(|held| request.metadata.get("signed") == Some(&held.document.to_value()))
        {
            // Published before a stop, and not taken away yet.
            return Ok(None);
        }
        let opened = request.open(now)?;
        Ok(Some(Staged {
            role: role.clone(),
            ceremony: opened.ceremony,
            previous: in_force.map(|held| held.document.clone()),
            request,
        }))
    }

    /// What goes along with a request, so that a signer can check it alone.
    fn context(
        &self,
        role: &RoleName,
        published: Option<&Published>,
    ) -> Result<Request, RepositoryError> {
        // A document of any kind to begin with; `with_signatures` puts the real one in.
        let seed = serde_json::json!({
            "mediaType": tuf::request::MEDIA_TYPE,
            "metadata": {},
            "role": role.as_str(),
        });
        let mut request = Request::parse(seed.to_string().as_bytes())?;
        request.names = self.key_names()?;
        request.root = published.map(|published| published.root.text());
        request.previous = published
            .and_then(|published| published.of(role))
            .map(Held::text);
        if *role == RoleName::TARGETS {
            request.next = self.staged_root(published)?;
        }
        if let RoleName::Delegated(_) = role {
            let published = published
                .ok_or_else(|| RepositoryError::Missing("published targets".to_owned()))?;
            request.delegator = Some(self.delegator(published)?);
        }
        Ok(request)
    }

    /// The root to come, if it changes who signs targets; without signatures, so that it stays the same while they come in.
    fn staged_root(
        &self,
        published: Option<&Published>,
    ) -> Result<Option<String>, RepositoryError> {
        let Some(bytes) = read(&*self.disk, "staged/root.json", FILE_MAX)? else {
            return Ok(None);
        };
        let request = Request::parse(&bytes)?;
        let signed = request.metadata.get("signed").cloned().unwrap_or_default();
        let next = Document::read(RoleName::ROOT, &signed)?;
        let keys = |root: &Document| root.signers(&RoleName::TARGETS);
        let same = match published {
            Some(published) => keys(&published.root.document)? == keys(&next)?,
            None => false,
        };
        Ok((!same).then(|| {
            format!(
                "{:#}\n",
                serde_json::json!({ "signed": signed, "signatures": [] })
            )
        }))
    }

    /// The targets metadata that delegates: what is staged, or else what is published.
    fn delegator(&self, published: &Published) -> Result<String, RepositoryError> {
        if let Some(bytes) = read(&*self.disk, "staged/targets.json", FILE_MAX)? {
            let request = Request::parse(&bytes)?;
            let signed = request.metadata.get("signed").cloned().unwrap_or_default();
            return Ok(format!(
                "{:#}\n",
                serde_json::json!({ "signed": signed, "signatures": [] })
            ));
        }
        let targets = published.targets.as_ref();
        targets
            .map(Held::text)
            .ok_or_else(|| RepositoryError::Missing("published targets".to_owned()))
    }

    /// The names of keys in `keys/`, by key id.
    pub fn key_names(&self) -> Result<BTreeMap<String, String>, RepositoryError> {
        let mut names = BTreeMap::new();
        for file in self.list("keys")? {
            let Some(name) = file.strip_suffix(".pem") else {
                continue;
            };
            let key = Key::new(self.key(name)?)
                .map_err(|error| RepositoryError::Key(format!("keys/{file}: {error}")))?;
            names.insert(key.id().to_string(), name.to_owned());
        }
        Ok(names)
    }

    /// A public key by its name in `keys/`.
    pub fn key(&self, name: &str) -> Result<PublicKey, RepositoryError> {
        let file = format!("keys/{name}.pem");
        let text = read(&*self.disk, &file, FILE_MAX)?
            .ok_or_else(|| RepositoryError::Missing(file.clone()))?;
        PublicKey::from_pem(&String::from_utf8_lossy(&text))
            .map_err(|error| RepositoryError::Key(format!("{file}: {error}")))
    }

    /// The content of a target as it is staged, or else published.
    pub fn content(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        if let Some(staged) = read(&*self.disk, &format!("staged/targets/{name}"), CONTENT_MAX)? {
            return Ok(Some(staged));
        }
        self.published_content(name)
    }

    /// The content of a target as it is published.
    pub fn published_content(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let Some(targets) = self.published()?.and_then(|published| published.targets) else {
            return Ok(None);
        };
        match targets.document.targets()?.get(name) {
            None => Ok(None),
            Some(file) => self.published_file(&format!("targets/{}", target_path(name, file))),
        }
    }

    pub(crate) fn end(&self, role: &RoleName, now: Time) -> Time {
        now.checked_add(self.policy.period(role).life)
            .unwrap_or(Time::MAX)
    }

    fn check_signers(&self, role: &RoleName, signers: &Signers) -> Result<(), RepositoryError> {
        let few = signers.threshold < 2 || signers.keys.len() < 3;
        if self.policy.production && role.is_offline() && few && matches!(role, RoleName::Top(_)) {
            return Err(RepositoryError::Refused(format!(
                "{role} would be signed by {} of {}: in production one lost or stolen key must not be enough, so take at least 2 of 3 \
                 (mode = \"development\" in policy.toml allows fewer)",
                signers.threshold,
                signers.keys.len()
            )));
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Adds a public key under a name.
    pub fn add_key(&self, name: &str, key: &PublicKey) -> Result<(), RepositoryError> {
        let file = format!("keys/{name}.pem");
        if let Some(there) = read(&*self.repository.disk, &file, FILE_MAX)? {
            let same = PublicKey::from_pem(&String::from_utf8_lossy(&there))
                .is_ok_and(|there| there == *key);
            if same {
                return Ok(());
            }
            return Err(RepositoryError::Exists(file));
        }
        self.put(&file, key.to_pem().as_bytes())?;
        self.name_in_staged()
    }

    /// What waits for signatures says whose keys are asked for. A crash before it leaves it with ids in place of names.
    fn name_in_staged(&self) -> Result<(), RepositoryError> {
        let names = self.repository.key_names()?;
        for file in self.repository.list("staged")? {
            let Some(role) = file.strip_suffix(".json") else {
                continue;
            };
            let Some(bytes) = read(&*self.repository.disk, &format!("staged/{file}"), FILE_MAX)?
            else {
                continue;
            };
            // What cannot be read is told of by whoever wants to sign it.
            if let (Ok(role), Ok(mut request)) = (RoleName::parse(role), Request::parse(&bytes)) {
                request.names.clone_from(&names);
                self.put_request(&role, &request)?;
            }
        }
        Ok(())
    }

    /// Appends to the policy: a key of snapshot and timestamp.
    pub fn add_online(
        &self,
        reference: &str,
        secret_file: Option<&str>,
    ) -> Result<(), RepositoryError> {
        let text = read(&*self.repository.disk, "policy.toml", FILE_MAX)?
            .ok_or_else(|| RepositoryError::Missing("policy.toml".to_owned()))?;
        let mut text = String::from_utf8_lossy(&text).into_owned();
        text.push_str(&online_entry(reference, secret_file));
        self.put("policy.toml", text.as_bytes())
    }

    /// Stages a change of the root; and of targets, if its signatures would not be enough under the new root.
    pub fn edit_root(
        &self,
        now: Time,
        edit: impl FnOnce(&mut Document) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let published = self.in_force()?;
        let staged = self
            .repository
            .staged_one(&RoleName::ROOT, Some(&published), now)?;
        let mut root = if let Some(staged) = staged {
            staged.ceremony.document().clone()
        } else {
            let mut next = published.root.document.clone();
            next.set_version(next.version().next().map_err(at_the_end)?);
            next
        };
        edit(&mut root)?;
        root.set_expires(self.repository.end(&RoleName::ROOT, now));
        for role in [RoleName::ROOT, RoleName::TARGETS] {
            let signers = Signers {
                keys: root
                    .signers(&role)?
                    .keys()
                    .map(|(_, key)| key.public_key().clone())
                    .collect(),
                threshold: root.threshold(&role)?,
            };
            self.repository.check_signers(&role, &signers)?;
        }
        let keys = root.signers(&RoleName::TARGETS)?;
        let staged_targets = self
            .repository
            .staged_one(&RoleName::TARGETS, Some(&published), now);
        let again = match (&staged_targets, &published.targets) {
            // What waits already is staged once more: its signers change.
            (Ok(Some(_)) | Err(_), _) => true,
            (_, Some(targets)) => targets.envelope()?.verified(&keys).is_err(),
            (_, None) => false,
        };
        self.stage(root, Some(&published), now)?;
        if again {
            self.edit_targets(now, &BTreeMap::new(), |_| Ok(()))?;
        }
        Ok(())
    }

    /// Says who signs a role of the root from now on.
    pub fn set_signers(
        &self,
        role: &RoleName,
        signers: &Signers,
        now: Time,
    ) -> Result<(), RepositoryError> {
        let keys = tuf_keys(&signers.keys)?;
        self.edit_root(now, |root| {
            Ok(root.set_signers(role, &keys, signers.threshold)?)
        })
    }

    /// Stages a change of the targets at the top: contents to add or exchange, and whatever else `edit` does.
    pub fn edit_targets(
        &self,
        now: Time,
        contents: &BTreeMap<String, Vec<u8>>,
        edit: impl FnOnce(&mut Document) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let published = self.in_force()?;
        let staged = read(&*self.repository.disk, "staged/targets.json", FILE_MAX)?;
        let mut targets = match (&staged, &published.targets) {
            (Some(bytes), _) => Document::read(
                RoleName::TARGETS,
                Request::parse(bytes)?
                    .metadata
                    .get("signed")
                    .ok_or_else(|| {
                        RepositoryError::Missing("signed in staged/targets.json".to_owned())
                    })?,
            )?,
            (None, Some(held)) => held.document.clone(),
            (None, None) => return Err(RepositoryError::Missing("published targets".to_owned())),
        };
        // A number that was seen outside of this folder, signed or not, is not used again for another content.
        let newest = self
            .repository
            .versions(&RoleName::TARGETS)?
            .last()
            .copied();
        let floor = newest.max(Some(targets.version()).filter(|_| staged.is_none()));
        if let Some(floor) = floor
            && targets.version() <= floor
        {
            targets.set_version(floor.next().map_err(at_the_end)?);
        }
        edit(&mut targets)?;
        targets.set_expires(self.repository.end(&RoleName::TARGETS, now));
        self.stage_targets_as(targets, contents, Some(&published), now)
    }

    /// Delegates, or changes a delegation, and stages the role's first version if it has none.
    pub fn delegate(
        &self,
        delegation: &Delegation,
        signers: &Signers,
        now: Time,
    ) -> Result<(), RepositoryError> {
        let keys = tuf_keys(&signers.keys)?;
        self.edit_targets(now, &BTreeMap::new(), |targets| {
            Ok(targets.set_delegation(delegation, &keys, signers.threshold)?)
        })?;
        let published = self.in_force()?;
        let role = &delegation.name;
        let staged = read(
            &*self.repository.disk,
            &format!("staged/{role}.json"),
            FILE_MAX,
        )?;
        let document = match (published.delegated.get(role), staged) {
            (Some(held), _) => {
                let delegator = self.repository.delegator(&published)?;
                let keys = parse_document(&RoleName::TARGETS, &delegator)?.signers(role)?;
                if held.envelope()?.verified(&keys).is_ok() {
                    return Ok(());
                }
                let mut next = held.document.clone();
                next.set_version(next.version().next().map_err(at_the_end)?);
                next.set_expires(self.repository.end(role, now));
                next
            }
            (None, Some(bytes)) => {
                let request = Request::parse(&bytes)?;
                let signed = request.metadata.get("signed").cloned().unwrap_or_default();
                Document::read(role.clone(), &signed)?
            }
            (None, None) => {
                // A name that was delegated to before: clients have seen its versions.
                let seen = self.repository.versions(role)?.last().copied();
                let version = seen.map_or(Ok(Version::ONE), Version::next);
                Document::new(
                    role.clone(),
                    version.map_err(at_the_end)?,
                    self.repository.end(role, now),
                )
            }
        };
        self.stage(document, Some(&published), now)
    }

    /// Stages targets that delegate to a role no more. What of it is published stays listed in the snapshot, as clients want it, and nobody looks for it
    /// any more; what of it waits for signatures is taken away.
    pub fn undelegate(&self, role: &RoleName, now: Time) -> Result<(), RepositoryError> {
        self.edit_targets(now, &BTreeMap::new(), |targets| {
            Ok(targets.remove_delegation(role)?)
        })?;
        let file = format!("staged/{role}.json");
        if read(&*self.repository.disk, &file, FILE_MAX)?.is_some() {
            self.remove(&file)?;
        }
        Ok(())
    }

    /// Stages a change of a delegated role.
    pub fn edit_delegated(
        &self,
        role: &RoleName,
        now: Time,
        edit: impl FnOnce(&mut Document) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let published = self.in_force()?;
        let staged = read(
            &*self.repository.disk,
            &format!("staged/{role}.json"),
            FILE_MAX,
        )?;
        let mut document = match (staged, published.delegated.get(role)) {
            (Some(bytes), _) => {
                let request = Request::parse(&bytes)?;
                Document::read(
                    role.clone(),
                    &request.metadata.get("signed").cloned().unwrap_or_default(),
                )?
            }
            (None, Some(held)) => {
                let mut next = held.document.clone();
                next.set_version(next.version().next().map_err(at_the_end)?);
                next
            }
            (None, None) => {
                return Err(RepositoryError::Missing(format!(
                    "the delegated role {role}: `delegate` makes it"
                )));
            }
        };
        edit(&mut document)?;
        document.set_expires(self.repository.end(role, now));
        self.stage(document, Some(&published), now)
    }

    /// Takes a staged change back.
    pub fn discard(&self, role: &RoleName) -> Result<(), RepositoryError> {
        let file = format!("staged/{role}.json");
        if read(&*self.repository.disk, &file, FILE_MAX)?.is_none() {
            return Err(RepositoryError::Missing(file));
        }
        self.remove(&file)?;
        if *role == RoleName::TARGETS {
            self.remove_staged_contents()?;
        }
        Ok(())
    }

    /// Takes over the signatures of a request that came back; how many were new.
    pub fn merge(&self, bytes: &[u8], now: Time) -> Result<(RoleName, usize), RepositoryError> {
        let returned = Request::parse(bytes)?;
        let role = returned.role_name()?;
        let published = self.repository.published()?;
        let staged = self.repository.staged_one(&role, published.as_ref(), now)?;
        let mut staged = staged.ok_or_else(|| {
            RepositoryError::Refused(format!(
                "no {role} metadata waits for signatures here: was it published, or proposed again?"
            ))
        })?;
        let envelope = tuf::Envelope::parse(returned.metadata.to_string().as_bytes(), FILE_LIMIT)
            .map_err(|source| RepositoryError::File {
            file: format!("the returned {role}"),
            source,
        })?;
        let new = staged.ceremony.merge(&envelope)?;
        self.put_request(&role, &staged.request.with_signatures(&staged.ceremony)?)?;
        Ok((role, new))
    }

    /// Signs a staged request with a key that is at hand.
    pub async fn sign(
        &self,
        role: &RoleName,
        key: &Signer,
        now: Time,
    ) -> Result<usize, RepositoryError> {
        let published = self.repository.published()?;
        let staged = self.repository.staged_one(role, published.as_ref(), now)?;
        let staged = staged.ok_or_else(|| {
            RepositoryError::Refused(format!("no {role} metadata waits for signatures"))
        })?;
        let mut ceremony = staged.ceremony;
        let added = sign_with(&mut ceremony, key).await?;
        self.put_request(role, &staged.request.with_signatures(&ceremony)?)?;
        Ok(added)
    }

    fn in_force(&self) -> Result<Published, RepositoryError> {
        self.repository.published()?.ok_or_else(|| {
            RepositoryError::Refused(
                "nothing is published yet: sign and publish what `init` staged first".to_owned(),
            )
        })
    }

    fn stage_targets_as(
        &self,
        mut targets: Document,
        contents: &BTreeMap<String, Vec<u8>>,
        published: Option<&Published>,
        now: Time,
    ) -> Result<(), RepositoryError> {
        for (name, content) in contents {
            path(name).map_err(|_| {
                RepositoryError::Refused(format!(
                    "'{name}' cannot be the name of a target with a content: it becomes a file's"
                ))
            })?;
            targets.set_target(name, &TargetFile::of(content))?;
            self.put(&format!("staged/targets/{name}"), content)?;
        }
        self.stage(targets, published, now)
    }

    /// Writes the request of a document. Its signatures so far, if it is the same document, stay.
    fn stage(
        &self,
        document: Document,
        published: Option<&Published>,
        now: Time,
    ) -> Result<(), RepositoryError> {
        let role = document.role().clone();
        let mut request = self.repository.context(&role, published)?;
        let required = request.required(&document)?;
        let old = read(
            &*self.repository.disk,
            &format!("staged/{role}.json"),
            FILE_MAX,
        )?;
        let mut ceremony = Ceremony::new(document, required, now)?;
        if let Some(old) = old
            && let Ok(old) = Request::parse(&old)
            && let Ok(envelope) =
                tuf::Envelope::parse(old.metadata.to_string().as_bytes(), FILE_LIMIT)
        {
            for (key, signature) in envelope.signatures() {
                // Those over another content, or by who is no signer any more, do not count.
                let _stays = ceremony.add(key, signature);
            }
        }
        if role == RoleName::TARGETS {
            request.contents = self.changed_contents(ceremony.document(), published)?;
        }
        let request = request.with_signatures(&ceremony)?;
        self.put_request(&role, &request)?;
        if role == RoleName::TARGETS {
            self.restage_delegated(published, now)?;
        }
        Ok(())
    }

    /// Delegated roles that wait name the targets that delegate to them. One that cannot be used stays as it is, for `staged_each` to tell of.
    fn restage_delegated(
        &self,
        published: Option<&Published>,
        now: Time,
    ) -> Result<(), RepositoryError> {
        for name in self.repository.list("staged")? {
            let role = name
                .strip_suffix(".json")
                .and_then(|name| RoleName::parse(name).ok());
            let Some(role @ RoleName::Delegated(_)) = role else {
                continue;
            };
            let file = format!("staged/{role}.json");
            let Some(bytes) = read(&*self.repository.disk, &file, FILE_MAX)? else {
                continue;
            };
            let Ok(request) = Request::parse(&bytes) else {
                continue;
            };
            let signed = request.metadata.get("signed").cloned().unwrap_or_default();
            let Ok(document) = Document::read(role, &signed) else {
                continue;
            };
            if let Err(error @ RepositoryError::Disk { .. }) = self.stage(document, published, now)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn changed_contents(
        &self,
        targets: &Document,
        published: Option<&Published>,
    ) -> Result<BTreeMap<String, Content>, RepositoryError> {
        let before = match published.and_then(|published| published.targets.as_ref()) {
            Some(held) => held.document.targets()?,
            None => BTreeMap::new(),
        };
        let listed = targets.targets()?;
        let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let mut contents = BTreeMap::new();
        for name in listed.keys().chain(before.keys()) {
            if listed.get(name) == before.get(name) || contents.contains_key(name) {
                continue;
            }
            let old = match before.get(name) {
                Some(file) => text(
                    self.repository
                        .published_file(&format!("targets/{}", target_path(name, file)))?,
                ),
                None => None,
            };
            let new = match listed.get(name) {
                Some(file) => {
                    let content = self.repository.content(name)?;
                    text(content.filter(|content| TargetFile::of(content) == *file))
                }
                None => None,
            };
            contents.insert(name.clone(), Content { old, new });
        }
        // Whether a signing config fits is seen against the trusted root, also where that one stays.
        let root = crate::TRUSTED_ROOT;
        if contents
            .keys()
            .any(|name| crate::trusted::is_signing_config(name))
            && !contents.contains_key(root)
            && let Some(file) = listed.get(root)
        {
            let content = self.repository.content(root)?;
            let same = text(content.filter(|content| TargetFile::of(content) == *file));
            let (old, new) = (same.clone(), same);
            contents.insert(root.to_owned(), Content { old, new });
        }
        Ok(contents)
    }

    fn put_request(&self, role: &RoleName, request: &Request) -> Result<(), RepositoryError> {
        self.put(&format!("staged/{role}.json"), request.to_text().as_bytes())
    }

    /// Puts a file in place as a whole, durably; one that has this content already is left alone.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> Result<(), RepositoryError> {
        let path = path(name)?;
        if read(&*self.repository.disk, name, FILE_MAX)?.is_some_and(|old| old == content) {
            return Ok(());
        }
        let written = self.repository.disk.replace_durable(&path, content);
        written.map_err(|source| RepositoryError::Disk {
            path: name.to_owned(),
            action: "writing it",
            source,
        })
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), RepositoryError> {
        self.repository
            .disk
            .remove(&path(name)?)
            .map_err(|source| RepositoryError::Disk {
                path: name.to_owned(),
                action: "removing it",
                source,
            })
    }

    pub(crate) fn remove_staged_contents(&self) -> Result<(), RepositoryError> {
        for name in self.repository.list("staged/targets")? {
            self.remove(&format!("staged/targets/{name}"))?;
        }
        Ok(())
    }

    /// The repository that is written to.
    pub const fn repository(&self) -> &Repository {
        self.repository
    }
}

/// An envelope of any role.
const FILE_LIMIT: usize = 5_000_000;

/// A key of snapshot and timestamp, as text of the policy.
pub fn online_entry(reference: &str, secret_file: Option<&str>) -> String {
    // Text in quotes as TOML has it, which for these characters is as JSON has it.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let secret = secret_file.map(|file| format!("key_secret_file = {}\n", quoted(file)));
    format!(
        "\n[[online]]\nkey = {}\n{}",
        quoted(reference),
        secret.unwrap_or_default()
    )
}

/// What a signer is shown: computed from the request alone, on the signer's own machine.
pub fn review(request: &Request, now: Time) -> Result<Review, RepositoryError> {
    let opened = request.open(now)?;
    let document = opened.ceremony.document();
    let mut words = tuf::diff::words(opened.previous.as_ref(), document, &|id: &KeyId| {
        opened.name(id)
    })?;
    if opened.is_previous_unverified {
        words.insert(
            0,
            format!(
                "not verified: {} has a version in force, and who delegates to it is not signed for yet, so that all is shown as new; once targets is \
                 published this shows what changes",
                document.role()
            ),
        );
    }
    let shape = |text: Option<&String>| text.map(|text| text.as_bytes().to_vec());
    let content = |name: &str, new: bool| {
        let content = opened.contents.get(name)?;
        shape(if new {
            content.new.as_ref()
        } else {
            content.old.as_ref()
        })
    };
    words.extend(crate::trusted::words(
        (
            content(crate::TRUSTED_ROOT, false),
            content(crate::SIGNING_CONFIG, false),
        ),
        (
            content(crate::TRUSTED_ROOT, true),
            content(crate::SIGNING_CONFIG, true),
        ),
    ));
    let mut findings: Vec<String> = new_findings(document, opened.previous.as_ref());
    if let Some(delegator) = &request.delegator {
        let delegator = parse_document(&RoleName::TARGETS, delegator)?;
        findings.extend(
            lint::delegate(document, &delegator)
                .iter()
                .map(ToString::to_string),
        );
    }
    let root = opened.contents.get(crate::TRUSTED_ROOT);
    let bytes = |text: Option<&'_ String>| text.map(|text| text.as_bytes().to_vec());
    let (new_root, old_root) = (
        bytes(root.and_then(|root| root.new.as_ref())),
        bytes(root.and_then(|root| root.old.as_ref())),
    );
    for (name, content) in &opened.contents {
        if let Some(new) = &content.new {
            let old = content.old.as_ref().map(String::as_bytes);
            findings.extend(crate::trusted::new_findings(
                name,
                (new.as_bytes(), new_root.as_deref()),
                (old, old_root.as_deref()),
            ));
        }
    }
    Ok(Review {
        words,
        findings,
        progress: opened.ceremony.progress(),
        root_sha256: opened.root_sha256.map(hex::encode),
    })
}

/// Signs a request that came as a file: one signer, one machine, nothing else. Refused when it would break clients.
pub async fn sign_file(
    bytes: &[u8],
    key: &Signer,
    now: Time,
) -> Result<(Request, Review), RepositoryError> {
    let request = Request::parse(bytes)?;
    let reviewed = review(&request, now)?;
    if !reviewed.findings.is_empty() {
        return Err(RepositoryError::Lint(reviewed.findings));
    }
    let mut ceremony = request.open(now)?.ceremony;
    sign_with(&mut ceremony, key).await?;
    let signed = request.with_signatures(&ceremony)?;
    let reviewed = review(&signed, now)?;
    Ok((signed, reviewed))
}

async fn sign_with(ceremony: &mut Ceremony, key: &Signer) -> Result<usize, RepositoryError> {
    let ids = ceremony.ids_of(key.public_key().spki_der());
    if ids.is_empty() {
        let own = Key::new(key.public_key().clone())
            .map_err(|error| RepositoryError::Key(error.to_string()))?;
        let document = ceremony.document();
        let asked: Vec<String> = ceremony
            .progress()
            .iter()
            .flat_map(|one| one.missing.iter().map(ToString::to_string))
            .collect();
        return Err(RepositoryError::Refused(format!(
            "the key {} is no signer of {} {}; missing are {}",
            own.id(),
            document.role(),
            document.version(),
            asked.join(", ")
        )));
    }
    let signature =
        key.sign(ceremony.to_be_signed())
            .await
            .map_err(|source| RepositoryError::Signer {
                what: format!("signing {} metadata", ceremony.document().role()),
                source,
            })?;
    let mut added = 0;
    for id in ids {
        added += usize::from(ceremony.add(&id, signature.clone())?);
    }
    Ok(added)
}

/// Findings that the version before did not have: what somebody else's repository has had for years, its clients live with.
pub(crate) fn new_findings(document: &Document, previous: Option<&Document>) -> Vec<String> {
    let before = previous.map(lint::document).unwrap_or_default();
    lint::document(document)
        .iter()
        .filter(|finding| {
            !before
                .iter()
                .any(|old| old.code == finding.code && old.what == finding.what)
        })
        .map(ToString::to_string)
        .collect()
}

pub(crate) fn tuf_keys(keys: &[PublicKey]) -> Result<Vec<Key>, RepositoryError> {
    keys.iter()
        .map(|key| Key::new(key.clone()).map_err(|error| RepositoryError::Key(error.to_string())))
        .collect()
}

pub(crate) fn parse_document(role: &RoleName, text: &str) -> Result<Document, RepositoryError> {
    Ok(crate::published::parse(role.as_str(), role, text.as_bytes().to_vec())?.document)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it by value")]
pub(crate) fn at_the_end(error: tuf::MetadataError) -> RepositoryError {
    RepositoryError::Refused(error.to_string())
}

pub(crate) fn path(name: &str) -> Result<store::Path, RepositoryError> {
    store::Path::new(name)
        .ok_or_else(|| RepositoryError::Refused(format!("'{name}' is not a plain file name")))
}

pub(crate) fn read(
    disk: &dyn Disk,
    name: &str,
    max: u64,
) -> Result<Option<Vec<u8>>, RepositoryError> {
    disk.read(&path(name)?, max)
        .map_err(|source| RepositoryError::Disk {
            path: name.to_owned(),
            action: "reading it",
            source,
        })
}

/// Who signs the online roles: the root that is in force, and the one to come.
pub(crate) fn online_required(
    role: &RoleName,
    roots: &[&Document],
) -> Result<Vec<Required>, RepositoryError> {
    let mut required: Vec<Required> = Vec::new();
    for root in roots {
        let keys = root.signers(role)?;
        if !required.iter().any(|one| one.keys == keys) {
            required.push(Required {
                by: format!("root {}", root.version()),
                keys,
            });
        }
    }
    Ok(required)
}
