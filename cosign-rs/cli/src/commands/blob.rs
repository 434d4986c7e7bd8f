//! Files: sign-blob, verify-blob, attest-blob, verify-blob-attestation, and the commands of the conformance suite.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content, Signer};
use dsse::Statement;
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm};
use trust::TrustedRoot;
use verify::{Artifact, Expect, Verified, VerifyError};

use super::Prepared;
use super::batch::{Batch, Done};
use crate::args::{
    AttestBlob, Output, SignBlob, SignBundle, VerifyBlob, VerifyBlobAttestation, VerifyBundle,
};
use crate::artifact::Source;
use crate::bundle_file::BundleFile;
use crate::failure::{Refused, advice, say};
use crate::report::{self, Report};
use crate::{expectation, predicate, trust_files};

/// The largest predicate, or statement: the parser of bundles takes no larger document, and a payload stands in it as base64.
const STATEMENT_MAX: u64 = 10 << 20;

/// A file to sign, and where its bundle goes.
struct Item {
    source: Source,
    bundle: PathBuf,
}

pub(super) async fn sign(arguments: SignBlob) -> Result<()> {
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    let hash = prepared.hash()?;
    let items = items(&arguments)?;
    // What cannot be written is known before anybody is asked to sign.
    let inputs: Vec<&Path> = arguments.files.iter().map(PathBuf::as_path).collect();
    for item in &items {
        BundleFile::check(&item.bundle, &inputs)?;
    }
    let (mut digests, mut ready) = (None, None);
    if let [item] = items.as_slice() {
        digests = Some(item.source.digest(hash)?);
        ready = Some(BundleFile::prepare(&item.bundle, inputs.iter().copied())?);
    }
    let (digests, ready) = (Cell::new(digests), Cell::new(ready));
    let session = prepared.session(&arguments.identity, &[]).await?;
    let own = session.own().await;
    let batch = Batch::new(items.len(), usize::from(arguments.batching.max_workers));
    let sign_one = async |item: Item| -> Result<Done> {
        let digest = match digests.take() {
            Some(digest) => digest,
            None => digest(item.source.clone(), hash).await?,
        };
        if arguments.batching.if_missing
            && holds(&item.bundle, &digest, session.root(), own.as_ref())
        {
            batch.say(&format!("{} is signed already", item.source.name()));
            return Ok(Done::Already);
        }
        // Just before it is needed: a thousand of them would be too many open files.
        let file = match ready.take() {
            Some(file) => file,
            None => BundleFile::prepare(&item.bundle, inputs.iter().copied())?,
        };
        let signed = session
            .sign_digest(digest, Timestamp::now())
            .await
            .with_context(|| format!("signing {}", item.source.name()))?;
        let wrote = file.write_quietly(signed.json())?;
        batch.say(&format!(
            "signed {}\n{}{wrote}",
            item.source.name(),
            Report::of(signed.verified()).text()
        ));
        Ok(Done::Signed)
    };
    batch.run(items, sign_one).await
}

/// The files, each with a place of its own for its bundle.
fn items(arguments: &SignBlob) -> Result<Vec<Item>> {
    if let Some(bundle) = &arguments.bundle {
        let [file] = arguments.files.as_slice() else {
            return Err(advice(
                format!(
                    "--bundle names one file, and {} files are signed",
                    arguments.files.len()
                ),
                "leave --bundle out: each bundle is then beside its file; --bundle-folder and --bundle-suffix say where else",
            ));
        };
        return Ok(vec![Item {
            source: Source::of_path(file),
            bundle: bundle.clone(),
        }]);
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
        items.push(Item { source, bundle });
    }
    Ok(items)
}

/// Reads a file on a thread of its own, so that others are signed meanwhile.
async fn digest(source: Source, hash: HashAlgorithm) -> Result<Digest> {
    tokio::task::spawn_blocking(move || source.digest(hash)).await?
}

