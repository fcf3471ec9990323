//! The command line of `engine schedule`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use engine_core::schedule::{CalendarSpec, parse_calendar};
use engine_core::time::Timestamp;

use crate::args::ConnectionArgs;
use crate::options::WorkflowOptions;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What to ask.
    #[command(subcommand)]
    pub(crate) verb: ScheduleVerb,
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleVerb {
    /// Create a schedule. Once this returns, no crash loses it.
    Create(Box<CreateArgs>),
    /// Show a schedule: its times, its latest starts, what runs and what waits.
    Describe(IdArgs),
    /// List schedules.
    List(ListArgs),
    /// Print the times of a schedule.
    Times(TimesArgs),
    /// Replace what a schedule starts, when and how. What is not said is not kept.
    Update(Box<UpdateArgs>),
    /// Let the times of a schedule pass from now on.
    Pause(NoteArgs),
    /// Let a schedule go on from now on.
    Unpause(NoteArgs),
    /// Start once, now; while the schedule is paused too.
    Trigger(TriggerArgs),
    /// Start for each time of a range of the past; while the schedule is paused too.
    Backfill(BackfillArgs),
    /// Delete a schedule. Workflows that it started go on.
    Delete(IdArgs),
}

/// Names a schedule.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
}

/// What becomes of a start while an earlier one still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlap {
    /// Leave it out.
    Skip,
    /// Let one wait.
    BufferOne,
    /// Let all wait, one after the other.
    BufferAll,
    /// Ask what runs to stop.
    CancelOther,
    /// Terminate what runs.
    TerminateOther,
    /// Start it side by side.
    AllowAll,
}

/// What to start, when and how.
#[derive(Debug, Args)]
pub(crate) struct DefinitionArgs {
    /// What to start.
    #[command(flatten)]
    pub(crate) workflow: WorkflowOptions,
    /// What the workflow ids begin with; the time follows. Default: the schedule's id.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: Option<String>,
    /// Times as "minute hour day-of-month month day-of-week", with the second before them if there are six fields and the year
    /// after them if there are seven; or @hourly, @daily, "@every 90s". Repeat it for several.
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: Vec<String>,
    /// A time every so often, counted from 1970; with an offset, --cron "@every 1h/5m". Repeat it for several.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) every: Vec<Duration>,
    /// Times at which all the named fields match: "hour=9-17 minute=0,30 day-of-week=mon-fri". There are second, minute and hour
    /// (0 if not named), day-of-month, month, day-of-week and year (any if not named). Repeat it for several.
    #[arg(long, value_name = "FIELDS", value_parser = calendar)]
    pub(crate) calendar: Vec<CalendarSpec>,
    /// Leaves out times that match, written like a calendar, such as "month=12 day-of-month=24-26 hour=* minute=*". Repeat it for several.
    #[arg(long, value_name = "FIELDS", value_parser = calendar)]
    pub(crate) exclude: Vec<CalendarSpec>,
    /// By which cron expressions and calendars are read, such as Europe/Berlin. Default: UTC.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) time_zone: String,
    /// No time before this: 2026-11-22T08:30:00Z.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) start_at: Option<Timestamp>,
    /// No time after this.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) end_at: Option<Timestamp>,
    /// Puts each time off by up to so much.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) jitter: Option<Duration>,
    /// What becomes of a start while an earlier one still runs.
    #[arg(long, value_enum, default_value_t = Overlap::Skip, value_name = "POLICY")]
    pub(crate) overlap: Overlap,
    /// How late a time may happen after an outage. Default: 365 days.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) catch_up_window: Option<Duration>,
    /// Pause when a run fails or times out.
    #[arg(long)]
    pub(crate) pause_on_failure: bool,
    /// How many starts it makes by itself. Default: no limit; in an update, what is left.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
}

/// Create a schedule.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// What, when and how.
    #[command(flatten)]
    pub(crate) definition: DefinitionArgs,
    /// Begin paused.
    #[arg(long)]
    pub(crate) paused: bool,
    /// For people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) note: String,
    /// Start once at once, too.
    #[arg(long)]
    pub(crate) trigger: bool,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

/// Replace a schedule's definition.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// What, when and how.
    #[command(flatten)]
    pub(crate) definition: DefinitionArgs,
    /// Take the limit of starts away.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) no_limit: bool,
    /// Only if the schedule still has this version, which `describe` shows.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(crate) version: u64,
}

/// List schedules.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Most schedules to print; 0 is all.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    pub(crate) limit: usize,
}

/// Print times.
#[derive(Debug, Args)]
pub(crate) struct TimesArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// Times after this. Default: now.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) after: Option<Timestamp>,
    /// No time after this.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) until: Option<Timestamp>,
    /// Most times to print, at most 1000.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "COUNT")]
    pub(crate) limit: u32,
}

/// Pause or unpause.
#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// Why, for people.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) note: String,
}

/// Start once.
#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// Instead of the schedule's policy.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) overlap: Option<Overlap>,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

/// Start for the past.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// The schedule's id.
    pub(crate) schedule_id: String,
    /// The first time that belongs to it: 2026-11-22T08:30:00Z.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) from: Timestamp,
    /// The last time that belongs to it; not in the future.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) until: Timestamp,
    /// Instead of the schedule's policy: buffer-all is one after the other, allow-all side by side.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) overlap: Option<Overlap>,
    /// Makes a repeat of this command harmless. Default: a new UUID.
    #[arg(long, value_name = "TEXT")]
    pub(crate) request_id: Option<String>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(|at| Timestamp::from_micros(at.as_microsecond())).map_err(|_| {
        "is no instant with its offset, such as 2026-11-22T08:30:00Z or 2026-11-22T09:30:00+01:00".to_owned()
    })
}

fn calendar(text: &str) -> Result<CalendarSpec, String> {
    parse_calendar(text).map_err(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_with_their_offsets() {
        assert_eq!(instant("1970-01-01T00:00:01Z"), Ok(Timestamp::from_micros(1_000_000)));
        assert_eq!(instant("1970-01-01T01:00:01.5+01:00"), Ok(Timestamp::from_micros(1_500_000)));
        assert!(instant("2026-11-22 08:30").is_err(), "whose half past eight?");
    }
}
