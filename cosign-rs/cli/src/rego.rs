//! Rego modules before an attestation, as cosign evaluates them: rule `allow` of the package `signature`, with the statement as `input`, must be
//! `true` and nothing else. A module is of Rego v0 unless it says `import rego.v1`.
//!
//! A statement is a stranger's, and may be made so that a rule takes long or much: an evaluation has a time, and the process a limit of memory
//! beyond which the system ends it, which is no acceptance either.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use regorus::Engine;
use regorus::unstable::{Rule, RuleHead};
use regorus::utils::limits::ExecutionTimerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::usage;
use crate::trust_files;

/// What decides.
const QUERY: &str = "data.signature.allow";
/// The largest module.
const MODULE_MAX: u64 = 1 << 20;
/// The most modules.
const MODULES_MAX: usize = 64;
/// How long the modules may think about one statement.
const PATIENCE: Duration = Duration::from_secs(5);
/// Address space of the whole process while they think.
const MEMORY: u64 = 4 << 30;

/// Modules that were read.
#[derive(Debug)]
pub(crate) struct Rego(Engine);

impl Rego {
    /// Reads them; none where no file is named.
    pub(crate) fn load(paths: &[PathBuf]) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        if paths.len() > MODULES_MAX {
            return Err(usage(
                format!("{} Rego modules, at most {MODULES_MAX}", paths.len()),
                "put several rules into one module",
            ));
        }
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        for path in paths {
            let shown = path.display().to_string();
            let bytes = trust_files::read_at_most(path, MODULE_MAX)?;
            let text = String::from_utf8(bytes).map_err(|_| {
                usage(
                    format!("the policy {shown} is no text"),
                    "Rego is written in UTF-8",
                )
            })?;
            engine.add_policy(shown.clone(), text).map_err(|error| {
                usage(
                    format!(
                        "the policy {shown} is not Rego: {}",
                        error.to_string().trim()
                    ),
                    "without `import rego.v1` it is read as Rego v0, as in cosign",
                )
            })?;
        }
        for module in engine.get_modules() {
            if let Some((rule, word)) = module
                .policy
                .iter()
                .find_map(|rule| Some((rule, keyword(rule)?)))
            {
                let (file, line) = (rule.span().source.file(), rule.span().line);
                return Err(usage(
                    format!("the policy {file}, line {line}: a rule called `{word}`"),
                    "a module with `if`, `contains`, `in` or `every` needs `import rego.v1`; without it, it is read as Rego v0, as in cosign",
                ));
            }
            if let Some(rule) = module.policy.iter().find(|rule| is_bare(rule)) {
                let (file, line) = (rule.span().source.file(), rule.span().line);
                return Err(usage(
                    format!(
                        "the policy {file}, line {line}: a rule without a body would always be true"
                    ),
                    "a module with `if` needs `import rego.v1`; without it, it is read as Rego v0, as in cosign",
                ));
            }
        }
        if let Some(one) = NonZeroU32::new(1024) {
            engine.set_execution_timer_config(ExecutionTimerConfig {
                limit: PATIENCE,
                check_interval: one,
            });
        }
        Ok(Some(Self(engine)))
    }

    /// Does the statement pass? If not, why.
    pub(crate) fn check(&self, statement: &[u8]) -> Result<(), String> {
        limit_memory();
        let text = std::str::from_utf8(statement).map_err(|error| error.to_string())?;
        let input = regorus::Value::from_json_str(text).map_err(|error| error.to_string())?;
        let mut engine = self.0.clone();
        engine.set_input(input);
        let results = engine
            .eval_query(QUERY.to_owned(), false)
            .map_err(|error| error.to_string())?;
        let mut values = results
            .result
            .iter()
            .flat_map(|result| &result.expressions)
            .map(|expression| &expression.value);
        match (values.next(), values.next()) {
            (Some(regorus::Value::Bool(true)), None) => Ok(()),
            (None | Some(regorus::Value::Undefined), _) => Err(format!("{QUERY} is undefined")),
            (Some(value), _) => Err(format!("{QUERY} is {value}, not true")),
        }
    }
}

/// `allow` alone. Without `import rego.v1` the evaluator takes `allow if { false }` for two rules, of which the first is always true; OPA takes it
/// for none.
fn is_bare(rule: &Rule) -> bool {
    match rule {
        Rule::Spec { head, bodies, .. } if bodies.is_empty() => matches!(
            head,
            RuleHead::Compr { assign: None, .. }
                | RuleHead::Func { assign: None, .. }
                | RuleHead::Set { key: None, .. }
        ),
        _ => false,
    }
}

