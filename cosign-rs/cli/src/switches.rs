//! Switches with a value, as the flags of programs in Go have them, so that scripts write `--recursive=true` and `--yes=false`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The same words without values of switches: one that is on stands there alone, and one that is off does not, nor what said before that it is on.
///
/// Only off beside a variable that says on stays as it is, and is refused: what such a switch leaves out must not be left out by mistake.
pub(crate) fn without_values(command: &Command, words: Vec<OsString>) -> Vec<OsString> {
    if !words.iter().any(|word| valued(word).is_some()) {
        return words;
    }
    // Before it is built a command has none of its flags.
    let mut built = command.clone();
    built.build();
    let mut commands = vec![&built];
    let mut written: Vec<OsString> = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    for word in words.by_ref() {
        if word == "--" {
            written.push(word);
            break;
        }
        let known = valued(&word).and_then(|(name, on)| Some((switch(&commands, name)?, name, on)));
        if let Some((switch, name, on)) = known
            && (on || switch.get_env().is_none())
        {
            let bare = OsString::from(format!("--{name}"));
            written.retain(|before| *before != bare);
            if on {
                written.push(bare);
            }
            continue;
        }
        let within = commands.last().zip(word.to_str());
        commands.extend(within.and_then(|(command, name)| command.find_subcommand(name)));
        written.push(word);
    }
    written.extend(words);
    written
}

/// Name and value, as Go reads truth.
fn valued(word: &OsStr) -> Option<(&str, bool)> {
    let (name, value) = word.to_str()?.strip_prefix("--")?.split_once('=')?;
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some((name, true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some((name, false)),
        _ => None,
    }
}

/// The switch of that name, of the command that is meant or of all.
fn switch<'a>(commands: &[&'a Command], name: &str) -> Option<&'a Arg> {
    let mut arguments = commands.iter().rev().flat_map(|one| one.get_arguments());
    arguments
        .find(|argument| argument.get_long() == Some(name))
        .filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Arguments;

    fn plain(words: &str) -> String {
        let words = words.split(' ').map(OsString::from).collect();
        let plain = without_values(&Arguments::command(), words);
        plain.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn switches_are_on_or_off_as_in_cosign() {
        for (words, expected) in [
            (
                "cosign-rs sign --yes=true --recursive=false i",
                "cosign-rs sign --yes i",
            ),
            ("cosign-rs sign --yes --yes=1 i", "cosign-rs sign --yes i"),
            (
                "cosign-rs verify --insecure-ignore-tlog --insecure-ignore-tlog=false i",
                "cosign-rs verify i",
            ),
            (
                "cosign-rs --verbose=T verify --offline=TRUE i",
                "cosign-rs --verbose verify --offline i",
            ),
            ("cosign-rs verify --verbose=0 i", "cosign-rs verify i"),
        ] {
            assert_eq!(plain(words), expected);
            let split = expected.split(' ');
            assert!(Arguments::command().try_get_matches_from(split).is_ok());
        }
    }

    #[test]
    fn what_is_no_switch_keeps_its_value() {
        for words in [
            "cosign-rs sign i",
            "cosign-rs sign --tlog-upload=false --key=true i",
            "cosign-rs sign --yes=maybe i",
            "cosign-rs sign --nonsense=true i",
            "cosign-rs verify --yes=true i",
            "cosign-rs sign -- --yes=true",
        ] {
            assert_eq!(plain(words), words);
        }
    }

    /// By a variable it is on.
    #[test]
    fn off_beside_a_variable_is_not_taken_for_off() {
        let mut command = Arguments::command();
        command.build();
        let command = command.mut_subcommand("sign", |sign| {
            sign.mut_arg("recursive", |recursive| recursive.env("COSIGN_RECURSIVE"))
        });
        let words: Vec<OsString> = ["cosign-rs", "sign", "--recursive=false", "i"]
            .map(OsString::from)
            .to_vec();
        assert_eq!(without_values(&command, words.clone()), words);
    }
}
