//! Files: sign-blob, verify-blob, attest-blob, verify-blob-attestation, and the commands of the conformance suite.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content, Signer};
use dsse::Statement;
use jiff::Timestamp;
use keys::{Digest, HashAlgorithm, PublicKey};
use policy::{Asked, Decision};
use trust::TrustedRoot;
use verify::{Artifact, Expect, Verified, VerifyError};

use super::Prepared;
use super::batch::{Batch, Done};
use crate::args::{
    AttestBlob, Output, SignBlob, SignBundle, VerifyBlob, VerifyBlobAttestation, VerifyBundle,
};
use crate::artifact::Source;
use crate::bundle_file::{self, BundleFile};
use crate::explained::{self, Explained};
use crate::failure::{Outcome, Refused, Told, advice, advice_of, say, usage};
use crate::judge::{self, Judge};
use crate::report::{self, Report};
use crate::{predicate, trust_files};

/// The largest predicate, or statement: the parser of bundles takes no larger document, and a payload stands in it as base64.
const STATEMENT_MAX: u64 = 10 << 20;
/// The most bundles about one file.
const BUNDLES_MAX: usize = 256;

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
    let secrets = bundle_file::secrets(Some(&arguments.key), &arguments.identity);
    let files = arguments.files.iter().map(PathBuf::as_path);
    let inputs: Vec<&Path> = files.chain(secrets).collect();
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
    let secrets = bundle_file::secrets(Some(&arguments.key), &arguments.identity);
    let file = BundleFile::prepare(&arguments.bundle, inputs.chain(secrets))?;
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
    let judge = Judge::new(&arguments.expected, &arguments.judging, &arguments.trust).await?;
    let bundles = open_all(&judge, &arguments.bundle)?;
    if let [(path, bundle)] = bundles.as_slice()
        && let Content::Envelope(_) = bundle.content
    {
        return Err(advice_of(
            Outcome::NoMatch,
            Some("wrong-kind"),
            format!(
                "{} signs a statement about a file, not the file",
                path.display()
            ),
            "verify it with verify-blob-attestation",
        ));
    }
    let source = Source::parse(&arguments.file)?;
    let output = arguments.output.unwrap_or(Output::Text);
    judge_all(&judge, &bundles, &source, Asked::Signature, output)
}

pub(super) async fn verify_attestation(arguments: &VerifyBlobAttestation) -> Result<()> {
    let judge = Judge::new(&arguments.expected, &arguments.judging, &arguments.trust).await?;
    let wanted = arguments
        .predicate_type
        .as_deref()
        .map(predicate::type_of)
        .transpose()?;
    let bundles = open_all(&judge, &arguments.bundle)?;
    if let [(path, bundle)] = bundles.as_slice()
        && let Content::Message { .. } = bundle.content
    {
        return Err(advice_of(
            Outcome::NoMatch,
            Some("wrong-kind"),
            format!(
                "{} signs the file itself, not a statement about it",
                path.display()
            ),
            "verify it with verify-blob",
        ));
    }
    let source = match (&arguments.file, &arguments.digest, &arguments.digest_alg) {
        (Some(file), _, _) => Source::parse(file)?,
        (None, Some(digits), Some(algorithm)) => {
            let text = format!("{algorithm}:{}", digits.to_ascii_lowercase());
            let digest = Digest::parse(&text).map_err(|error| {
                usage(
                    format!("--digest {digits} --digestAlg {algorithm}: {error}"),
                    "the algorithm is sha256, sha384 or sha512, and the digest hexadecimal",
                )
            })?;
            Source::Digest(digest)
        }
        _ => return Err(usage("no file", "name one, or --digest and --digestAlg")),
    };
    let asked = wanted.map_or(Asked::AnyAttestation, Asked::Attestation);
    let output = arguments.output.unwrap_or(Output::Text);
    judge_all(&judge, &bundles, &source, asked, output)
}

pub(super) async fn verify_bundle(mut arguments: VerifyBundle) -> Result<()> {
    if arguments.staging {
        arguments.trust.default_to_staging();
    }
    let judge = Judge::plain(&arguments.expected, &arguments.trust).await?;
    let bundles = open_all(&judge, std::slice::from_ref(&arguments.bundle))?;
    let source = Source::parse(&arguments.file)?;
    judge_all(&judge, &bundles, &source, Asked::Any, Output::Text)
}

