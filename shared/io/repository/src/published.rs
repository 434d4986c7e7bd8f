//! What is published, read as a client reads it.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;
use tuf::document::target_path;
use tuf::metadata::{TargetFile, Version};
use tuf::{Document, Envelope, EnvelopeError, RoleName};

use crate::error::RepositoryError;

/// A file of the repository by its name, as it is served.
pub type Files<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, RepositoryError>;

/// The most roots that are walked; production repositories make two a year.
const ROOTS_MAX: u64 = 10_000;

/// Metadata that is in force, with its bytes.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it says.
    pub document: Document,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Held {
    pub(crate) fn file(&self) -> TargetFile {
        TargetFile::of(&self.bytes)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn envelope(&self) -> Result<Envelope, RepositoryError> {
        let limit = self.document.role().kind().size_max();
        Envelope::parse(&self.bytes, limit).map_err(|source| RepositoryError::File {
            file: self.document.role().file_name(self.document.version()),
            source,
        })
    }
}

/// All metadata in force. What of snapshot and timestamp is not acceptable under the newest root is left out: it is signed again.
#[derive(Clone, Debug)]
pub struct Published {
    /// Versions of the roots that are there.
    pub roots: Vec<Version>,
    /// The newest root.
    pub root: Held,
    /// Targets at the top.
    pub targets: Option<Held>,
    /// Roles that targets delegates to.
    pub delegated: BTreeMap<RoleName, Held>,
    /// The snapshot.
    pub snapshot: Option<Held>,
    /// The timestamp.
    pub timestamp: Option<Held>,
    /// The version of the timestamp file, acceptable or not.
    pub timestamp_version: Option<Version>,
}

impl Published {
    /// Reads everything, from the oldest root that is there. `None` when there is no root at all.
    pub fn read(
        files: Files<'_>,
        oldest: Option<Version>,
    ) -> Result<Option<Self>, RepositoryError> {
        let Some(first) = oldest else {
            return Ok(None);
        };
        let mut root = held(files, &RoleName::ROOT, first)?;
        let own = root.document.signers(&RoleName::ROOT)?;
        verify(&root, &own)?;
        let mut roots = vec![first];
        while let Some(next) = next_root(files, &root)? {
            roots.push(next.document.version());
            root = next;
            if root.document.version().get() > first.get() + ROOTS_MAX {
                return Err(RepositoryError::Refused(format!(
                    "more than {ROOTS_MAX} roots"
                )));
            }
        }
        let timestamp_version = match files("timestamp.json")? {
            None => None,
            Some(bytes) => Some(
                parse("timestamp.json", &RoleName::TIMESTAMP, bytes)?
                    .document
                    .version(),
            ),
        };
        let mut published = Self {
            roots,
            root,
            targets: None,
            delegated: BTreeMap::new(),
            snapshot: None,
            timestamp: None,
            timestamp_version,
        };
        published.read_online(files)?;
        Ok(Some(published))
    }

    fn read_online(&mut self, files: Files<'_>) -> Result<(), RepositoryError> {
        let root = &self.root.document;
        let Some(bytes) = files("timestamp.json")? else {
            return Ok(());
        };
        let timestamp = parse("timestamp.json", &RoleName::TIMESTAMP, bytes)?;
        // The version that the timestamp names is the one that was published, also when the timestamp itself is not acceptable any more.
        let Some(version) = version_of(&timestamp.document, &RoleName::SNAPSHOT)? else {
            return Ok(());
        };
        let name = RoleName::SNAPSHOT.file_name(version);
        let Some(bytes) = files(&name)? else {
            return Err(RepositoryError::Missing(format!("published/{name}")));
        };
        let snapshot = parse(&name, &RoleName::SNAPSHOT, bytes)?;
        let Some(version) = version_of(&snapshot.document, &RoleName::TARGETS)? else {
            return Err(RepositoryError::Missing(
                "targets.json in the snapshot".to_owned(),
            ));
        };
        let targets = held(files, &RoleName::TARGETS, version)?;
        for delegation in targets.document.delegations()? {
            let Some(version) = version_of(&snapshot.document, &delegation.name)? else {
                continue;
            };
            let held = held(files, &delegation.name, version)?;
            self.delegated.insert(delegation.name, held);
        }
        self.targets = Some(targets);
        let accepted = |held: &Held, role: &RoleName| -> Result<bool, RepositoryError> {
            Ok(held.envelope()?.verified(&root.signers(role)?).is_ok())
        };
        if accepted(&timestamp, &RoleName::TIMESTAMP)? {
            self.timestamp = Some(timestamp);
        }
        if accepted(&snapshot, &RoleName::SNAPSHOT)? {
            self.snapshot = Some(snapshot);
        }
        Ok(())
    }

    /// The version in force of a role.
    pub fn of(&self, role: &RoleName) -> Option<&Held> {
        match role {
            RoleName::Delegated(_) => self.delegated.get(role),
            role if *role == RoleName::ROOT => Some(&self.root),
            role if *role == RoleName::TARGETS => self.targets.as_ref(),
            role if *role == RoleName::SNAPSHOT => self.snapshot.as_ref(),
            RoleName::Top(_) => self.timestamp.as_ref(),
        }
    }
}

/// What a client found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Version of the root that it ended at.
    pub root: Version,
    /// Version of the timestamp.
    pub timestamp: Version,
    /// Version of the snapshot.
    pub snapshot: Version,
    /// Version of targets.
    pub targets: Version,
    /// Contents of the targets at the top.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// Does what a client does (TUF specification 5), from the root of version `start` to the content of every target; the reason why it would
/// refuse, otherwise.
pub fn walk(files: Files<'_>, start: Version, now: Time) -> Result<Seen, RepositoryError> {
    let refused = |why: String| RepositoryError::Client {
        start: start.get(),
        why,
    };
    let mut root = held(files, &RoleName::ROOT, start)?;
    while let Some(next) = next_root(files, &root)? {
        root = next;
    }
    let fresh = |held: &Held| {
        if held.document.expires() <= now {
            let (role, end) = (held.document.role(), held.document.expires());
            return Err(refused(format!(
                "{role} {} expired at {end}",
                held.document.version()
            )));
        }
        Ok(())
    };
    fresh(&root)?;
    let keys = |role: &RoleName| root.document.signers(role);
    let accept = |held: &Held, by: &tuf::RoleKeys| {
        verify(held, by)
            .map_err(|error| refused(format!("{}: {}", held.document.role(), chain(&error))))
    };
    let vouched = |above: &Held, held: &Held| {
        let name = held.document.role().meta_name();
        let file = above.document.meta_file(&name);
        if file.is_some_and(|file| file != held.file()) {
            return Err(refused(format!(
                "{name} has another hash than {} says",
                above.document.role()
            )));
        }
        Ok(())
    };

    let Some(bytes) = files("timestamp.json")? else {
        return Err(refused("timestamp.json is missing".to_owned()));
    };
    let timestamp = parse("timestamp.json", &RoleName::TIMESTAMP, bytes)?;
    accept(&timestamp, &keys(&RoleName::TIMESTAMP)?)?;
    fresh(&timestamp)?;
    let below = |above: &Held, role: &RoleName| -> Result<Held, RepositoryError> {
        let version = version_of(&above.document, role)?;
        let version = version
            .ok_or_else(|| refused(format!("{} does not name {role}", above.document.role())))?;
        let below = held(files, role, version)?;
        vouched(above, &below)?;
        if below.document.version() != version {
            return Err(refused(format!("{role} has another version than its name")));
        }
        Ok(below)
    };
    let snapshot = below(&timestamp, &RoleName::SNAPSHOT)?;
    accept(&snapshot, &keys(&RoleName::SNAPSHOT)?)?;
    fresh(&snapshot)?;
    let targets = below(&snapshot, &RoleName::TARGETS)?;
    accept(&targets, &keys(&RoleName::TARGETS)?)?;
    fresh(&targets)?;
    for delegation in targets.document.delegations()? {
        // What the snapshot does not list is not published: clients go on without it.
        if version_of(&snapshot.document, &delegation.name)?.is_none() {
            continue;
        }
        let role = below(&snapshot, &delegation.name)?;
        accept(&role, &targets.document.signers(&delegation.name)?)?;
        // A delegated role that ended hinders only those who look for its targets, and its team renews it.
    }
    let mut contents = BTreeMap::new();
    for (name, file) in targets.document.targets()? {
        let path = format!("targets/{}", target_path(&name, &file));
        let content = files(&path)?.ok_or_else(|| refused(format!("{path} is missing")))?;
        if TargetFile::of(&content) != file {
            return Err(refused(format!("{path} has another content")));
        }
        contents.insert(name, content);
    }
    Ok(Seen {
        root: root.document.version(),
        timestamp: timestamp.document.version(),
        snapshot: snapshot.document.version(),
        targets: targets.document.version(),
        contents,
    })
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn next_root(files: Files<'_>, root: &Held) -> Result<Option<Held>, RepositoryError> {
    let Ok(version) = root.document.version().next() else {
        return Ok(None);
    };
    let name = RoleName::ROOT.file_name(version);
    let Some(bytes) = files(&name)? else {
        return Ok(None);
    };
    let next = parse(&name, &RoleName::ROOT, bytes)?;
    verify(&next, &root.document.signers(&RoleName::ROOT)?)?;
    verify(&next, &next.document.signers(&RoleName::ROOT)?)?;
    if next.document.version() != version {
        return Err(RepositoryError::Refused(format!(
            "{name} has another version in it"
        )));
    }
    Ok(Some(next))
}

fn verify(held: &Held, by: &tuf::RoleKeys) -> Result<(), RepositoryError> {
    let file = held.document.role().file_name(held.document.version());
    let verified = held.envelope()?.verified(by).map(drop);
    verified.map_err(|source| RepositoryError::File { file, source })
}

fn held(files: Files<'_>, role: &RoleName, version: Version) -> Result<Held, RepositoryError> {
    let name = role.file_name(version);
    let bytes =
        files(&name)?.ok_or_else(|| RepositoryError::Missing(format!("published/{name}")))?;
    parse(&name, role, bytes)
}

pub(crate) fn parse(name: &str, role: &RoleName, bytes: Vec<u8>) -> Result<Held, RepositoryError> {
    let file = |source: EnvelopeError| RepositoryError::File {
        file: name.to_owned(),
        source,
    };
    let envelope = Envelope::parse(&bytes, role.kind().size_max()).map_err(file)?;
    let document = Document::read(role.clone(), envelope.unverified())?;
    Ok(Held { document, bytes })
}

fn version_of(above: &Document, role: &RoleName) -> Result<Option<Version>, RepositoryError> {
    Ok(above.meta()?.get(&role.meta_name()).copied())
}