/// Is there a bundle already, by the same signer and about the same file?
fn holds(path: &Path, digest: &Digest, root: &TrustedRoot, own: Option<&Expect>) -> bool {
    let Some(own) = own.filter(|_| path.is_file()) else {
        return false;
    };
    let artifact = Artifact::from_digest(*digest);
    trust_files::read(path)
        .ok()
        .and_then(|bytes| Bundle::parse(&bytes).ok())
        .filter(|bundle| matches!(bundle.content, Content::Message { .. }))
        .is_some_and(|bundle| verify::bundle(&bundle, &artifact, root, own).is_ok())
}

pub(super) async fn attest(arguments: AttestBlob) -> Result<()> {
    let prepared = Prepared::new(&arguments.key, &arguments.trust, &arguments.services).await?;
    let inputs = [&arguments.file, &arguments.predicate, &arguments.statement];
    let inputs = inputs.into_iter().flatten().map(PathBuf::as_path);
    let file = BundleFile::prepare(&arguments.bundle, inputs)?;
    let statement = statement(&arguments)?;
    let session = prepared.session(&arguments.identity, &[]).await?;
    let signed = session.sign_statement(statement, Timestamp::now()).await?;
    say(&format!(
        "attested\n{}",
        Report::of(signed.verified()).text()
    ));
    file.write(signed.json())
}

