//! The command line of `engine namespace`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use engine_proto::convert;

use crate::args::ConnectionArgs;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct NamespaceArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: NamespaceVerb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceVerb {
    /// Create a namespace.
    Create {
        /// Its name.
        name: String,
        /// What is known of it.
        #[command(flatten)]
        settings: Settings,
    },
    /// Change a namespace. What is not said stays.
    Update {
        /// Its name.
        name: String,
        /// What changes.
        #[command(flatten)]
        settings: Settings,
    },
    /// Show what is known of a namespace.
    Describe {
        /// Its name.
        name: String,
    },
    /// List all namespaces.
    List,
    /// Delete a namespace with its runs. Refused while runs are open.
    Delete {
        /// Its name.
        name: String,
        /// Terminate the runs that are open.
        #[arg(long)]
        terminate_open_runs: bool,
    },
    /// What runs can be listed by, in the namespace that --namespace names.
    SearchAttributes {
        /// What to do.
        #[command(subcommand)]
        verb: AttributeVerb,
    },
}

/// What to do with search attributes.
#[derive(Debug, Subcommand)]
pub(crate) enum AttributeVerb {
    /// Register some: Total=int Region=keyword. Types: keyword, keywordlist, text, int, double, bool, datetime.
    Add {
        /// Names with their types.
        #[arg(required = true, value_name = "NAME=TYPE")]
        attributes: Vec<String>,
    },
    /// Show those that are registered.
    List,
    /// Forget some. Runs keep their values, but lists cannot name them.
    Remove {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// What is known of a namespace.
#[derive(Debug, Default, Args)]
pub(crate) struct Settings {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Whose it is.
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,
    /// How long closed runs are kept, such as 30days, or `forever`. Replaces all that was said before, of outcomes too.
    #[arg(long, value_name = "DURATION")]
    pub(crate) retention: Option<Kept>,
    /// How long runs of one outcome are kept: failed=90days, canceled=forever. Repeat it for several. Replaces all that was said before.
    #[arg(long, value_name = "OUTCOME=DURATION")]
    pub(crate) retention_of: Vec<String>,
    /// Registers what runs can be listed by: Total=int. Repeat it for several.
    #[arg(long, value_name = "NAME=TYPE")]
    pub(crate) search_attribute: Vec<String>,
}

/// How long runs are kept. Zero: for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept(Duration);

impl Kept {
    pub(super) fn to_proto(self) -> prost_types::Duration {
        convert::duration_to_proto(self.0)
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("forever") {
            return Ok(Kept(Duration::ZERO));
        }
        match humantime::parse_duration(text) {
            Ok(kept) if kept.is_zero() => Err("runs cannot be kept for no time; say forever to keep them".to_owned()),
            Ok(kept) => Ok(Kept(kept)),
            Err(problem) => Err(format!("{problem}; write it like 30days or 12h, or say forever")),
        }
    }
}
