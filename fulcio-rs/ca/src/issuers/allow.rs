//! Rules of our own on what a token's claims must be before a certificate is issued (key `allow-claims`).
//!
//! Each names a claim and the expressions of which one must match the whole of it. A claim that is missing matches none. Where the claim is
//! a list, one of its members is enough.

use oidc::{ClaimPath, Claims};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::IdentityError;

/// The most expressions of one issuer.
const MAX_EXPRESSIONS: usize = 200;
/// How large an expression may become, in bytes.
const MAX_COMPILED: usize = 256 << 10;
/// How many members of a list are looked at.
const MAX_MEMBERS: usize = 1000;

#[derive(Debug)]
pub(super) struct Allow(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    claim: String,
    /// For claims that are within others.
    path: Option<ClaimPath>,
    expressions: Vec<Regex>,
}

impl Allow {
    pub(super) fn new<'a>(
        rules: impl Iterator<Item = (&'a String, &'a Vec<String>)>,
    ) -> Result<Self, String> {
        let mut all = 0_usize;
        let rules = rules
            .map(|(claim, expressions)| {
                if expressions.is_empty() {
                    return Err(format!(
                        "allow-claims: {claim} has no expression, so nobody would be allowed"
                    ));
                }
                all = all.saturating_add(expressions.len());
                let path = claim.starts_with("$.") || claim.starts_with("$[");
                let path = path.then(|| ClaimPath::parse(claim)).transpose();
                let expressions = expressions
                    .iter()
                    .map(|expression| anchored(expression))
                    .collect::<Result<_, _>>()
                    .map_err(|error| format!("allow-claims: {claim}: {error}"))?;
                Ok(Rule {
                    claim: claim.clone(),
                    path: path.map_err(|error| format!("allow-claims: {error}"))?,
                    expressions,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if all > MAX_EXPRESSIONS {
            return Err(format!(
                "allow-claims: {all} expressions, at most {MAX_EXPRESSIONS}"
            ));
        }
        Ok(Self(rules))
    }

    pub(super) fn check(&self, claims: &Claims) -> Result<(), IdentityError> {
        match self.0.iter().find(|rule| !rule.holds(claims)) {
            None => Ok(()),
            Some(rule) => Err(IdentityError::NotAllowed(rule.claim.clone())),
        }
    }
}

/// Anchored on both ends, whatever alternatives it has.
fn anchored(expression: &str) -> Result<Regex, regex::Error> {
    // An expression that only becomes one by our parentheses would say something else than its writer meant.
    Regex::new(expression)?;
    RegexBuilder::new(&format!(r"\A(?:{expression})\z"))
        .size_limit(MAX_COMPILED)
        .build()
}

impl Rule {
    fn holds(&self, claims: &Claims) -> bool {
        let value = match &self.path {
            Some(path) => path.find(claims),
            None => claims.get(&self.claim),
        };
        let matches = |value: &Value| {
            let Some(text) = oidc::written(value) else {
                return false;
            };
            self.expressions
                .iter()
                .any(|expression| expression.is_match(&text))
        };
        match value {
            Some(Value::Array(members)) => members.iter().take(MAX_MEMBERS).any(matches),
            Some(value) => matches(value),
            None => false,
        }
    }
}
