//! `startup`: from the start of the server's process to the first start that it accepts, on a database that has been in use.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use tokio::net::TcpStream;

use super::sequence::sequence;
use super::{Load, Workload, fresh_id};
use crate::load::{Outcome, micros};
use crate::rig::Rig;
use crate::worker::QUEUE;

/// How long a server may take.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts of the server.
#[derive(Debug, Args)]
pub(crate) struct Startup {
    /// How many times it is killed and started.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
}

#[async_trait]
impl Workload for Startup {
    fn name(&self) -> &'static str {
        "startup"
    }

    fn wants_worker(&self) -> bool {
        false
    }

    fn takes_a_rate(&self) -> bool {
        false
    }

    /// Latencies are those from process start to accepted start; `completed` counts them.
    async fn measure(&self, rig: &mut Rig) -> Result<Outcome> {
        let started = Instant::now();
        let mut latencies = Vec::new();
        for _ in 0..self.rounds {
            rig.kill_server().await?;
            latencies.push(micros(round(rig).await?));
        }
        Ok(Outcome {
            completed: latencies.len() as u64,
            in_flight: 1,
            elapsed: started.elapsed(),
            latencies,
            memory: rig.meter().memory(),
            ..Outcome::default()
        })
    }
}

async fn round(rig: &mut Rig) -> Result<Duration> {
    let started = Instant::now();
    let server = rig.spawn_server()?;
    // The client waits longer and longer between attempts to connect, which is not the server's doing; so it comes when somebody
    // listens.
    while TcpStream::connect(rig.listen()).await.is_err() {
        ensure!(started.elapsed() < READY_WITHIN, "nobody listens {READY_WITHIN:?} after the server's start");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.adopt_server(server).await?;
    let start = rig.client().workflow(sequence).id(fresh_id()).queue(QUEUE).start(Load::new(1)).await;
    start.context("the first start")?;
    Ok(started.elapsed())
}
