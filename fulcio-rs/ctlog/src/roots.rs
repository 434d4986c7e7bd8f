//! The roots that chains must end in, and the chains that were found to.
//!
//! Roots come from a file, and from the trust bundle of a Fulcio (`GET /api/v2/trustBundle`). Both are looked at again while the log runs, and
//! both only ever add: a file that is half written, or a CA that answers nonsense for a while, takes no root away from a log that serves. Who
//! takes a root out of the file restarts the log for it. What cannot be read as a whole adds nothing.
//!
//! What somebody could do who controls the CA's address: have chains of roots of their own taken in. An SCT says that a log has seen a
//! certificate, and not that anybody should believe it; so what there is to lose is room on the disk.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use client::{Agent, Call};
use keys::sha256;
use pki::Certificate;
use store::Disk as _;
use store::fs::Folder;
use thiserror::Error;
use tokio::sync::watch;
use url::Url;
use wire::fulcio::TrustBundle;

use crate::admit::{self, MAX_CHAIN, Refusal};

/// The largest file of roots, in bytes.
const MAX_FILE: u64 = 256 << 10;
/// The most roots; a log of this kind has a handful.
const MAX_ROOTS: usize = 64;
/// The most chains of a trust bundle.
const MAX_CHAINS: usize = 64;
/// The largest trust bundle, in bytes.
const MAX_BUNDLE: usize = 1 << 20;
/// From one look at the file to the next.
const LOOK: Duration = Duration::from_secs(5);
/// From one question to a CA that has not answered yet to the next, at first; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// What came with trust bundles, in the log's folder: a CA that is away when the log starts takes no root from it.
const KEPT: &str = "bundle-roots.pem";
/// Verified chains of one set of roots; a CA has one or two.
const CHAINS: usize = 64;

/// A certificate that cannot be a root.
#[derive(Debug, Error)]
pub enum RootsError {
    /// It is no CA's.
    #[error("the root {0:?} may not sign certificates")]
    NotAuthority(String),
    /// Too many.
    #[error("more than {MAX_ROOTS} roots")]
    TooMany,
}

/// The roots of a running log. Clones are the same.
#[derive(Clone, Debug)]
pub struct Roots(Arc<watch::Sender<Arc<RootSet>>>);

impl Roots {
    /// These roots, to begin with.
    pub fn new(certificates: &[Certificate]) -> Result<Self, RootsError> {
        let set = RootSet::default().with(certificates)?;
        Ok(Self(Arc::new(watch::Sender::new(Arc::new(set)))))
    }

    /// Takes these too; how many are new. Nothing is taken where one of them cannot be a root.
    pub fn add(&self, certificates: &[Certificate]) -> Result<usize, RootsError> {
        let mut added = Ok(0);
        // At one go: others may add at the same time.
        self.0.send_if_modified(|now| {
            let next = match now.with(certificates) {
                Ok(next) => next,
                Err(error) => {
                    added = Err(error);
                    return false;
                }
            };
            let new = next.roots.len().saturating_sub(now.roots.len());
            added = Ok(new);
            if new > 0 {
                *now = Arc::new(next);
            }
            new > 0
        });
        added
    }

    /// The certificates of now, ordered by their SHA-256.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.now().roots.clone()
    }

    pub(crate) fn now(&self) -> Arc<RootSet> {
        self.0.borrow().clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().roots.is_empty()
    }
}

/// Some roots, with the chains that were verified up to one of them. Other roots are another set, with other chains.
#[derive(Debug, Default)]
pub(crate) struct RootSet {
    /// Ordered by their SHA-256; each once.
    roots: Vec<Certificate>,
    /// By the exact bytes above the leaf.
    chains: Mutex<BTreeMap<[u8; 32], Arc<VerifiedChain>>>,
}

/// The certificates above a leaf, lowest first and a root last, each verified.
#[derive(Debug)]
pub(crate) struct VerifiedChain {
    pub(crate) issuers: Vec<Certificate>,
    /// The SHA-256 of each.
    pub(crate) fingerprints: Vec<[u8; 32]>,
}

