//! Files as they are signed and verified: read as a stream, in constant memory, hashed once for each algorithm that is asked for.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use keys::{Digest, HashAlgorithm, Hasher};
use verify::Artifact;

use crate::failure::usage;

/// What is read at a time.
const PIECE: usize = 256 << 10;
/// The largest artifact that is held in memory, for signatures over the bytes themselves (pure Ed25519).
const IN_MEMORY_MAX: u64 = 256 << 20;

/// A file that takes long enough to read that a person wonders.
const WORTH_TELLING: u64 = 256 << 20;

/// Where an artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `-`.
    Standard,
    /// A file.
    File(PathBuf),
    /// Not at hand; its digest is.
    Digest(Digest),
}

impl Source {
    /// What the command line names: a file that exists, `-`, or a digest.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Standard);
        }
        let path = Path::new(text);
        if path.exists() {
            return Ok(Self::File(path.to_owned()));
        }
        Digest::parse(text).map(Self::Digest).map_err(|error| {
            if text.starts_with("sha256:") || text.starts_with("sha512:") {
                return usage(
                    format!("{text} is no digest: {error}"),
                    "a SHA-256 digest has 64 hexadecimal digits, and there is no file of that name",
                );
            }
            usage(
                format!("there is no file {text}"),
                "pass a file, - for standard input, or a digest as sha256:HEX",
            )
        })
    }

    /// A file of which the contents are needed.
    pub(crate) fn of_path(path: &Path) -> Self {
        if path.as_os_str() == "-" {
            Self::Standard
        } else {
            Self::File(path.to_owned())
        }
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Digest(digest) => digest.to_string(),
        }
    }

    /// A directory has no bytes that could be signed, and by itself no name that its bundle could have.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::File(path) if path.is_dir() => Err(usage(
                format!("{} is a directory", path.display()),
                "name the files in it, or pack it into one, as with tar, and name that",
            )),
            _ => Ok(()),
        }
    }

    /// The artifact with these digests. Standard input can be read once only and gives all of them.
    pub(crate) fn digests(&self, algorithms: &[HashAlgorithm]) -> Result<Artifact> {
        self.check()?;
        Ok(match self {
            Self::Digest(digest) => Artifact::from_digest(*digest),
            Self::File(path) => {
                let reading = || format!("reading {}", path.display());
                let file = File::open(path).with_context(reading)?;
                let progress = Progress::of(&file);
                Artifact::from_digests(hash(file, algorithms, progress).with_context(reading)?)
            }
            Self::Standard => Artifact::from_digests(
                hash(io::stdin().lock(), &HashAlgorithm::ALL, None)
                    .context("reading standard input")?,
            ),
        })
    }

    /// The artifact with its bytes, where it can be had and is not too large to hold.
    pub(crate) fn bytes(&self) -> Result<Option<Artifact>> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let reading = || format!("reading {}", path.display());
        let mut bytes = Vec::new();
        let mut file = File::open(path)
            .with_context(reading)?
            .take(IN_MEMORY_MAX.saturating_add(1));
        file.read_to_end(&mut bytes).with_context(reading)?;
        let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= IN_MEMORY_MAX);
        Ok(fits.then(|| Artifact::from_bytes(&bytes)))
    }

    /// The one digest to sign.
    pub(crate) fn digest(&self, algorithm: HashAlgorithm) -> Result<Digest> {
        self.digests(&[algorithm])?
            .digest(algorithm)
            .copied()
            .with_context(|| format!("no {} digest of {} is known", algorithm.name(), self.name()))
    }
}

fn hash(
    mut file: impl Read,
    algorithms: &[HashAlgorithm],
    mut progress: Option<Progress>,
) -> io::Result<Vec<Digest>> {
    let mut hashers: Vec<Hasher> = algorithms.iter().copied().map(Hasher::new).collect();
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for hasher in &mut hashers {
            hasher.update(piece.get(..read).unwrap_or_default());
        }
        if let Some(progress) = &mut progress {
            progress.advance(read);
        }
    }
    Ok(hashers.into_iter().map(Hasher::finish).collect())
}

/// How much of a large file is read, on a terminal.
struct Progress {
    total: u64,
    done: u64,
    told: Option<u64>,
}

impl Progress {
    /// None where nobody would see it, or nobody would wait long enough to want it.
    fn of(file: &File) -> Option<Self> {
        let total = file.metadata().ok()?.len();
        (total >= WORTH_TELLING && io::stderr().is_terminal()).then(|| Self {
            total,
            done: 0,
            told: None,
        })
    }

    fn advance(&mut self, read: usize) {
        self.done = self
            .done
            .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        // `total` is not 0; a file that grows meanwhile stays at 100.
        let percent = (self.done.saturating_mul(100) / self.total.max(1)).min(100);
        if self.told != Some(percent) {
            self.told = Some(percent);
            let _unread = write!(io::stderr(), "\rreading: {percent:3} %");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _unread = write!(io::stderr(), "\r                \r");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_comes_before_a_digest() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(HashAlgorithm::Sha256, b"x").to_string();
        assert!(matches!(Source::parse(&digest).unwrap(), Source::Digest(_)));
        let path = folder.path().join(&digest);
        std::fs::write(&path, b"y").unwrap();
        let source = Source::parse(path.to_str().unwrap()).unwrap();
        assert!(matches!(source, Source::File(_)));
        assert!(matches!(Source::parse("-").unwrap(), Source::Standard));
        let error = Source::parse("no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "there is no file no/such/file");
    }

    #[test]
    fn a_stream_gives_the_digests_of_the_whole() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 17)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        let found = hash(bytes.as_slice(), &HashAlgorithm::ALL, None).unwrap();
        let expected: Vec<Digest> = HashAlgorithm::ALL
            .into_iter()
            .map(|algorithm| Digest::of(algorithm, &bytes))
            .collect();
        assert_eq!(found, expected);
    }
}
