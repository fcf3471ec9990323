//! W12: W1 while another session holds an old transaction open, so that the database may remove nothing that was deleted or replaced since.
//! Measured: W1 before and meanwhile. Needs Postgres.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use sqlx::{Connection as _, PgConnection};

use super::Workload;
use super::sequence::run_one;
use crate::load::{self, Outcome, Plan, Until};
use crate::rig::Rig;

/// An old transaction.
#[derive(Debug, Args)]
pub(crate) struct W12 {
    /// How long the transaction is held open. W1 is measured for all that time; before, it is measured for --duration. With --count the
    /// transaction is held until so many calls are done.
    #[arg(long, default_value = "3m", value_parser = humantime::parse_duration)]
    hold: Duration,
}

#[async_trait]
impl Workload for W12 {
    fn name(&self) -> &'static str {
        "w12"
    }

    /// The line is that of W1 with the transaction open.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        ensure!(
            rig.store_kind() == "postgres",
            "w12 holds a transaction open in Postgres: use --store postgres, or --database-url with --address"
        );
        let client = rig.client();
        let call = move || run_one(client.clone(), 1);
        let undisturbed = load::run(Plan::new(rig.settings(), 100), rig.meter(), call.clone()).await?;
        let old = OldTransaction::begin(rig.store_url()).await?;
        let until = rig.settings().count.map_or(Until::Elapsed(self.hold), Until::Count);
        let plan = Plan { warm_up: Duration::ZERO, until, ..Plan::new(rig.settings(), 100) };
        let mut pinned = load::run(plan, rig.meter(), call).await?;
        old.end().await?;
        pinned.errors += undisturbed.errors;
        let (before, meanwhile) = (undisturbed.per_second(), pinned.per_second());
        Ok(pinned
            .steps_each(1)
            .with("undisturbed_per_s", before)
            .with("pinned_per_s", meanwhile)
            .with("pinned_share", meanwhile / before))
    }
}

/// A session whose snapshot the database must keep.
struct OldTransaction {
    connection: PgConnection,
    pinned: i64,
}

impl OldTransaction {
    async fn begin(url: &str) -> Result<Self> {
        let mut connection =
            PgConnection::connect(url).await.context("connect to the database for an old transaction")?;
        // A snapshot is taken by the first statement, and kept to the end of the transaction.
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut connection).await?;
        let pinned = own_xmin(&mut connection).await?.context("a transaction with a snapshot pins something")?;
        Ok(Self { connection, pinned })
    }

    /// Ends it, and fails if it did not pin the same for all its time: then nothing was measured.
    async fn end(mut self) -> Result<()> {
        let pinned = own_xmin(&mut self.connection).await?;
        ensure!(pinned == Some(self.pinned), "the old transaction pinned {} and then {pinned:?}", self.pinned);
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        self.connection.close().await.context("close the old transaction's connection")
    }
}

async fn own_xmin(connection: &mut PgConnection) -> Result<Option<i64>> {
    let query = "SELECT backend_xmin::text::bigint FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    Ok(sqlx::query_scalar(query).fetch_one(connection).await?)
}
