//! `verify --stdin`: as many questions as there are lines, in one process.

use std::io::{BufRead as _, Read as _};
use std::sync::Arc;

use anyhow::Result;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::lines::{Answers, LINE_MAX, refusal, text};
use crate::args::Verify;
use crate::failure::{Exit, say, usage};
use crate::report;

/// Lines that are read ahead.
const AHEAD: usize = 64;

pub(super) async fn verify(arguments: Verify) -> Result<()> {
    if !arguments.annotations.is_empty() {
        return Err(usage(
            "--annotations with --stdin",
            "verify the images that need them one by one",
        ));
    }
    let one_image = [
        (arguments.platforms.platform.is_some(), "--platform"),
        (arguments.platforms.all_platforms, "--all-platforms"),
        (arguments.platforms.recursive, "--recursive"),
        (arguments.local_image, "--local-image"),
    ];
    if let Some((_, flag)) = one_image.iter().find(|(given, _)| *given) {
        return Err(usage(
            format!("{flag} with --stdin"),
            "verify the images that need it one by one",
        ));
    }
    let answers = Answers::open(
        &arguments.expected,
        &arguments.judging,
        &arguments.trust,
        &arguments.tag_trust,
        &arguments.registry,
    );
    let answers = Arc::new(answers.await?);
    let answers = &answers;
    let questions = stream::unfold(lines(), |mut lines| async move {
        let line = lines.recv().await?;
        Some((line, lines))
    });
    // In their order, so that nobody needs to look for the answer to a line.
    let answered = questions
        .map(|line| async move {
            match line {
                Ok(line) => answers.answer(&line).await,
                Err(error) => refusal("", None, error),
            }
        })
        .buffered(usize::from(arguments.max_workers));
    let mut answered = std::pin::pin!(answered);
    let (mut yes, mut no) = (0_u64, 0_u64);
    let mut codes: Vec<u8> = Vec::new();
    while let Some(answer) = answered.next().await {
        report::print(&answer.json)?;
        if answer.exit_code == 0 {
            yes = yes.saturating_add(1);
        } else {
            no = no.saturating_add(1);
            if !codes.contains(&answer.exit_code) {
                codes.push(answer.exit_code);
            }
        }
    }
    say(&format!("{yes} verified, {no} refused"));
    match codes.as_slice() {
        // No questions are no reason to say yes.
        [] if yes > 0 => Ok(()),
        [] => Err(usage("no line on standard input", "write an image a line")),
        [one] => Err(Exit(*one).into()),
        _ => Err(Exit(1).into()),
    }
}

/// The lines of standard input, of a thread of its own: reading it waits for whoever writes.
fn lines() -> mpsc::Receiver<Result<String>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let limit = u64::try_from(LINE_MAX)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(limit).read_until(b'\n', &mut line);
            let (line, last) = match read {
                Ok(0) => return,
                Ok(_) if line.len() > LINE_MAX => {
                    let error = usage(
                        format!("a line longer than {LINE_MAX} bytes"),
                        "one question a line; nothing behind it was read",
                    );
                    (Err(error), true)
                }
                Ok(_) => (text(line), false),
                Err(error) => (Err(error.into()), true),
            };
            if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
                continue;
            }
            if sender.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    receiver
}