/// The word of a later Rego that a rule is named after. Without `import rego.v1` the evaluator takes `allow := true if { false }` for a constant
/// and a rule called `if`; OPA takes it for none.
fn keyword(rule: &Rule) -> Option<&'static str> {
    let head = match rule {
        Rule::Default { refr, .. } => refr,
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. }
            | RuleHead::Set { refr, .. }
            | RuleHead::Func { refr, .. } => refr,
        },
    };
    let text = head.span().text();
    let name = text
        .split(|letter: char| letter != '_' && !letter.is_alphanumeric())
        .next();
    ["if", "contains", "in", "every"]
        .into_iter()
        .find(|word| name == Some(word))
}

/// Never raises a limit that is there already.
fn limit_memory() {
    let now = getrlimit(Resource::As);
    let least = |limit: Option<u64>| Some(limit.map_or(MEMORY, |limit| limit.min(MEMORY)));
    let wanted = Rlimit {
        current: least(now.current),
        maximum: now.maximum,
    };
    let _unlimited = setrlimit(Resource::As, wanted);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rego(text: &str) -> Result<Rego> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("p.rego");
        std::fs::write(&path, text)?;
        Ok(Rego::load(&[path])?.expect("a module"))
    }

    const STATEMENT: &[u8] =
        br#"{"predicateType": "t", "predicate": {"builder": "b", "count": 3, "items": [1, 2, 3]}}"#;

    #[test]
    fn only_true_is_allowed() {
        for (module, verdict) in [
            (
                "package signature\nallow { input.predicate.builder == \"b\" }",
                Ok(()),
            ),
            (
                "package signature\nallow { input.predicate.builder == \"c\" }",
                Err("is undefined"),
            ),
            (
                "package signature\ndefault allow = false\nallow { input.predicate.count > 3 }",
                Err("is false"),
            ),
            (
                "package signature\nimport rego.v1\nallow if input.predicate.count == 3",
                Ok(()),
            ),
            (
                "package signature\nimport future.keywords.in\nallow { 2 in input.predicate.items }",
                Ok(()),
            ),
            ("package signature\nallow = \"true\"", Err("not true")),
            ("package signature\nallow = 1", Err("not true")),
            ("package sigstore\nallow { true }", Err("is undefined")),
            ("package signature\ndeny { false }", Err("is undefined")),
        ] {
            let found = rego(module).unwrap().check(STATEMENT);
            match verdict {
                Ok(()) => assert_eq!(found, Ok(()), "{module}"),
                Err(expected) => {
                    let why = found.unwrap_err();
                    assert!(why.contains(expected), "{module}: {why}");
                }
            }
        }
    }

    #[test]
    fn a_zone_is_asked_by_its_name() {
        // The first of July of 2026, midnight in Greenwich.
        for (zone, hour) in [
            ("Europe/Berlin", 2),
            ("America/New_York", 20),
            ("UTC", 0),
            ("", 0),
        ] {
            let module = format!(
                "package signature\nallow {{ time.clock([1782864000000000000, \"{zone}\"]) == [{hour}, 0, 0] }}"
            );
            assert_eq!(rego(&module).unwrap().check(STATEMENT), Ok(()), "{zone}");
        }
        let module = "package signature\nallow { time.clock([0, \"Europe/Nowhere\"])[0] >= 0 }";
        let why = rego(module).unwrap().check(STATEMENT).unwrap_err();
        assert!(why.contains("Europe/Nowhere"), "{why}");
    }

    #[test]
    fn what_is_no_rego_is_refused() {
        for module in [
            "",
            "allow { true }",
            "package signature\nallow if true",
            "package signature\nallow := true if { false }",
            "package signature\nallow = true if { false }",
            "package signature\nallow := true if false",
            "package signature\nallow { false } else := true if { false }",
            "package signature\nallow { false } else = true if { false }",
            "package signature\nallow = true\nif { false }",
            "package signature\nallow := true in input.items",
            "package signature\nallow = true every x { x }",
            "package signature\nallow = true contains { false }",
            "package signature\nallow = true\ndefault if = false",
            "package signature\nallow {",
        ] {
            assert!(rego(module).is_err(), "{module}");
        }
    }

    #[test]
    fn a_rule_that_takes_too_long_allows_nothing() {
        let slow = "package signature\nn := numbers.range(1, 3000)\nallow { count({[a, b, c] | a := n[_]; b := n[_]; c := n[_]; a + b + c == 0}) == 0 }";
        let mut rego = rego(slow).unwrap();
        rego.0.set_execution_timer_config(ExecutionTimerConfig {
            limit: Duration::from_millis(50),
            check_interval: NonZeroU32::MIN,
        });
        assert!(rego.check(STATEMENT).is_err());
    }
}