impl VerifiedChain {
    /// For [`admit::verify_chain`] and [`RootSet`], which have checked them.
    fn of(issuers: Vec<Certificate>) -> Self {
        let fingerprints = issuers.iter().map(|issuer| sha256(issuer.der())).collect();
        Self {
            issuers,
            fingerprints,
        }
    }
}

impl RootSet {
    /// These and more, if all of them can be roots.
    pub(crate) fn with(&self, more: &[Certificate]) -> Result<Self, RootsError> {
        if let Some(root) = more
            .iter()
            .find(|root| !root.is_ca() || !root.may_sign_certificates())
        {
            return Err(RootsError::NotAuthority(root.subject_text()));
        }
        let mut roots = self.roots.clone();
        roots.extend_from_slice(more);
        roots.sort_by_key(|root| sha256(root.der()));
        roots.dedup();
        if roots.len() > MAX_ROOTS {
            return Err(RootsError::TooMany);
        }
        Ok(Self {
            roots,
            chains: Mutex::default(),
        })
    }

    pub(crate) fn contains(&self, certificate: &Certificate) -> bool {
        self.roots.contains(certificate)
    }

    /// The root that has signed this one.
    pub(crate) fn above(&self, certificate: &Certificate) -> Option<&Certificate> {
        self.roots.iter().find(|root| {
            root.subject_der() == certificate.issuer_der()
                && certificate.is_signed_by(root.public_key())
        })
    }

    /// The chain above a leaf, verified: now, or when the same bytes came before. Nobody can fill the memory of chains but who has such.
    pub(crate) fn chain(
        &self,
        leaf: &Certificate,
        above: &[Vec<u8>],
    ) -> Result<Arc<VerifiedChain>, Refusal> {
        if above.is_empty() {
            // RFC 6962 3.1: the root itself may be left out.
            let root = self.above(leaf);
            let root = root.ok_or_else(|| Refusal::UnknownRoot(leaf.subject_text()))?;
            return Ok(Arc::new(VerifiedChain::of(vec![root.clone()])));
        }
        let key = key(above);
        if let Some(known) = self.chains().get(&key) {
            metrics::counter!("ctlog_chains_known").increment(1);
            return Ok(known.clone());
        }
        let chain = Arc::new(VerifiedChain::of(admit::verify_chain(above, self)?));
        let mut chains = self.chains();
        if chains.len() >= CHAINS {
            chains.clear();
        }
        chains.insert(key, chain.clone());
        Ok(chain)
    }

    /// The chain of these bytes, if it was verified before.
    pub(crate) fn known(&self, above: &[Vec<u8>]) -> Option<Arc<VerifiedChain>> {
        self.chains().get(&key(above)).cloned()
    }

