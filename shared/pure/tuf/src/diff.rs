//! What a new version changes, in words: for those who sign it, computed on their own machine from the two documents themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{Document, DocumentError, RoleName};
use crate::key::KeyId;

/// The sentences. `name` gives the name of a key's owner, if anybody knows it.
pub fn words(
    old: Option<&Document>,
    new: &Document,
    name: &dyn Fn(&KeyId) -> Option<String>,
) -> Result<Vec<String>, DocumentError> {
    let mut said = Vec::new();
    match old {
        None => said.push(format!(
            "{} {} is the first version; it holds until {}",
            new.role(),
            new.version(),
            new.expires()
        )),
        Some(old) => said.push(format!(
            "{} {} takes the place of {}; it holds until {} (so far {})",
            new.role(),
            new.version(),
            old.version(),
            new.expires(),
            old.expires()
        )),
    }
    signers(old, new, name, &mut said)?;
    targets(old, new, &mut said)?;
    delegations(old, new, &mut said)?;
    others(old, new, &mut said);
    if said.len() == 1 && old.is_some() {
        said.push("nothing else changes".to_owned());
    }
    Ok(said)
}

fn signers(
    old: Option<&Document>,
    new: &Document,
    name: &dyn Fn(&KeyId) -> Option<String>,
    said: &mut Vec<String>,
) -> Result<(), DocumentError> {
    if new.key_values().is_err() {
        return Ok(());
    }
    let shown = |id: &KeyId| match name(id) {
        Some(name) => format!("{name} ({})", short(id)),
        None => format!("the key {}", short(id)),
    };
    for role in new.signed_roles()? {
        let (ids, threshold) = (new.key_ids(&role)?, new.threshold(&role)?);
        let before =
            old.and_then(|old| Some((old.key_ids(&role).ok()?, old.threshold(&role).ok()?)));
        let Some((ids_before, threshold_before)) = before else {
            let all: Vec<String> = ids.iter().map(shown).collect();
            said.push(format!(
                "{role} is signed by {threshold} of {}: {}",
                ids.len(),
                all.join(", ")
            ));
            continue;
        };
        for id in ids.difference(&ids_before) {
            said.push(format!("{} may sign {role} from now on", shown(id)));
        }
        for id in ids_before.difference(&ids) {
            said.push(format!("{} may sign {role} no more", shown(id)));
        }
        if (threshold, ids.len()) != (threshold_before, ids_before.len()) {
            said.push(format!(
                "{role} needs {threshold} of {} signatures (so far {threshold_before} of {})",
                ids.len(),
                ids_before.len()
            ));
        }
        // Under one id another key, or a field in it.
        for id in ids.intersection(&ids_before) {
            let key = |document: &Document| document.key_value(id).cloned();
            if old.and_then(key) != key(new) {
                said.push(format!("what stands for {} changes", shown(id)));
            }
        }
    }
    for role in old
        .into_iter()
        .flat_map(|old| old.signed_roles().unwrap_or_default())
    {
        if new.threshold(&role).is_err() {
            said.push(format!("{role} is no role any more"));
        }
    }
    Ok(())
}

fn targets(
    old: Option<&Document>,
    new: &Document,
    said: &mut Vec<String>,
) -> Result<(), DocumentError> {
    let Ok(listed) = new.targets() else {
        return Ok(());
    };
    let before = old.map(Document::targets).transpose()?.unwrap_or_default();
    for (name, file) in &listed {
        let size = format!(
            "{} bytes, SHA-256 {}",
            file.length(),
            hex::encode(file.sha256())
        );
        match before.get(name) {
            None => said.push(format!("the target {name} is new: {size}")),
            Some(old) if old != file => said.push(format!("the target {name} changes: {size}")),
            Some(_) => {}
        }
    }
    for name in before.keys().filter(|name| !listed.contains_key(*name)) {
        said.push(format!("the target {name} is no more"));
    }
    Ok(())
}

fn delegations(
    old: Option<&Document>,
    new: &Document,
    said: &mut Vec<String>,
) -> Result<(), DocumentError> {
    if new.role() == &RoleName::ROOT {
        return Ok(());
    }
    let before = old
        .map(Document::delegations)
        .transpose()?
        .unwrap_or_default();
    for delegation in new.delegations()? {
        if before.contains(&delegation) {
            continue;
        }
        let end = if delegation.terminating {
            ", and nobody else"
        } else {
            ""
        };
        said.push(format!(
            "{} answers for {}{end}",
            delegation.name,
            delegation.paths.join(", ")
        ));
    }
    Ok(())
}

/// What no sentence above is about must not go unseen.
fn others(old: Option<&Document>, new: &Document, said: &mut Vec<String>) {
    const TOLD: [&str; 7] = [
        "version",
        "expires",
        "keys",
        "roles",
        "targets",
        "delegations",
        "meta",
    ];
    let Some(old) = old else { return };
    let (before, after) = (old.to_value(), new.to_value());
    let names: BTreeSet<&String> = [&before, &after]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys)
        .filter(|name| !TOLD.contains(&name.as_str()))
        .collect();
    for name in names {
        let (from, to) = (before.get(name), after.get(name));
        if from != to {
            let text = |value: Option<&Value>| {
                value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
            };
            said.push(format!("{name} is {} (so far {})", text(to), text(from)));
        }
    }
    // A difference in the told members that none of the sentences shows: custom data of a target, a field of a role.
    if said.len() == 1 && !old.says_the_same(new) {
        said.push(
            "fields change that this program does not know; compare the two files".to_owned(),
        );
    }
}

fn short(id: &KeyId) -> &str {
    id.as_str().get(..8).unwrap_or(id.as_str())
}
