//! Path patterns of delegations (TUF specification 4.5, `PATHPATTERN`): `*` and `?` as in a shell, and neither crosses a `/`.

/// Does `pattern` cover `path`? Part by part; every other character stands for itself, `[` too.
pub(crate) fn covers(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// In at most `pattern * part` steps: after a mismatch only the last `*` takes one character more.
fn part_matches(pattern: &str, part: &str) -> bool {
    let (mut pattern, mut part) = (pattern.chars(), part.chars());
    let mut last_star = None;
    loop {
        let mut next = pattern.clone();
        match (next.next(), part.clone().next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = next;
                last_star = Some((pattern.clone(), part.clone()));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                pattern = next;
                part.next();
                continue;
            }
            _ => {}
        }
        let Some((after_star, mut rest)) = last_star else {
            return false;
        };
        if rest.next().is_none() {
            return false;
        }
        pattern = after_star.clone();
        part = rest.clone();
        last_star = Some((after_star, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples_and_the_ends_of_parts() {
        for (pattern, path, expected) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("targets/*.tgz", "targets/a/foo.tgz", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*", "foo", true),
            ("*", "", true),
            ("*", "foo/bar", false),
            ("*/*", "foo/bar", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("**", "x", true),
            ("?", "ä", true),
            ("?", "", false),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("README.md", "README.MD", false),
            ("a/", "a/", true),
            ("a", "a/", false),
        ] {
            assert_eq!(covers(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        let pattern = "a*".repeat(500) + "b";
        assert!(!covers(&pattern, &"a".repeat(5_000)));
    }

    #[test]
    fn patterns_do_not_cross_a_slash() {
        for (pattern, name, covered) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*/c", "a/b/c", true),
            ("a/?", "a/b", true),
            ("a/?", "a/bb", false),
            ("*.txt", "a.txt", true),
            ("a*b*c", "aXbXc", true),
            ("a*b*c", "aXbX", false),
            ("a*", "a", true),
            ("", "a", false),
            (
                "registry.example.com/team/*:v?",
                "registry.example.com/team/app:v1",
                true,
            ),
        ] {
            assert_eq!(covers(pattern, name), covered, "{pattern} {name}");
        }
        // Many stars and a long name end soon.
        assert!(!covers(&"*a".repeat(100), &"a".repeat(99)));
    }
}
