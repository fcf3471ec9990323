//! The command line of `engine deployment`.

use clap::{Args, Subcommand};

use crate::args::ConnectionArgs;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct DeploymentArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: DeploymentVerb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum DeploymentVerb {
    /// List all deployments, with the builds that new runs go to.
    List,
    /// Show where new runs go, and how many open runs each version has.
    Describe {
        /// Its name.
        deployment: String,
    },
    /// Let new runs, and those that follow versions, go to a build.
    SetCurrent {
        /// Which build.
        #[command(flatten)]
        version: VersionArgs,
        /// On which conditions.
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Let them go to workers without a version, as before there was one.
    UnsetCurrent {
        /// Its name.
        deployment: String,
        /// On which conditions.
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Let a share of what would go to the current build go to another one.
    Ramp {
        /// Which build.
        #[command(flatten)]
        version: VersionArgs,
        /// The share of workflow ids, 0 to 100 in steps of 0.01. One workflow id stays with the build while the share grows.
        #[arg(long, value_name = "PERCENT")]
        percentage: f32,
        /// On which conditions.
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Let all go to the current build.
    Unramp {
        /// Its name.
        deployment: String,
        /// On which conditions.
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Forget a build that no run and no worker needs any more; with the last one, the deployment.
    DeleteVersion {
        /// Which build.
        #[command(flatten)]
        version: VersionArgs,
    },
}

/// Names a version.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// The deployment's name.
    pub(crate) deployment: String,
    /// The build.
    pub(crate) build: String,
}

/// On which conditions the routing changes.
#[derive(Debug, Args)]
pub(crate) struct Conditions {
    /// Accept a build that no worker has announced: tasks wait until one does.
    #[arg(long)]
    pub(crate) allow_unknown: bool,
    /// Accept a build that does not serve a queue which the current build serves: tasks there wait until it does.
    #[arg(long)]
    pub(crate) allow_missing_queues: bool,
    /// Only if the deployment has this revision, as `describe` shows it. Default: whichever it has.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(crate) revision: i64,
}
