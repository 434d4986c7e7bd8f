//! Files, signed: sign-blob, attest-blob, and the signing command of the conformance suite.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use sign::{Session, SignedBundle};
use trust::TrustedRoot;
use verify::{Artifact, Expect};

use super::already::{self, There};
use super::batch::{Batch, Done, Turn};
use super::{Prepared, Ready};
use crate::args::{AttestBlob, Identity, SignBlob, SignBundle};
use crate::artifact::Source;
use crate::bundle_file::{self, BundleFile, Unplaced};
use crate::failure::{advice, say, usage};
use crate::patience::Patience;
use crate::report::Report;
use crate::{predicate, trust_files};

/// The largest predicate, or statement: the parser of bundles takes no larger document, and a payload stands in it as base64.
const STATEMENT_MAX: u64 = 10 << 20;

/// A file to sign, and where its bundle goes.
struct Item {
    source: Source,
    bundle: PathBuf,
    /// Where it was read already.
    digest: Option<Digest>,
    /// What is there already, where somebody looked.
    there: Option<Bundle>,
}

impl Item {
    const fn new(source: Source, bundle: PathBuf) -> Self {
        Self {
            source,
            bundle,
            digest: None,
            there: None,
        }
    }

    /// What there is, to this signer; nothing if nobody looked, or nothing was there.
    fn judged(&self, root: &TrustedRoot, own: Option<&Expect>) -> Option<There> {
        let (there, digest) = (self.there.as_ref()?, self.digest?);
        Some(already::judge(
            there,
            &Artifact::from_digest(digest),
            root,
            own,
        ))
    }

    fn is_others(&self, who: &str) -> anyhow::Error {
        advice(
            format!(
                "{} is a bundle by {who}: it is not replaced",
                self.bundle.display()
            ),
            "put the bundles elsewhere (--bundle, --bundle-folder), or leave out --if-missing: what is there is replaced then",
        )
    }
}

/// What is to be signed, when everything that can be wrong without a signature is not.
struct Signing {
    session: Session,
    items: Vec<Item>,
    /// So many are left out.
    before: usize,
    /// Where the bundle of a single file goes.
    file: Option<BundleFile>,
}

pub(super) async fn sign(arguments: SignBlob, patience: &Patience) -> Result<()> {
    // What cannot be written is known before anybody is asked to sign.
    let secrets = bundle_file::secrets(Some(&arguments.key), &arguments.identity);
    let files = arguments.files.iter().map(PathBuf::as_path);
    let inputs: Vec<&Path> = files.chain(secrets).collect();
    let Some(signing) = patience
        .limit(Box::pin(prepare(&arguments, &inputs)))
        .await?
    else {
        return Ok(());
    };
    let Signing {
        session,
        items,
        before,
        file,
    } = signing;
    let file = Cell::new(file);
    let workers = usize::from(arguments.batching.max_workers);
    let batch = Batch::new(items.len(), workers, patience).beside(before);
    let named = items.into_iter().map(|item| (item.source.name(), item));
    let sign_one = async |turn: Turn<'_>, item: Item| -> Result<Done> {
        let name = item.source.name();
        let digest = match item.digest {
            Some(digest) => digest,
            None => turn.before(digest(item.source, session.hash())).await?,
        };
        // Just before it is needed: a thousand of them would be too many open files.
        let file = match file.take() {
            Some(file) => file,
            None => BundleFile::prepare(&item.bundle, inputs.iter().copied())?,
        };
        turn.begin()?;
        let signed = session
            .sign_digest(digest, Timestamp::now())
            .await
            .with_context(|| format!("signing {name}"))?;
        let wrote = place(&signed, &name, file)?;
        turn.say(&format!(
            "signed {name}\n{}{wrote}",
            Report::of(signed.verified()).text()
        ));
        Ok(Done::Signed)
    };
    batch.run(named.collect(), sign_one).await
}

/// Writes a bundle into its file; what there is to say of it, on a line of its own.
fn place(signed: &SignedBundle, name: &str, file: BundleFile) -> Result<String> {
    let unplaced = Unplaced::new(signed.json(), name, "put it where it was to go");
    let wrote = file.write_quietly(signed.json())?;
    unplaced.placed();
    Ok(wrote)
}

/// None if there is nothing to sign.
async fn prepare(arguments: &SignBlob, inputs: &[&Path]) -> Result<Option<Signing>> {
    let mut items = items(arguments)?;
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    let hash = prepared.hash()?;
    for item in &items {
        BundleFile::check(&item.bundle, inputs)?;
    }
    let mut before = 0;
    let ready = if arguments.batching.if_missing {
        let workers = usize::from(arguments.batching.max_workers);
        items = look(items, hash, workers).await?;
        let ready = missing(&prepared, &arguments.identity, &mut items, &mut before).await?;
        let Some(ready) = ready else {
            if before > 1 {
                say(&format!("0 signed, {before} were before"));
            }
            return Ok(None);
        };
        ready
    } else {
        if let [item] = items.as_mut_slice() {
            item.digest = Some(digest(item.source.clone(), hash).await?);
        }
        prepared.ready(&arguments.identity).await?
    };
    let file = match items.as_slice() {
        [item] => Some(BundleFile::prepare(&item.bundle, inputs.iter().copied())?),
        _ => None,
    };
    let session = ready.session(&[]).await?;
    // Only the certificate says for sure what its holder is called.
    let own = session.own().await;
    leave_out(&mut items, &mut before, session.root(), own.as_ref(), true)?;
    Ok(Some(Signing {
        session,
        items,
        before,
        file,
    }))
}

