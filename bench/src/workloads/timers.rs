//! W6: many workflows sleep for the same time. Measured: until all are done, how late they wake, as the worker sees it, and what of that
//! is the way to the server, the timer itself, and the way back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::event::EventKind;
use engine_sdk::prelude::*;
use tokio::sync::Semaphore;

use super::{Load, Workload, fresh_id};
use crate::load::{Errors, Outcome};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Workflows that sleep.
#[derive(Debug, Args)]
pub(crate) struct W6 {
    /// How many workflows.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sleepers: u32,
    /// How long each sleeps.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    sleep: Duration,
}

#[async_trait]
impl Workload for W6 {
    fn name(&self) -> &'static str {
        "w6"
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// Latencies are the lateness; `--in-flight` says how many starts are under way at a time.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        // The first workflow waits for the worker and its connection; it is not measured.
        sleep_once(rig.client(), Duration::from_millis(1), Arc::new(Semaphore::new(1))).await?;
        let starting = rig.settings().in_flight_or(200);
        let starts = Arc::new(Semaphore::new(starting as usize));
        let errors = Errors::default();
        let before = rig.meter().read().await?;
        let started = Instant::now();
        let sleeps = (0..self.sleepers).map(|_| sleep_once(rig.client(), self.sleep, Arc::clone(&starts)));
        let sleeps: Vec<_> = sleeps.map(tokio::spawn).collect();
        let mut slept = Vec::with_capacity(sleeps.len());
        for sleep in sleeps {
            match sleep.await? {
                Ok(sleep) => slept.push(sleep),
                Err(error) => errors.count(&error),
            }
        }
        let elapsed = started.elapsed();
        let outcome = Outcome {
            completed: slept.len() as u64,
            in_flight: u64::from(self.sleepers),
            elapsed,
            latencies: slept.iter().map(|slept| slept.late(self.sleep)).collect(),
            errors: errors.total(),
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            ..Outcome::default()
        };
        let [recorded, fired, woke] = stages(slept, self.sleep).await?;
        Ok(outcome
            .with("total_s", elapsed.as_secs_f64())
            .with("asked_to_recorded_ms", recorded)
            .with("due_to_fired_ms", fired)
            .with("fired_to_woke_ms", woke))
    }
}

/// A workflow that has slept.
struct Slept {
    handle: WorkflowHandle<(i64, i64)>,
    /// When its code asked for the timer, in microseconds since 1970, by the worker's clock.
    asked: i64,
    /// When it went on.
    woke: i64,
}

impl Slept {
    /// By how many microseconds it woke late.
    fn late(&self, sleep: Duration) -> u64 {
        u64::try_from(self.woke - self.asked).unwrap_or(0).saturating_sub(micros(sleep))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The medians, in milliseconds, of the three parts of which lateness is made: from the code's wish to the start of the timer, from the
/// instant at which it was due to its firing, and from there to the code. Read from the histories, so server and worker must have one clock.
async fn stages(slept: Vec<Slept>, sleep: Duration) -> Result<[f64; 3]> {
    let mut stages: [Vec<i64>; 3] = Default::default();
    for Slept { handle, asked, woke } in slept {
        let (mut started, mut fired) = (None, None);
        for event in handle.history().await? {
            match event.kind {
                EventKind::TimerStarted(_) => started = Some(event.at.as_micros()),
                EventKind::TimerFired(_) => fired = Some(event.at.as_micros()),
                _ => {}
            }
        }
        let (Some(started), Some(fired)) = (started, fired) else { bail!("a run that slept has a timer") };
        let due = started + i64::try_from(micros(sleep))?;
        for (stage, took) in stages.iter_mut().zip([started - asked, fired - due, woke - fired]) {
            stage.push(took);
        }
    }
    Ok(stages.map(|mut stage| {
        stage.sort_unstable();
        stage.get(stage.len() / 2).map_or(0.0, |median| *median as f64 / 1e3)
    }))
}

/// Starts a workflow that sleeps, and waits until it has.
async fn sleep_once(client: Client, sleep: Duration, starts: Arc<Semaphore>) -> Result<Slept> {
    let turn = starts.acquire_owned().await?;
    let load = Load::new(u64::try_from(sleep.as_millis()).unwrap_or(u64::MAX));
    let handle = client.workflow(sleeper).id(fresh_id()).queue(QUEUE).start(load).await?;
    drop(turn);
    let (asked, woke) = handle.result().await?;
    let early = i64::try_from(micros(sleep))? - (woke - asked);
    ensure!(early <= 0, "a timer fired {early} µs early");
    Ok(Slept { handle, asked, woke })
}

/// The worker's part.
pub(super) fn register(worker: Worker) -> Worker {
    worker.workflow(sleeper)
}

/// Sleeps as many milliseconds as the load says, and returns when its code asked for that and when it went on, in microseconds since
/// 1970 by the worker's clock.
#[workflow]
pub(crate) async fn sleeper(ctx: WorkflowContext, load: Load) -> Result<(i64, i64), WorkflowError> {
    // The clock, against all rules: what it says is only returned. In a replay it would say something else, and `asked` too.
    #[allow_nondeterminism]
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_micros() as i64);
    let asked = clock()?;
    ctx.sleep(Duration::from_millis(load.number)).await;
    Ok((asked, clock()?))
}
