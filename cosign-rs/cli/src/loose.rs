//! Regular expressions that match more than their author thinks. They are anchored at both ends, and even so these are how strangers get in.

/// What is loose about a pattern, in words; nothing for one that is as tight as it looks.
pub(crate) fn reasons(pattern: &str) -> Vec<&'static str> {
    // Nothing, and nothing else.
    if pattern == "^$" {
        return Vec::new();
    }
    let pieces = pieces(pattern);
    let any = |piece: Option<&Piece>| piece == Some(&Piece::Anything);
    if pieces.iter().all(|piece| *piece == Piece::Anything) {
        return vec!["it matches everybody"];
    }
    let mut reasons = Vec::new();
    if any(pieces.first()) {
        reasons.push(
            "it begins with anything: other hosts, and other people, end in the same letters",
        );
    }
    let last = pieces.len().checked_sub(1);
    let before = last.and_then(|last| pieces.get(last.checked_sub(1)?));
    let bounded = matches!(before, Some(Piece::Letter('/' | '@' | ':' | '#')));
    if any(last.and_then(|last| pieces.get(last))) && !bounded {
        reasons.push(
            "it ends with anything: a repository, branch or host with a longer name matches too; let it end behind a / or an @",
        );
    }
    if pieces.contains(&Piece::Dot) {
        reasons.push("a dot matches any character: write \\. for a dot");
    }
    if pieces.contains(&Piece::Bar) {
        reasons.push("a | outside of brackets parts the whole expression: write (a|b)");
    }
    reasons
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// `.*`, `.+`.
    Anything,
    /// A `.` for one character.
    Dot,
    /// A `|` outside of all groups.
    Bar,
    /// A letter that stands for itself.
    Letter(char),
    /// Anything else.
    Other,
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let text = pattern.strip_prefix('^').unwrap_or(pattern);
    let text = text.strip_suffix('$').unwrap_or(text);
    let mut pieces = Vec::new();
    let mut letters = text.chars().peekable();
    let (mut depth, mut class) = (0_usize, false);
    while let Some(letter) = letters.next() {
        let piece = match letter {
            '\\' => {
                let next = letters.next();
                match next {
                    Some(next) if !next.is_alphanumeric() => Piece::Letter(next),
                    _ => Piece::Other,
                }
            }
            ']' if class => {
                class = false;
                Piece::Other
            }
            _ if class => continue,
            '[' => {
                class = true;
                Piece::Other
            }
            '(' => {
                depth = depth.saturating_add(1);
                Piece::Other
            }
            ')' => {
                depth = depth.saturating_sub(1);
                Piece::Other
            }
            '|' if depth == 0 => Piece::Bar,
            '.' => match letters.peek() {
                Some('*' | '+') => {
                    letters.next();
                    if letters.peek() == Some(&'?') {
                        letters.next();
                    }
                    Piece::Anything
                }
                Some('?' | '{') => Piece::Other,
                _ => Piece::Dot,
            },
            '*' | '+' | '?' | '{' | '}' | '^' | '$' | '|' => Piece::Other,
            letter => Piece::Letter(letter),
        };
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loose_is_said() {
        for (pattern, expected) in [
            (".*", "everybody"),
            ("^.+$", "everybody"),
            ("", "everybody"),
            (".*@example\\.org", "begins with anything"),
            ("https://github\\.com/o/r.*", "ends with anything"),
            ("^https://github\\.com/o/r.+?$", "ends with anything"),
            ("https://github.com/o/r/.*", "write \\."),
            ("alice@a\\.b|bob@a\\.b", "write (a|b)"),
        ] {
            let reasons = reasons(pattern);
            assert!(
                reasons.iter().any(|reason| reason.contains(expected)),
                "{pattern}: {reasons:?}"
            );
        }
    }

    #[test]
    fn what_is_tight_is_not_said_to_be_loose() {
        for pattern in [
            "alice@example\\.org",
            "https://github\\.com/o/r/.*",
            "https://github\\.com/o/r/\\.github/workflows/x\\.yml@.+",
            "^https://github\\.com/(o|p)/[^/.]+/x@refs/tags/v[0-9.]+$",
            "[a-z]+@example\\.org",
        ] {
            assert_eq!(reasons(pattern), Vec::<&str>::new(), "{pattern}");
        }
    }
}
