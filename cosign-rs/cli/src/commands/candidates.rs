//! The bundles at an image: each verified or refused; and which of those that hold are what was asked for.

use std::collections::BTreeMap;
use std::error::Error;
use std::thread::ScopedJoinHandle;

use anyhow::Result;
use bundle::Bundle;
use bundle::legacy::Legacy;
use keys::Digest;
use oci::{Found, Image, LegacyKind};
use policy::{Asked, Decision};
use verify::{Artifact, Verified};

use crate::explained::Explained;
use crate::failure::{Outcome, Refused, advice_of, in_line, say};
use crate::judge::{self, Judge};

/// Reasons that are told one by one.
const TOLD_MAX: usize = 10;

/// All bundles at an image.
pub(super) struct Candidates {
    artifact: Artifact,
    name: String,
    digest: Digest,
    size: u64,
    held: Vec<(Digest, Bundle, Verified)>,
    refused: Vec<Refused>,
    /// What is no bundle.
    malformed: Vec<String>,
    /// What could not be read. It may be anything, so nothing is concluded from its absence.
    unread: Vec<String>,
    explained: Vec<Explained>,
}

/// Bundles that are what was asked for, and what a policy said of all that hold.
pub(super) struct Chosen {
    pub(super) accepted: Vec<(Bundle, Verified)>,
    pub(super) decision: Option<Decision>,
}

impl Candidates {
    /// None as yet. A bundle may sign the manifest's bytes, or a digest of them.
    pub(super) fn new(name: &str, image: &Image) -> Self {
        Self {
            artifact: Artifact::from_bytes(&image.manifest),
            name: name.to_owned(),
            digest: image.descriptor.digest,
            size: image.descriptor.size,
            held: Vec::new(),
            refused: Vec::new(),
            malformed: Vec::new(),
            explained: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Verifies each of what was found, and takes it out of `found`.
    pub(super) fn add(&mut self, found: &mut Found, judge: &Judge) {
        let problems = std::mem::take(&mut found.problems);
        self.unread.extend(
            problems
                .iter()
                .map(|problem| format!("{}: {}", problem.what, chain(&problem.why))),
        );
        let attached = std::mem::take(&mut found.attached);
        let artifact = &self.artifact;
        let judged = side_by_side(&attached, |attached| {
            Bundle::parse(&attached.bundle).map(|bundle| {
                let name = format!("bundle {}", attached.manifest);
                let (outcome, story) = judge.check(&name, &bundle, artifact);
                (bundle, name, outcome, story)
            })
        });
        for (attached, judged) in attached.iter().zip(judged) {
            let manifest = attached.manifest;
            match judged {
                Err(error) => self
                    .malformed
                    .push(format!("bundle {manifest}: {}", chain(&error))),
                Ok((bundle, name, outcome, story)) => {
                    self.explained.extend(story);
                    match outcome {
                        Ok(verified) => self.held.push((manifest, bundle, verified)),
                        Err(why) => {
                            let what = format!("{} ({name})", self.name);
                            self.refused.push(judge.refused(what, name, why));
                        }
                    }
                }
            }
        }
        let mut met: BTreeMap<String, usize> = BTreeMap::new();
        for layer in std::mem::take(&mut found.legacy) {
            let (what, content) = (layer.descriptor.digest, layer.content.to_vec());
            let read = match layer.kind {
                LegacyKind::Signature => Legacy::signature(content, layer.annotations()),
                LegacyKind::Attestation => Legacy::attestation(content, layer.annotations()),
                LegacyKind::Sbom => continue,
            };
            match read {
                Err(error) => {
                    self.malformed
                        .push(format!("{} {what}: {}", layer.kind, chain(&error)));
                }
                Ok(item) => {
                    let mut name = format!("{} {what}", layer.kind);
                    // Several signatures may be over one payload.
                    let before = met.entry(name.clone()).or_default();
                    *before = before.saturating_add(1);
                    if *before > 1 {
                        name = format!("{name} #{before}");
                    }
                    let (outcome, story) = judge.check_legacy(&name, &item, &self.digest);
                    self.explained.extend(story);
                    match outcome {
                        Ok(verified) => self.held.push((what, item.to_bundle(), verified)),
                        Err(why) => {
                            let what = format!("{} ({name})", self.name);
                            self.refused.push(judge.refused(what, name, why));
                        }
                    }
                }
            }
        }
    }

    /// Is one of those that hold what is wanted?
    pub(super) fn have(&self, wanted: impl Fn(&Verified) -> bool) -> bool {
        self.held.iter().any(|(_, _, verified)| wanted(verified))
    }

    /// The image's digest.
    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of its manifest.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The story of each, for whoever asked for it.
    pub(super) fn stories(&mut self) -> Vec<Explained> {
        // The nearest miss is marked before anybody reads them.
        let mut refused = std::mem::take(&mut self.refused);
        if self.held.is_empty()
            && let Some(furthest) = judge::furthest(&mut refused, &mut self.explained)
        {
            refused.push(furthest);
        }
        self.refused = refused;
        std::mem::take(&mut self.explained)
    }

    /// Those that hold and are a `what`; `unwanted` says what another one is instead. Without any it is an error: of the refusals the one that
    /// went furthest, after the others.
    pub(super) fn choose(
        self,
        judge: &Judge,
        asked: Asked<'_>,
        what: &str,
        unwanted: impl Fn(&Verified) -> Option<String>,
    ) -> Result<Chosen> {
        let mut others = self.malformed;
        let (mut accepted, mut rest) = (Vec::new(), Vec::new());
        for (manifest, bundle, verified) in self.held {
            match unwanted(&verified) {
                None => accepted.push((bundle, verified)),
                Some(why) => {
                    others.push(format!("bundle {manifest}: {why}"));
                    // Of the kind that was asked for, it lacks something: it must not count by another way.
                    if !asked.is(&verified) {
                        rest.push(verified);
                    }
                }
            }
        }
        if accepted.is_empty() {
            let missed = Missed {
                name: self.name,
                digest: self.digest,
                refused: self.refused,
                others,
                unread: self.unread,
            };
            return Err(missed.error(what));
        }
        for unread in self.unread.iter().take(TOLD_MAX) {
            say(&format!(
                "warning: {}: not read: {}",
                self.name,
                in_line(unread)
            ));
        }
        // Attestations that the policy asks for are among those that were not asked for here.
        let all: Vec<&Verified> = accepted
            .iter()
            .map(|(_, verified)| verified)
            .chain(&rest)
            .collect();
        let decision = judge.decide(&self.name, asked, &all);
        let decision = match decision {
            Err(_) if !self.unread.is_empty() => {
                return Err(unread(&self.name, what, &self.unread));
            }
            decision => decision?,
        };
        if let Some(decision) = &decision {
            let mut considered = decision.considered().iter();
            accepted.retain(|_| considered.next().is_some_and(|one| one.why_not.is_none()));
        }
        Ok(Chosen { accepted, decision })
    }
}

/// What becomes of each, in their order. Where there are several they are shared out to the processor's cores: a bundle takes a millisecond, which is
/// more than a thread does.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores).max(1);
    let mut shares = items.chunks(share);
    let own = shares.next().unwrap_or_default();
    let work = &work;
    let all = move |share: &[T]| share.iter().map(work).collect::<Vec<R>>();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let started = std::thread::Builder::new().spawn_scoped(scope, move || all(share));
                (share, started)
            })
            .collect();
        let mut done = all(own);
        for (share, started) in others {
            done.extend(match started.map(ScopedJoinHandle::join) {
                Ok(Ok(results)) => results,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // There may be no more threads to be had.
                Err(_) => all(share),
            });
        }
        done
    })
}