pub(super) async fn sign_bundle(mut arguments: SignBundle) -> Result<()> {
    if arguments.staging {
        arguments.trust.default_to_staging();
    }
    let trusted = trust_files::for_signing(&arguments.trust, &arguments.services).await?;
    let prepared = Prepared::with_identity(trusted);
    let source = Source::of_path(&arguments.file);
    let inputs = std::iter::once(arguments.file.as_path())
        .chain(bundle_file::secrets(None, &arguments.identity));
    let file = BundleFile::prepare(&arguments.bundle, inputs)?;
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

fn open_all(judge: &Judge, paths: &[PathBuf]) -> Result<Vec<(PathBuf, Bundle)>> {
    if paths.len() > 1 && !judge.has_policy() {
        return Err(usage(
            "several bundles without a policy: which of them must hold?",
            "verify them one by one, or say with --policy what is enough",
        ));
    }
    if paths.len() > BUNDLES_MAX {
        return Err(usage(
            format!("{} bundles, at most {BUNDLES_MAX}", paths.len()),
            "pass those that the policy is about",
        ));
    }
    paths
        .iter()
        .map(|path| Ok((path.clone(), open(path)?)))
        .collect()
}

fn open(path: &Path) -> Result<Bundle> {
    if path.as_os_str() == "-" && !path.exists() {
        return Err(usage(
            "--bundle - is for signing: a bundle to verify is read from a file",
            "write it to a file first, or name /dev/stdin",
        ));
    }
    let bytes = trust_files::read(path)?;
    Bundle::parse(&bytes).with_context(|| format!("the bundle {}", path.display()))
}

/// Verifies each bundle, and lets the policy say whether they are enough; without one there is a single bundle.
fn judge_all(
    judge: &Judge,
    bundles: &[(PathBuf, Bundle)],
    source: &Source,
    asked: Asked<'_>,
    output: Output,
) -> Result<()> {
    let name = source.name();
    let mut wanted: Vec<HashAlgorithm> = bundles
        .iter()
        .flat_map(|(_, bundle)| algorithms(bundle, judge.expects()))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let artifact = source.digests(&wanted)?;
    let mut held = Vec::new();
    let mut refused = Vec::new();
    let mut explained = Vec::new();
    for (path, bundle) in bundles {
        let (outcome, story) = check(judge, path, bundle, source, &artifact)?;
        explained.extend(story);
        match outcome {
            Ok(verified) => held.push(verified),
            Err(why) => refused.push(Refused {
                what: if bundles.len() > 1 {
                    format!("{name} (bundle {})", path.display())
                } else {
                    name.clone()
                },
                candidate: path.display().to_string(),
                why,
            }),
        }
    }
    let decided = decide(judge, &name, asked, &held, &mut refused, &mut explained);
    explained::tell(&explained);
    let decision = match decided {
        Ok(decision) => decision,
        Err(error) => return Err(Told::with(error, explained)),
    };
    judge::retain_counted(&mut held, decision.as_ref());
    let mut reports = held.iter().map(Report::of);
    let Some(first) = reports.next() else {
        anyhow::bail!("nothing was verified");
    };
    let report = first
        .about(&name)
        .judged(decision.as_ref())
        .explained(explained)
        .together_with(reports.collect());
    match output {
        Output::Json => report::print_json(&report),
        Output::Text => {
            say(&format!("Verified OK\n{}", report.text()));
            for further in held.iter().skip(1) {
                say(&Report::of(further).text());
            }
            Ok(())
        }
    }
}

fn decide(
    judge: &Judge,
    name: &str,
    asked: Asked<'_>,
    held: &[Verified],
    refused: &mut Vec<Refused>,
    explained: &mut [Explained],
) -> Result<Option<Decision>> {
    if held.is_empty() {
        let Some(furthest) = judge::furthest(refused, explained) else {
            anyhow::bail!("no bundle");
        };
        for other in refused {
            say(&format!("  {other}"));
        }
        return Err(furthest.into());
    }
    for other in refused {
        say(&format!("warning: {other}"));
    }
    if let (Asked::Attestation(wanted), false, [single]) = (asked, judge.has_policy(), held) {
        let found = single
            .statement()
            .map_or("none", |statement| statement.predicate_type.as_str());
        if found != wanted {
            return Err(advice_of(
                Outcome::NoMatch,
                Some("wrong-predicate-type"),
                format!("the signed statement is of type {found}, expected {wanted}"),
                "pass the type that you expect with --type",
            ));
        }
    }
    judge.decide(name, asked, &held.iter().collect::<Vec<_>>())
}

/// Verifies one. Signatures over the bytes themselves take a second reading, into memory.
fn check(
    judge: &Judge,
    path: &Path,
    bundle: &Bundle,
    source: &Source,
    artifact: &Artifact,
) -> Result<(Result<Verified, VerifyError>, Option<Explained>)> {
    let name = path.display().to_string();
    Ok(match judge.check(&name, bundle, artifact) {
        (Err(VerifyError::NeedsArtifact { needed, given }), story) => match source.bytes()? {
            Some(whole) => judge.check(&name, bundle, &whole),
            None => (Err(VerifyError::NeedsArtifact { needed, given }), story),
        },
        outcome => outcome,
    })
}

/// The digests that this bundle will ask for; a guess, since nothing of it is verified yet, and a wrong one costs a second reading.
fn algorithms(bundle: &Bundle, expects: &[Expect]) -> Vec<HashAlgorithm> {
    let mut algorithms: Vec<HashAlgorithm> = match &bundle.content {
        Content::Envelope(envelope) => Statement::parse(&envelope.payload)
            .map(|statement| statement.algorithms().collect())
            .unwrap_or_default(),
        Content::Message { digest, .. } => {
            let keys: Vec<&PublicKey> = match &bundle.signer {
                Signer::Certificate { leaf, .. } => vec![leaf.public_key()],
                Signer::Key { .. } => expects
                    .iter()
                    .filter_map(|expect| match expect {
                        Expect::Key(key) | Expect::UnloggedKey(key) => Some(key),
                        _ => None,
                    })
                    .collect(),
            };
            let own = keys
                .into_iter()
                .filter_map(|key| key.default_algorithm().hash());
            own.chain(digest.map(|digest| digest.algorithm())).collect()
        }
    };
    algorithms.push(HashAlgorithm::Sha256);
    algorithms.sort_unstable();
    algorithms.dedup();
    algorithms
}