fn statement(arguments: &AttestBlob) -> Result<Vec<u8>> {
    if let Some(path) = &arguments.statement {
        return trust_files::read_at_most(path, STATEMENT_MAX);
    }
    predicate::type_of(&arguments.predicate_type)?;
    let path = arguments.predicate.as_deref().context("no predicate")?;
    let predicate = trust_files::read_at_most(path, STATEMENT_MAX)?;
    let (name, digest) = match (&arguments.file, &arguments.hash) {
        (Some(file), _) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            (
                name.into_owned(),
                Source::of_path(file).digest(HashAlgorithm::Sha256)?,
            )
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

pub(super) async fn verify(arguments: &VerifyBlob) -> Result<()> {
    let expect = expectation::of(&arguments.expected).await?;
    let root = trust_files::for_verifying(&expect, &arguments.trust).await?;
    let (bundle, source) = open(&arguments.bundle, &arguments.file)?;
    if let Content::Envelope(_) = bundle.content {
        return Err(advice(
            format!(
                "{} signs a statement about a file, not the file",
                arguments.bundle.display()
            ),
            "verify it with verify-blob-attestation",
        ));
    }
    let verified = check(&bundle, &source, &root, &expect)?;
    tell(&verified, arguments.output.unwrap_or(Output::Text))
}

pub(super) async fn verify_attestation(arguments: &VerifyBlobAttestation) -> Result<()> {
    let expect = expectation::of(&arguments.expected).await?;
    let root = trust_files::for_verifying(&expect, &arguments.trust).await?;
    let wanted = arguments
        .predicate_type
        .as_deref()
        .map(predicate::type_of)
        .transpose()?;
    let (bundle, source) = open(&arguments.bundle, &arguments.file)?;
    let verified = check(&bundle, &source, &root, &expect)?;
    let Some(statement) = verified.statement() else {
        return Err(advice(
            format!(
                "{} signs the file itself, not a statement about it",
                arguments.bundle.display()
            ),
            "verify it with verify-blob",
        ));
    };
    if let Some(wanted) = wanted
        && statement.predicate_type != wanted
    {
        return Err(advice(
            format!(
                "the signed statement is of type {}, expected {wanted}",
                statement.predicate_type
            ),
            "pass the type that you expect with --type",
        ));
    }
    tell(&verified, arguments.output.unwrap_or(Output::Text))
}

pub(super) async fn verify_bundle(mut arguments: VerifyBundle) -> Result<()> {
    if arguments.staging {
        arguments.trust.default_to_staging();
    }
    let expect = expectation::of(&arguments.expected).await?;
    let root = trust_files::for_verifying(&expect, &arguments.trust).await?;
    let (bundle, source) = open(&arguments.bundle, &arguments.file)?;
    let verified = check(&bundle, &source, &root, &expect)?;
    tell(&verified, Output::Text)
}

pub(super) async fn sign_bundle(mut arguments: SignBundle) -> Result<()> {
    if arguments.staging {
        arguments.trust.default_to_staging();
    }
    let trusted = trust_files::for_signing(&arguments.trust, &arguments.services).await?;
    let prepared = Prepared::with_identity(trusted);
    let source = Source::of_path(&arguments.file);
    let file = BundleFile::prepare(&arguments.bundle, [arguments.file.as_path()])?;
    let statement = arguments
        .in_toto
        .then(|| trust_files::read_at_most(&arguments.file, STATEMENT_MAX))
        .transpose()?;
    let digest = source.digest(prepared.hash()?)?;
    let session = prepared.session(&arguments.identity, &[]).await?;
    let now = Timestamp::now();
    let signed = match statement {
        Some(statement) => session.sign_statement(statement, now).await?,
        None => session.sign_digest(digest, now).await?,
    };
    file.write(signed.json())
}

fn open(bundle: &Path, file: &str) -> Result<(Bundle, Source)> {
    if bundle.as_os_str() == "-" && !bundle.exists() {
        return Err(advice(
            "--bundle - is for signing: a bundle to verify is read from a file",
            "write it to a file first, or name /dev/stdin",
        ));
    }
    let bytes = trust_files::read(bundle)?;
    let parsed =
        Bundle::parse(&bytes).with_context(|| format!("the bundle {}", bundle.display()))?;
    Ok((parsed, Source::parse(file)?))
}

/// Hashes what the bundle needs and verifies. Signatures over the bytes themselves take a second reading, into memory.
fn check(
    bundle: &Bundle,
    source: &Source,
    root: &TrustedRoot,
    expect: &Expect,
) -> Result<Verified> {
    let artifact = source.digests(&algorithms(bundle, expect))?;
    let against = |artifact: &Artifact| verify::bundle(bundle, artifact, root, expect);
    let outcome = match against(&artifact) {
        Err(VerifyError::NeedsArtifact { .. }) => match source.bytes()? {
            Some(artifact) => against(&artifact),
            None => against(&artifact),
        },
        outcome => outcome,
    };
    outcome.map_err(|why| {
        Refused {
            what: source.name(),
            why,
        }
        .into()
    })
}

/// The digests that this bundle will ask for; a guess, since nothing of it is verified yet, and a wrong one costs a second reading.
fn algorithms(bundle: &Bundle, expect: &Expect) -> Vec<HashAlgorithm> {
    let mut algorithms: Vec<HashAlgorithm> = match &bundle.content {
        Content::Envelope(envelope) => Statement::parse(&envelope.payload)
            .map(|statement| statement.algorithms().collect())
            .unwrap_or_default(),
        Content::Message { digest, .. } => {
            let key = match (&bundle.signer, expect) {
                (Signer::Certificate { leaf, .. }, _) => Some(leaf.public_key()),
                (Signer::Key { .. }, Expect::Key(key) | Expect::UnloggedKey(key)) => Some(key),
                (Signer::Key { .. }, _) => None,
            };
            let own = key.and_then(|key| key.default_algorithm().hash());
            own.into_iter()
                .chain(digest.map(|digest| digest.algorithm()))
                .collect()
        }
    };
    algorithms.push(HashAlgorithm::Sha256);
    algorithms.sort_unstable();
    algorithms.dedup();
    algorithms
}

fn tell(verified: &Verified, output: Output) -> Result<()> {
    let report = Report::of(verified);
    match output {
        Output::Json => report::print_json(&report),
        Output::Text => {
            say(&format!("Verified OK\n{}", report.text()));
            Ok(())
        }
    }
}
