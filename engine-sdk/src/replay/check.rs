//! Many runs of an engine, read and replayed side by side.

use std::fmt;
use std::future::{IntoFuture, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use engine_core::event::Event;
use engine_core::version::VersioningBehavior;
use engine_proto::convert::event_for_replay;
use futures::{StreamExt, TryStreamExt, stream};

use super::report::{ReplayReport, RunReport, Verdict};
use super::{Replayer, UnreadableHistory};
use crate::client::{Client, ClientError, ListFilter, RunSummary, read_whole};
use crate::definition::BoxFuture;

/// Histories that are on their way or being replayed at a time: enough to keep all cores at work, and a bound for memory.
const AT_A_TIME: usize = 64;

/// A check of runs against code, begun by awaiting it. Made by [`Worker::check_open_runs`](crate::worker::Worker::check_open_runs).
#[must_use = "nothing is replayed before it is awaited"]
pub struct CheckRuns {
    replayer: Replayer,
    client: Client,
    filters: Vec<ListFilter>,
    /// The version of the code, by deployment and build, if it has one.
    version: Option<(String, String)>,
    sample: u64,
    progress: Option<Progress>,
}

type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

impl CheckRuns {
    pub(crate) fn new(replayer: Replayer, client: Client, filters: Vec<ListFilter>) -> Self {
        Self { replayer, client, filters, version: None, sample: u64::MAX, progress: None }
    }

    /// Leaves out runs that are pinned to another version than this one.
    pub(crate) fn of_version(mut self, version: Option<(String, String)>) -> Self {
        self.version = version;
        self
    }

    /// Whether the code may get the run.
    fn may_get(&self, run: &RunSummary) -> bool {
        let (Some((deployment, build_id)), Some(version)) = (&self.version, &run.version) else { return true };
        run.versioning_behavior != Some(VersioningBehavior::Pinned)
            || (version.deployment.as_str() == deployment && version.build_id.as_str() == build_id)
    }

    /// Replays at most so many runs of each workflow type: the latest.
    pub fn sample(mut self, runs: u64) -> Self {
        self.sample = runs;
        self
    }

    /// Calls `progress` with how many runs were replayed and how many were found: once when they are found, and after each, in any order.
    pub fn progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    async fn run(self) -> Result<ReplayReport, ClientError> {
        let began = Instant::now();
        let mut found = Vec::new();
        for filter in &self.filters {
            let most = usize::try_from(self.sample).unwrap_or(usize::MAX);
            let open = self.client.list(filter.clone().with_large_pages());
            let runs = open.try_filter(|run| ready(self.may_get(run))).take(most);
            let runs: Vec<RunSummary> = runs.try_collect().await?;
            found.extend(runs);
        }
        let (total, done) = (found.len() as u64, Arc::new(AtomicU64::new(0)));
        if let Some(progress) = &self.progress {
            progress(0, total);
        }
        let replayed = stream::iter(found).map(|summary| {
            let (replayer, client) = (self.replayer.clone(), self.client.clone());
            let (progress, done) = (self.progress.clone(), Arc::clone(&done));
            // On the runtime's own threads side by side: reading one history overlaps with replaying another.
            let one = tokio::spawn(async move {
                let report = check(&replayer, &client, summary).await;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(progress) = progress {
                    progress(done, total);
                }
                report
            });
            async move { one.await.expect("panics of the code are caught, and nobody aborts it") }
        });
        let mut runs: Vec<RunReport> = replayed.buffer_unordered(AT_A_TIME).collect().await;
        runs.sort_by(|a, b| {
            (&a.workflow_type, &a.workflow_id, a.run_id).cmp(&(&b.workflow_type, &b.workflow_id, b.run_id))
        });
        Ok(ReplayReport { runs, took: began.elapsed() })
    }
}

impl IntoFuture for CheckRuns {
    type Output = Result<ReplayReport, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for CheckRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRuns")
            .field("replayer", &self.replayer)
            .field("sample", &self.sample)
            .finish_non_exhaustive()
    }
}

async fn check(replayer: &Replayer, client: &Client, summary: RunSummary) -> RunReport {
    let history = match replayer.knows(summary.workflow_type.as_str()) {
        true => read(client, &summary).await.map(Some),
        false => Ok(None),
    };
    let (events, verdict) = match history {
        Ok(Some(history)) => {
            let replayer = replayer.clone();
            // Code may compute for long: not on the threads of the runtime.
            let replayed = tokio::task::spawn_blocking(move || (history.len(), replayer.verdict(history)));
            replayed.await.expect("panics of the code are caught, and nobody aborts it")
        }
        Ok(None) => (0, Verdict::NoCode),
        Err(problem) => (0, Verdict::Unreadable(problem.to_string())),
    };
    let RunSummary { workflow_id, run_id, workflow_type, .. } = summary;
    RunReport { workflow_id, run_id, workflow_type, events, verdict }
}

async fn read(client: &Client, summary: &RunSummary) -> Result<Vec<Event>, UnreadableHistory> {
    let encoded = read_whole(client, summary.workflow_id.as_str(), summary.run_id).await;
    let encoded = encoded.map_err(|error| UnreadableHistory(error.to_string()))?;
    let decode = |event| event_for_replay(event).map_err(|error| UnreadableHistory(error.to_string()));
    encoded.events.into_iter().map(decode).collect()
}
