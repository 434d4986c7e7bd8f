//! The log engine alone against Tessera's POSIX driver: leaves from memory, no HTTP, no signatures of clients.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{build, machine, programs};
use crate::peers::{install, upstream};
use crate::run::quiet;

const BYTES: &str = "200";
const IN_FLIGHT: &str = "4096";

/// What both programs say.
struct Row {
    name: String,
    figures: Value,
}

impl Row {
    fn new(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        let said = quiet(command)?.expect(0)?;
        let figures = serde_json::from_str(said.stdout.trim()).with_context(|| said.all())?;
        Ok(Self {
            name: name.into(),
            figures,
        })
    }

    fn number(&self, member: &str) -> f64 {
        let number = self.figures.get(member).and_then(Value::as_f64);
        number.unwrap_or(f64::NAN)
    }
}

pub(crate) fn raw() -> Result<bool> {
    build(&["load"])?;
    let folder = tempfile::tempdir()?;
    println!("{}", machine::describe(folder.path())?);
    let ours = Row::new(
        "sequencer",
        Command::new(programs().join("load"))
            .arg("raw")
            .arg(folder.path().join("ours"))
            .args(["--leaves", "1000000", "--bytes", BYTES])
            .args(["--in-flight", IN_FLIGHT, "--output", "json"]),
    )?;
    let mut rows = vec![ours];
    let program = install::folder().join("go").join(upstream::TESSERA);
    if program.is_file() {
        for (how, leaves, batch, age) in [
            ("its default batches", "100000", "256", "250ms"),
            ("large batches", "200000", "4096", "10ms"),
        ] {
            rows.push(tessera(&program, folder.path(), how, [leaves, batch, age])?);
        }
    } else {
        println!("\npeer Tessera: not installed (cargo xtask peers install)");
    }
    println!(
        "\n{BYTES}-byte leaves, {IN_FLIGHT} on their way; each counts when it is durable, ours also proven and in a signed tree\n\
         {:<44} {:>10} {:>12} {:>9} {:>9} {:>13}",
        "", "leaves", "leaves/s", "p50 ms", "p99 ms", "resident MiB"
    );
    for row in &rows {
        println!(
            "{:<44} {:>10} {:>12.0} {:>9.2} {:>9.2} {:>13}",
            row.name,
            row.number("leaves"),
            row.number("per_second"),
            row.number("append_p50_ms"),
            row.number("append_p99_ms"),
            row.number("resident_mib"),
        );
    }
    if let [ours, theirs @ ..] = rows.as_slice() {
        for their in theirs {
            let ratio = ours.number("per_second") / their.number("per_second");
            println!("\nsequencer : {}: leaves/s {ratio:.1} : 1", their.name);
        }
    }
    Ok(true)
}

fn tessera(
    program: &Path,
    folder: &Path,
    how: &str,
    [leaves, batch, age]: [&str; 3],
) -> Result<Row> {
    let name = format!("Tessera {}, POSIX, {how}", upstream::TESSERA_VERSION);
    Row::new(
        name,
        Command::new(program)
            .arg(folder.join(batch))
            .args([leaves, BYTES, IN_FLIGHT, batch, age]),
    )
}
