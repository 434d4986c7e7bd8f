//! Parsers before bytes that nobody meant for them.
//!
//! [`TARGETS`] is the list: each target hands bytes to one door of the system and asserts what must hold whatever they are: no panic, and
//! where a format has a writer, that what was read is written as it stood (or at least read again as the same). Two programs use it:
//!
//! * the test `mutations` changes each target's seeds a few hundred times, always in the same ways, as part of the test command;
//! * `cargo xtask fuzz TARGET [SECONDS]` hands the target to libFuzzer (`libfuzzer/`, outside the workspace, as it needs a nightly
//!   compiler and instrumented dependencies).
//!
//! Seeds are files of `testdata/`, so that a target begins behind the outermost checks.

#![expect(
    clippy::expect_used,
    reason = "a panic is how a target reports a finding"
)]

mod replies;
mod seeds;
mod targets;

/// One door.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Must return, whatever the bytes are.
    pub run: fn(&[u8]),
    /// Bytes that go deep.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All doors, by name.
pub const TARGETS: &[Target] = targets::ALL;

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