/// What there is where nothing of what was asked for is there.
struct Missed {
    name: String,
    digest: Digest,
    refused: Vec<Refused>,
    others: Vec<String>,
    unread: Vec<String>,
}

impl Missed {
    fn error(mut self, what: &str) -> anyhow::Error {
        if !self.unread.is_empty() {
            self.others
                .extend(self.refused.iter().map(ToString::to_string));
            list(&self.others);
            return unread(&self.name, what, &self.unread);
        }
        let furthest = judge::furthest(&mut self.refused, &mut []);
        self.others
            .extend(self.refused.iter().map(ToString::to_string));
        list(&self.others);
        match furthest {
            Some(furthest) => furthest.into(),
            None if self.others.is_empty() => advice_of(
                Outcome::NoSignature,
                Some("no-signature"),
                format!("{}: nothing is signed about {}", self.name, self.digest),
                "was it signed in another repository (--signature-repository), or is it one image of an index that was signed as a whole?",
            ),
            None => advice_of(
                Outcome::NoMatch,
                Some("wrong-kind"),
                format!(
                    "{}: none of its {} bundles is the {what} that is asked for",
                    self.name,
                    self.others.len()
                ),
                "what they are stands above",
            ),
        }
    }
}

fn unread(name: &str, what: &str, unread: &[String]) -> anyhow::Error {
    advice_of(
        Outcome::Transport,
        Some("not-everything-read"),
        format!(
            "{name}: no {what} was found that is enough, and not everything could be read, so there may be one: {}",
            unread.first().map_or("", String::as_str)
        ),
        "try again; if it stays, ask whoever runs the registry",
    )
}

fn list(reasons: &[String]) {
    for reason in reasons.iter().take(TOLD_MAX) {
        say(&format!("  {}", in_line(reason)));
    }
    if let Some(more) = reasons.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        say(&format!("  and {more} more"));
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn each_is_worked_on_once_and_in_order() {
        for many in [0, 1, 2, 3, 5, 64, 1000] {
            let items: Vec<usize> = (0..many).collect();
            let twice: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(side_by_side(&items, |item| item * 2), twice);
        }
    }
}
