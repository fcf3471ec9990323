//! Callers: a number of calls kept under way ([`closed`]), or calls begun at a rate ([`open`]).
//!
//! Both do the same before measuring, for the warm-up. In a closed loop a slow answer delays the next call, so its latencies flatter
//! a system that stalls; with a rate each latency counts from the instant at which the call was due, however late it began.

mod closed;
mod open;
mod schedule;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::arguments::Settings;
use crate::meter::{Memory, Meter, Reading};

/// How long a caller pauses after an error, so that a system that refuses everything is not asked a million times.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// How many errors are told in full.
const ERRORS_TOLD: u64 = 3;

/// How calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) arrival: Arrival,
    pub(crate) warm_up: Duration,
    pub(crate) until: Until,
}

/// When a call begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrival {
    /// As soon as one of so many callers has its answer.
    Closed(u32),
    /// So many times a second.
    Rate(f64),
}

/// When a measurement ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// Calls that end within this time count.
    Elapsed(Duration),
    /// So many calls are made, and all awaited.
    Count(u64),
}

impl Plan {
    /// What the settings ask for, with so many callers unless they say otherwise.
    pub(crate) fn new(settings: &Settings, in_flight: u32) -> Self {
        let arrival = match settings.rate {
            Some(rate) => Arrival::Rate(rate),
            None => Arrival::Closed(settings.in_flight_or(in_flight)),
        };
        let until = settings.count.map_or(Until::Elapsed(settings.duration), Until::Count);
        Self { arrival, warm_up: settings.warm_up, until }
    }

    /// So many calls by so many callers, without a warm-up.
    pub(crate) fn exactly(count: u64, in_flight: u32) -> Self {
        Self { arrival: Arrival::Closed(in_flight), warm_up: Duration::ZERO, until: Until::Count(count) }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Calls that were answered rightly.
    pub(crate) completed: u64,
    /// Steps of a workflow, if it has any.
    pub(crate) steps_each: Option<u64>,
    /// How many calls were under way, at most.
    pub(crate) in_flight: u64,
    pub(crate) elapsed: Duration,
    /// In microseconds, in no order.
    pub(crate) latencies: Vec<u64>,
    /// Calls that failed or were answered wrongly, those of the warm-up included.
    pub(crate) errors: u64,
    pub(crate) usage: Reading,
    pub(crate) memory: Memory,
    /// Figures that only this workload has, by name.
    pub(crate) extra: Vec<(&'static str, f64)>,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.completed as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    pub(crate) fn with(mut self, name: &'static str, figure: f64) -> Self {
        self.extra.push((name, figure));
        self
    }

    pub(crate) fn steps_each(mut self, steps: u32) -> Self {
        self.steps_each = Some(u64::from(steps));
        self
    }
}

/// Makes calls as planned and measures them. A call checks its answer, and fails if it is wrong.
pub(crate) async fn run<C, F>(plan: Plan, meter: &Meter, call: C) -> Result<Outcome>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let outcome = match plan.arrival {
        Arrival::Closed(callers) => closed::run(callers, plan, meter, call).await?,
        Arrival::Rate(rate) => open::run(rate, plan, meter, call).await?,
    };
    ensure!(
        outcome.completed > 0,
        "no call was answered rightly in time: look at the errors above, or measure longer with --duration"
    );
    Ok(outcome)
}

/// Counts errors and tells the first.
#[derive(Debug, Default)]
pub(crate) struct Errors(AtomicU64);

impl Errors {
    pub(crate) fn count(&self, error: &anyhow::Error) {
        if self.0.fetch_add(1, Ordering::Relaxed) < ERRORS_TOLD {
            eprintln!("a call failed: {error:#}");
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
