//! Three TUF clients over the same repositories, some hundred of them, in each of which one or two things were changed: a version, a date, a hash,
//! a length, a threshold, a signature, a delegation, a byte. Where python-tuf, tuf-js and we do not agree whether to take it, the table below
//! says why; a difference that is not in it fails, and so does one that is in it and is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::{install, present};
use crate::report::Report;
use crate::run::{self, quiet};

/// Any number will do; this one is written down so that a failure can be repeated.
const SEED: u32 = 7;
/// Fewer repositories mean that the maker lost some.
const MINIMUM: usize = 400;
/// Processes of ours at a time.
const AT_ONCE: usize = 2;

/// A change that clients see differently.
struct Difference {
    begins: &'static str,
    ends: &'static str,
    /// Who takes it: we, python-tuf, tuf-js.
    takes: [bool; 3],
    /// Why that is so, and why ours is the answer to give.
    why: &'static str,
}

const fn differs(
    begins: &'static str,
    ends: &'static str,
    takes: [bool; 3],
    why: &'static str,
) -> Difference {
    Difference {
        begins,
        ends,
        takes,
        why,
    }
}

const NO_DATE: &str = "no date of RFC 3339: tuf-js takes what JavaScript reads as one";
const ANY_DATE: &str =
    "a date of RFC 3339, as production roots 1 to 3 have them: python-tuf reads one form alone";
const NO_FLOOR: &str = "versions begin at 1: tuf-js has no lower bound for a timestamp's";
const SMALL_MAJOR: &str =
    "the first number decides whether we know the format; Sigstore writes 1.0";
const NO_HASH: &str = "hashes that nobody can compare are no check: tuf-js takes none for all";
const CAPITALS: &str = "hex has no case";
const FUTURE_KEY: &str = "a key of a type to come is never counted, and stops nobody; python-tuf cannot read such a root";
const TWICE: &str = "keys are counted, not ids, so that twice the same is once";

const DIFFERENCES: [Difference; 20] = [
    differs("", ": expires malformed", [false, false, true], NO_DATE),
    differs(
        "",
        ": expires without a zone",
        [false, false, true],
        NO_DATE,
    ),
    differs("", ": expires a day", [false, false, true], NO_DATE),
    differs(
        "",
        ": expires with a fraction",
        [true, false, true],
        ANY_DATE,
    ),
    differs(
        "",
        ": expires with an offset",
        [true, false, true],
        ANY_DATE,
    ),
    differs("", ": spec_version 1", [true, false, false], SMALL_MAJOR),
    differs(
        "timestamp: version zero",
        "",
        [false, false, true],
        NO_FLOOR,
    ),
    differs(
        "timestamp: version negative",
        "",
        [false, false, true],
        NO_FLOOR,
    ),
    differs(
        "",
        " in meta: no hash in hashes",
        [false, false, true],
        NO_HASH,
    ),
    differs(
        "",
        " in meta: hash in capitals",
        [true, false, false],
        CAPITALS,
    ),
    differs(
        "root: a key of an unknown type for ",
        "",
        [true, false, true],
        FUTURE_KEY,
    ),
    differs("root: a key id of ", " twice", [true, false, false], TWICE),
    differs(
        "root: one key under two ids",
        "",
        [false, true, true],
        "one person with two ids would be two of two: only different keys count",
    ),
    differs(
        "delegation: by brackets",
        "",
        [false, true, true],
        "the specification knows * and ?; what a bracket means is each library's own",
    ),
    differs(
        "delegation: terminating of text",
        "",
        [false, true, false],
        "\"false\" is no boolean, and Python takes it for true",
    ),
    differs(
        "delegation: broken, another target wanted",
        "",
        [true, false, false],
        "a team whose delegation cannot be met stops who asks for the team's targets, and nobody else",
    ),
    differs(
        "target: a second hash of an unknown kind",
        "",
        [true, false, false],
        "one hash that is known is a check; others may be for clients to come",
    ),
    differs(
        "target: custom with a number above 2^53",
        "",
        [true, true, false],
        "JavaScript rounds it, and the signature is over the number as it was written",
    ),
    // The two that stand for agreement: were one of them refused everywhere, all else would agree too.
    differs("nothing", "", [true, true, true], "nothing was changed"),
    differs(
        "content: shorter",
        "",
        [false, false, false],
        "it is another content",
    ),
];

/// What a case asks for.
#[derive(Deserialize)]
struct Case {
    name: Vec<String>,
    target: String,
    content: String,
}

/// Taken or not, and what was said, by the number of the case.
type Verdicts = BTreeMap<String, (bool, String)>;

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title =
        "python-tuf, tuf-js and cosign-rs agree on what holds, or differ for a stated reason";
    for peer in ["python-tuf", "tuf-js"] {
        if !present(peer) {
            report.skip(title, peer);
            return Ok(());
        }
    }
    let place = run::target().join("tuf-probes");
    report.check(title, || {
        let _left = fs::remove_dir_all(&place);
        let compared = compare(&place);
        if compared.is_ok() {
            fs::remove_dir_all(&place)?;
        }
        compared
    });
    Ok(())
}

