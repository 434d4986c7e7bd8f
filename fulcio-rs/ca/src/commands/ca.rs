//! `fulcio-rs ca`: an authority is made, on a machine without a network if one likes.
//!
//! ```text
//! ca init                          FOLDER/root.key.pem   private key of the root, mode 0600: to be kept elsewhere, it is needed once in years
//!                                  FOLDER/root.pem       its certificate
//!                                  FOLDER/key.pem        private key of the intermediate, mode 0600: for the service
//!                                  FOLDER/chain.pem      intermediate and root: for the service
//! ca init --csr-only               FOLDER/key.pem, FOLDER/intermediate.csr.pem
//! ca sign-intermediate             the chain for that request, where the root's key is
//! ca check                         are these ones that the service can use?
//! ```
//! Nothing is ever overwritten: what would be is named before anything is made.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use keys::Algorithm;
use pki::{Certificate, Csr};
use signer::{KeyRef, Signer};

use crate::args::{Ca, Check, Init, SignIntermediate};
use crate::ceremony::{self, Named};
use crate::chain::Chain;
use crate::follow::read;

/// The curve of authorities: Sigstore's own have it, and every client verifies it.
const ALGORITHM: Algorithm = Algorithm::EcdsaP384Sha384;

pub(super) async fn run(ceremony: Ca) -> anyhow::Result<()> {
    match ceremony {
        Ca::Init(init) if init.csr_only => make_request(&init).await,
        Ca::Init(init) => make(&init).await,
        Ca::SignIntermediate(sign) => sign_intermediate(&sign).await,
        Ca::Check(check) => run_check(&check).await,
    }
}

async fn make(init: &Init) -> anyhow::Result<()> {
    let file = |name: &str| init.folder.join(name);
    let (root_file, chain_file) = (file("root.pem"), file("chain.pem"));
    let root_place = Place::of(
        init.root_key.as_deref(),
        init.root_key_secret_file.as_deref(),
        init.root_password_file.as_deref(),
        file("root.key.pem"),
    )?;
    let place = Place::of(
        init.key.as_deref(),
        init.key_secret_file.as_deref(),
        init.password_file.as_deref(),
        file("key.pem"),
    )?;
    for path in [root_place.new_file(), place.new_file()]
        .into_iter()
        .flatten()
        .chain([root_file.as_path(), chain_file.as_path()])
    {
        refuse_existing(path)?;
    }
    let now = Timestamp::now();
    ensure!(
        init.years <= init.root_years,
        "--years {}: an intermediate ends with its root, which has --root-years {}",
        init.years,
        init.root_years
    );
    std::fs::create_dir_all(&init.folder)
        .with_context(|| format!("cannot make {}", init.folder.display()))?;
    let root_key = root_place.take().await.context("the root's key")?;
    let root = Named {
        organization: &init.organization,
        common_name: &init.root_name,
        not_before: now,
        not_after: after(now, init.root_years)?,
    };
    let root = ceremony::root(&root, &root_key).await?;
    let key = place.take().await.context("the intermediate's key")?;
    ensure!(
        key.public_key() != root_key.public_key(),
        "root and intermediate are the same key: then a leak of the one in daily use is one of the root"
    );
    let named = Named {
        organization: &init.organization,
        common_name: &init.name,
        not_before: now,
        not_after: after(now, init.years)?.min(root.not_after()),
    };
    let intermediate = ceremony::intermediate(&named, &key, &root, &root_key).await?;
    let chain = Chain::active(vec![intermediate, root.clone()], key.public_key(), now)?;
    write_new(&root_file, &root.to_pem())?;
    write_new(&chain_file, &chain.pems().concat())?;
    let out = &mut std::io::stdout();
    writeln!(out, "root          {}", describe(&root))?;
    writeln!(out, "root key      {root_place}")?;
    writeln!(out, "intermediate  {}", describe(chain.issuing()))?;
    writeln!(out, "key           {place}")?;
    writeln!(out, "chain         {}", chain_file.display())?;
    writeln!(
        out,
        "next          take the root's key away from here; in the settings: [ca] key, chain; for clients: chain.pem, all of it, in the trusted root (a bundle carries the leaf alone)"
    )?;
    Ok(())
}

async fn make_request(init: &Init) -> anyhow::Result<()> {
    let place = Place::of(
        init.key.as_deref(),
        init.key_secret_file.as_deref(),
        init.password_file.as_deref(),
        init.folder.join("key.pem"),
    )?;
    let request_file = init.folder.join("intermediate.csr.pem");
    for path in place.new_file().into_iter().chain([request_file.as_path()]) {
        refuse_existing(path)?;
    }
    std::fs::create_dir_all(&init.folder)
        .with_context(|| format!("cannot make {}", init.folder.display()))?;
    let key = place.take().await.context("the intermediate's key")?;
    let request = ceremony::request(&init.organization, &init.name, &key).await?;
    write_new(&request_file, &request.to_pem())?;
    let out = &mut std::io::stdout();
    writeln!(out, "key           {place}")?;
    writeln!(out, "request       {}", request_file.display())?;
    writeln!(
        out,
        "next          fulcio-rs ca sign-intermediate --csr {} where the root's key is",
        request_file.display()
    )?;
    Ok(())
}

