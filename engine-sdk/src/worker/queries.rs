//! Queries in this worker: asked of a run in the cache, else of one that is replayed for them and thrown away.
//!
//! A query is for one stream: the server asks again elsewhere when the stream breaks, so an answer that comes later is dropped. It
//! is asked only once the server has the results of the tasks that the run's code has done: what it shows is recorded.

use std::sync::Arc;

use engine_proto::convert::{failure_to_proto, payload_to_proto, payloads_from_proto};
use engine_proto::v1;
pub(super) use engine_proto::v1::query_answer::Outcome;
use tokio::sync::mpsc;

use super::cache::Cached;
use super::catch_up::{CaughtUp, catch_up, unreadable};
use super::event::Event;
use super::pool::Pool;
use super::workflow_tasks::caught;
use crate::client::{Client, HistoryPages};
use crate::workflow::{QueryReply, WorkflowRun};

/// A query and the stream that it came on.
pub(super) struct Asked {
    pub(super) query: v1::QueryTask,
    pub(super) stream: u64,
}

/// What came of a query.
pub(super) struct Answered {
    pub(super) run_id: String,
    pub(super) stream: u64,
    pub(super) answer: v1::QueryAnswer,
    /// The run, if it came from the cache and may go back.
    pub(super) run: Option<Cached<WorkflowRun>>,
}

impl Asked {
    pub(super) fn answered(self, outcome: Outcome, run: Option<Cached<WorkflowRun>>) -> Answered {
        let answer = v1::QueryAnswer { query_id: self.query.query_id, outcome: Some(outcome) };
        Answered { run_id: self.query.run_id, stream: self.stream, answer, run }
    }
}

/// Reads and replays the history that the query is about, and asks.
pub(super) async fn replay(
    client: Client,
    pool: Arc<Pool>,
    events: mpsc::UnboundedSender<Event>,
    run: Cached<WorkflowRun>,
    asked: Asked,
) {
    let query = &asked.query;
    let end = query.last_event_id + 1;
    let caught_up = match HistoryPages::new(client, &query.workflow_id, &query.run_id, end) {
        Ok(pages) => catch_up(&pool, pages, CaughtUp::new(run), end).await,
        Err(error) => Err(unreadable(end, &error)),
    };
    match caught_up {
        Ok(run) => submit(&pool, &events, Asking::Replayed(run), asked),
        Err(failure) => {
            let outcome = Outcome::Unanswerable(format!("the run cannot be replayed: {}", failure.failure.message));
            let _ = events.send(Event::QueryAnswered(Box::new(asked.answered(outcome, None))));
        }
    }
}

/// The run that is asked.
pub(super) enum Asking {
    /// From the cache, where it goes back.
    Cached(Cached<WorkflowRun>),
    /// For this query alone.
    Replayed(CaughtUp),
}

/// Asks on a thread for workflow code.
pub(super) fn submit(pool: &Pool, events: &mpsc::UnboundedSender<Event>, run: Asking, asked: Asked) {
    let events = events.clone();
    pool.submit(move || {
        let answered = caught(|| answer(run, &asked.query));
        let (outcome, run) =
            answered.unwrap_or_else(|failure| (Outcome::Unanswerable(failure.failure.message.clone()), None));
        // Nobody listens once the worker is gone, and then nobody needs to.
        let _ = events.send(Event::QueryAnswered(Box::new(asked.answered(outcome, run))));
    });
}

fn answer(run: Asking, query: &v1::QueryTask) -> (Outcome, Option<Cached<WorkflowRun>>) {
    let span = tracing::info_span!(
        "query",
        query = query.query_name,
        workflow_type = query.workflow_type,
        workflow_id = query.workflow_id,
        run_id = query.run_id,
    );
    let _entered = span.enter();
    let (cached, may_go_back) = match run {
        Asking::Cached(cached) => (cached, true),
        Asking::Replayed(run) => match run.finish() {
            Ok(cached) => (cached, false),
            Err(failure) => {
                let problem = format!("the run cannot be replayed: {}", failure.failure.message);
                return (Outcome::Unanswerable(problem), None);
            }
        },
    };
    let reply = cached.run.query(&query.query_name, payloads_from_proto(query.input.clone()));
    let is_broken = matches!(reply, QueryReply::Broken(_));
    let outcome = match reply {
        QueryReply::Value(payload) => Outcome::Result(v1::QueryResult { value: Some(payload_to_proto(&payload)) }),
        QueryReply::Failed(failure) => Outcome::Failure(failure_to_proto(&failure)),
        QueryReply::Refused(message) => Outcome::Refused(message),
        QueryReply::Broken(message) => Outcome::Unanswerable(message),
    };
    (outcome, (may_go_back && !is_broken).then_some(cached))
}
