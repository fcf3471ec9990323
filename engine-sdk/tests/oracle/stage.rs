//! One scenario under way on an engine of its own, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::event::EventKind;
use engine_core::ids::RunId;
use engine_sdk::client::{ClientError, IdConflictPolicy, IdReusePolicy, ResetFrom, ResetOptions, UpdateHandle};
use engine_sdk::prelude::*;
use engine_sdk::worker::{ShutdownHandle, WorkerError};
use futures::TryStreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::facts::Fact;
use crate::gates::Gates;
use crate::program::{self, Act, Go, list, number, retry, text, unit};

pub(crate) struct Stage {
    name: String,
    engine: Engine,
    client: Client,
    gates: Arc<Gates>,
    worker: Option<(ShutdownHandle, JoinHandle<Result<(), WorkerError>>)>,
    updates: BTreeMap<String, UpdateHandle<()>>,
}

/// Whether the engine said no: the workflow is closed or not there, or the id is taken.
fn refused<T>(result: Result<T, ClientError>) -> bool {
    match result {
        Ok(_) => false,
        Err(ClientError::Closed { .. } | ClientError::NotFound { .. } | ClientError::AlreadyStarted { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

fn update_refused<T>(result: Result<T, UpdateFailure>) -> bool {
    match result {
        Ok(_) => false,
        Err(UpdateFailure::Rejected(_) | UpdateFailure::Failed(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

impl Stage {
    pub(crate) async fn set(name: &str) -> Stage {
        let engine = Engine::open("memory:").await.expect("memory is there");
        let client = engine.client();
        let label = SearchKey::keyword("Label");
        client.namespaces().update("default").search_attribute(label).send().await.expect("it can be registered");
        Stage { name: name.to_owned(), engine, client, gates: Gates::of(name), worker: None, updates: BTreeMap::new() }
    }

    /// Carries the scenario out and gives the facts of all runs of the workflows to be recorded, by workflow id.
    pub(crate) async fn play(mut self, scenario: &Value) -> Vec<(String, Vec<Vec<Fact>>)> {
        for op in list(scenario, "client") {
            let refused = self.operation(&op).await;
            let expected = op.get("refused").is_some();
            assert_eq!(refused, expected, "{}: whether this is refused: {op}", self.name);
        }
        let mut recorded = Vec::new();
        let ids = scenario.get("record").map_or_else(|| vec!["main".into()], |_| list(scenario, "record"));
        for id in ids {
            let id = id.as_str().expect("a workflow id");
            recorded.push((id.to_owned(), self.runs(id).await));
        }
        self.stop_worker().await;
        self.engine.shutdown().await;
        recorded
    }

    fn handle(&self, id: &str) -> WorkflowHandle<()> {
        self.client.handle_named(id)
    }

    /// Does what `op` says; true if it was refused.
    async fn operation(&mut self, op: &Value) -> bool {
        match text(op, "worker") {
            Some("start") => self.start_worker(),
            Some(_) => self.stop_worker().await,
            None => {}
        }
        if text(op, "start").is_some() {
            return self.start(op).await;
        } else if let Some(id) = text(op, "update") {
            return self.update(id, op).await;
        } else if let Some(name) = text(op, "outcome") {
            return update_refused(self.updates[name].result().await);
        } else if let Some(signal) = text(op, "signal") {
            return refused(self.handle(text(op, "workflow").unwrap()).signal_named(signal, &()).await);
        } else if let Some(id) = text(op, "cancel") {
            return refused(self.handle(id).cancel("as asked").await);
        } else if let Some(id) = text(op, "terminate") {
            return refused(self.handle(id).terminate("as asked").await);
        } else if let Some(id) = text(op, "reset") {
            self.reset(id, op).await;
        } else if let Some(id) = text(op, "see") {
            let times = number(op, "times").unwrap_or(1);
            self.see(id, text(op, "event").unwrap(), times, op.get("continued").is_some()).await;
        } else if let Some(name) = text(op, "open") {
            self.gates.named(name).open();
        } else if let Some(name) = text(op, "reached") {
            self.gates.named(name).reached(number(op, "times").unwrap_or(1)).await;
        } else if let Some(id) = text(op, "query") {
            assert_eq!(self.handle(id).query(program::state, ()).await.expect("it is answered"), "running");
        } else if let Some(id) = text(op, "closed") {
            if let Err(WorkflowFailure::Client(error)) = self.handle(id).result().await {
                panic!("{error}");
            }
        } else {
            assert!(op.get("worker").is_some(), "no such operation: {op}");
        }
        false
    }

    fn start_worker(&mut self) {
        let worker = Worker::new(self.client.clone(), &self.name)
            .workflow(program::program)
            .activity(program::act)
            .state(Arc::clone(&self.gates))
            .shutdown_grace(Duration::ZERO);
        self.worker = Some((worker.shutdown_handle(), tokio::spawn(worker.run())));
    }

    async fn stop_worker(&mut self) {
        if let Some((shutdown, worker)) = self.worker.take() {
            shutdown.shutdown();
            worker.await.expect("the worker does not panic").expect("the worker ends well");
        }
    }

    async fn start(&self, op: &Value) -> bool {
        let mut start = self.client.workflow(program::program).id(text(op, "start").unwrap()).queue(&self.name);
        if let Some(units) = op.get("run_timeout") {
            start = start.run_timeout(unit(units));
        }
        if let Some(units) = op.get("execution_timeout") {
            start = start.execution_timeout(unit(units));
        }
        if let Some(units) = op.get("delay") {
            start = start.start_delay(unit(units));
        }
        if let Some(expression) = text(op, "cron") {
            start = start.cron(expression);
        }
        if op.get("max_attempts").is_some() {
            start = start.retry(retry(op));
        }
        if text(op, "reuse") == Some("reject") {
            start = start.id_reuse_policy(IdReusePolicy::RejectDuplicate);
        }
        start = start.id_conflict_policy(match text(op, "conflict") {
            Some("use_existing") => IdConflictPolicy::UseExisting,
            Some("terminate") => IdConflictPolicy::TerminateExisting,
            _ => IdConflictPolicy::Fail,
        });
        let program = list(op, "program");
        if let Some(how) = text(op, "with_update") {
            update_refused(start.update_with_start(program, Act { how: how.to_owned() }).await)
        } else if op.get("with_signal").is_some() {
            refused(start.signal_with_start(program, Go {}).await)
        } else {
            refused(start.start(program).await)
        }
    }

    async fn update(&mut self, id: &str, op: &Value) -> bool {
        let mut update = self.handle(id).update(Act { how: text(op, "how").unwrap().to_owned() });
        if let Some(id) = text(op, "id") {
            update = update.id(id);
        }
        let Some(name) = text(op, "as") else { return update_refused(update.await) };
        self.updates.insert(name.to_owned(), update.start().await.expect("it is accepted"));
        false
    }

    /// Lets the last run go on from its workflow task of that number, which was completed.
    async fn reset(&self, id: &str, op: &Value) {
        let history = self.handle(id).history().await.expect("the workflow is there");
        let mut ends = history.iter().filter(|event| matches!(event.kind, EventKind::WorkflowTaskCompleted(_)));
        let task = usize::try_from(number(op, "task").expect("it says which task")).expect("a small number");
        let end = ends.nth(task - 1).expect("there are so many tasks").id;
        let options = ResetOptions::because("as asked");
        let options = if op.get("without_signals").is_some() { options.without_signals() } else { options };
        self.handle(id).reset(ResetFrom::WorkflowTask(end), options).await.expect("it can be reset");
    }

    /// Waits until the workflow's last run has so many events of a type; with `continued`, a run that continues another one.
    async fn see(&self, id: &str, kind: &str, times: u64, continued: bool) {
        loop {
            let mut events = std::pin::pin!(self.handle(id).watch());
            let (mut seen, mut counts) = (0, !continued);
            while let Some(event) = events.try_next().await.expect("the workflow is there") {
                if let EventKind::WorkflowStarted(started) = &event.kind {
                    counts |= started.continued_from.is_some();
                }
                seen += u64::from(counts && Fact::of(&event).kind == kind);
                if seen == times {
                    return;
                }
            }
            // The run that follows began in the transaction that closed this one.
            assert!(continued && !counts, "{}: {id} closed without {times} {kind}", self.name);
        }
    }

    /// The facts of all runs of a chain, from its first on, and of the last run, if it began by a reset.
    async fn runs(&self, id: &str) -> Vec<Vec<Fact>> {
        let last = self.handle(id).history().await.expect("the workflow is there");
        let EventKind::WorkflowStarted(started) = &last[0].kind else { panic!("{:?}", last[0]) };
        let mut next = Some(started.first_run_id);
        let mut runs = Vec::new();
        while let Some(run_id) = next {
            let history = self.handle(id).with_run_id(run_id).history().await.expect("the run is there");
            next = following(&history.last().expect("a history is never empty").kind);
            runs.push(history.iter().map(Fact::of).collect());
            if run_id == started.run_id {
                return runs;
            }
        }
        runs.push(last.iter().map(Fact::of).collect());
        runs
    }
}

/// The run that a close event hands over to.
fn following(last: &EventKind) -> Option<RunId> {
    match last {
        EventKind::WorkflowContinuedAsNew(close) => Some(close.new_run_id),
        EventKind::WorkflowCompleted(close) => close.new_run_id,
        EventKind::WorkflowFailed(close) => close.new_run_id,
        EventKind::WorkflowTimedOut(close) => close.new_run_id,
        _ => None,
    }
}
