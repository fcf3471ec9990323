//! How a schedule is made: [`ScheduleBuilder`].

use std::fmt;
use std::time::Duration;

use engine_core::schedule::{CalendarSpec, Interval, OverlapPolicy, SchedulePolicies, ScheduleSpec};
use engine_core::time::Timestamp;
use engine_proto::{convert, v1};

use super::{ClientError, ScheduleHandle, WorkflowStart, new_request_id, until_answered};

/// A schedule: settings, then [`ScheduleBuilder::create`] or [`ScheduleBuilder::update`]. Made by [`WorkflowStart::schedule`].
///
/// ```
/// # use engine_sdk::prelude::*;
/// # #[workflow]
/// # async fn report(_ctx: WorkflowContext, region: String) -> Result<(), WorkflowError> { Ok(()) }
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let nightly = client
///     .workflow(report)
///     .queue("reports")
///     .schedule("nightly-report")
///     .cron("30 2 * * MON-FRI")
///     .time_zone("Europe/Berlin")
///     .overlap(OverlapPolicy::BufferOne)
///     .pause_on_failure()
///     .create("north".to_owned())
///     .await?;
/// nightly.trigger().await?;
/// # Ok(()) }
/// ```
///
/// Its times are those of all calls of [`ScheduleBuilder::cron`], [`ScheduleBuilder::every`] and [`ScheduleBuilder::calendar`] together,
/// each once.
#[must_use = "nothing is made before `.create(input).await` or `.update(input).await`"]
pub struct ScheduleBuilder<I, T> {
    start: WorkflowStart<I, T>,
    schedule_id: String,
    spec: ScheduleSpec,
    policies: SchedulePolicies,
    paused: bool,
    note: String,
    /// `None`: as it is, which for a new schedule is without limit.
    limit: Option<Option<u64>>,
    trigger: bool,
    version: u64,
}

impl<I, T> ScheduleBuilder<I, T> {
    pub(super) fn new(start: WorkflowStart<I, T>, schedule_id: String) -> Self {
        Self {
            start,
            schedule_id,
            spec: ScheduleSpec::default(),
            policies: SchedulePolicies::default(),
            paused: false,
            note: String::new(),
            limit: None,
            trigger: false,
            version: 0,
        }
    }

