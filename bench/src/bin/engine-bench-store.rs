//! Measures a store alone: the batches that lanes would commit, without server, worker or network.
//!
//! `engine-bench-store w1 --database-url postgres://… --lanes 2 --batch 100` keeps `lanes` batches at the store, each with the
//! turns of `batch` one-activity workflows at each of their four stages, and prints one JSON line: workflows a second, CPU of
//! this process and of the database, bytes of WAL, rows updated in place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use engine_core::event::CloseStatus;
use engine_core::ids::{EventId, RunId};
use engine_core::time::Timestamp;
use engine_server::store::{
    Batch, Epoch, ExecutionChange, ExecutionRow, ExecutionUpdate, HistoryRow, NamespaceId, Node, RunKey, ShardId, Store,
};

/// As many as a server creates.
const SHARDS: u32 = 64;

#[derive(Debug, Parser)]
#[command(about = "Measures a store alone", version)]
struct Arguments {
    workload: Workload,
    /// The store: postgres://…, sqlite://… or memory:
    #[arg(long, env = "ENGINE_TEST_DATABASE_URL")]
    database_url: String,
    /// How many batches are at the store at a time.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// How many workflows begin in each batch.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How long to warm up before, in seconds.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// A statement to run on the Postgres after the migration, to try a change of the schema.
    #[arg(long)]
    alter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Workload {
    /// Workflows of one activity: start, task done, activity done, task done and closed.
    W1,
    /// Starts, and nothing after them.
    Starts,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let store = engine_server::store::open(&arguments.database_url).await.context("open the store")?;
    store.migrate(SHARDS).await.context("migrate")?;
    let mut database = Database::connect(&arguments.database_url).await?;
    if let (Some(statement), Some(database)) = (&arguments.alter, &mut database) {
        database.run(statement).await?;
    }
    let node = Node { name: "bench".to_owned(), incarnation: uuid::Uuid::now_v7() };
    store.renew_lease(&node, Duration::from_secs(3600)).await.context("take the lease")?;
    let owned = store.acquire_shards(&node, None).await.context("acquire")?.owned;
    let clock = Instant::now();
    let measure_from = Duration::from_secs(arguments.warm_up);
    let until = measure_from + Duration::from_secs(arguments.seconds);
    let lanes: Vec<_> = (0..arguments.lanes)
        .map(|lane| {
            let of_lane = owned.iter().filter(|shard| shard.id.0 as usize % arguments.lanes == lane);
            let shards: Vec<_> = of_lane.map(|shard| (shard.id, shard.epoch)).collect();
            let lane = Lane { store: Arc::clone(&store), shards, number: lane, next: 0 };
            tokio::spawn(lane.run(arguments.workload, arguments.batch, clock, measure_from, until))
        })
        .collect();
    tokio::time::sleep(measure_from).await;
    let before = Sample::take(&mut database).await?;
    let mut workflows = 0;
    let mut batches = Vec::new();
    for lane in lanes {
        let (many, times) = lane.await.context("a lane")??;
        workflows += many;
        batches.extend(times);
    }
    let after = Sample::take(&mut database).await?;
    batches.sort_unstable();
    let each = |after: u64, before: u64| (after - before) as f64 / workflows.max(1) as f64;
    let line = serde_json::json!({
        "workload": format!("{:?}", arguments.workload).to_lowercase(),
        "lanes": arguments.lanes,
        "batch": arguments.batch,
        "workflows_per_s": (workflows as f64 / arguments.seconds as f64).round(),
        "batch_p50_ms": batches.get(batches.len() / 2).map(|micros| *micros as f64 / 1000.0),
        "cpu_us_per_workflow": { "client": each(after.own_cpu, before.own_cpu), "database": each(after.cpu, before.cpu) },
        "wal_bytes_per_workflow": each(after.wal, before.wal).round(),
        "updates_per_workflow": each(after.updates, before.updates),
        "hot_updates_per_workflow": each(after.hot, before.hot),
    });
    println!("{line}");
    store.close().await;
    Ok(())
}

struct Lane {
    store: Arc<dyn Store>,
    shards: Vec<(ShardId, Epoch)>,
    number: usize,
    next: u64,
}

impl Lane {
    /// Returns the workflows that ended while it was measured, and how long each batch took, in microseconds.
    async fn run(
        mut self,
        workload: Workload,
        many: usize,
        clock: Instant,
        from: Duration,
        until: Duration,
    ) -> Result<(u64, Vec<u64>)> {
        let mut stages: [Vec<RunKey>; 3] = Default::default();
        let mut ended = 0;
        let mut times = Vec::new();
        while clock.elapsed() < until {
            let mut batch = Batch::default();
            let [one, two, three] = &mut stages;
            for key in three.iter() {
                history(&mut batch, key, 8, 330);
                let at = Timestamp::from_micros(1_700_000_000_000_000);
                let change = ExecutionChange::Close { status: CloseStatus::Completed, at, history_length: 11 };
                batch.updates.push(ExecutionUpdate { key: key.clone(), change });
            }
            two.iter().for_each(|key| history(&mut batch, key, 6, 160));
            one.iter().for_each(|key| history(&mut batch, key, 2, 330));
            let new: Vec<RunKey> = (0..many).map(|_| self.start(&mut batch)).collect();
            // Only the shards that the rows belong to, as a lane would name them.
            let touched: HashSet<ShardId> = batch.history.iter().map(|row| row.shard).collect();
            batch.shards = self.shards.iter().copied().filter(|(id, _)| touched.contains(id)).collect();
            let began = Instant::now();
            self.store.commit(&batch).await.context("commit")?;
            let done = if workload == Workload::W1 { three.len() } else { new.len() };
            if clock.elapsed() >= from {
                ended += done as u64;
                times.push(began.elapsed().as_micros() as u64);
            }
            if workload == Workload::W1 {
                *three = std::mem::take(two);
                *two = std::mem::replace(one, new);
            }
        }
        Ok((ended, times))
    }

