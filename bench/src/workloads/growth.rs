//! W11: does work get dearer as the database, or one history, grows? W1 on an empty database, after many finished workflows, and with many
//! parked ones; and one workflow of many steps, its end beside its start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use engine_sdk::event::{Event, EventKind};
use engine_sdk::prelude::*;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::open_runs::{GoOn, wait};
use super::sequence::{run_one, sequence};
use super::{Load, Workload, fresh_id};
use crate::load::{self, Outcome, Plan, micros};
use crate::meter::Cpu;
use crate::rig::Rig;
use crate::worker::QUEUE;

/// Workflows that are started in one call of the client.
const STARTED_AT_ONCE: u64 = 10_000;

/// How long the engine may take to come to rest after so many starts.
const PARKED_WITHIN: Duration = Duration::from_secs(1_800);

/// Rows that one statement adds to the history.
const ROWS_AT_ONCE: u64 = 250_000;

/// A database that grows.
#[derive(Debug, Args)]
pub(crate) struct W11 {
    /// How many rows of history the database is given, of finished workflows of four rows each. They are copies of a real one, written by
    /// SQL: needs Postgres.
    #[arg(long, default_value_t = 5_000_000)]
    history_rows: u64,
    /// How many open workflows are started that wait for a signal and are parked.
    #[arg(long, default_value_t = 1_000_000)]
    open: u64,
}

#[async_trait]
impl Workload for W11 {
    fn name(&self) -> &'static str {
        "w11"
    }

    /// The line is that of the last W1.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        let w1 = async |rig: &Rig| {
            let client = rig.client();
            load::run(Plan::new(rig.settings(), 100), rig.meter(), move || run_one(client.clone(), 1)).await
        };
        let empty = w1(rig).await.context("W1 on an empty database")?;
        if self.history_rows > 0 {
            ensure!(
                rig.store_kind() == "postgres",
                "w11 writes rows of history by SQL: use Postgres, or --history-rows 0"
            );
            add_history(rig, self.history_rows).await.context("add rows of history")?;
        }
        let history = w1(rig).await.context("W1 with a long history")?;
        let opened = open(rig, self.open).await.context("open workflows")?;
        let mut last = w1(rig).await.context("W1 with parked workflows")?;
        wake_some(&opened).await?;
        last.errors += empty.errors + history.errors;
        let (of_empty, of_history, of_open) = (empty.per_second(), history.per_second(), last.per_second());
        Ok(last
            .steps_each(1)
            .with("empty_per_s", of_empty)
            .with("history_per_s", of_history)
            .with("open_per_s", of_open)
            .with("history_share", of_history / of_empty)
            .with("open_share", of_open / of_empty))
    }
}

/// Copies a finished workflow until there are so many rows more.
async fn add_history(rig: &Rig, rows: u64) -> Result<()> {
    let template = rig.client().workflow(sequence).id(fresh_id()).queue(QUEUE).start(Load::new(1)).await?;
    ensure!(template.result().await? == Load::new(1), "the workflow that is to be copied returned something else");
    let run_id = uuid::Uuid::parse_str(&template.run_id().context("a started workflow has a run")?.to_string())?;
    let mut connection = PgConnection::connect(rig.store_url()).await.context("connect to the database")?;
    let of_one: i64 = sqlx::query_scalar("SELECT count(*) FROM engine.history WHERE run_id = $1")
        .bind(run_id)
        .fetch_one(&mut connection)
        .await?;
    let runs_at_once = ROWS_AT_ONCE / u64::try_from(of_one)?.max(1);
    let mut runs = rows.div_ceil(u64::try_from(of_one)?.max(1));
    let executions = copy_of_executions(&mut connection).await?;
    while runs > 0 {
        let now = runs.min(runs_at_once);
        // Ids as runs of an earlier time would have, in any shard: nobody asks for these runs.
        let copies = "CREATE TEMPORARY TABLE copies AS SELECT (number % (SELECT count(*) FROM engine.shard))::int4 AS shard_id, \
                      (lpad(to_hex((extract(epoch FROM now()) * 1000)::int8 - $2 + number), 12, '0') || '7' || \
                       substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid AS run_id \
                      FROM generate_series(1, $1) number";
        let age = i64::try_from(runs + 3_600_000)?;
        sqlx::query(copies).bind(i64::try_from(now)?).bind(age).execute(&mut connection).await?;
        let history = "INSERT INTO engine.history (shard_id, run_id, first_event_id, events) \
                       SELECT c.shard_id, c.run_id, h.first_event_id, h.events FROM copies c, engine.history h \
                       WHERE h.run_id = $1";
        sqlx::query(history).bind(run_id).execute(&mut connection).await?;
        sqlx::query(AssertSqlSafe(executions.clone())).bind(run_id).execute(&mut connection).await?;
        sqlx::query("DROP TABLE copies").execute(&mut connection).await?;
        runs -= now;
    }
    // What autovacuum does by itself, some time later.
    sqlx::raw_sql("ANALYZE engine.history; ANALYZE engine.execution; CHECKPOINT").execute(&mut connection).await?;
    connection.close().await.context("close the connection")
}