    fn chains(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Arc<VerifiedChain>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 of the certificates, each with its length in front.
fn key(certificates: &[Vec<u8>]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(certificates.iter().map(|der| der.len() + 8).sum());
    for der in certificates {
        bytes.extend(u64::try_from(der.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(der);
    }
    sha256(&bytes)
}

/// Where a log's roots come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// PEM.
    pub file: Option<PathBuf>,
    /// A Fulcio.
    pub bundle: Option<BundleSource>,
}

/// A CA that is asked for its trust bundle.
#[derive(Clone, Debug)]
pub struct BundleSource {
    /// Its base URL, without `/api/v2`.
    pub url: Url,
    /// Certificates that its TLS certificate may be signed by, besides the system's; PEM.
    pub authorities: Option<PathBuf>,
    /// From one question to the next.
    pub every: Duration,
}

/// The roots of these sources and `more`, kept up to date as long as somebody holds them. The folder is the log's.
pub(crate) async fn open(
    sources: &Sources,
    folder: &Path,
    more: &[Certificate],
) -> anyhow::Result<Roots> {
    let mut certificates = more.to_vec();
    let mut seen = Vec::new();
    if let Some(file) = &sources.file {
        seen = read(file).with_context(|| format!("log.roots: {}", file.display()))?;
        let roots = parse(&seen).with_context(|| format!("log.roots: {}", file.display()))?;
        certificates.extend(roots);
    }
    let Some(source) = &sources.bundle else {
        let roots = Roots::new(&certificates)?;
        if let Some(file) = sources.file.clone() {
            tokio::spawn(watch_file(Arc::downgrade(&roots.0), file, seen));
        }
        return Ok(roots);
    };
    let kept = Kept::open(folder)?;
    certificates.extend(kept.read()?);
    let roots = Roots::new(&certificates)?;
    if let Some(file) = sources.file.clone() {
        tokio::spawn(watch_file(Arc::downgrade(&roots.0), file, seen));
    }
    let agent = Agent::new(client::Settings {
        attempts: 1,
        connect_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(5),
        call_timeout: Duration::from_secs(10),
        extra_roots_pem: match &source.authorities {
            Some(file) => read(file)
                .with_context(|| format!("log.trust_bundle_authorities: {}", file.display()))?,
            None => Vec::new(),
        },
        ..client::Settings::default()
    });
    let asked = ask(&agent, source, &roots, &kept).await;
    tokio::spawn(watch_bundle(
        Arc::downgrade(&roots.0),
        agent,
        source.clone(),
        kept,
        asked,
    ));
    Ok(roots)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_FILE.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Of a file that is followed: what is no regular one could keep the reader waiting for ever.
fn read_again(path: &Path) -> io::Result<Vec<u8>> {
    serve::reload::check_regular(path)?;
    read(path)
}

/// All certificates of a PEM file; none is an error, as is one that is cut.
fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Certificate>> {
    let blocks = keys::pem::decode_all(std::str::from_utf8(bytes)?)?;
    ensure!(!blocks.is_empty(), "no certificate in it");
    let mut roots = Vec::new();
    for block in blocks {
        let label = &block.label;
        ensure!(label == "CERTIFICATE", "a {label} among the certificates");
        roots.push(Certificate::from_der(&block.der)?);
    }
    Ok(roots)
}

type WeakRoots = Weak<watch::Sender<Arc<RootSet>>>;

/// Looks at the file until the roots are gone. What is behind a symbolic link counts, so whole folders can be swapped.
async fn watch_file(roots: WeakRoots, file: PathBuf, mut seen: Vec<u8>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(roots) = roots.upgrade().map(Roots) else {
            return;
        };
        let path = file.clone();
        let found = tokio::task::spawn_blocking(move || read_again(&path)).await;
        let found = match found.map_err(io::Error::from).flatten() {
            Ok(found) => found,
            Err(error) => {
                // It may be on its way; who looks at this line knows better.
                tracing::debug!(%error, file = %file.display(), "the file of roots cannot be read");
                continue;
            }
        };
        if found == seen {
            continue;
        }
        match parse(&found).and_then(|parsed| take(&roots, &parsed)) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(cause = format!("{error:#}"), file = %file.display(), "the new file of roots is not taken");
            }
        }
        seen = found;
    }
}

/// Takes the new ones, and tells of those that are gone.
fn take(roots: &Roots, parsed: &[Certificate]) -> anyhow::Result<()> {
    let new = roots.add(parsed)?;
    let gone = roots.certificates();
    let gone = gone.iter().filter(|root| !parsed.contains(root)).count();
    tracing::info!(
        new,
        gone,
        "new roots are taken at once; those that are gone are trusted until a restart"
    );
    Ok(())
}

async fn watch_bundle(
    roots: WeakRoots,
    agent: Agent,
    source: BundleSource,
    kept: Kept,
    mut asked: bool,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = if asked { source.every } else { pause };
        pause = if asked {
            FIRST_PAUSE
        } else {
            pause.saturating_mul(2).min(source.every)
        };
        tokio::time::sleep(wait).await;
        let Some(roots) = roots.upgrade().map(Roots) else {
            return;
        };
        asked = ask(&agent, &source, &roots, &kept).await;
    }
}

