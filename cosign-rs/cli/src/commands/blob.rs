//! Files: verify-blob, verify-blob-attestation, and the verifying command of the conformance suite.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::{Bundle, Content, Signer};
use dsse::Statement;
use keys::{Digest, HashAlgorithm, PublicKey};
use policy::{Asked, Decision};
use verify::{Artifact, Expect, Verified, VerifyError};

use crate::args::{Output, VerifyBlob, VerifyBlobAttestation, VerifyBundle};
use crate::artifact::Source;
use crate::explained::{self, Explained};
use crate::failure::{Outcome, Refused, Told, advice_of, say, usage};
use crate::judge::{self, Judge};
use crate::report::{self, Report};
use crate::{predicate, trust_files};

/// The most bundles about one file.
const BUNDLES_MAX: usize = 256;

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
            Err(why) => {
                let what = if bundles.len() > 1 {
                    format!("{name} (bundle {})", path.display())
                } else {
                    name.clone()
                };
                refused.push(judge.refused(what, path.display().to_string(), why));
            }
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
