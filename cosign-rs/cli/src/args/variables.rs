//! Every flag has a variable.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, CommandFactory as _};

use super::Arguments;

/// Every flag has a variable, as in cosign: `--certificate-identity` is `COSIGN_CERTIFICATE_IDENTITY`.
pub(crate) fn with_environment(mut command: clap::Command) -> clap::Command {
    command.build();
    with_variables(command, &|_| true)
}

/// The same for a command line: only the flags of commands that are named in it can matter, and going through all of them, or only making them,
/// takes as long as verifying several signatures.
pub(crate) fn with_environment_of(mut command: clap::Command, words: &[OsString]) -> clap::Command {
    let stands_for_a_flag = |(name, value): (OsString, OsString)| {
        name.as_encoded_bytes().starts_with(b"COSIGN_") && !value.is_empty()
    };
    if !std::env::vars_os().any(stands_for_a_flag) {
        return command;
    }
    // Before it is built a command has none of its flags.
    command.build();
    let named = |name: &str| words.iter().any(|word| word == name);
    with_variables(command, &|command| {
        named(command.get_name()) || command.get_all_aliases().any(named)
    })
}

fn with_variables(
    command: clap::Command,
    wanted: &dyn Fn(&clap::Command) -> bool,
) -> clap::Command {
    let command = command.mut_args(variable);
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|command| wanted(command))
        .map(|command| command.get_name().to_owned())
        .collect();
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| with_variables(command, wanted))
    })
}

fn variable(argument: clap::Arg) -> clap::Arg {
    let Some(long) = argument.get_long() else {
        return argument;
    };
    if argument.get_env().is_some() || ["help", "version"].contains(&long) {
        return argument;
    }
    let name = format!("COSIGN_{}", long.replace('-', "_").to_ascii_uppercase());
    // What a script sets to nothing is not set.
    if std::env::var_os(&name).is_none_or(|value| value.is_empty()) {
        return argument;
    }
    // A variable cannot just be there, as a flag can: 1, t, true, yes and on mean that it is.
    let argument = if matches!(argument.get_action(), ArgAction::SetTrue) {
        argument.value_parser(BoolishValueParser::new())
    } else {
        argument
    };
    argument.env(name).hide_env(true)
}

/// The variables that are set and stand for a flag of one of the commands.
pub(crate) fn variables_in_use() -> Vec<String> {
    let command = with_environment(Arguments::command());
    let mut names = Vec::new();
    collect_variables(&command, &mut names);
    names.sort_unstable();
    names.dedup();
    names
}

fn collect_variables(command: &clap::Command, names: &mut Vec<String>) {
    let set = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    names.extend(set);
    for command in command.get_subcommands() {
        collect_variables(command, names);
    }
}