    fn start(&mut self, batch: &mut Batch) -> RunKey {
        self.next += 1;
        let key = RunKey {
            shard: self.shards[self.next as usize % self.shards.len()].0,
            namespace: NamespaceId(1),
            workflow_id: uuid::Uuid::now_v7().to_string(),
            run_id: RunId::from_uuid(uuid::Uuid::now_v7()),
        };
        history(batch, &key, 1, 300);
        batch.presumed_first.push(key.run_id);
        batch.new_runs.push(ExecutionRow {
            key: key.clone(),
            workflow_type: "sequence".to_owned(),
            task_queue: "bench".to_owned(),
            status: None,
            started_at: Timestamp::from_micros(1_700_000_000_000_000 + self.number as i64),
            closed_at: None,
            history_length: 0,
            wake_at: Timestamp::EPOCH,
            request_id: uuid::Uuid::now_v7().to_string(),
            search_attributes: Default::default(),
        });
        key
    }
}

fn history(batch: &mut Batch, key: &RunKey, first: u64, bytes: usize) {
    let events = Bytes::from(vec![0x5a; bytes]);
    batch.history.push(HistoryRow { shard: key.shard, run_id: key.run_id, first_event_id: EventId(first), events });
}

/// The Postgres, beside the store's connections.
struct Database {
    connection: sqlx::PgConnection,
    postmaster: u32,
}

impl Database {
    async fn connect(url: &str) -> Result<Option<Self>> {
        if !url.starts_with("postgres") {
            return Ok(None);
        }
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.context("connect")?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).context("find the postmaster")?;
        let parent = stat[stat.rfind(')').context("a stat line")? + 2..].split(' ').nth(1).context("a parent")?;
        Ok(Some(Self { connection, postmaster: parent.parse()? }))
    }

    async fn run(&mut self, statement: &str) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut self.connection).await.context("alter")?;
        Ok(())
    }

    /// CPU of all backends of the moment, in microseconds.
    fn cpu(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        pids.filter_map(stat).filter(|(parent, _)| *parent == self.postmaster).map(|(_, cpu)| cpu).sum()
    }
}

/// Parent and CPU time of a process; the time in microseconds, from nanoseconds if the kernel says.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks * 10_000))
}

#[derive(Debug, Default)]
struct Sample {
    own_cpu: u64,
    cpu: u64,
    wal: u64,
    updates: u64,
    hot: u64,
}

impl Sample {
    async fn take(database: &mut Option<Database>) -> Result<Self> {
        let own_cpu = stat(std::process::id()).map_or(0, |(_, cpu)| cpu);
        let Some(database) = database else { return Ok(Self { own_cpu, ..Self::default() }) };
        let cpu = database.cpu();
        // Counters of tables come from the backends with a delay of up to a second; over a run that is little.
        let row: (i64, i64, i64) = sqlx::query_as(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8, sum(n_tup_upd)::int8, \
             sum(n_tup_hot_upd)::int8 FROM pg_stat_user_tables",
        )
        .fetch_one(&mut database.connection)
        .await
        .context("read counters")?;
        let [wal, updates, hot] = [row.0, row.1, row.2].map(i64::cast_unsigned);
        Ok(Self { own_cpu, cpu, wal, updates, hot })
    }
}
