//! Standalone activities: activities that a client starts by themselves, without a workflow around them.
//!
//! ```no_run
//! # use engine_sdk::prelude::*;
//! #[activity(start_to_close = "30s", retry(max_attempts = 5))]
//! async fn resize(_ctx: ActivityContext, picture: String) -> Result<u64, ActivityError> {
//!     # let _ = picture; Ok(1)
//! }
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = client.activity(resize).id("cat.png").queue("pictures").run("cat.png".to_owned()).await?;
//! for failed in client.list_activities("Status = 'Failed'").await? {
//!     println!("{}", failed.activity_id);
//! }
//! let again = client.run_activities_again("ActivityType = 'resize'").await?;
//! println!("{} run again", again.run_again);
//! # let _ = bytes; Ok(()) }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `start` | how one is started |
//! | `handle` | one of them: its outcome, cancel, terminate, run again |
//! | `outcome` | how it ended |
//! | `description` | where it stands |
//! | `list` | lists, counts, and running many again |

mod description;
mod handle;
mod list;
mod outcome;
mod start;

pub use self::description::{ActivityDescription, ActivitySummary};
pub use self::handle::ActivityHandle;
pub use self::list::RunAgainProgress;
pub use self::outcome::StandaloneFailure;
pub use self::start::ActivityStart;
