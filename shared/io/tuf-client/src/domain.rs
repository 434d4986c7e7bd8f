//! Trust domains: repositories that have a name, and where each begins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tuf::{UpdateError, Version};

use crate::cache::{self, Cache};
use crate::mirror::{Mirror, MirrorError};

/// The largest root.
const ROOT_MAX: usize = tuf::Role::Root.size_max();
/// The largest note of ours.
const NOTE_MAX: usize = 64 * 1024;
/// Longest name of a cache's folder.
const FOLDER_MAX: usize = 200;
/// The most of certificate authorities that is remembered for a mirror.
const AUTHORITIES_MAX: usize = 1 << 20;
/// Longest name of a domain.
const DOMAIN_NAME_MAX: usize = 64;

/// A domain that is built in.
#[derive(Debug, Clone, Copy)]
pub struct Built {
    /// What it is called.
    pub name: &'static str,
    /// Where its repository is.
    pub mirror: &'static str,
    /// Where it begins.
    pub root: &'static [u8],
    /// For who has no network and no cache: the date, the trusted root and the signing config of it.
    pub seed: Option<(&'static str, &'static [u8], &'static [u8])>,
}

/// The domains that are built in; the first one is meant where nobody names one.
pub const DOMAINS: [Built; 3] = [
    Built {
        name: "public-good",
        mirror: "https://tuf-repo-cdn.sigstore.dev",
        root: include_bytes!("../roots/public-good.json"),
        seed: Some((
            "2026-08-21",
            include_bytes!("../../../../testdata/trust/public-good.json"),
            include_bytes!("../../../../testdata/trust/public-good-signing.json"),
        )),
    },
    Built {
        name: "staging",
        mirror: "https://tuf-repo-cdn.sigstage.dev",
        root: include_bytes!("../roots/staging.json"),
        seed: Some((
            "2026-08-21",
            include_bytes!("../roots/staging-trusted-root.json"),
            include_bytes!("../roots/staging-signing-config.json"),
        )),
    },
    Built {
        name: "github",
        mirror: "https://tuf-repo.github.com",
        root: include_bytes!("../roots/github.json"),
        seed: None,
    },
];

/// A repository and where trust in it begins.
#[derive(Debug, Clone)]
pub struct Domain {
    /// What it is called; its address if nobody named it.
    pub name: String,
    /// Where it is.
    pub mirror: String,
    /// The root that everything is verified from.
    pub root: Vec<u8>,
    /// The built-in domain of this address, unless it was initialised with a root of somebody's own.
    pub built: Option<Built>,
}

/// Why there is no such domain.
#[derive(Debug, Error)]
pub enum DomainError {
    /// No name and no address that is known.
    #[error("no trust domain {0:?} is known here")]
    Unknown(String),
    /// An address that nobody initialised.
    #[error("the repository {0} has no pinned root here")]
    NotInitialised(String),
    /// Several of this name.
    #[error("{0:?} is the name of several trust domains here: name the address instead")]
    Ambiguous(String),
    /// The name is another domain's.
    #[error("{name:?} is the name of the trust domain at {other} already")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        other: String,
    },
    /// Its cache would be another's.
    #[error(
        "the cache of {mirror} would be in the folder of {other}, whose address differs in nothing that the folder's name shows"
    )]
    FolderTaken {
        /// The one asked for.
        mirror: String,
        /// The one that is there.
        other: String,
    },
    /// The root is not one.
    #[error("the root for {mirror}")]
    Root {
        /// The repository.
        mirror: String,
        /// What is wrong.
        #[source]
        source: UpdateError,
    },
    /// The note about the default domain is there and says nothing.
    #[error(
        "{path} cannot be read, and says which trust domain is meant where nobody names one: {why}"
    )]
    Default {
        /// The note.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Not an address.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The folder cannot be written.
    #[error("writing {path}")]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A domain that is in a list.
#[derive(Debug, Clone)]
pub struct Known {
    /// The domain.
    pub domain: Domain,
    /// Is it the one that is meant where nobody names one?
    pub is_default: bool,
    /// Has it anything in the cache?
    pub cached: bool,
}

/// The folder with all caches, `~/.sigstore/root` or what `TUF_ROOT` says.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// `remote.json`, as cosign writes it: the repository that is meant where nobody names one.
#[derive(Serialize, Deserialize)]
struct Remote {
    mirror: String,
    /// For the address of a domain that is built in, and a root that is not: SHA-256 of that root, in hex. Cosign leaves it aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Initialised {
    mirror: String,
    #[serde(default)]
    name: Option<String>,
}

impl Built {
    fn domain(self) -> Domain {
        Domain {
            name: self.name.to_owned(),
            mirror: self.mirror.to_owned(),
            root: self.root.to_vec(),
            built: Some(self),
        }
    }

    /// The one of this name or address.
    pub fn find(name: &str) -> Option<Self> {
        DOMAINS
            .into_iter()
            .find(|built| built.name == name || same(built.mirror, name))
    }
}

impl Domain {
    /// A domain of somebody's own. The root is looked at.
    pub fn new(name: Option<&str>, mirror: &str, root: Vec<u8>) -> Result<Self, DomainError> {
        Mirror::new(mirror, crate::mirror::agent(Vec::new()))?;
        tuf::describe_root(&root).map_err(|source| DomainError::Root {
            mirror: mirror.to_owned(),
            source: UpdateError::Pinned(source),
        })?;
        let built = Built::find(mirror).filter(|built| built.root == root);
        Ok(Self {
            name: name
                .or(built.map(|built| built.name))
                .unwrap_or(mirror)
                .to_owned(),
            mirror: mirror.to_owned(),
            root,
            built,
        })
    }

    /// The version of the pinned root, and when it ends.
    pub fn root_version(&self) -> Option<(Version, Timestamp)> {
        tuf::describe_root(&self.root).ok()
    }
}

impl Folder {
    /// A folder, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The cache of a repository.
    pub fn cache(&self, mirror: &str) -> Cache {
        Cache::new(self.0.join(folder_name(mirror)))
    }

    /// The certificate authorities, PEM, that `initialize` was told for calls to a mirror; none without. They say who may answer there, and nothing
    /// about what the files are worth, which only signatures do: so it does no harm to believe a file in a cache here.
    pub fn authorities(&self, mirror: &str) -> Vec<u8> {
        let cache = self.cache(mirror);
        match read_initialised(cache.folder()) {
            Some(domain) if same(&domain.mirror, mirror) => {
                cache::read(&authorities_file(cache.folder()), AUTHORITIES_MAX).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// The domain of this name or address; without one the default.
    pub fn domain(&self, named: Option<&str>) -> Result<Domain, DomainError> {
        let Some(named) = named else {
            return self.default_domain();
        };
        // A name that is built in, and no name at all, means what is built in: a file in its cache is no other root. Its address may have been
        // initialised with one.
        if let Some(built) = DOMAINS.into_iter().find(|built| built.name == named) {
            return Ok(built.domain());
        }
        if let Some(built) = Built::find(named) {
            return self.of_mirror(built.mirror);
        }
        if named.contains("://") {
            return self.of_mirror(named);
        }
        let mut found = self.initialised().into_iter();
        let mut found = found.by_ref().filter(|domain| domain.name == named);
        match (found.next(), found.next()) {
            (Some(domain), None) => Ok(domain),
            (Some(_), Some(_)) => Err(DomainError::Ambiguous(named.to_owned())),
            (None, _) => Err(DomainError::Unknown(named.to_owned())),
        }
    }

    /// The one that is meant where nobody names one. `cosign initialize` makes that the public repository by its address: what stands in its cache is
    /// no reason to begin at another root then, but only what `remote.json` itself says.
    fn default_domain(&self) -> Result<Domain, DomainError> {
        let Some(remote) = self.remote()? else {
            return Ok(DOMAINS[0].domain());
        };
        let Some(built) = Built::find(&remote.mirror) else {
            return self.domain(Some(&remote.mirror));
        };
        match (remote.root, self.of_mirror(built.mirror)) {
            (Some(named), Ok(own)) if named == root_sha256(&own.root) => Ok(own),
            (Some(_), _) => Err(DomainError::NotInitialised(remote.mirror)),
            (None, _) => Ok(built.domain()),
        }
    }

    /// All that are known: those that are built in, and those that were initialised here.
    pub fn domains(&self) -> Vec<Known> {
        let remote = self.remote();
        // None where the note says nothing: then nothing is meant.
        let default = match &remote {
            Ok(Some(remote)) => Some(remote.mirror.as_str()),
            Ok(None) => Some(DOMAINS[0].mirror),
            Err(_) => None,
        };
        let built = DOMAINS.into_iter().map(|built| {
            self.of_mirror(built.mirror)
                .unwrap_or_else(|_| built.domain())
        });
        let own = self
            .initialised()
            .into_iter()
            .filter(|domain| Built::find(&domain.mirror).is_none());
        built
            .chain(own)
            .map(|domain| Known {
                is_default: default.is_some_and(|default| same(&domain.mirror, default)),
                cached: self
                    .cache(&domain.mirror)
                    .folder()
                    .join("timestamp.json")
                    .exists(),
                domain,
            })
            .collect()
    }

    /// Writes down what `initialize` was told; `authorities` are for calls to the mirror, PEM. With `staged`, a cache beside this folder's that was filled from the repository, that one takes the
    /// place of what was cached: so nothing is thrown away before the new repository has answered.
    ///
    /// A crash in between leaves the old cache, or none, or the new one; in each case another `initialize` does the rest.
    pub fn initialize(
        &self,
        domain: &Domain,
        staged: Option<&Cache>,
        authorities: &[u8],
        make_default: bool,
    ) -> Result<(), DomainError> {
        let cache = self.cache(&domain.mirror);
        self.own_folder(&domain.mirror)?;
        let built = DOMAINS.into_iter().map(Built::domain);
        if let Some(other) = built
            .chain(self.initialised())
            .find(|other| other.name == domain.name && !same(&other.mirror, &domain.mirror))
        {
            return Err(DomainError::NameTaken {
                name: domain.name.clone(),
                other: other.mirror,
            });
        }
        let folder = staged.unwrap_or(&cache).folder();
        let history = folder.join("root_history");
        write(&history.join("pinned.root.json"), &domain.root)?;
        // Other clients begin at this one.
        let newest = folder.join("root.json");
        if !newest.exists() {
            write(&newest, &domain.root)?;
        }
        write_note(
            &history.join("mirror.json"),
            &Initialised {
                mirror: domain.mirror.clone(),
                name: (domain.name != domain.mirror).then(|| domain.name.clone()),
            },
        )?;
        let kept = authorities_file(folder);
        if !authorities.is_empty() {
            write(&kept, authorities)?;
        } else if let Err(source) = fs::remove_file(&kept)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(DomainError::Write { path: kept, source });
        }
        if let Some(staged) = staged {
            let moved = staged.replace(&cache);
            moved.map_err(|source| DomainError::Write {
                path: cache.folder().to_owned(),
                source,
            })?;
        }
        if make_default {
            write_note(
                &self.0.join("remote.json"),
                &Remote {
                    mirror: domain.mirror.clone(),
                    root: Built::find(&domain.mirror)
                        .filter(|built| built.root != domain.root)
                        .map(|_| root_sha256(&domain.root)),
                },
            )?;
        }
        Ok(())
    }

    /// A cache of its own beside the others, for [`initialize`](Self::initialize).
    pub fn staging(&self) -> Cache {
        Cache::new(self.0.join(format!(".initialize-{}", std::process::id())))
    }

    /// Nothing where there is no note. One that is there and cannot be read is no reason to trust the public repository: somebody may have asked
    /// for another one.
    fn remote(&self) -> Result<Option<Remote>, DomainError> {
        let path = self.0.join("remote.json");
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let read =
            cache::read(&path, NOTE_MAX).ok_or_else(|| "no file of a note's size".to_owned());
        let note = read.and_then(|bytes| {
            serde_json::from_slice(&bytes).map_err(|error: serde_json::Error| error.to_string())
        });
        note.map(Some)
            .map_err(|why| DomainError::Default { path, why })
    }

    fn of_mirror(&self, mirror: &str) -> Result<Domain, DomainError> {
        if let Some(domain) = self.own_folder(mirror)? {
            return Ok(domain);
        }
        Built::find(mirror)
            .map(Built::domain)
            .ok_or_else(|| DomainError::NotInitialised(mirror.to_owned()))
    }

    /// What was initialised in the folder of a mirror, which must be no other one's: names of folders fold what addresses keep apart (the scheme
    /// too), and what stands in a cache leads nowhere else. The folder of a domain that is built in is that one's, also while nothing is in it.
    fn own_folder(&self, mirror: &str) -> Result<Option<Domain>, DomainError> {
        let name = folder_name(mirror);
        let taken = |other: &str| DomainError::FolderTaken {
            mirror: mirror.to_owned(),
            other: other.to_owned(),
        };
        let built = DOMAINS
            .iter()
            .find(|built| folder_name(built.mirror) == name && !same(built.mirror, mirror));
        if let Some(built) = built {
            return Err(taken(built.mirror));
        }
        match read_initialised(self.cache(mirror).folder()) {
            Some(other) if !same(&other.mirror, mirror) => Err(taken(&other.mirror)),
            found => Ok(found),
        }
    }

    fn initialised(&self) -> Vec<Domain> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut domains: Vec<Domain> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let domain = read_initialised(&path)?;
                // A note about another repository than this folder's is nobody's.
                let name = folder_name(&domain.mirror);
                (path.file_name()?.to_str()? == name).then_some(domain)
            })
            .collect();
        domains.sort_by(|one, two| one.name.cmp(&two.name));
        domains
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DomainError> {
    cache::replace(path, bytes).map_err(|source| DomainError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write_note(path: &Path, note: &impl Serialize) -> Result<(), DomainError> {
    let json = serde_json::to_vec(note).map_err(|error| DomainError::Write {
        path: path.to_owned(),
        source: error.into(),
    })?;
    write(path, &json)
}

fn read_initialised(folder: &Path) -> Option<Domain> {
    let history = folder.join("root_history");
    let note: Initialised =
        serde_json::from_slice(&cache::read(&history.join("mirror.json"), NOTE_MAX)?).ok()?;
    let root = cache::read(&history.join("pinned.root.json"), ROOT_MAX)?;
    Mirror::new(&note.mirror, crate::mirror::agent(Vec::new())).ok()?;
    let built = Built::find(&note.mirror).filter(|built| built.root == root);
    // `initialize` takes no such name, so that somebody else wrote it there: it goes by its address then.
    let own = |name: &String| {
        let another = DOMAINS.iter().find(|built| built.name == name);
        is_name(name) && another.is_none_or(|built| same(built.mirror, &note.mirror))
    };
    Some(Domain {
        name: note.name.filter(own).unwrap_or_else(|| note.mirror.clone()),
        mirror: note.mirror,
        root,
        built,
    })
}

fn root_sha256(root: &[u8]) -> String {
    hex::encode(tuf::TargetFile::of(root).sha256())
}

fn authorities_file(folder: &Path) -> PathBuf {
    folder.join("root_history").join("mirror-cacert.pem")
}

/// Can a trust domain be called this?
pub fn is_name(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    plain && !text.is_empty() && text.len() <= DOMAIN_NAME_MAX
}

/// As sigstore-go names it: without the scheme, `-` for `/` and `:`, in lower case.
fn folder_name(mirror: &str) -> String {
    let rest = mirror
        .strip_prefix("https://")
        .or_else(|| mirror.strip_prefix("http://"))
        .unwrap_or(mirror);
    let name: String = rest
        .chars()
        .map(|character| match character {
            '/' | ':' | '\\' | '\0' => '-',
            other => other.to_ascii_lowercase(),
        })
        .take(FOLDER_MAX)
        .collect();
    // `..` and `.` are no names.
    if name.chars().all(|character| character == '.') {
        format!("-{name}")
    } else {
        name
    }
}

fn same(one: &str, two: &str) -> bool {
    one.trim_end_matches('/') == two.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_other_clients_name_them() {
        for (mirror, expected) in [
            (
                "https://tuf-repo-cdn.sigstore.dev",
                "tuf-repo-cdn.sigstore.dev",
            ),
            ("http://localhost:8080/Repo", "localhost-8080-repo"),
            ("file:///srv/tuf", "file----srv-tuf"),
            ("https://..", "-.."),
        ] {
            assert_eq!(folder_name(mirror), expected);
        }
    }

    #[test]
    fn the_roots_that_are_built_in_hold_and_are_those_that_their_table_says() {
        let versions: Vec<_> = DOMAINS
            .iter()
            .map(|built| tuf::describe_root(built.root).unwrap().0.get())
            .collect();
        assert_eq!(versions, [15, 14, 9]);
    }

    /// The folder's name folds what addresses keep apart, and a cache is no place that a stranger may lead us from.
    #[test]
    fn what_stands_in_a_folder_is_believed_of_its_own_address_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let root = || DOMAINS[1].root.to_vec();
        let own = |name, mirror| Domain::new(name, mirror, root()).unwrap();
        let acme = own(Some("acme"), "https://example.com/a-b");
        folder.initialize(&acme, None, b"", false).unwrap();
        for other in ["https://example.com/a/b", "http://example.com/A:B"] {
            assert!(matches!(
                folder.domain(Some(other)),
                Err(DomainError::FolderTaken { .. })
            ));
            let refused = folder.initialize(&own(Some("other"), other), None, b"", false);
            assert!(matches!(refused, Err(DomainError::FolderTaken { .. })));
        }
        for taken in ["acme", "public-good"] {
            let second = own(Some(taken), "https://other.example");
            let refused = folder.initialize(&second, None, b"", false);
            assert!(matches!(refused, Err(DomainError::NameTaken { .. })));
        }
        // A root of somebody's own for a repository that is built in: by its address, and never by its name.
        let public = own(None, DOMAINS[0].mirror);
        folder.initialize(&public, None, b"", false).unwrap();
        let by_address = folder.domain(Some(DOMAINS[0].mirror)).unwrap();
        assert_eq!(by_address.root, root());
        assert!(by_address.built.is_none());
        let by_name = folder.domain(Some("public-good")).unwrap();
        assert_eq!(by_name.root, DOMAINS[0].root);
        // Another's note in its folder.
        let history = folder
            .cache(DOMAINS[0].mirror)
            .folder()
            .join("root_history");
        fs::write(
            history.join("mirror.json"),
            br#"{"mirror":"http://127.0.0.1:9/evil"}"#,
        )
        .unwrap();
        assert!(matches!(
            folder.domain(Some(DOMAINS[0].mirror)),
            Err(DomainError::FolderTaken { .. })
        ));
        // And who names nothing is not led anywhere by what stands in that folder.
        assert_eq!(folder.domain(None).unwrap().root, DOMAINS[0].root);
    }

    /// `cosign initialize` names the public repository in remote.json, by its address.
    #[test]
    fn a_root_in_the_cache_of_the_default_domain_counts_only_where_remote_json_says_so() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let other = DOMAINS[1].root;
        let own = Domain::new(None, DOMAINS[0].mirror, other.to_vec()).unwrap();
        folder.initialize(&own, None, b"", false).unwrap();
        let remote = temporary.path().join("remote.json");
        let cosigns = format!("{{\"mirror\":\"{}\"}}", DOMAINS[0].mirror);
        fs::write(&remote, &cosigns).unwrap();
        assert_eq!(folder.domain(None).unwrap().root, DOMAINS[0].root);
        // Who asked for it has it, and not another one that was put in its place.
        folder.initialize(&own, None, b"", true).unwrap();
        let asked = folder.domain(None).unwrap();
        assert_eq!(
            (asked.root.as_slice(), asked.built.is_none()),
            (other, true)
        );
        let cache = folder.cache(DOMAINS[0].mirror);
        let pinned = cache.folder().join("root_history/pinned.root.json");
        fs::write(&pinned, DOMAINS[2].root).unwrap();
        assert!(matches!(
            folder.domain(None),
            Err(DomainError::NotInitialised(_))
        ));
        // With the root that is built in there is nothing to say.
        let plain = Domain::new(None, DOMAINS[0].mirror, DOMAINS[0].root.to_vec()).unwrap();
        folder.initialize(&plain, None, b"", true).unwrap();
        assert_eq!(fs::read_to_string(&remote).unwrap(), cosigns);
        assert_eq!(folder.domain(None).unwrap().root, DOMAINS[0].root);
    }

    /// Cosign writes it in place, and a disk may be full: half a note about a private repository is not the public one.
    #[test]
    fn a_damaged_note_about_the_default_domain_is_no_reason_to_trust_the_public_one() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let own = Domain::new(None, "https://tuf.example", DOMAINS[1].root.to_vec()).unwrap();
        folder.initialize(&own, None, b"", true).unwrap();
        let remote = temporary.path().join("remote.json");
        let whole = fs::read(&remote).unwrap();
        let long = vec![b' '; NOTE_MAX + 1];
        for damaged in [&whole[..whole.len() - 2], b"", b"{}", &long] {
            fs::write(&remote, damaged).unwrap();
            let refused = folder.domain(None).unwrap_err();
            assert!(matches!(refused, DomainError::Default { .. }), "{refused}");
            assert!(!folder.domains().iter().any(|known| known.is_default));
            // Who is named is meant.
            for named in ["public-good", "https://tuf.example"] {
                assert!(folder.domain(Some(named)).is_ok(), "{named}");
            }
        }
        folder.initialize(&own, None, b"", true).unwrap();
        assert_eq!(folder.domain(None).unwrap().mirror, "https://tuf.example");
        fs::remove_file(&remote).unwrap();
        assert_eq!(folder.domain(None).unwrap().name, "public-good");
    }

    /// Whoever is told to initialise one without TLS, say, does not take the folder of the domain that everybody means.
    #[test]
    fn the_folder_of_a_domain_that_is_built_in_is_nobody_elses_also_while_it_is_empty() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        for built in DOMAINS {
            for mirror in [
                built.mirror.replace("https://", "http://"),
                built.mirror.to_uppercase().replacen("HTTPS", "https", 1),
            ] {
                let own = Domain::new(Some("own"), &mirror, DOMAINS[1].root.to_vec()).unwrap();
                let refused = folder.initialize(&own, None, b"", true);
                assert!(
                    matches!(refused, Err(DomainError::FolderTaken { .. })),
                    "{mirror}"
                );
                assert!(folder.domain(Some(&mirror)).is_err());
            }
        }
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
        assert_eq!(folder.domain(None).unwrap().root, DOMAINS[0].root);
    }

    #[test]
    fn a_note_is_taken_only_as_initialize_writes_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let mirror = "https://tuf.example";
        let own = Domain::new(Some("acme"), mirror, DOMAINS[1].root.to_vec()).unwrap();
        folder
            .initialize(&own, None, b"authorities", false)
            .unwrap();
        assert_eq!(folder.authorities(mirror), b"authorities");
        assert_eq!(folder.authorities("http://tuf.example"), b"");
        let note = folder
            .cache(mirror)
            .folder()
            .join("root_history/mirror.json");
        for name in ["public-good", "a\\u001b[2J", "", &"a".repeat(65)] {
            let text = format!("{{\"mirror\":\"{mirror}\",\"name\":\"{name}\"}}");
            fs::write(&note, text).unwrap();
            assert_eq!(
                folder.domain(Some(mirror)).unwrap().name,
                mirror,
                "{name:?}"
            );
            assert_eq!(
                folder.domain(Some("public-good")).unwrap().root,
                DOMAINS[0].root
            );
            assert_eq!(folder.domains().len(), 4);
        }
        // Copied to another folder, or about no address.
        let elsewhere = temporary.path().join("elsewhere");
        fs::rename(folder.cache(mirror).folder(), &elsewhere).unwrap();
        assert_eq!(folder.domains().len(), 3);
        folder.initialize(&own, None, b"", false).unwrap();
        assert_eq!(folder.authorities(mirror), b"");
        fs::write(&note, "{\"mirror\":\"gs-bucket\"}").unwrap();
        assert!(matches!(
            folder.domain(Some(mirror)),
            Err(DomainError::NotInitialised(_))
        ));
    }

    #[test]
    fn what_was_initialised_is_found_by_name_and_address_and_is_the_default() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        assert_eq!(folder.domain(None).unwrap().name, "public-good");
        assert!(matches!(
            folder.domain(Some("https://tuf.example")),
            Err(DomainError::NotInitialised(_))
        ));
        assert!(matches!(
            folder.domain(Some("acme")),
            Err(DomainError::Unknown(_))
        ));
        let own = Domain::new(
            Some("acme"),
            "https://tuf.example",
            DOMAINS[1].root.to_vec(),
        );
        folder.initialize(&own.unwrap(), None, b"", true).unwrap();
        assert!(folder.cache("https://tuf.example").folder().is_dir());
        for named in [None, Some("acme"), Some("https://tuf.example")] {
            let domain = folder.domain(named).unwrap();
            assert_eq!(domain.mirror, "https://tuf.example");
            assert!(domain.built.is_none());
        }
        assert_eq!(folder.domain(Some("github")).unwrap().name, "github");
        let names: Vec<_> = folder
            .domains()
            .into_iter()
            .map(|known| (known.domain.name, known.is_default))
            .collect();
        assert_eq!(names[0], ("public-good".to_owned(), false));
        assert_eq!(names[3], ("acme".to_owned(), true));
    }
}
