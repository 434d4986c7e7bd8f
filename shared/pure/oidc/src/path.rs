//! Where in a token's claims a value stands: the part of JSONPath (RFC 9535) that names exactly one place.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::Claims;
use crate::token::written;

/// The longest path that is read, in bytes.
const MAX_PATH: usize = 256;

/// A text that is no such path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no path to one claim: expected $.name.name, with $['any name'] for names that are no words and [0] for members of lists"
)]
pub struct PathError(String);

/// A path to one value: `$.a.b`, `$['a.b']`, `$.a[0]`. No wildcards, slices, filters or descents, which may find several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

impl ClaimPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let wrong = || PathError(text.chars().take(MAX_PATH).collect());
        if text.len() > MAX_PATH {
            return Err(wrong());
        }
        let mut rest = text.strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest).ok_or_else(wrong)?;
            steps.push(step);
            rest = after;
        }
        match steps.first() {
            Some(Step::Member(_)) => Ok(Self {
                text: text.to_owned(),
                steps,
            }),
            _ => Err(wrong()),
        }
    }

    /// What stands there, as [`Claims::written`] writes it.
    pub fn written(&self, claims: &Claims) -> Option<String> {
        self.find(claims).and_then(written)
    }

    /// What stands there.
    pub fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let (Step::Member(first), rest) = self.steps.split_first()? else {
            return None;
        };
        rest.iter()
            .try_fold(claims.get(first)?, |value, step| match step {
                Step::Member(name) => value.as_object()?.get(name),
                Step::Item(position) => value.as_array()?.get(*position),
            })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The first step of a path, and what follows it.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        return (!name.is_empty()).then(|| (Step::Member(name.to_owned()), rest));
    }
    let rest = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(rest) = rest.strip_prefix(quote) {
            let (name, rest) = rest.split_once(quote)?;
            let plain = !name.is_empty() && !name.contains('\\');
            return plain.then_some((Step::Member(name.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (number, rest) = rest.split_once(']')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some((Step::Item(number.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn a_path_names_one_place() {
        let claims =
            r#"{"a":{"b":"x","c.d":[1,{"e":true}]},"f/g":2.50,"n":null,"big":1e21,"whole":3.0}"#;
        let text = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let token = Token::parse(&text).unwrap();
        for (path, expected) in [
            ("$.a.b", Some("x")),
            ("$['a'][\"b\"]", Some("x")),
            ("$.a['c.d'][0]", Some("1")),
            ("$.a['c.d'][1].e", Some("true")),
            ("$['f/g']", Some("2.5")),
            ("$.whole", Some("3")),
            ("$.big", Some("1000000000000000000000")),
            ("$.n", None),
            ("$.a", None),
            ("$.a.b.c", None),
            ("$.a['c.d'][2]", None),
            ("$.none", None),
        ] {
            let found = ClaimPath::parse(path).unwrap().written(token.unverified());
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        for bad in [
            "",
            "$",
            "a.b",
            "$a",
            "$.",
            "$..a",
            "$.*",
            "$[0]",
            "$.a[",
            "$.a[-1]",
            "$.a[+1]",
            "$.a[*]",
            "$.a['b]",
            "$['']",
            "$.a[99999999999999999999999]",
        ] {
            assert!(ClaimPath::parse(bad).is_err(), "{bad}");
        }
        assert!(ClaimPath::parse(&format!("$.{}", "a".repeat(300))).is_err());
    }
}
