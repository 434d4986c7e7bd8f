//! `targets` prints the names; `targets NAME FOLDER` writes the seeds of one into a folder, one file each.
#![expect(clippy::print_stdout, reason = "a command that talks to its terminal")]

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => fuzz::TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name)),
        [name, folder] => {
            let target = fuzz::target(name).ok_or_else(|| format!("no target {name}"))?;
            for (position, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(Path::new(folder).join(format!("seed-{position}")), seed)?;
            }
        }
        _ => return Err("usage: targets [NAME FOLDER]".into()),
    }
    Ok(())
}
