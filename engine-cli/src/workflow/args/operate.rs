//! What operators do to runs.

use clap::Args;

use super::RunArgs;

/// Stop for a while, or go on.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Which run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}
