//! A closed loop: each caller makes its next call when it has its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Errors, Outcome, PAUSE_AFTER_ERROR, Plan, Until, micros};
use crate::meter::Meter;

/// What the callers share.
#[derive(Debug)]
struct Shared {
    measuring: AtomicBool,
    over: AtomicBool,
    /// Calls that may still be made while measuring; callers end when there are none.
    left: AtomicU64,
    errors: Errors,
}

impl Shared {
    /// Whether a caller goes on, and whether its next call is one of those to count.
    fn next(&self, until: Until) -> Option<bool> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let measuring = self.measuring.load(Ordering::Relaxed);
        match until {
            Until::Elapsed(_) => Some(measuring),
            Until::Count(_) if !measuring => Some(false),
            Until::Count(_) => {
                let claim = |left: u64| left.checked_sub(1);
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok().map(|_| true)
            }
        }
    }
}

pub(super) async fn run<C, F>(callers: u32, plan: Plan, meter: &Meter, call: C) -> Result<Outcome>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let left = if let Until::Count(count) = plan.until { count } else { u64::MAX };
    let shared = Arc::new(Shared {
        measuring: AtomicBool::new(false),
        over: AtomicBool::new(false),
        left: AtomicU64::new(left),
        errors: Errors::default(),
    });
    let begin = || {
        let caller = |_| tokio::spawn(caller(Arc::clone(&shared), plan.until, call.clone()));
        (0..callers).map(caller).collect::<Vec<_>>()
    };
    // Without a warm-up nobody calls before the measurement has begun.
    let mut tasks = if plan.warm_up > Duration::ZERO { begin() } else { Vec::new() };
    tokio::time::sleep(plan.warm_up).await;
    let before = meter.read().await?;
    let started = Instant::now();
    shared.measuring.store(true, Ordering::Relaxed);
    if tasks.is_empty() {
        tasks = begin();
    }
    let mut outcome = Outcome { in_flight: u64::from(callers), ..Outcome::default() };
    if let Until::Elapsed(duration) = plan.until {
        tokio::time::sleep(duration).await;
        shared.measuring.store(false, Ordering::Relaxed);
        shared.over.store(true, Ordering::Relaxed);
        outcome.elapsed = started.elapsed();
        outcome.usage = meter.since(&before).await?;
    }
    for task in tasks {
        outcome.latencies.extend(task.await.context("a caller panicked")?);
    }
    if let Until::Count(_) = plan.until {
        outcome.elapsed = started.elapsed();
        outcome.usage = meter.since(&before).await?;
    }
    outcome.completed = outcome.latencies.len() as u64;
    outcome.errors = shared.errors.total();
    outcome.memory = meter.memory();
    Ok(outcome)
}

/// Returns the latencies of the calls that count, in microseconds.
async fn caller<C, F>(shared: Arc<Shared>, until: Until, call: C) -> Vec<u64>
where
    C: Fn() -> F,
    F: Future<Output = Result<()>>,
{
    let mut latencies = Vec::new();
    while let Some(counts) = shared.next(until) {
        let started = Instant::now();
        match call().await {
            Ok(()) => {
                // By time it is the end of a call that decides; by count each is one of those that were claimed.
                let counts = match until {
                    Until::Elapsed(_) => shared.measuring.load(Ordering::Relaxed),
                    Until::Count(_) => counts,
                };
                if counts {
                    latencies.push(micros(started.elapsed()));
                }
            }
            Err(error) => {
                shared.errors.count(&error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    latencies
}
