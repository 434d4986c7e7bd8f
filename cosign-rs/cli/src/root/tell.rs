//! What people read.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use repository::{Done, Level, Repository, Review, Staged, Status, Writer};
use tuf::{Request, RoleName, Version};

use crate::failure::{in_line, say};

/// Shows what a request is about.
pub(super) fn request(request: &Request, now: Timestamp) -> Result<Review> {
    let review = repository::review(request, now)?;
    if let Some(sha256) = &review.root_sha256 {
        say(&format!("  the root in force has the SHA-256 {sha256}"));
    }
    for word in &review.words {
        say(&format!("  {}", in_line(word)));
    }
    for finding in &review.findings {
        say(&format!("  breaks clients: {}", in_line(finding)));
    }
    for progress in &review.progress {
        say(&format!(
            "  signatures for {}: {} of {}",
            progress.by, progress.have, progress.threshold
        ));
    }
    Ok(review)
}

/// Shows all that is staged.
pub(super) fn staged(repository: &Repository, now: Timestamp) -> Result<()> {
    for staged in repository.staged_each(now)? {
        match staged {
            Ok(staged) => {
                say(&format!("staged/{}.json:", staged.role));
                request(&staged.request, now)?;
            }
            // What was asked for is done; this is about another proposal.
            Err(error) => say(&format!(
                "note: {}",
                in_line(&format!("{:#}", anyhow::Error::from(error)))
            )),
        }
    }
    Ok(())
}

/// Shows what is staged, and who does what next.
pub(super) fn next_steps(repository: &Repository, state: &Path, now: Timestamp) -> Result<()> {
    staged(repository, now)?;
    let all = repository.staged_each(now)?;
    let is_complete =
        |one: &Result<Staged, _>| one.as_ref().is_ok_and(|one| one.ceremony.is_complete());
    if !all.is_empty() && all.iter().all(is_complete) {
        say(&format!(
            "all signatures are there: cosign-rs root --state {} publish",
            state.display()
        ));
    } else if !all.is_empty() {
        say(
            "each signer: cosign-rs root sign FILE --key KEY; what comes back: cosign-rs root merge FILE",
        );
    }
    Ok(())
}

/// Tells what was published, and copies it to the other places.
pub(super) async fn done(writer: &Writer<'_>, done: &Done, notes: &[String]) -> Result<()> {
    let repository = writer.repository();
    for note in notes.iter().chain(&done.notes) {
        say(&format!("note: {}", in_line(note)));
    }
    if done.written.is_empty() {
        say("nothing was due");
    } else {
        say(&format!("published {}", done.written.join(" ")));
    }
    let copied = writer.copy_out().await;
    for place in &copied.done {
        say(&format!("copied to {place}"));
    }
    if done.written.iter().any(|name| name.ends_with(".root.json"))
        && let Some(newest) = repository.versions(&RoleName::ROOT)?.last()
        && let Some(bytes) = repository.published_file(&RoleName::ROOT.file_name(*newest))?
    {
        // From there on each root vouches for the next one.
        let then = if *newest == Version::ONE {
            ": tell it to your users by another way than the repository"
        } else {
            ""
        };
        say(&format!(
            "root {newest} has the SHA-256 {}{then}",
            hex::encode(keys::sha256(&bytes))
        ));
    }
    Ok(copied.whole()?)
}

/// How things stand.
pub(super) fn status(status: &Status) -> String {
    let mut lines = Vec::new();
    let word = |level: Level| match level {
        Level::Ok => "ok",
        Level::Due => "due",
        Level::Broken => "BROKEN",
    };
    for role in &status.roles {
        lines.push(format!(
            "{:<10} version {:<5} {:<6} until {} (sign again from {}), signed by {} of {}",
            role.role,
            role.version,
            word(role.level),
            role.expires,
            role.due,
            role.threshold,
            role.keys
        ));
    }
    for waiting in &status.waiting {
        for signatures in &waiting.signatures {
            let missing = if signatures.have >= signatures.threshold {
                "complete".to_owned()
            } else {
                format!("one of {} is missing", signatures.missing.join(", "))
            };
            lines.push(format!(
                "waits: {} {} has {} of {} signatures for {}: {missing}",
                waiting.role, waiting.version, signatures.have, signatures.threshold, signatures.by
            ));
        }
    }
    for client in &status.clients {
        match &client.error {
            Some(error) => lines.push(format!(
                "clients that start at root {} fail: {error}",
                client.start
            )),
            None => lines.push(format!(
                "clients that start at root {} come to root {}",
                client.start,
                client.root.unwrap_or_default()
            )),
        }
    }
    lines.extend(status.notes.iter().map(|note| format!("note: {note}")));
    lines.push(format!("all in all: {}", word(status.level)));
    lines.join("\n")
}