/// Reads the files, and what is where their bundles go.
async fn look(items: Vec<Item>, hash: HashAlgorithm, workers: usize) -> Result<Vec<Item>> {
    stream::iter(items)
        .map(|mut item| async move {
            item.there = there(&item.bundle)?;
            item.digest = Some(digest(item.source.clone(), hash).await?);
            Ok(item)
        })
        .buffered(workers)
        .try_collect()
        .await
}

/// The bundle at a path. What is there and is no signature of a file stays there.
fn there(path: &Path) -> Result<Option<Bundle>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = trust_files::read(path)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let stays = |why: String| {
        advice(
            format!("{} is there, and {why}: it is not replaced", path.display()),
            "move it away, or leave out --if-missing: what is there is replaced then",
        )
    };
    let bundle = Bundle::parse(&bytes).map_err(|error| stays(format!("is no bundle ({error})")))?;
    match bundle.content {
        Content::Message { .. } => Ok(Some(bundle)),
        Content::Envelope(_) => Err(stays("signs a statement and no file".to_owned())),
    }
}

/// Leaves out what is signed already, as far as that can be known without a certificate; who signs the rest, if there is a rest.
async fn missing(
    prepared: &Prepared,
    identity: &Identity,
    items: &mut Vec<Item>,
    before: &mut usize,
) -> Result<Option<Ready>> {
    let ready = if let Some(ready) = prepared.at_hand(identity).await? {
        ready
    } else {
        // Nobody is asked to sign in to be told that there is nothing to sign. Whether they are this signer can only be said by themselves; where somebody
        // else's bundle is, theirs would not go anyway.
        let bundles = items.iter().map(|item| {
            let artifact = Artifact::from_digest(item.digest?);
            Some((item.there.as_ref()?, artifact))
        });
        let bundles: Option<Vec<_>> = bundles.collect();
        let root = prepared.trusted.as_ref().map(|(root, _)| root);
        if let (Some(bundles), Some(root)) = (bundles, root)
            && let Some(who) = already::one_signer(bundles, root)
        {
            for item in items.drain(..) {
                say(&format!(
                    "{} is signed already, by {who}",
                    item.source.name()
                ));
                *before = before.saturating_add(1);
            }
            return Ok(None);
        }
        prepared.sign_in(identity).await?
    };
    let own = ready.own();
    leave_out(items, before, &ready.root, own.as_ref(), ready.is_certain())?;
    Ok(Some(ready).filter(|_| !items.is_empty()))
}

/// Leaves out what this signer signed already. Somebody else's bundle is an error, if it is `certain` that it is one.
fn leave_out(
    items: &mut Vec<Item>,
    before: &mut usize,
    root: &TrustedRoot,
    own: Option<&Expect>,
    certain: bool,
) -> Result<()> {
    let mut rest = Vec::new();
    for item in items.drain(..) {
        match item.judged(root, own) {
            Some(There::Signed) => {
                say(&format!("{} is signed already", item.source.name()));
                *before = before.saturating_add(1);
            }
            Some(There::Others(who)) if certain => return Err(item.is_others(&who)),
            Some(There::Outdated | There::Others(_)) | None => rest.push(item),
        }
    }
    *items = rest;
    Ok(())
}

/// The files, each with a place of its own for its bundle.
fn items(arguments: &SignBlob) -> Result<Vec<Item>> {
    for file in &arguments.files {
        Source::of_path(file).check()?;
    }
    if let Some(bundle) = &arguments.bundle {
        let [file] = arguments.files.as_slice() else {
            return Err(usage(
                format!(
                    "--bundle names one file, and {} files are signed",
                    arguments.files.len()
                ),
                "leave --bundle out: each bundle is then beside its file; --bundle-folder and --bundle-suffix say where else",
            ));
        };
        return Ok(vec![Item::new(Source::of_path(file), bundle.clone())]);
    }
    let mut places = BTreeMap::new();
    let mut items = Vec::new();
    for file in &arguments.files {
        let source = Source::of_path(file);
        let name = file.file_name().filter(|_| source != Source::Standard);
        let name = name.ok_or_else(|| {
            advice(
                format!("{} has no name that a bundle could have", source.name()),
                "say where its bundle goes with --bundle",
            )
        })?;
        let mut name = name.to_owned();
        name.push(&arguments.bundle_suffix);
        let bundle = match &arguments.bundle_folder {
            Some(folder) => folder.join(name),
            None => file.with_file_name(name),
        };
        if let Some(other) = places.insert(bundle.clone(), file) {
            return Err(advice(
                format!(
                    "the bundles of {} and of {} would both be {}",
                    other.display(),
                    file.display(),
                    bundle.display()
                ),
                "sign them in two runs, with another --bundle-folder each",
            ));
        }
        items.push(Item::new(source, bundle));
    }
    Ok(items)
}

