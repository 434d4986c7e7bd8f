//! One bundle before everything that the flags and the policy ask. Every command that verifies goes through here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bundle::Bundle;
use bundle::legacy::Legacy;
use keys::Digest;
use policy::{Asked, Decision, Policy};
use trust::TrustedRoot;
use verify::{Artifact, Expect, Trace, Verified, VerifyError, Witness};

use crate::args::{Expected, Judging, Trust};
use crate::explained::Explained;
use crate::failure::{Refused, Unmet, usage};
use crate::rego::Rego;
use crate::tag_trust::Tags;
use crate::{expectation, trust_files};

/// The largest policy file.
const POLICY_MAX: u64 = 1 << 20;

/// Whom to trust, who is expected, and what else must hold.
pub(crate) struct Judge {
    root: TrustedRoot,
    /// Never empty.
    expects: Vec<Expect>,
    policy: Option<Policy>,
    /// The file that the policy was read from, byte for byte.
    policy_file: Option<Vec<u8>>,
    rego: Option<Rego>,
    /// Whom it expects is said by the policy alone.
    by_policy: bool,
    signed_timestamps: bool,
    explain: bool,
}

/// Whom the flags and a policy name, the policy, and whether it alone says who.
struct Asking {
    expects: Vec<Expect>,
    policy: Option<Policy>,
    by_policy: bool,
}

impl Asking {
    async fn new(expected: &Expected, trust: &Trust, policy: Option<Policy>) -> Result<Self> {
        Ok(Self {
            expects: expectation::of_all(expected, trust, policy.as_ref()).await?,
            by_policy: policy.is_some() && !expected.names_somebody(),
            policy,
        })
    }
}

impl Judge {
    /// Reads all of it.
    pub(crate) async fn new(expected: &Expected, judging: &Judging, trust: &Trust) -> Result<Self> {
        Self::beside(None, expected, judging, trust).await
    }

    /// The same beside tags that are asked for, whose repository may say whom to trust.
    pub(crate) async fn beside(
        tags: Option<&mut Tags>,
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
    ) -> Result<Self> {
        let policies: Vec<&Path> = policies(judging).collect();
        if let Some(path) = policies.iter().find(|path| is_a(path, "rego")) {
            return Err(usage(
                format!("--policy {}", path.display()),
                "a Rego policy is about attestations: verify-attestation takes it",
            ));
        }
        Self::with(tags, expected, judging, trust, policies, None).await
    }

    /// The same for attestations, which Rego modules may be about.
    pub(crate) async fn of_attestations(
        tags: Option<&mut Tags>,
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
    ) -> Result<Self> {
        let (modules, policies): (Vec<&Path>, Vec<&Path>) =
            policies(judging).partition(|path| is_a(path, "rego"));
        let modules: Vec<PathBuf> = modules.into_iter().map(Path::to_owned).collect();
        Self::with(
            tags,
            expected,
            judging,
            trust,
            policies,
            Rego::load(&modules)?,
        )
        .await
    }

    async fn with(
        tags: Option<&mut Tags>,
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
        policies: Vec<&Path>,
        rego: Option<Rego>,
    ) -> Result<Self> {
        let (policy, policy_file) = policy(&policies)?.unzip();
        let asking = Asking::new(expected, trust, policy).await?;
        let root = Tags::trusted_root(tags, strictest(&asking.expects)?, trust).await?;
        Ok(Self {
            policy_file,
            rego,
            ..Self::of(asking, judging, root)
        })
    }

    /// The same with a policy that is at hand already, unless a file is named.
    pub(crate) async fn new_with(
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
        policy: Option<Policy>,
    ) -> Result<Self> {
        let asking = Self::asking(expected, judging, trust, policy).await?;
        let root = trust_files::for_verifying(strictest(&asking.expects)?, trust).await?;
        Ok(Self::of(asking, judging, root))
    }

    /// The same with a trusted root that is at hand too.
    pub(crate) async fn with_root(
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
        policy: Option<Policy>,
        root: TrustedRoot,
    ) -> Result<Self> {
        let asking = Self::asking(expected, judging, trust, policy).await?;
        Ok(Self::of(asking, judging, root))
    }

