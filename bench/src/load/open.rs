//! Open-loop arrival: calls begin when they are due, whether or not earlier ones have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::schedule::Schedule;
use super::{Errors, Outcome, Plan, Until, micros};
use crate::meter::Meter;

/// Most calls under way. Later ones wait, and their latency with them.
const OPEN_MAX: usize = 100_000;

/// How long the last calls may take after the last was begun. What is not answered then is an error.
const LAST_WITHIN: Duration = Duration::from_secs(60);

/// Which calls count, and how long they took.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    open_most: AtomicU64,
    errors: Errors,
}

pub(super) async fn run<C, F>(rate: f64, plan: Plan, meter: &Meter, call: C) -> Result<Outcome>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let Until::Elapsed(duration) = plan.until else {
        bail!("a rate goes with a duration, not with a count");
    };
    let schedule = Schedule { start: Instant::now(), per_second: rate };
    let first = schedule.count_before(schedule.start + plan.warm_up);
    let end = schedule.count_before(schedule.start + plan.warm_up + duration);
    let stop = Arc::new(AtomicBool::new(false));
    let mut due = pace(schedule, end, Arc::clone(&stop));
    let counts = Arc::new(Counts::default());
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let mut calls = JoinSet::new();
    let mut before = None;
    while let Some(index) = due.recv().await {
        if index == first {
            before = Some(meter.read().await?);
        }
        let room = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let (counts, call, due) = (Arc::clone(&counts), call.clone(), schedule.due(index));
        calls.spawn(async move {
            let open = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
            counts.open_most.fetch_max(open, Ordering::Relaxed);
            let answer = call().await;
            let latency = due.elapsed();
            counts.open.fetch_sub(1, Ordering::Relaxed);
            drop(room);
            match answer {
                Ok(()) => Some((index, micros(latency))),
                Err(error) => {
                    counts.errors.count(&error);
                    None
                }
            }
        });
    }
    let before = before.context("no call was due in the time given: raise --rate or --duration")?;
    // Until the last answer: a system that falls behind is not credited with the rate that it was asked for.
    let (latencies, unanswered) = collect(calls, first).await;
    let elapsed = schedule.start.elapsed().saturating_sub(plan.warm_up);
    let usage = meter.since(&before).await?;
    stop.store(true, Ordering::Relaxed);
    Ok(Outcome {
        completed: latencies.len() as u64,
        in_flight: counts.open_most.load(Ordering::Relaxed),
        elapsed,
        latencies,
        errors: counts.errors.total() + unanswered,
        usage,
        memory: meter.memory(),
        extra: vec![("rate", rate)],
        ..Outcome::default()
    })
}

/// The latencies of calls from number `first` on, and how many calls were not answered in time.
async fn collect(mut calls: JoinSet<Option<(u64, u64)>>, first: u64) -> (Vec<u64>, u64) {
    let deadline = tokio::time::Instant::now() + LAST_WITHIN;
    let mut latencies = Vec::with_capacity(calls.len());
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, calls.join_next()).await {
        if let Ok(Some((index, latency))) = ended
            && index >= first
        {
            latencies.push(latency);
        }
    }
    let unanswered = calls.len() as u64;
    if unanswered > 0 {
        eprintln!("{unanswered} calls were not answered within {LAST_WITHIN:?}");
    }
    (latencies, unanswered)
}

/// Gives the number of each call when it is due.
///
/// A thread of its own: the runtime's timers have a granularity of a millisecond, which would show in every latency.
fn pace(schedule: Schedule, end: u64, stop: Arc<AtomicBool>) -> mpsc::UnboundedReceiver<u64> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for index in 0..end {
            std::thread::sleep(schedule.due(index).saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) || send.send(index).is_err() {
                return;
            }
        }
    });
    receive
}