/// Reads a file on a thread of its own, so that others are signed meanwhile, and whoever waits for it may give up.
async fn digest(source: Source, hash: HashAlgorithm) -> Result<Digest> {
    tokio::task::spawn_blocking(move || source.digest(hash)).await?
}

/// What one command signs.
enum What {
    Digest(Digest),
    Statement(Vec<u8>),
}

/// Signs a single thing.
async fn sign_alone(
    session: &Session,
    patience: &Patience,
    name: String,
    what: What,
    file: BundleFile,
    said: Option<&str>,
) -> Result<()> {
    let one = async |turn: Turn<'_>, (what, file): (What, BundleFile)| -> Result<Done> {
        turn.begin()?;
        let now = Timestamp::now();
        let signed = match what {
            What::Digest(digest) => session.sign_digest(digest, now).await?,
            What::Statement(statement) => session.sign_statement(statement, now).await?,
        };
        if let Some(said) = said {
            turn.say(&format!("{said}\n{}", Report::of(signed.verified()).text()));
        }
        let wrote = place(&signed, &name, file)?;
        if !wrote.is_empty() {
            turn.say(wrote.trim_start());
        }
        Ok(Done::Signed)
    };
    let items = vec![(name.clone(), (what, file))];
    Batch::new(1, 1, patience).run(items, one).await
}

pub(super) async fn attest(arguments: AttestBlob, patience: &Patience) -> Result<()> {
    let begun = async {
        let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
        let inputs = [&arguments.file, &arguments.predicate, &arguments.statement];
        let inputs = inputs.into_iter().flatten().map(PathBuf::as_path);
        let secrets = bundle_file::secrets(Some(&arguments.key), &arguments.identity);
        let file = BundleFile::prepare(&arguments.bundle, inputs.chain(secrets))?;
        let statement = statement(&arguments).await?;
        let ready = prepared.ready(&arguments.identity).await?;
        Ok((ready.session(&[]).await?, statement, file))
    };
    let (session, statement, file) = patience.limit(Box::pin(begun)).await?;
    let name = "the statement".to_owned();
    let what = What::Statement(statement);
    sign_alone(&session, patience, name, what, file, Some("attested")).await
}

async fn statement(arguments: &AttestBlob) -> Result<Vec<u8>> {
    if let Some(path) = &arguments.statement {
        return trust_files::read_at_most(path, STATEMENT_MAX);
    }
    predicate::type_of(&arguments.predicate_type)?;
    let path = arguments.predicate.as_deref().context("no predicate")?;
    let predicate = trust_files::read_at_most(path, STATEMENT_MAX)?;
    let (name, digest) = match (&arguments.file, &arguments.hash) {
        (Some(file), _) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let digest = digest(Source::of_path(file), HashAlgorithm::Sha256).await?;
            (name.into_owned(), digest)
        }
        (None, Some(hash)) => {
            let text = hash.trim_start_matches("sha256:").to_ascii_lowercase();
            let digest = Digest::parse(&format!("sha256:{text}"))
                .with_context(|| format!("--hash {hash}"))?;
            (String::new(), digest)
        }
        (None, None) => anyhow::bail!("no file"),
    };
    predicate::attestation(
        &name,
        &digest,
        &arguments.predicate_type,
        &predicate,
        arguments.statement_version,
        Timestamp::now(),
    )
}

pub(super) async fn sign_bundle(mut arguments: SignBundle, patience: &Patience) -> Result<()> {
    if arguments.staging {
        arguments.trust.default_to_staging();
    }
    let begun = async {
        let trusted = trust_files::for_signing(&arguments.trust, &arguments.services).await?;
        let prepared = Prepared::with_identity(trusted, &arguments.services)?;
        let inputs = std::iter::once(arguments.file.as_path())
            .chain(bundle_file::secrets(None, &arguments.identity));
        let file = BundleFile::prepare(&arguments.bundle, inputs)?;
        let what = if arguments.in_toto {
            What::Statement(trust_files::read_at_most(&arguments.file, STATEMENT_MAX)?)
        } else {
            What::Digest(digest(Source::of_path(&arguments.file), prepared.hash()?).await?)
        };
        let ready = prepared.ready(&arguments.identity).await?;
        Ok((ready.session(&[]).await?, what, file))
    };
    let (session, what, file) = patience.limit(Box::pin(begun)).await?;
    let name = arguments.file.display().to_string();
    sign_alone(&session, patience, name, what, file, None).await
}