    async fn asking(
        expected: &Expected,
        judging: &Judging,
        trust: &Trust,
        at_hand: Option<Policy>,
    ) -> Result<Asking> {
        let policies: Vec<&Path> = policies(judging).collect();
        let policy = match at_hand {
            Some(policy) if policies.is_empty() => Some(policy),
            _ => policy(&policies)?.map(|(policy, _)| policy),
        };
        Asking::new(expected, trust, policy).await
    }

    fn of(asking: Asking, judging: &Judging, root: TrustedRoot) -> Self {
        Self {
            root,
            expects: asking.expects,
            policy: asking.policy,
            policy_file: None,
            rego: None,
            by_policy: asking.by_policy,
            signed_timestamps: judging.use_signed_timestamps,
            explain: judging.explain,
        }
    }

    /// The policy's file, for whoever hands it on.
    pub(crate) fn policy_file(&self) -> Option<&[u8]> {
        self.policy_file.as_deref()
    }

    /// Whom it trusts.
    pub(crate) const fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// The same question without a policy: for whom one bundle is all there is.
    pub(crate) async fn plain(expected: &Expected, trust: &Trust) -> Result<Self> {
        let expect = expectation::of(expected, trust).await?;
        let root = trust_files::for_verifying(&expect, trust).await?;
        Ok(Self {
            root,
            expects: vec![expect],
            policy: None,
            policy_file: None,
            rego: None,
            by_policy: false,
            signed_timestamps: false,
            explain: false,
        })
    }

    /// The predicate types that the policy asks for.
    pub(crate) fn predicate_types(&self) -> &[String] {
        self.policy
            .as_ref()
            .map_or(&[], |policy| policy.predicate_types())
    }

    /// Whom it expects.
    pub(crate) fn expects(&self) -> &[Expect] {
        &self.expects
    }

    /// That something does not hold: what was verified, and which candidate about it.
    pub(crate) const fn refused(
        &self,
        what: String,
        candidate: String,
        why: VerifyError,
    ) -> Refused {
        Refused {
            what,
            candidate,
            why,
            by_policy: self.by_policy,
        }
    }

    /// Whether several bundles can be judged together.
    pub(crate) const fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether it matters what else there is than one that holds.
    pub(crate) const fn needs_all(&self) -> bool {
        self.policy.is_some() || self.rego.is_some()
    }

    /// Does the bundle hold, by one of those who are expected? If not, how the nearest one missed it.
    pub(crate) fn check(
        &self,
        name: &str,
        bundle: &Bundle,
        artifact: &Artifact,
    ) -> (Result<Verified, VerifyError>, Option<Explained>) {
        self.check_by(name, |expect| {
            if self.explain {
                let (outcome, trace) = verify::explain(bundle, artifact, &self.root, expect);
                (outcome, Some(trace))
            } else {
                (verify::bundle(bundle, artifact, &self.root, expect), None)
            }
        })
    }

    /// The same for what cosign before version 3 attached to an image.
    pub(crate) fn check_legacy(
        &self,
        name: &str,
        item: &Legacy,
        image: &Digest,
    ) -> (Result<Verified, VerifyError>, Option<Explained>) {
        self.check_by(name, |expect| {
            if self.explain {
                let (outcome, trace) = verify::explain_legacy(item, image, &self.root, expect);
                (outcome, Some(trace))
            } else {
                (verify::legacy(item, image, &self.root, expect), None)
            }
        })
    }

    fn check_by(
        &self,
        name: &str,
        verify: impl Fn(&Expect) -> (Result<Verified, VerifyError>, Option<Trace>),
    ) -> (Result<Verified, VerifyError>, Option<Explained>) {
        let mut nearest: Option<(VerifyError, Option<Explained>)> = None;
        for expect in &self.expects {
            let (outcome, explained) = self.check_against(name, verify(expect));
            match outcome {
                Ok(verified) => return (Ok(verified), explained),
                Err(error) => {
                    let rank = |error: &VerifyError| (error.step(), error.nearness());
                    let nearer = nearest
                        .as_ref()
                        .is_none_or(|(found, _)| rank(&error) > rank(found));
                    if nearer {
                        nearest = Some((error, explained));
                    }
                }
            }
        }
        match nearest {
            Some((error, explained)) => (Err(error), explained),
            None => (
                Err(VerifyError::NoIdentity("identity that is expected")),
                None,
            ),
        }
    }

