//! `.PKGINFO`, read by the rules of an INI file as upstream reads it.
//!
//! Alpine's format is `key = value` and lines that begin with `#`. Upstream hands it to a general INI parser (gopkg.in/ini.v1 1.67 with its
//! defaults), and what that makes of it goes into the log. So these are its rules, for the entries that the format did not mean too: `:` divides
//! like `=`, `#` and `;` begin a comment anywhere, a backslash at the end continues a line, quotes around a key or value are taken off,
//! `"""` and a backquote open values of several lines, keys below a `[section]` are passed over, the last of equal keys wins (of several
//! `depend` lines only one is left), and `-` counts up: `#1`, `#2`.

use std::collections::BTreeMap;

use crate::{PackageError, text};

/// The most lines that are read: `.PKGINFO` has one for each dependency and each thing provided.
const MAX_LINES: u64 = 65_536;
/// The section to which keys belong before any is named.
const DEFAULT_SECTION: &str = "DEFAULT";

const UNCLOSED: PackageError = PackageError::Malformed(".PKGINFO: a quote that is not closed");

/// Reads the keys outside of sections.
pub(super) fn parse(contents: &[u8]) -> Result<BTreeMap<String, String>, PackageError> {
    let limit = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    if limit > super::MAX_METADATA {
        return Err(PackageError::TooLarge {
            what: ".PKGINFO: bytes",
            limit: super::MAX_METADATA,
        });
    }
    let contents = text::replacing(without_mark(contents));
    let mut lines = Lines {
        rest: &contents,
        left: MAX_LINES,
    };
    let mut keys = BTreeMap::new();
    let mut in_default = true;
    let mut counter: u64 = 0;
    while let Some(line) = lines.next()? {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(after) = line.strip_prefix('[') {
            let (name, _) = after
                .rsplit_once(']')
                .ok_or(PackageError::Malformed(".PKGINFO: a section's name"))?;
            if name.is_empty() {
                return Err(PackageError::Malformed(".PKGINFO: a section's name"));
            }
            in_default = name == DEFAULT_SECTION;
            counter = 0;
            continue;
        }
        let (key, after) = key(line)?;
        let key = if key == "-" {
            counter = counter.saturating_add(1);
            format!("#{counter}")
        } else {
            key.to_owned()
        };
        let value = value(after, &mut lines)?;
        if in_default {
            if key.contains(char::REPLACEMENT_CHARACTER) {
                // Two keys of different bytes could be written alike.
                return Err(PackageError::Malformed(".PKGINFO: a key is not UTF-8"));
            }
            keys.insert(key, value);
        }
    }
    Ok(keys)
}

/// Takes off a byte order mark.
fn without_mark(contents: &[u8]) -> &[u8] {
    match contents {
        [0xef, 0xbb, 0xbf, rest @ ..] | [0xfe, 0xff, rest @ ..] | [0xff, 0xfe, rest @ ..] => rest,
        _ => contents,
    }
}

/// Lines with their line feed, one after the other.
struct Lines<'a> {
    rest: &'a str,
    left: u64,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, PackageError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or(PackageError::TooLarge {
            what: ".PKGINFO: lines",
            limit: MAX_LINES,
        })?;
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        Ok(Some(line))
    }
}

/// The key of a line, and what follows the sign that ends it.
fn key(line: &str) -> Result<(&str, &str), PackageError> {
    const NO_SIGN: PackageError = PackageError::Malformed(".PKGINFO: a line without = or :");
    const EMPTY: PackageError = PackageError::Malformed(".PKGINFO: an empty key");
    let quote = if line.starts_with("\"\"\"") && line.len() > 6 {
        "\"\"\""
    } else if line.starts_with('"') {
        "\""
    } else if line.starts_with('`') {
        "`"
    } else {
        ""
    };
    let (key, after) = if quote.is_empty() {
        let at = line.find(['=', ':']).ok_or(NO_SIGN)?;
        line.split_at_checked(at).ok_or(NO_SIGN)?
    } else {
        let quoted = line.strip_prefix(quote).unwrap_or_default();
        let (key, after) = quoted.split_once(quote).ok_or(UNCLOSED)?;
        let at = after.find(['=', ':']).ok_or(NO_SIGN)?;
        (key, after.get(at..).unwrap_or_default())
    };
    let key = key.trim();
    if key.is_empty() {
        return Err(EMPTY);
    }
    // The sign itself is one byte.
    Ok((key, after.get(1..).unwrap_or_default()))
}

fn value(after: &str, lines: &mut Lines<'_>) -> Result<String, PackageError> {
    let line = after.trim_start();
    let quote = if line.starts_with("\"\"\"") && line.len() > 3 {
        "\"\"\""
    } else if line.starts_with('`') {
        "`"
    } else {
        ""
    };
    if !quote.is_empty() {
        let quoted = line.strip_prefix(quote).unwrap_or_default();
        // What stands behind the last quote of the line is dropped.
        return match quoted.rsplit_once(quote) {
            Some((value, _)) => Ok(value.to_owned()),
            None => several_lines(quoted, quote, lines),
        };
    }
    let line = line.trim_end();
    if let Some(start) = line.strip_suffix('\\') {
        return continued(start, lines);
    }
    let line = line
        .find(['#', ';'])
        .and_then(|at| line.get(..at))
        .map_or(line, str::trim);
    let unquoted = ['\'', '"'].into_iter().find_map(|quote| {
        let inner = line.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    });
    Ok(unquoted.unwrap_or(line).to_owned())
}

/// A quoted value that goes on until a line with the same quote; a backslash behind that quote takes it back.
fn several_lines(start: &str, quote: &str, lines: &mut Lines<'_>) -> Result<String, PackageError> {
    let mut value = start.to_owned();
    loop {
        let line = lines.next()?.ok_or(UNCLOSED)?;
        match line.rsplit_once(quote) {
            Some((last, behind)) if !behind.trim().ends_with('\\') => {
                value.push_str(last);
                return Ok(value);
            }
            _ => value.push_str(line),
        }
    }
}

/// A value that goes on while lines end in a backslash. Comments and quotes are not looked for in it.
fn continued(start: &str, lines: &mut Lines<'_>) -> Result<String, PackageError> {
    let mut value = start.to_owned();
    while let Some(line) = lines.next()? {
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let Some(start) = line.strip_suffix('\\') else {
            value.push_str(line);
            break;
        };
        value.push_str(start);
    }
    Ok(value)
}
