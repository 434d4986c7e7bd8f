//! The file that a new bundle goes into. It is made ready before anybody is asked to sign: an entry in a public log cannot be taken back. Where it
//! cannot be written all the same, the bundle is [kept](Unplaced) elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use keys::HashAlgorithm;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::args::{Identity, SigningKey};
use crate::failure::{advice, in_line, say};
use crate::report;

/// What is reserved on the disk for a bundle: most have five to ten kilobytes.
const RESERVED: u64 = 64 << 10;

/// Where a bundle will be: there whole, or not at all.
#[derive(Debug)]
pub(crate) struct BundleFile(Target);

#[derive(Debug)]
enum Target {
    /// `-`.
    Standard,
    /// A device or a pipe, which is written to.
    Stream(PathBuf),
    /// A file, which is replaced.
    File {
        path: PathBuf,
        beside: Beside,
        /// As it was named: `path` is what a link leads to.
        shown: PathBuf,
    },
}

/// A file beside the target, removed unless it takes its place.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    file: File,
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is not there any more when it took its place.
        let _gone = fs::remove_file(&self.path);
    }
}

/// What is read of secrets, and the certificates for them: a bundle that is written over a key is a key that is lost.
pub(crate) fn secrets<'a>(
    key: Option<&'a SigningKey>,
    identity: &'a Identity,
) -> impl Iterator<Item = &'a Path> {
    let certificates =
        key.map(|key| [key.certificate.as_deref(), key.certificate_chain.as_deref()]);
    let key = key.and_then(|key| key.key.as_deref()).map(Path::new);
    let token = identity.identity_token.as_deref().map(Path::new);
    let secret = identity.oidc_client_secret_file.as_deref();
    [key, token, secret]
        .into_iter()
        .chain(certificates.into_iter().flatten())
        .flatten()
}

impl BundleFile {
    /// Whether a bundle may go there: a folder that is there, and none of the files that are read.
    pub(crate) fn check(path: &Path, inputs: &[&Path]) -> Result<()> {
        if path.as_os_str() == "-" {
            return Ok(());
        }
        let shown = path.display();
        // Most are new, and cannot be one of many that are read.
        let there = path.canonicalize();
        for input in inputs.iter().filter(|_| there.is_ok()) {
            let same = matches!((&there, input.canonicalize()), (Ok(one), Ok(two)) if *one == two);
            if same {
                return Err(advice(
                    format!("--bundle {shown} is a file that is read, and would be overwritten"),
                    format!("name another one, such as {shown}.sigstore.json"),
                ));
            }
        }
        if path.is_dir() {
            return Err(advice(
                format!("--bundle {shown} is a folder"),
                "name a file in it",
            ));
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(advice(
                format!("writing {shown}: there is no such folder"),
                "make it first",
            ));
        }
        Ok(())
    }

    /// Finds out whether the file can be written, and that it is none of those that are read.
    pub(crate) fn prepare<'a>(
        path: &Path,
        inputs: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self(Target::Standard));
        }
        let inputs: Vec<&Path> = inputs.into_iter().collect();
        Self::check(path, &inputs)?;
        let shown = path.display();
        // A name of something that is open already (/dev/stdout) may lead to a file, and is not to be replaced by one.
        let is_open = path.starts_with("/dev") || path.starts_with("/proc");
        if path.exists() && (is_open || !path.is_file()) {
            return Ok(Self(Target::Stream(path.to_owned())));
        }
        // What a link leads to is replaced, and not the link.
        let named = path;
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let writing = || format!("writing {shown}");
        let mut name = path.file_name().with_context(writing)?.to_owned();
        // Nobody can have put a link there that leads elsewhere.
        let random = signer::random::bytes::<8>().map(u64::from_be_bytes)?;
        name.push(format!(".{random:016x}.tmp"));
        let beside = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)
            .with_context(writing)?;
        let beside = Beside { path: beside, file };
        // A disk that is full says so now. What else it says is that it cannot reserve anything.
        let reserved = fallocate(&beside.file, FallocateFlags::KEEP_SIZE, 0, RESERVED);
        if let Err(full @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
            return Err(io::Error::from(full)).with_context(writing);
        }
        Ok(Self(Target::File {
            path: path.to_owned(),
            beside,
            shown: named.to_owned(),
        }))
    }

    /// Writes the bundle, and says so.
    pub(crate) fn write(self, json: &[u8]) -> Result<()> {
        let wrote = self.write_quietly(json)?;
        if !wrote.is_empty() {
            say(wrote.trim_start());
        }
        Ok(())
    }

    /// Writes the bundle; what there is to say of it, on a line of its own.
    pub(crate) fn write_quietly(self, json: &[u8]) -> Result<String> {
        match self.0 {
            Target::Standard => report::print(std::str::from_utf8(json)?).map(|()| String::new()),
            Target::Stream(path) => fs::write(&path, json)
                .with_context(|| format!("writing {}", path.display()))
                .map(|()| String::new()),
            Target::File {
                path,
                mut beside,
                shown,
            } => {
                let file = &mut beside.file;
                let length = u64::try_from(json.len())?;
                let written = file.write_all(json).and_then(|()| file.set_len(length));
                let written = written.and_then(|()| file.sync_all());
                let written = written.and_then(|()| fs::rename(&beside.path, &path));
                written.with_context(|| format!("writing {}", shown.display()))?;
                Ok(format!("\nwrote {}", shown.display()))
            }
        }
    }
}

