//! One question a line, one answer a line: `verify --stdin` and `verify-server`.
//!
//! ```text
//! question  registry/app:tag
//!           {"image": "registry/app@sha256:...", "id": "7"}
//!           {"file": "release.tar", "bundle": "release.tar.sigstore.json"}
//!           {"image": "registry/app:tag", "type": "spdx"}      an attestation of that type, and not a signature
//! answer    {"request": ..., "id": "7", "decision": "accepted", "exitCode": 0, "results": [...]}
//!           {"request": ..., "decision": "refused", "exitCode": 12, "outcome": ..., "error": [...], ...}
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bundle::Bundle;
use oci::Reference;
use policy::Asked;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use verify::VerifyError;

use super::image;
use super::targets::Plan;
use crate::args;
use crate::artifact::Source;
use crate::failure::{Failure, Outcome, Told, advice_of, usage};
use crate::judge::Judge;
use crate::report::Report;
use crate::tag_trust::{self, TagHeld, Tags};
use crate::{explained, predicate, trust_files};

/// The longest question.
pub(super) const LINE_MAX: usize = 64 << 10;

/// Answers questions; all of them with one trusted root, one policy, and one set of connections.
pub(super) struct Answers {
    judge: Judge,
    /// Asked about every image, one after the other: the repository is asked once for many of them.
    tags: Option<Mutex<Tags>>,
    plan: Plan,
    registry: args::Registry,
}

/// An answer, and whether it is yes.
pub(super) struct Answer {
    pub(super) json: String,
    pub(super) exit_code: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    bundle: Option<PathBuf>,
    #[serde(default, rename = "type")]
    predicate_type: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    decision: &'static str,
    exit_code: u8,
    results: Vec<Report<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<TagHeld>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(flatten)]
    failure: Failure,
}

impl Answers {
    pub(super) async fn open(
        expected: &args::Expected,
        judging: &args::Judging,
        trust: &args::Trust,
        tag_trust: &args::TagTrust,
        registry: &args::Registry,
    ) -> Result<Self> {
        let mut tags = Tags::open(tag_trust, trust, &[]).await?;
        Ok(Self {
            judge: Judge::beside(tags.as_mut(), expected, judging, trust).await?,
            tags: tags.map(Mutex::new),
            plan: Plan::new(&[], registry, false)?,
            registry: registry.clone(),
        })
    }

    /// Whatever the line is, there is one line of answer to it.
    pub(super) async fn answer(self: &Arc<Self>, line: &str) -> Answer {
        let line = line.trim();
        let question = match read(line) {
            Ok(question) => question,
            Err(error) => return refusal(line, None, error),
        };
        let id = question.id.as_deref();
        let request = question
            .image
            .as_deref()
            .or(question.file.as_deref())
            .unwrap_or_default();
        let kind = question
            .predicate_type
            .as_deref()
            .map(predicate::type_of)
            .transpose();
        let answered = match (kind, &question.image, &question.file, &question.bundle) {
            (Err(error), _, _, _) => Err(error),
            (Ok(kind), Some(image), None, None) => self.image(image, kind, id).await,
            (Ok(kind), None, Some(file), Some(bundle)) => {
                let kind = kind.map(str::to_owned);
                let (answers, file, bundle) = (Arc::clone(self), file.clone(), bundle.clone());
                let id = question.id.clone();
                // Files are read by a thread that nobody waits for: they may be large, or on a disk that hangs.
                tokio::task::spawn_blocking(move || {
                    answers.file(&file, &bundle, kind.as_deref(), id.as_deref())
                })
                .await
                .map_err(anyhow::Error::from)
                .and_then(|answered| answered)
            }
            _ => Err(usage(
                "neither an image nor a file with its bundle",
                "ask {\"image\": ...} or {\"file\": ..., \"bundle\": ...}",
            )),
        };
        match answered {
            Ok(json) => Answer { json, exit_code: 0 },
            Err(error) => refusal(request, id, error),
        }
    }

