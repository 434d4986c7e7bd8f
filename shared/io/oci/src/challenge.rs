//! `WWW-Authenticate` (RFC 9110 11.6.1) as registries write it.

/// How a registry wants to be shown who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// By a token of the service at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The most headers and parameters that are looked at.
const PARTS_MAX: usize = 32;

impl Challenge {
    /// The challenge to answer: a Bearer one if there is, since with it the password goes to the token service only.
    pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers.take(PARTS_MAX) {
            match Self::parse(header) {
                Some(bearer @ Self::Bearer { .. }) => return Some(bearer),
                Some(Self::Basic) => basic = Some(Self::Basic),
                None => {}
            }
        }
        basic
    }

    fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest;
        for _ in 0..PARTS_MAX {
            let Some((name, value, after)) = parameter(rest) else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = after;
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

/// `name=token` or `name="quoted"`, and what comes after the comma.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (name, rest) = text.split_once('=')?;
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, after) = rest.split_once(',').unwrap_or((rest, ""));
        return Some((name.trim(), value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name.trim(), value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_challenges_are_read() {
        let bearer = |scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("registry".into()),
                scope: scope.map(Into::into),
            })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#,
                bearer(Some("repository:a/b:pull,push")),
            ),
            (
                r#"bearer service=registry , realm="https:\/\/auth.example/token""#,
                bearer(None),
            ),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Bearer service=x", None),
            (r#"Bearer realm="x"#, None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(
                Challenge::choose([header].into_iter()),
                expected,
                "{header}"
            );
        }
        assert!(matches!(
            Challenge::choose(["Basic", "Bearer realm=x"].into_iter()),
            Some(Challenge::Bearer { .. })
        ));
    }
}
