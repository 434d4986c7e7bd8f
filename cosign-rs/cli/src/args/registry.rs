//! How to reach a registry.

use std::path::PathBuf;

use clap::Args;

/// How registries are called.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct Registry {
    /// Call registries on other machines without TLS too (those on this machine always are)
    #[arg(long)]
    pub(crate) allow_http_registry: bool,
    /// Take any TLS certificate of a registry
    #[arg(long)]
    pub(crate) allow_insecure_registry: bool,
    /// Name for the registry, instead of Docker's configuration
    #[arg(long, value_name = "NAME", requires = "registry_password")]
    pub(crate) registry_username: Option<String>,
    /// Password for the registry
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "registry_username",
        hide_env_values = true
    )]
    pub(crate) registry_password: Option<String>,
    /// Bearer token for the registry
    #[arg(
        long,
        value_name = "TOKEN",
        conflicts_with = "registry_username",
        hide_env_values = true
    )]
    pub(crate) registry_token: Option<String>,
    /// Certificate authorities for registries besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_cacert: Option<PathBuf>,
    /// Certificate that we show to the registry (mutual TLS), PEM, with those above it
    #[arg(long, value_name = "FILE", requires = "registry_client_key")]
    pub(crate) registry_client_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "registry_client_cert")]
    pub(crate) registry_client_key: Option<PathBuf>,
    /// Name that the registry's TLS certificate must be for, instead of the name it is called by
    #[arg(long, value_name = "NAME")]
    pub(crate) registry_server_name: Option<String>,
    /// Repository that holds the signatures, instead of the image's own
    #[arg(
        long = "signature-repository",
        env = "COSIGN_REPOSITORY",
        value_name = "REPOSITORY"
    )]
    pub(crate) signature_repository: Option<String>,
}