    async fn image(&self, name: &str, kind: Option<&str>, id: Option<&str>) -> Result<String> {
        let reference = Reference::parse(name)?;
        if self.tags.is_some() {
            // Before a registry is asked.
            tag_trust::path_of(&reference)?;
        }
        let plan = self.plan.about(&reference, &self.registry)?;
        let mut candidates = image::candidates(&plan, &reference, kind, &self.judge).await?;
        let digest = candidates.digest();
        let explained = candidates.stories();
        let tag = match &self.tags {
            Some(tags) => {
                let mut tags = tags.lock().await;
                let held = tags.check(&reference, &digest, candidates.size()).await;
                match held {
                    Ok(held) => Some(held),
                    Err(error) => return Err(Told::with(error, explained)),
                }
            }
            None => None,
        };
        let chosen = match kind {
            None => image::signatures(&self.judge, candidates, &digest, &[]),
            Some(kind) => image::attestations(&self.judge, candidates, kind),
        };
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Err(Told::with(error, explained)),
        };
        let mut explained = Some(explained);
        let results = chosen
            .accepted
            .iter()
            .map(|(_, verified)| {
                Report::of(verified)
                    .judged(chosen.decision.as_ref())
                    .explained(explained.take().unwrap_or_default())
            })
            .collect();
        yes(name, id, results, tag)
    }

    fn file(
        &self,
        file: &str,
        bundle: &Path,
        kind: Option<&str>,
        id: Option<&str>,
    ) -> Result<String> {
        // Pipes and devices have no end, or take what somebody else waits for.
        for path in [Path::new(file), bundle] {
            if path.exists() && !path.is_file() {
                return Err(usage(
                    format!("{} is no regular file", path.display()),
                    "name a file, or for the artifact its digest",
                ));
            }
        }
        if file == "-" {
            return Err(usage("standard input has the questions", "name a file"));
        }
        let bytes = trust_files::read(bundle)?;
        let shown = bundle.display().to_string();
        let bundle = Bundle::parse(&bytes).with_context(|| format!("the bundle {shown}"))?;
        let source = Source::parse(file)?;
        let artifact = source.digests(&keys::HashAlgorithm::ALL)?;
        let (outcome, story) = match self.judge.check(&shown, &bundle, &artifact) {
            (Err(VerifyError::NeedsArtifact { needed, given }), story) => match source.bytes()? {
                Some(whole) => self.judge.check(&shown, &bundle, &whole),
                None => (Err(VerifyError::NeedsArtifact { needed, given }), story),
            },
            outcome => outcome,
        };
        let explained: Vec<explained::Explained> = story.into_iter().collect();
        let verified = match outcome {
            Ok(verified) => verified,
            Err(why) => {
                let refused = self.judge.refused(file.to_owned(), shown, why);
                return Err(Told::with(refused.into(), explained));
            }
        };
        let asked = kind.map_or(Asked::Signature, Asked::Attestation);
        if !asked.is(&verified) {
            let error = advice_of(
                Outcome::NoMatch,
                Some("wrong-kind"),
                match kind {
                    None => format!("{shown} signs a statement about a file, not the file"),
                    Some(kind) => format!("{shown} is no attestation of type {kind}"),
                },
                "ask with the \"type\" of the statement that is meant",
            );
            return Err(Told::with(error, explained));
        }
        let decision = match self.judge.decide(file, asked, &[&verified]) {
            Ok(decision) => decision,
            Err(error) => return Err(Told::with(error, explained)),
        };
        let report = Report::of(&verified)
            .judged(decision.as_ref())
            .explained(explained);
        yes(file, id, vec![report], None)
    }
}

/// The question's own id, for an answer that is given in its place.
pub(super) fn id_of(line: &str) -> Option<String> {
    read(line.trim()).ok()?.id
}

/// A line as it was sent; what is no text is not guessed at.
pub(super) fn text(line: Vec<u8>) -> Result<String> {
    String::from_utf8(line)
        .map_err(|_| usage("a line that is not UTF-8", "write the question in UTF-8"))
}

fn read(line: &str) -> Result<Question> {
    if line.len() > LINE_MAX {
        return Err(usage(
            format!("a line of {} bytes, at most {LINE_MAX}", line.len()),
            "one question a line",
        ));
    }
    if line.starts_with('{') {
        return serde_json::from_str(line).map_err(|error| {
            usage(
                format!("not a question: {error}"),
                "ask {\"image\": ...} or {\"file\": ..., \"bundle\": ...}",
            )
        });
    }
    Ok(Question {
        id: None,
        image: Some(line.to_owned()),
        file: None,
        bundle: None,
        predicate_type: None,
    })
}

fn yes(
    request: &str,
    id: Option<&str>,
    results: Vec<Report<'_>>,
    tag: Option<TagHeld>,
) -> Result<String> {
    Ok(serde_json::to_string(&Accepted {
        request,
        id,
        decision: "accepted",
        exit_code: 0,
        results,
        tag,
    })?)
}

/// What an error says, as an answer.
pub(super) fn refusal(request: &str, id: Option<&str>, error: anyhow::Error) -> Answer {
    let (error, explained) = Told::split(error);
    let exit_code = Outcome::of(&error).code();
    let rejected = Rejected {
        request: request
            .get(..request.floor_char_boundary(1024))
            .unwrap_or_default(),
        id,
        failure: Failure::of(&error, explained),
    };
    // Its members are texts and numbers.
    let json = serde_json::to_string(&rejected)
        .unwrap_or_else(|_| format!("{{\"decision\":\"refused\",\"exitCode\":{exit_code}}}"));
    Answer { json, exit_code }
}
