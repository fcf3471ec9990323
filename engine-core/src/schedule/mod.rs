//! Schedules: start workflows at times.
//!
//! | file | noun |
//! |---|---|
//! | `calendar` | wall-clock times by field |
//! | `cron` | cron expressions, read into calendars |
//! | `zone` | time zones, and what happens when the clock is changed |
//! | `spec` | all times of a schedule: what users write, and the search for the next |

mod calendar;
mod cron;
mod spec;
mod zone;

pub use calendar::{CalendarSpec, Range, ranges_text};
pub use spec::{Due, Interval, InvalidSpec, ScheduleSpec, Timetable};