/// A bundle that is nowhere yet, of a signature that cannot be taken back. When it is dropped before it is [placed](Self::placed), since writing it or
/// attaching it failed or was broken off, it goes into a file of its own, and where that cannot be written either, to standard error. It holds nothing secret.
#[derive(Debug)]
pub(crate) struct Unplaced {
    json: Vec<u8>,
    /// Of what it is.
    of: String,
    /// What to do with the file.
    then: String,
    placed: bool,
}

impl Unplaced {
    /// The bundle of something, and what is to be done with it by whoever finds it kept.
    pub(crate) fn new(json: &[u8], of: impl Into<String>, then: impl Into<String>) -> Self {
        Self {
            json: json.to_owned(),
            of: of.into(),
            then: then.into(),
            placed: false,
        }
    }

    /// It is where it should be.
    pub(crate) fn placed(mut self) {
        self.placed = true;
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        let (of, then) = (in_line(&self.of), in_line(&self.then));
        match keep(&[Path::new("."), &std::env::temp_dir()], &self.json) {
            Ok(path) => say(&format!(
                "{of} is signed, and its bundle is kept in {}: {then}",
                path.display()
            )),
            Err(error) => say(&format!(
                "{of} is signed, and its bundle can be kept nowhere ({error}). Here it is; put the next line into a file: {then}\n{}",
                String::from_utf8_lossy(&self.json)
            )),
        }
    }
}

/// Writes a bundle into the first of these folders that takes it.
fn keep(folders: &[&Path], json: &[u8]) -> io::Result<PathBuf> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
    // Of another bundle it is another name.
    let digest = HashAlgorithm::Sha256.digest(json).to_hex();
    let name = format!(
        "cosign-rs-{}.sigstore.json",
        digest.get(..16).unwrap_or_default()
    );
    for folder in folders {
        let path = folder.join(&name);
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = made.and_then(|mut file| {
            let written = file.write_all(json).and_then(|()| file.sync_all());
            if written.is_err() {
                let _half = fs::remove_file(&path);
            }
            written
        });
        outcome = written.map(|()| path);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(path: &Path, inputs: &[&Path]) -> Result<BundleFile> {
        BundleFile::prepare(path, inputs.iter().copied())
    }

    #[test]
    fn a_bundle_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.sigstore.json");
        for text in ["one", "two"] {
            prepare(&path, &[]).unwrap().write(text.as_bytes()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        }
        // It is called as it was named, also where a link leads elsewhere.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let said = prepare(&link, &[]).unwrap().write_quietly(b"two").unwrap();
        assert_eq!(said, format!("\nwrote {}", link.display()));
        fs::remove_file(&link).unwrap();
        drop(prepare(&path, &[]).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_said_before() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        fs::write(&input, "x").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&input, &link).unwrap();
        for (path, reason) in [
            (folder.path().join("no/such/folder/b"), "writing "),
            (folder.path().to_owned(), "is a folder"),
            (input.clone(), "would be overwritten"),
            (link, "would be overwritten"),
        ] {
            let error = format!("{:#}", prepare(&path, &[&input]).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(fs::read(&input).unwrap(), b"x");
    }

    #[test]
    fn what_has_no_place_is_kept_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("no/such/folder");
        let path = keep(&[&nowhere, folder.path()], b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_ne!(keep(&[folder.path()], b"two").unwrap(), path);
        // It would replace something.
        assert!(keep(&[folder.path()], b"one").is_err());
        assert!(keep(&[&nowhere], b"one").is_err());
    }
}