async fn sign_intermediate(sign: &SignIntermediate) -> anyhow::Result<()> {
    refuse_existing(&sign.out)?;
    let request = Csr::from_pem(&read(&sign.csr)?);
    let request = request.with_context(|| sign.csr.display().to_string())?;
    request
        .public_key()
        .check_strength()
        .with_context(|| sign.csr.display().to_string())?;
    let root = Certificate::chain_from_pem(&read(&sign.root)?)
        .with_context(|| sign.root.display().to_string())?;
    let root_key = open(&sign.root_key, sign.root_key_secret_file.as_deref())
        .await
        .context("--root-key")?;
    let now = Timestamp::now();
    let root = Chain::active(root, root_key.public_key(), now)
        .with_context(|| sign.root.display().to_string())?;
    let issuer = root.issuing();
    ensure!(
        issuer.public_key() != request.public_key(),
        "the request is one of the root's own key"
    );
    let ends = after(now, sign.years)?.min(issuer.not_after());
    let intermediate =
        ceremony::requested_intermediate(&request, now, ends, issuer, &root_key).await?;
    let mut certificates = vec![intermediate];
    certificates.extend_from_slice(root.certificates());
    let chain = Chain::active(certificates, request.public_key(), now)?;
    write_new(&sign.out, &chain.pems().concat())?;
    let out = &mut std::io::stdout();
    writeln!(out, "intermediate  {}", describe(chain.issuing()))?;
    writeln!(out, "chain         {}", sign.out.display())?;
    Ok(())
}

async fn run_check(check: &Check) -> anyhow::Result<()> {
    let certificates = Certificate::chain_from_pem(&read(&check.chain)?)
        .with_context(|| check.chain.display().to_string())?;
    let chain = match &check.key {
        None => Chain::known(certificates),
        Some(key) => {
            let signer = open(key, check.key_secret_file.as_deref()).await;
            let signer = signer.context("--key")?;
            // That it is the right key is one thing, that it can be used is another.
            signer.sign(b"fulcio-rs ca check").await.context("--key")?;
            Chain::active(certificates, signer.public_key(), Timestamp::now())
        }
    };
    let chain = chain.with_context(|| check.chain.display().to_string())?;
    for certificate in chain.certificates() {
        writeln!(std::io::stdout(), "ok  {}", describe(certificate))?;
    }
    Ok(())
}

/// Where a key is, or will be.
enum Place {
    There {
        key: KeyRef,
    },
    New {
        path: PathBuf,
        password_file: Option<PathBuf>,
    },
}

impl Place {
    fn of(
        key: Option<&str>,
        secret_file: Option<&Path>,
        password_file: Option<&Path>,
        path: PathBuf,
    ) -> anyhow::Result<Self> {
        Ok(match key {
            Some(key) => Self::There {
                key: key_ref(key, secret_file)?,
            },
            None => Self::New {
                path,
                password_file: password_file.map(Path::to_owned),
            },
        })
    }

    fn new_file(&self) -> Option<&Path> {
        match self {
            Self::There { .. } => None,
            Self::New { path, .. } => Some(path),
        }
    }

    async fn take(&self) -> anyhow::Result<Signer> {
        Ok(match self {
            Self::There { key } => Signer::open(key).await?,
            Self::New {
                path,
                password_file: None,
            } => Signer::create(path, ALGORITHM)?,
            Self::New {
                path,
                password_file: Some(password),
            } => {
                let password = signer::read_secret(password)?;
                Signer::create_encrypted(path, ALGORITHM, password.as_bytes())?
            }
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::There { key } => write!(formatter, "{key}"),
            Self::New {
                path,
                password_file: None,
            } => write!(formatter, "{}", path.display()),
            Self::New { path, .. } => write!(formatter, "{}, under a password", path.display()),
        }
    }
}

fn key_ref(key: &str, secret_file: Option<&Path>) -> anyhow::Result<KeyRef> {
    // Seen from where the command runs.
    KeyRef::parse(key, secret_file, Path::new("")).with_context(|| format!("the key {key:?}"))
}

async fn open(key: &str, secret_file: Option<&Path>) -> anyhow::Result<Signer> {
    Ok(Signer::open(&key_ref(key, secret_file)?).await?)
}

fn after(from: Timestamp, years: u8) -> anyhow::Result<Timestamp> {
    let then = from
        .to_zoned(TimeZone::UTC)
        .checked_add(Span::new().years(years));
    Ok(then?.timestamp())
}

fn describe(certificate: &Certificate) -> String {
    format!(
        "{} ({} to {}, serial {})",
        certificate.subject_text(),
        certificate.not_before(),
        certificate.not_after(),
        hex::encode(certificate.serial())
    )
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!(
            "{} is there: nothing is overwritten; take it away, or choose another place",
            path.display()
        );
    }
    Ok(())
}

/// A public file, on disk when this returns.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.with_context(|| format!("cannot write {}", path.display()))
}