    /// Adds the times of a cron expression: `minute hour day-of-month month day-of-week`, with the second before them if there are six
    /// fields, and the year after them if there are seven; or `@hourly`, `@daily` and so on, `@every 90s`.
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.spec.crons.push(expression.into());
        self
    }

    /// Adds a time every so often, counted from the Unix epoch: at least a second.
    pub fn every(self, every: Duration) -> Self {
        self.every_with_offset(every, Duration::ZERO)
    }

    /// Adds a time every so often, counted from the Unix epoch plus `offset`, which is less than `every`.
    pub fn every_with_offset(mut self, every: Duration, offset: Duration) -> Self {
        self.spec.intervals.push(Interval { every, offset });
        self
    }

    /// Adds the wall-clock times that match a calendar.
    pub fn calendar(mut self, calendar: CalendarSpec) -> Self {
        self.spec.calendars.push(calendar);
        self
    }

    /// Leaves out the times that match this calendar.
    pub fn except(mut self, calendar: CalendarSpec) -> Self {
        self.spec.excluded.push(calendar);
        self
    }

    /// Name in the IANA database, such as `Europe/Berlin`, by which calendars and cron expressions are read: UTC unless set. When the
    /// clock is changed, a schedule of some hours of the day still fires once on each day, and one of every hour goes on in time.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.spec.time_zone = name.into();
        self
    }

    /// No time before this.
    pub fn start_at(mut self, at: Timestamp) -> Self {
        self.spec.start_at = Some(at);
        self
    }

    /// No time after this.
    pub fn end_at(mut self, at: Timestamp) -> Self {
        self.spec.end_at = Some(at);
        self
    }

    /// Puts each time off by a part of this that is a function of the schedule's id and the time, so that schedules of the same times do
    /// not all start at once; never past the next time.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.spec.jitter = most;
        self
    }

    /// What becomes of a start while an earlier one still runs: it is left out, unless set.
    pub fn overlap(mut self, policy: OverlapPolicy) -> Self {
        self.policies.overlap = policy;
        self
    }

    /// How late a time may happen after an outage: 365 days unless set, at least 10 s. Older ones are counted as missed.
    pub fn catch_up_window(mut self, window: Duration) -> Self {
        self.policies.catch_up_window = window;
        self
    }

    /// Pauses the schedule when a run that it started fails or times out.
    pub fn pause_on_failure(mut self) -> Self {
        self.policies.pause_on_failure = true;
        self
    }

    /// How many starts it makes by itself; then its times pass. Without limit, unless set. An update that does not set it keeps what is
    /// left.
    pub fn limit(mut self, starts: u64) -> Self {
        self.limit = Some(Some(starts));
        self
    }

    /// Takes the limit away, in an update.
    pub fn no_limit(mut self) -> Self {
        self.limit = Some(None);
        self
    }

    /// Begins paused. Means nothing in an update.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Begins with a note for people. At most 1000 bytes. Means nothing in an update.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Starts once at once, too. Means nothing in an update.
    pub fn trigger(mut self) -> Self {
        self.trigger = true;
        self
    }

    /// For an update: the version that was read. The update is refused as [`ClientError::Conflict`] if somebody was faster. Unless set, the
    /// update replaces whatever there is.
    pub fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// Creates the schedule, which starts the workflow with `input`. After `Ok` it is durable. Repeats by this client are safe; a schedule
    /// of the id that was there already is refused as [`ClientError::AlreadyStarted`].
    pub async fn create(self, input: I) -> Result<ScheduleHandle, ClientError> {
        let (paused, note, trigger) = (self.paused, self.note.clone(), self.trigger);
        let remaining = self.limit.flatten();
        let (handle, schedule) = self.finish(&input)?;
        let request = v1::CreateScheduleRequest {
            namespace: handle.client.namespace_text(),
            schedule_id: handle.schedule_id.clone(),
            schedule: Some(schedule),
            paused,
            note,
            remaining,
            trigger,
            request_id: new_request_id(),
        };
        let service = handle.client.transport().schedules();
        until_answered(handle.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.create_schedule(request).await }
        })
        .await?;
        Ok(handle)
    }

    /// Replaces the definition of the schedule by this one, as a whole. Its runs, what waits, its pause and its totals stay. Gives the new
    /// version.
    ///
    /// An update that finds the engine away is made again, and with a [`ScheduleBuilder::version`] the repeat may then be refused because
    /// of the first try: read the schedule to know.
    pub async fn update(self, input: I) -> Result<u64, ClientError> {
        let (limit, version) = (self.limit, self.version);
        let (handle, schedule) = self.finish(&input)?;
        let request = v1::UpdateScheduleRequest {
            namespace: handle.client.namespace_text(),
            schedule_id: handle.schedule_id.clone(),
            schedule: Some(schedule),
            limit: limit.map(|remaining| v1::StartLimit { remaining }),
            version,
        };
        let service = handle.client.transport().schedules();
        let updated = until_answered(handle.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.update_schedule(request).await }
        });
        Ok(updated.await?.version)
    }

    fn finish(self, input: &I) -> Result<(ScheduleHandle, v1::Schedule), ClientError> {
        let (client, start) = self.start.into_scheduled(&self.schedule_id, input)?;
        let schedule = v1::Schedule {
            spec: Some(convert::schedule_spec_to_proto(&self.spec)),
            start: Some(start),
            policies: Some(convert::schedule_policies_to_proto(&self.policies)),
        };
        Ok((ScheduleHandle { client, schedule_id: self.schedule_id }, schedule))
    }
}

impl<I, T> fmt::Debug for ScheduleBuilder<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleBuilder")
            .field("schedule_id", &self.schedule_id)
            .field("spec", &self.spec)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}
