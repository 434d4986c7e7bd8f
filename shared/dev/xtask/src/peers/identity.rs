//! The same tokens, the same settings: upstream's Fulcio and ours write the same names and extensions, byte for byte.

use anyhow::Result;

use super::upstream::FULCIO;
use crate::report::Report;
use crate::run::{cargo, quiet};

pub(crate) fn check(report: &mut Report) -> Result<()> {
    let title = "fulcio-rs and upstream's Fulcio make the same of tokens of every kind";
    let Some(program) = FULCIO.program() else {
        report.skip(title, FULCIO.name);
        return Ok(());
    };
    report.check(title, || {
        let test = [
            "test",
            "--quiet",
            "--package",
            "fulcio-rs",
            "--test",
            "identity",
        ];
        let mut test = cargo(test);
        test.args(["--", "--ignored", "upstream_writes_the_same_bytes"])
            .env("FULCIO_PEER", &program);
        let finished = quiet(&mut test)?.expect(0)?;
        anyhow::ensure!(
            finished.stdout.contains("1 passed"),
            "the test did not run: {}",
            finished.stdout
        );
        Ok(())
    });
    Ok(())
}