/// The statement that copies the row of a run, whatever columns it has.
async fn copy_of_executions(connection: &mut PgConnection) -> Result<String> {
    let columns = "SELECT column_name::text FROM information_schema.columns \
                   WHERE table_schema = 'engine' AND table_name = 'execution'";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(connection).await?;
    let values = columns.iter().map(|column| match column.as_str() {
        "shard_id" | "run_id" => format!("c.{column}"),
        "workflow_id" => "c.run_id::text".to_owned(),
        _ => format!("e.{column}"),
    });
    Ok(format!(
        "INSERT INTO engine.execution ({}) SELECT {} FROM copies c, engine.execution e WHERE e.run_id = $1",
        columns.join(", "),
        values.collect::<Vec<_>>().join(", ")
    ))
}

/// Starts so many workflows that wait, and returns some of them once all are parked.
async fn open(rig: &Rig, count: u64) -> Result<Vec<WorkflowHandle<Load>>> {
    let prefix = fresh_id();
    let mut some = Vec::new();
    let mut started = 0;
    while started < count {
        let now = STARTED_AT_ONCE.min(count - started);
        let starts = (started..started + now).map(|number| (format!("{prefix}-{number}"), Load::new(1)));
        for (place, start) in rig.client().workflow(wait).queue(QUEUE).start_many(starts).await.into_iter().enumerate()
        {
            let handle = start?;
            if place == 0 {
                some.push(handle);
            }
        }
        started += now;
    }
    // Tasks are worked off in the order of their runs' starts, nearly; the last ones show that all were.
    let began = Instant::now();
    for handle in &some {
        while handle.describe().await?.pending_workflow_task.is_some() {
            ensure!(began.elapsed() < PARKED_WITHIN, "{} still has work to do", handle.workflow_id());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tokio::time::sleep(rig.settings().park_after.unwrap_or(Duration::from_secs(10)) + Duration::from_secs(5)).await;
    Ok(some)
}

async fn wake_some(opened: &[WorkflowHandle<Load>]) -> Result<()> {
    for handle in opened {
        handle.signal(GoOn).await?;
        let load = handle.result().await?;
        ensure!(load == Load::new(1), "{} returned {load:?}", handle.workflow_id());
    }
    Ok(())
}

/// One workflow of many steps.
#[derive(Debug, Args)]
pub(crate) struct W11Steps {
    /// How many activities, one after another.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    steps: u32,
}

#[async_trait]
impl Workload for W11Steps {
    fn name(&self) -> &'static str {
        "w11-steps"
    }

    /// The first and the last tenth of the steps, by the clock of the history and by the CPU that server and worker used meanwhile. A
    /// twentieth before the first tenth warms up.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        run_one(rig.client(), 1).await.context("the first workflow, which waits for the worker")?;
        let before = rig.meter().read().await?;
        let began = Instant::now();
        let load = Load::new(u64::from(self.steps));
        let handle = rig.client().workflow(sequence).id(fresh_id()).queue(QUEUE).start(load.clone()).await?;
        let watched = Arc::new(AtomicBool::new(true));
        let samples = tokio::spawn(sample(rig.meter().clone(), Arc::clone(&watched)));
        let result = handle.result().await;
        watched.store(false, Ordering::Relaxed);
        let samples = samples.await?;
        let elapsed = began.elapsed();
        ensure!(result? == load, "the workflow returned another payload than it was given");
        let outcome = Outcome {
            completed: 1,
            in_flight: 1,
            elapsed,
            latencies: vec![micros(elapsed)],
            usage: rig.meter().since(&before).await?,
            memory: rig.meter().memory(),
            ..Outcome::default()
        };
        let times = step_times(&handle.history().await?);
        ensure!(times.len() == self.steps as usize, "the history has {} steps", times.len());
        let tenth = times.len() / 10;
        let [first, last] = [times.len() / 20, times.len() - 1 - tenth].map(|from| {
            let span = (times[from], times[from + tenth]);
            let time = span.1.duration_since(span.0).unwrap_or_default();
            let cpu = cpu_at(&samples, span.1) - cpu_at(&samples, span.0);
            (micros(time) as f64 / tenth as f64, cpu / tenth as f64)
        });
        Ok(outcome
            .steps_each(self.steps)
            .with("first_tenth_us_per_step", first.0)
            .with("last_tenth_us_per_step", last.0)
            .with("time_share", last.0 / first.0)
            .with("first_tenth_cpu_us_per_step", first.1)
            .with("last_tenth_cpu_us_per_step", last.1)
            .with("cpu_share", last.1 / first.1.max(f64::EPSILON)))
    }
}

