//! Shows that each name in `shared/pure/clippy.toml` is really refused: a lint that never fires protects nothing.
//!
//! A throw-away crate below a folder with a copy of that file uses every name once; clippy must complain of every one.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;
use crate::run;

pub(crate) fn check(report: &mut Report) -> Result<()> {
    report.check(
        "clippy refuses clock, files, network and randomness in shared/pure",
        probe,
    );
    Ok(())
}

fn probe() -> Result<()> {
    let rules = std::fs::read_to_string(run::root().join("shared/pure/clippy.toml"))?;
    let parsed: toml::Table = toml::from_str(&rules)?;
    let names: Vec<&str> = parsed
        .get("disallowed-methods")
        .and_then(toml::Value::as_array)
        .context("shared/pure/clippy.toml has no disallowed-methods")?
        .iter()
        .filter_map(|row| row.get("path")?.as_str())
        // Names of other crates are refused by the same mechanism; the probe has no dependencies, so that it needs no registry.
        .filter(|name| name.starts_with("std::"))
        .collect();
    if names.len() < 30 {
        bail!(
            "only {} std names are refused: the list lost some",
            names.len()
        );
    }
    let folder = run::target().join("purity");
    std::fs::create_dir_all(folder.join("src"))?;
    std::fs::write(folder.join("clippy.toml"), &rules)?;
    std::fs::write(
        folder.join("Cargo.toml"),
        "[package]\nname = \"purity-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n",
    )?;
    std::fs::write(folder.join("src/lib.rs"), program(&names)?)?;
    let finished = run::quiet(
        run::cargo(["clippy", "--quiet", "--offline", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.join("target")),
    )?;
    let silent: Vec<&str> = names
        .into_iter()
        .filter(|name| {
            !finished
                .stderr
                .contains(&format!("use of a disallowed method `{name}`"))
        })
        .collect();
    if !silent.is_empty() {
        bail!(
            "clippy did not complain of {}\n{}",
            silent.join(", "),
            finished.stderr
        );
    }
    Ok(())
}

/// Names each function as a value, which the lint treats like a call.
fn program(names: &[&str]) -> Result<String> {
    let mut program =
        String::from("//! probe\n#![allow(unused, path_statements)]\npub fn all() {\n");
    for name in names {
        // Generic functions need their type parameters to stand alone; one that fits all of them is a path.
        let line = match *name {
            "std::thread::spawn" => "let _ = std::thread::spawn(|| ());".to_owned(),
            "std::thread::Builder::spawn" => {
                "let _ = std::thread::Builder::new().spawn(|| ());".to_owned()
            }
            "std::fs::write" => "let _ = std::fs::write(\"a\", \"b\");".to_owned(),
            "std::fs::rename" | "std::fs::copy" | "std::fs::hard_link" => {
                format!("let _ = {name}(\"a\", \"b\");")
            }
            "std::fs::set_permissions" => {
                "let _ = |p| std::fs::set_permissions(\"a\", p);".to_owned()
            }
            "std::env::var" | "std::env::var_os" | "std::process::Command::new" => {
                format!("let _ = {name}(\"a\");")
            }
            name if name.starts_with("std::net::") && !name.ends_with("_timeout") => {
                format!("let _ = {name}(\"127.0.0.1:1\");")
            }
            name if name.starts_with("std::os::unix::net::") => format!("let _ = {name}(\"a\");"),
            name if name.starts_with("std::fs::")
                && !name.ends_with("::new")
                && !name.ends_with("::options") =>
            {
                format!("let _ = {name}(\"a\");")
            }
            name => format!("let _ = {name};"),
        };
        writeln!(program, "    {line}")?;
    }
    program.push_str("}\n");
    Ok(program)
}