    fn check_against(
        &self,
        name: &str,
        (mut outcome, mut trace): (Result<Verified, VerifyError>, Option<Trace>),
    ) -> (Result<Verified, VerifyError>, Option<Explained>) {
        if let Ok(verified) = &outcome
            && self.signed_timestamps
            && !verified
                .times()
                .iter()
                .any(|observed| matches!(observed.witness, Witness::TimestampAuthority(_)))
        {
            let error = VerifyError::NoTimestamp;
            if let Some(trace) = &mut trace {
                trace.refuse(&error);
            }
            outcome = Err(error);
        }
        (
            outcome,
            trace.map(|trace| Explained::new(name.to_owned(), &trace)),
        )
    }

    /// What the Rego modules say of a statement that holds.
    pub(crate) fn check_rego(&self, what: &str, statement: &[u8]) -> Result<()> {
        let Some(rego) = &self.rego else {
            return Ok(());
        };
        rego.check(statement).map_err(|why| {
            let what = what.to_owned();
            Unmet::Rego { what, why }.into()
        })
    }

    /// What the policy says of all that holds; none where there is no policy.
    pub(crate) fn decide(
        &self,
        what: &str,
        asked: Asked<'_>,
        held: &[&Verified],
    ) -> Result<Option<Decision>> {
        let Some(policy) = &self.policy else {
            return Ok(None);
        };
        let decision = policy.judge(asked, held);
        if decision.is_accepted() {
            return Ok(Some(decision));
        }
        let what = what.to_owned();
        Err(Unmet::Policy { what, decision }.into())
    }
}

/// Only those of them that the policy counted are told of as verified.
pub(crate) fn retain_counted(held: &mut Vec<Verified>, decision: Option<&Decision>) {
    let Some(decision) = decision else { return };
    let mut considered = decision.considered().iter();
    held.retain(|_| {
        considered
            .next()
            .is_some_and(|considered| considered.why_not.is_none())
    });
}

/// Of several refusals the one that went furthest, and of those the one that was nearest; the others before it.
pub(crate) fn furthest(refused: &mut Vec<Refused>, explained: &mut [Explained]) -> Option<Refused> {
    refused.sort_by_key(|refused| (refused.why.step(), refused.why.nearness()));
    let furthest = refused.pop()?;
    let single = explained.len() == 1;
    for one in explained {
        if single || furthest.candidate == one.candidate() {
            one.is_nearest();
        }
    }
    Some(furthest)
}

/// Whoever is expected to be in a log needs a trusted root.
fn strictest(expects: &[Expect]) -> Result<&Expect> {
    let logged = |expect: &&Expect| !matches!(expect, Expect::UnloggedKey(_));
    let strictest = expects.iter().find(logged).or(expects.first());
    strictest.context("nobody is expected")
}

fn policies(judging: &Judging) -> impl Iterator<Item = &Path> {
    let paths = judging.policy.iter().map(PathBuf::as_path);
    paths.filter(|path| !path.as_os_str().is_empty())
}

fn is_a(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn policy(paths: &[&Path]) -> Result<Option<(Policy, Vec<u8>)>> {
    if let Some(path) = paths.iter().find(|path| is_a(path, "cue")) {
        return Err(usage(
            format!("--policy {}", path.display()),
            "CUE is not supported: write the policy in JSON, or for attestations in Rego (.rego)",
        ));
    }
    let path = match paths {
        [] => return Ok(None),
        [path] => path,
        _ => {
            return Err(usage(
                "several --policy files: which of them must be met?",
                "put all requirements into one file",
            ));
        }
    };
    let shown = path.display();
    let bytes = trust_files::read_at_most(path, POLICY_MAX)?;
    let policy = Policy::parse(&bytes).map_err(|error| {
        usage(
            format!("the policy {shown}: {error}"),
            "`cosign-rs schema policy` prints what a policy may say",
        )
    })?;
    Ok(Some((policy, bytes)))
}
