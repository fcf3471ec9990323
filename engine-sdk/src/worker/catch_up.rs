//! Replaying a run that this worker does not have, a page of its history at a time.
//!
//! While one page is replayed the next is read, so a cold run costs the longer of the two, and two pages of memory however long its
//! history is. A page is replayed up to its last `WorkflowTaskScheduled`: everything before it is complete, while the commands of
//! the task before, or the end of a task, may lie in the next page. What is behind waits for that.

use std::sync::Arc;

use engine_core::event::{Event, EventKind, UpdateRequest};
use engine_proto::EncodedHistory;
use engine_proto::convert::event_for_replay;
use tokio::sync::oneshot;

use super::cache::Cached;
use super::pool::Pool;
use super::workflow_tasks::{TaskFailure, caught};
use crate::client::{ClientError, HistoryPages};
use crate::workflow::{Advance, WorkflowRun};

/// A run, and the events behind its last one that were read but not replayed.
pub(super) struct CaughtUp {
    cached: Cached<WorkflowRun>,
    rest: Vec<Event>,
}

impl CaughtUp {
    pub(super) fn new(cached: Cached<WorkflowRun>) -> Self {
        Self { cached, rest: Vec::new() }
    }

    /// Replays what is complete of a page.
    fn replay(mut self, page: EncodedHistory) -> Result<Self, TaskFailure> {
        self.rest.extend(decoded(page)?);
        let complete = self.rest.iter().rposition(|event| matches!(event.kind, EventKind::WorkflowTaskScheduled(_)));
        // The first event of all is not one of a task, so a run begins with at least that.
        if let Some(complete) = complete.filter(|complete| *complete > 0) {
            let rest = self.rest.split_off(complete);
            self.cached.run.advance(std::mem::replace(&mut self.rest, rest))?;
        }
        Ok(self)
    }

    /// Replays the rest: the history ends with it.
    pub(super) fn finish(mut self) -> Result<Cached<WorkflowRun>, TaskFailure> {
        if !self.rest.is_empty() {
            self.cached.run.advance(self.rest)?;
        }
        Ok(self.cached)
    }

    /// Replays the rest and the events of the task, and gives the code's answer.
    pub(super) fn advance(
        mut self,
        task: EncodedHistory,
        updates: Vec<UpdateRequest>,
    ) -> (Cached<WorkflowRun>, Result<Advance, TaskFailure>) {
        self.cached.run.bring_updates(updates);
        let progress = decoded(task).and_then(|events| {
            let events = if self.rest.is_empty() {
                events
            } else {
                self.rest.extend(events);
                self.rest
            };
            Ok(self.cached.run.advance(events)?)
        });
        (self.cached, progress)
    }
}

fn decoded(history: EncodedHistory) -> Result<Vec<Event>, TaskFailure> {
    let decode = |(index, event)| {
        event_for_replay(event).map_err(|error| {
            let error = error.inside(format_args!("history.events[{index}]"));
            TaskFailure::of_worker(format!("this worker cannot read the history: {error}"))
        })
    };
    history.events.into_iter().enumerate().map(decode).collect()
}

/// Replays all pages; what is left of the last is complete only with the events of the task, which begin with event `before`.
pub(super) async fn catch_up(
    pool: &Arc<Pool>,
    mut pages: HistoryPages,
    mut run: CaughtUp,
    before: u64,
) -> Result<CaughtUp, TaskFailure> {
    let mut page = pages.next().await.map_err(|error| unreadable(before, &error))?;
    while let Some(events) = page {
        let (replayed, next) = tokio::join!(replay(pool, run, events), pages.next());
        run = replayed?;
        page = next.map_err(|error| unreadable(before, &error))?;
    }
    Ok(run)
}

/// Replays a page on the threads of workflow code.
async fn replay(pool: &Pool, run: CaughtUp, page: EncodedHistory) -> Result<CaughtUp, TaskFailure> {
    let (done, replayed) = oneshot::channel();
    pool.submit(move || {
        let _ = done.send(caught(|| run.replay(page)).and_then(|replayed| replayed));
    });
    // The pool runs all work that it took, unless the process ends.
    replayed.await.unwrap_or_else(|_| Err(TaskFailure::of_worker("the worker shut down while it replayed the run")))
}

/// The history could not be read.
pub(super) fn unreadable(before: u64, error: &ClientError) -> TaskFailure {
    TaskFailure::of_worker(format!("cannot read the history before event {before}: {error}"))
}