/// Whether there was an answer that could be taken.
async fn ask(agent: &Agent, source: &BundleSource, roots: &Roots, kept: &Kept) -> bool {
    match fetch(agent, &source.url)
        .await
        .and_then(|found| keep(roots, &found, kept))
    {
        Ok(()) => true,
        Err(error) => {
            metrics::counter!("ctlog_trust_bundle_failures").increment(1);
            tracing::warn!(cause = format!("{error:#}"), url = %source.url, "the trust bundle is not taken; the roots stay");
            false
        }
    }
}

async fn fetch(agent: &Agent, base: &Url) -> anyhow::Result<Vec<Certificate>> {
    let base = base.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{base}/api/v2/trustBundle"))?;
    let call = Call::get(url).accept("application/json").limit(MAX_BUNDLE);
    let answer = agent.send(&call).await?.expect(&[200])?;
    roots_of_bundle(&answer.body)
}

/// The last certificate of each chain. Each chain must hold, or none is taken.
fn roots_of_bundle(json: &[u8]) -> anyhow::Result<Vec<Certificate>> {
    let bundle: TrustBundle = serde_json::from_slice(json)?;
    ensure!(!bundle.chains.is_empty(), "a trust bundle without a chain");
    ensure!(
        bundle.chains.len() <= MAX_CHAINS,
        "more than {MAX_CHAINS} chains"
    );
    let mut roots = Vec::new();
    for chain in &bundle.chains {
        let count = chain.certificates.len();
        ensure!(
            (1..=MAX_CHAIN).contains(&count),
            "a chain of {count} certificates"
        );
        let certificates = chain
            .certificates
            .iter()
            .map(|pem| Certificate::from_pem(pem))
            .collect::<Result<Vec<_>, _>>()?;
        for pair in certificates.windows(2) {
            if let [below, issuer] = pair {
                admit::check_link(below, issuer).map_err(|(what, _)| {
                    anyhow::anyhow!("the certificate {:?} {what}", issuer.subject_text())
                })?;
            }
        }
        let Some(root) = certificates.last() else {
            bail!("an empty chain");
        };
        roots.push(root.clone());
    }
    Ok(roots)
}

/// First durable, then in use: what an entry refers to is there after a crash, too.
fn keep(roots: &Roots, found: &[Certificate], kept: &Kept) -> anyhow::Result<()> {
    let known = roots.certificates();
    if found.iter().all(|root| known.contains(root)) {
        return Ok(());
    }
    // Says whether they can be roots, before anything is written.
    roots.now().with(found)?;
    kept.add(found)?;
    let new = roots.add(found)?;
    tracing::info!(new, "the trust bundle has new roots");
    Ok(())
}

/// The roots of trust bundles, in a file.
#[derive(Debug)]
struct Kept {
    folder: Folder,
    path: store::Path,
}

impl Kept {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let opened = Folder::open(folder);
        let folder = opened.with_context(|| folder.display().to_string())?;
        let path = store::Path::new(KEPT).context("a plain name")?;
        Ok(Self { folder, path })
    }

    fn read(&self) -> anyhow::Result<Vec<Certificate>> {
        match self.folder.read(&self.path, MAX_FILE)? {
            Some(bytes) => parse(&bytes).context(KEPT),
            None => Ok(Vec::new()),
        }
    }

    fn add(&self, more: &[Certificate]) -> anyhow::Result<()> {
        let mut roots = self.read()?;
        roots.extend_from_slice(more);
        roots.sort_by_key(|root| sha256(root.der()));
        roots.dedup();
        let text: String = roots.iter().map(Certificate::to_pem).collect();
        self.folder.replace_durable(&self.path, text.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_the_roots_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        std::fs::write(&path, "roots").unwrap();
        assert_eq!(read_again(&path).unwrap(), b"roots");
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(read_again(&path)));
        let read = receiver.recv_timeout(Duration::from_secs(20));
        let error = read.expect("it waits for the pipe").unwrap_err();
        assert!(error.to_string().contains("is no regular file"), "{error}");
    }
}
