//! The two targets that this is all about, seen together.

use trust::author::Rollout;
use trust::review;
use wire::trustroot as shape;

use crate::{SIGNING_CONFIG, TRUSTED_ROOT};

type Bytes = Option<Vec<u8>>;

/// The two documents, empty where there is none yet.
pub(crate) fn parse(
    (root, config): (Bytes, Bytes),
) -> Option<(shape::TrustedRoot, shape::SigningConfig)> {
    if root.is_none() && config.is_none() {
        return None;
    }
    let root = root.map_or_else(
        || Some(trust::author::empty_root()),
        |bytes| wire::parse(&bytes).ok(),
    )?;
    let config = config.map_or_else(
        || Some(trust::author::empty_config()),
        |bytes| wire::parse(&bytes).ok(),
    )?;
    Some((root, config))
}

/// What changes in them, in words. Where only one changes the other one is not in the request, and counts as empty on both sides.
pub(crate) fn words(old: (Bytes, Bytes), new: (Bytes, Bytes)) -> Vec<String> {
    let (old, new) = (parse(old), parse(new));
    let Some(new) = new else { return Vec::new() };
    let old = old.as_ref().map(|(root, config)| (root, config));
    review::words(old, (&new.0, &new.1))
}

/// What would break clients in a target, if it is one of the two (or a signing config under another name).
pub(crate) fn findings(name: &str, content: &[u8], root: Option<&[u8]>) -> Vec<String> {
    let found = if name == TRUSTED_ROOT {
        review::root(content)
    } else if name == SIGNING_CONFIG || is_signing_config(name) {
        review::config(content, root)
    } else {
        Vec::new()
    };
    found
        .iter()
        .map(|finding| format!("{name}: {finding}"))
        .collect()
}

/// The same without what the version before had already: clients of a repository that was taken over live with that.
pub(crate) fn new_findings(
    name: &str,
    (content, root): (&[u8], Option<&[u8]>),
    (old_content, old_root): (Option<&[u8]>, Option<&[u8]>),
) -> Vec<String> {
    let before = old_content.map(|old| findings(name, old, old_root));
    let before = before.unwrap_or_default();
    let mut found = findings(name, content, root);
    found.retain(|finding| !before.contains(finding));
    found
}

/// What the new ones may not do to clients that have the old ones.
pub(crate) fn rollout_findings(
    old: (Bytes, Bytes),
    new: (Bytes, Bytes),
    now: jiff::Timestamp,
    rollout: &Rollout,
) -> Vec<String> {
    let (Some(old), Some(new)) = (parse(old), parse(new)) else {
        return Vec::new();
    };
    review::rollout((&old.0, &old.1), (&new.0, &new.1), now, rollout)
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub(crate) fn is_signing_config(name: &str) -> bool {
    name.starts_with("signing_config") && name.ends_with(".v0.2.json")
}