fn compare(place: &Path) -> Result<()> {
    let cases = place.join("cases");
    fs::create_dir_all(&cases)?;
    let python = || {
        let mut python = Command::new(install::folder().join("python/bin/python"));
        python.arg(script("tuf-probes.py"));
        python
    };
    quiet(python().args(["make", &SEED.to_string()]).arg(&cases))?.expect(0)?;
    let numbers = numbers(&cases)?;
    ensure!(
        numbers.len() >= MINIMUM,
        "{} repositories, expected at least {MINIMUM}",
        numbers.len()
    );
    let (python, javascript, ours) = thread::scope(|scope| {
        let python = scope.spawn(|| verdicts(python().arg("run").arg(&cases)));
        let javascript = scope.spawn(|| {
            let mut node = Command::new("node");
            node.env("NODE_PATH", install::folder().join("js/node_modules"));
            verdicts(node.arg(script("tuf-probes.js")).arg(&cases))
        });
        let ours = ours(place, &cases, &numbers);
        let joined = |thread: thread::ScopedJoinHandle<'_, Result<Verdicts>>| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the comparison panicked"))?
        };
        anyhow::Ok((joined(python)?, joined(javascript)?, ours?))
    })?;
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for number in &numbers {
        let case = case(&cases, number)?;
        let of = |verdicts: &Verdicts, who: &str| {
            let verdict = verdicts.get(number).cloned();
            verdict.with_context(|| format!("{who} says nothing about {number}"))
        };
        let said = [
            of(&ours, "cosign-rs")?,
            of(&python, "python-tuf")?,
            of(&javascript, "tuf-js")?,
        ];
        let takes = said.clone().map(|(taken, _)| taken);
        let stated = |name: &String| {
            DIFFERENCES.iter().position(|difference| {
                name.starts_with(difference.begins) && name.ends_with(difference.ends)
            })
        };
        let stated: Vec<usize> = case.name.iter().filter_map(stated).collect();
        let agree = takes.iter().all(|taken| *taken == takes[0]);
        let explained = match (case.name.len(), stated.first()) {
            // One change alone shows itself exactly as the table says.
            (1, Some(one)) => DIFFERENCES.get(*one).is_some_and(|row| row.takes == takes),
            (1, None) => agree,
            // The other change may hide it.
            (_, one) => agree || one.is_some(),
        };
        if explained {
            seen.extend(stated);
        } else {
            wrong.push(format!(
                "{number} ({}): cosign-rs {:?}, python-tuf {:?}, tuf-js {:?}",
                case.name.join(" and "),
                said[0],
                said[1],
                said[2]
            ));
        }
    }
    for (at, difference) in DIFFERENCES.iter().enumerate() {
        if !seen.contains(&at) {
            wrong.push(format!(
                "no case shows any more: {}...{} ({})",
                difference.begins, difference.ends, difference.why
            ));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "seed {SEED}, {} repositories in {}:\n{}",
        numbers.len(),
        cases.display(),
        wrong.join("\n")
    )
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
}

fn numbers(cases: &Path) -> Result<Vec<String>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(cases)? {
        numbers.push(entry?.file_name().to_string_lossy().into_owned());
    }
    numbers.sort();
    Ok(numbers)
}

fn case(cases: &Path, number: &str) -> Result<Case> {
    let bytes = fs::read(cases.join(number).join("case.json"))?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn verdicts(command: &mut Command) -> Result<Verdicts> {
    let finished = quiet(command)?.expect(0)?;
    Ok(serde_json::from_str(finished.stdout.trim())?)
}

/// One process a case, by the protocol of tuf-conformance. A refusal is an answer with exit code 1; a panic is none.
fn ours(place: &Path, cases: &Path, numbers: &[String]) -> Result<Verdicts> {
    let size = numbers.len().div_ceil(AT_ONCE).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = numbers
            .chunks(size)
            .map(|part| {
                scope.spawn(move || -> Result<Verdicts> {
                    let follow = |number: &String| {
                        let verdict = follow(place, cases, number);
                        Ok((number.clone(), verdict.with_context(|| number.clone())?))
                    };
                    part.iter().map(follow).collect()
                })
            })
            .collect();
        let mut all = Verdicts::new();
        for part in parts {
            let part = part
                .join()
                .map_err(|_| anyhow!("a thread of the comparison panicked"))?;
            all.extend(part?);
        }
        Ok(all)
    })
}

fn follow(place: &Path, cases: &Path, number: &str) -> Result<(bool, String)> {
    let (served, wanted) = (cases.join(number), case(cases, number)?);
    let cache = place.join("caches").join(number);
    let (history, targets) = (cache.join("root_history"), cache.join("content"));
    fs::create_dir_all(&history)?;
    fs::create_dir_all(&targets)?;
    for copy in [history.join("pinned.root.json"), cache.join("root.json")] {
        fs::copy(served.join("root.json"), copy)?;
    }
    let url = format!("file://{}", served.join("repository").display());
    let finished = quiet(
        Command::new(run::ours("cosign-rs"))
            .args(["tuf-conformance", "--metadata-url", &url])
            .args(["--target-base-url", &format!("{url}/targets")])
            .args(["--target-name", &wanted.target])
            .arg("--metadata-dir")
            .arg(&cache)
            .arg("--target-dir")
            .arg(&targets)
            .arg("download"),
    )?;
    match finished.code {
        Some(0) => {
            let name = numbers(&targets)?.pop().context("taken, and not there")?;
            let same = fs::read(targets.join(name))? == wanted.content.as_bytes();
            ensure!(same, "another content was taken");
            Ok((true, "accepted".to_owned()))
        }
        Some(1) => Ok((false, finished.stderr.replace('\n', " "))),
        _ => bail!("neither taken nor refused:\n{}", finished.all()),
    }
}
