//! Schedules: start workflows at times.
//!
//! | file | noun |
//! |---|---|
//! | `calendar` | wall-clock times by field |
//! | `cron` | cron expressions, read into calendars |
//! | `zone` | time zones, and what happens when the clock is changed |
//! | `spec` | all times of a schedule: what users write, and the search for the next |
//! | `state` | what is stored of a schedule |
//! | `decide` | what an input means: overlap, buffers, limits, pauses, backfills |

mod calendar;
mod cron;
mod decide;
mod spec;
mod state;
mod zone;

pub use calendar::{CalendarSpec, Range, ranges_text};
pub use cron::parse_calendar;
pub use decide::{Obligation, ObligationKey, Schedule, ScheduleInput, ScheduleRefusal};
pub use spec::{Due, Interval, InvalidSpec, ScheduleSpec, Timetable};
pub use state::{
    Backfill, Counters, Definition, Ended, OverlapPolicy, Planned, Recent, Running, SchedulePolicies, ScheduleState,
    ScheduledStart, StartOutcome, Stop,
};
