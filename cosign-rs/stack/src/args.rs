//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

/// Sigstore on one machine: certificate authority, CT log, timestamp authority, transparency log, identity provider, container registry
/// and TUF repository, for development and tests.
#[derive(Debug, Parser)]
#[command(name = "sigstack", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything in this process and run until Ctrl-C
    Up(Up),
    /// Show the whole story: build, push, sign, attest, verify online and offline, refuse what is wrong
    Demo(Demo),
    /// Print an identity token of the development issuer
    Token(Token),
    /// Make keys, trust files and settings, and start nothing
    Init(Up),
    /// Run one of the services that have no program of their own
    Serve {
        /// Which one
        service: Part,
        /// Its settings, as `sigstack init` writes them to STATE/SERVICE/SERVICE.toml
        #[arg(long)]
        config: PathBuf,
    },
    /// Wait until a stack that is starting answers on all its ports, and is this one (for scripts)
    Wait {
        /// State folder of the stack
        #[arg(long, default_value = ".state", env = "SIGSTACK_STATE")]
        state: PathBuf,
        /// Give up after so many seconds
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Print the address of one of the services (for scripts)
    Address {
        /// Which one
        service: crate::state::Name,
        /// State folder of the stack
        #[arg(long, default_value = ".state", env = "SIGSTACK_STATE")]
        state: PathBuf,
    },
    /// Build the demo's image, push it, and print its reference by digest (for scripts)
    Image {
        /// NAME or NAME:TAG in the stack's registry, or HOST:PORT/NAME:TAG in another one on this machine
        reference: String,
        /// State folder of the stack
        #[arg(long, default_value = ".state", env = "SIGSTACK_STATE")]
        state: PathBuf,
    },
    /// Ask a running service whether it works (for container health checks)
    CheckHealth {
        /// localhost:PORT
        address: serve::ListenAddress,
    },
    /// Be cosign-rs: the demo runs the real command line this way, without a second program to build
    #[command(hide = true, disable_help_flag = true)]
    Cosign {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Be a browser that signs in as SIGSTACK_EMAIL: what the demo sets $BROWSER to
    #[command(hide = true)]
    Browse {
        /// The link to open
        link: String,
        /// Who signs in
        #[arg(long, env = "SIGSTACK_EMAIL")]
        email: String,
    },
}

/// A service that is a part of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The development identity provider
    Issuer,
    /// The container registry
    Registry,
    /// The TUF repository
    Tuf,
}

/// Where a stack is and how it listens.
#[derive(Clone, Debug, Args)]
pub struct Up {
    /// Folder with keys, logs and trust files; made on the first start, continued on every later one
    #[arg(long, default_value = ".state", env = "SIGSTACK_STATE")]
    pub state: PathBuf,
    /// First of seven ports in a row; 0 takes free ones. Without it: those of the last start, or 7710 and up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=65529))]
    pub port_base: Option<u16>,
    /// Address to listen on; clients are told localhost in any case
    #[arg(long, value_name = "IP", default_value = "localhost")]
    pub listen: String,
    /// Run the registry without the referrers API, as older registries are
    #[arg(long)]
    pub no_referrers: bool,
    /// What is logged to standard error, as a tracing directive
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    pub log: String,
}

/// `sigstack demo`.
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// State folder to use, which must be new or empty; without it a new temporary one, removed at the end
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub keep: bool,
}

/// `sigstack token`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("who").args(["email", "github"]).required(true))]
pub struct Token {
    /// State folder of the stack
    #[arg(long, default_value = ".state", env = "SIGSTACK_STATE")]
    pub state: PathBuf,
    /// A person's token for this address
    #[arg(long)]
    pub email: Option<String>,
    /// A token as a GitHub Actions job gets it: repo=OWNER/NAME, and after commas any of ref=, workflow=, sha=, event=, run_id=, visibility=
    #[arg(long, value_name = "JOB")]
    pub github: Option<String>,
    /// Whom the token is for
    #[arg(long, default_value = "sigstore")]
    pub audience: String,
    /// How many seconds it lives
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn cosign_takes_everything_as_it_is() {
        let parsed = Arguments::parse_from(["sigstack", "cosign", "verify", "--help", "-o", "x"]);
        let Command::Cosign { arguments } = parsed.command else {
            panic!("not cosign")
        };
        assert_eq!(arguments, ["verify", "--help", "-o", "x"]);
    }

    #[test]
    fn a_token_is_for_a_person_or_a_job() {
        let nobody = Arguments::try_parse_from(["sigstack", "token"]).unwrap_err();
        let said = nobody.to_string();
        assert!(
            said.contains("--email") && said.contains("--github"),
            "{said}"
        );
        assert!(
            Arguments::try_parse_from([
                "sigstack", "token", "--email", "a@b", "--github", "repo=a/b"
            ])
            .is_err()
        );
        assert!(Arguments::try_parse_from(["sigstack", "token", "--github", "repo=a/b"]).is_ok());
    }
}
