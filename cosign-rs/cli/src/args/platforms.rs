//! Which images of an index are meant.

use clap::Args;
use oci::Platform;

/// For images of several platforms. Without any of these flags it is the index itself that is signed or verified.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Platforms")]
pub(crate) struct Platforms {
    /// The image for this platform, OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["all_platforms", "recursive"])]
    pub(crate) platform: Option<Platform>,
    /// The images for all platforms, each by itself, and not the index
    #[arg(long, conflicts_with = "recursive")]
    pub(crate) all_platforms: bool,
    /// The index, and every image in it
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

impl Platforms {
    /// Was any of the flags given?
    pub(crate) const fn any(&self) -> bool {
        self.platform.is_some() || self.all_platforms || self.recursive
    }
}
