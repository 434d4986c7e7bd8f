//! `--explain`: each step of the verification of each candidate, with its values, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use verify::{Fact, StepOutcome, Trace};

use crate::failure::{in_line, say};

/// The story of one bundle.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    candidate: String,
    /// Whether the bundle holds; what it is for is judged afterwards.
    holds: bool,
    /// Of several that do not hold, the one that came furthest.
    nearest_miss: bool,
    expected: Vec<Told>,
    claims: Vec<Told>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Told {
    name: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    facts: Vec<Told>,
}

impl Explained {
    pub(crate) fn new(candidate: String, trace: &Trace) -> Self {
        let steps: Vec<Step> = trace
            .steps()
            .iter()
            .map(|told| {
                let (outcome, reason, why) = match &told.outcome {
                    StepOutcome::Held => ("held", None, None),
                    StepOutcome::Refused { code, why } => {
                        ("refused", Some(*code), Some(why.clone()))
                    }
                    StepOutcome::NotReached => ("not-reached", None, None),
                };
                Step {
                    name: told.step.name(),
                    outcome,
                    reason,
                    why,
                    facts: told.facts.iter().map(Told::of).collect(),
                }
            })
            .collect();
        Self {
            candidate,
            holds: steps.iter().all(|step| step.outcome == "held"),
            nearest_miss: false,
            expected: trace.expected().iter().map(Told::of).collect(),
            claims: trace.claims().iter().map(Told::of).collect(),
            steps,
        }
    }

    /// Marks it as the one that came furthest.
    pub(crate) fn is_nearest(&mut self) {
        self.nearest_miss = true;
    }

    /// The candidate's name.
    pub(crate) fn candidate(&self) -> &str {
        &self.candidate
    }

    fn text(&self) -> String {
        let verdict = match (self.holds, self.nearest_miss) {
            (true, _) => "holds",
            (false, true) => "does not hold (the nearest miss)",
            (false, false) => "does not hold",
        };
        let mut text = format!("explain {}: {verdict}", in_line(&self.candidate));
        let mut section = |title: &str, facts: &[Told]| {
            for fact in facts {
                let _infallible = write!(
                    text,
                    "\n  {title:<12} {}: {}",
                    fact.name,
                    in_line(&fact.value)
                );
            }
        };
        section("expected", &self.expected);
        if !self.holds {
            section("claimed", &self.claims);
        }
        for step in &self.steps {
            let _infallible = write!(text, "\n  {:<12} {}", step.name, step.outcome);
            if let (Some(reason), Some(why)) = (step.reason, &step.why) {
                let _infallible = write!(text, ", {reason}: {}", in_line(why));
            }
            for fact in &step.facts {
                let _infallible = write!(
                    text,
                    "\n  {:<12}   {}: {}",
                    "",
                    fact.name,
                    in_line(&fact.value)
                );
            }
        }
        text
    }
}

impl Told {
    fn of(fact: &Fact) -> Self {
        Self {
            name: fact.name,
            value: fact.value.clone(),
        }
    }
}

/// Tells people.
pub(crate) fn tell(explained: &[Explained]) {
    for one in explained {
        say(&one.text());
    }
}