/// CPU of server and worker so far, over time.
type Samples = Vec<(std::time::SystemTime, f64)>;

async fn sample(meter: crate::meter::Meter, watched: Arc<AtomicBool>) -> Samples {
    let used = |cpu: Cpu| (cpu.server.unwrap_or(0) + cpu.worker.unwrap_or(0)) as f64;
    let mut samples = Vec::new();
    loop {
        let goes_on = watched.load(Ordering::Relaxed);
        samples.push((std::time::SystemTime::now(), used(meter.cpu())));
        if !goes_on {
            return samples;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The CPU at an instant, between the samples around it.
fn cpu_at(samples: &Samples, at: std::time::SystemTime) -> f64 {
    let after = samples.partition_point(|(time, _)| *time < at);
    let (Some(before), Some(after)) = (samples.get(after.saturating_sub(1)), samples.get(after)) else {
        return samples.last().map_or(0.0, |(_, cpu)| *cpu);
    };
    let whole = after.0.duration_since(before.0).unwrap_or_default().as_secs_f64();
    let part = at.duration_since(before.0).unwrap_or_default().as_secs_f64();
    before.1 + (after.1 - before.1) * if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 }
}

/// When each step was scheduled.
fn step_times(history: &[Event]) -> Vec<std::time::SystemTime> {
    let scheduled = history.iter().filter(|event| matches!(event.kind, EventKind::ActivityScheduled(_)));
    scheduled
        .map(|event| std::time::SystemTime::UNIX_EPOCH + event.at.since(engine_sdk::time::Timestamp::EPOCH))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_between_two_samples() {
        let at = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let samples = vec![(at(10), 0.0), (at(20), 100.0), (at(30), 300.0)];
        assert_eq!(cpu_at(&samples, at(10)), 0.0);
        assert_eq!(cpu_at(&samples, at(15)), 50.0);
        assert_eq!(cpu_at(&samples, at(29)), 280.0);
        assert_eq!(cpu_at(&samples, at(40)), 300.0);
    }
}
