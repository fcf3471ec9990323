//! A workflow run again for each point at which something may go wrong: its outcome, and what it asks for, must be the same.

use std::fmt::Write;
use std::future::Future;

use engine_core::event::{Event, EventKind, Marker};
use engine_core::ids::RunId;
use engine_core::payload::Payload;
use engine_core::peer::PeerEvent;
use serde_json::Value;

use super::TestEngine;
use super::code::Trouble;
use super::timeline::timeline;
use crate::client::{IdReusePolicy, WorkflowHandle, WorkflowStart};
use crate::data;
use crate::definition::{Workflow, WorkflowCode};

/// What one run came to.
struct Trial {
    outcome: Result<Value, String>,
    /// What the code asked for, in order, in all runs of the chain.
    asked: Vec<String>,
    /// The chain's runs, in order.
    histories: Vec<Vec<Event>>,
}

impl TestEngine {
    /// Runs the workflow once undisturbed, and then once for each of its workflow tasks with the worker dying right after the code has
    /// computed that task, before anybody learns of it: what the code did is forgotten, and another worker begins again from the history.
    ///
    /// All runs have one workflow id and begin one after the other. Outcome and commands must be those of the undisturbed run, over all runs of its
    /// chain if it continues as new; so neither may depend on the run's id or on the time. Of children the outcome is compared.
    ///
    /// # Panics
    /// If they differ, with the point, the difference and the history.
    pub async fn crash_at_every_await<W: WorkflowCode>(&self, workflow: W, input: W::Input) {
        self.crash_at_every_await_with(workflow, input, |_| std::future::ready(())).await;
    }

    /// Like [`TestEngine::crash_at_every_await`], for a workflow that needs something from outside: `drive` gets each run's handle when the
    /// run has begun and sends it signals, updates or a request to stop.
    pub async fn crash_at_every_await_with<W: WorkflowCode, F: Future<Output = ()>>(
        &self,
        workflow: W,
        input: W::Input,
        drive: impl Fn(WorkflowHandle<W::Output>) -> F,
    ) {
        let input = encoded::<W>(&input);
        self.code().count_tasks(None);
        let undisturbed = self.trial(workflow, &input, &drive).await;
        let points = self.code().tasks_done();
        for point in 1..=points {
            self.code().count_tasks(Some(point));
            let disturbed = self.trial(workflow, &input, &drive).await;
            self.code().count_tasks(None);
            let what = format!("the worker died after workflow task {point} of {points} was computed");
            compare(W::NAME, &what, &undisturbed, &disturbed);
        }
    }

    /// Runs the workflow once undisturbed and once with every activity running twice: each first attempt does all its work, and its worker dies
    /// before anybody learns of it. Activities with `max_attempts = 1` are left alone: they are promised to run at most once.
    ///
    /// The outcome, and what the code asked for, must be the same. That the activities' effects happened once is for the test to check.
    ///
    /// # Panics
    /// If they differ, with the difference and the history.
    pub async fn every_activity_twice<W: WorkflowCode>(&self, workflow: W, input: W::Input) {
        self.with_trouble(workflow, input, Trouble::RunsTwice, "every activity ran twice").await;
    }

    /// Like [`TestEngine::every_activity_twice`], with every first attempt failing before it does anything.
    pub async fn every_activity_fails_once<W: WorkflowCode>(&self, workflow: W, input: W::Input) {
        self.with_trouble(workflow, input, Trouble::FailsOnce, "every activity failed once").await;
    }

    async fn with_trouble<W: WorkflowCode>(&self, workflow: W, input: W::Input, trouble: Trouble, what: &str) {
        let input = encoded::<W>(&input);
        let nothing = |_| std::future::ready(());
        let undisturbed = self.trial(workflow, &input, &nothing).await;
        self.code().set_trouble(Some(trouble));
        let disturbed = self.trial(workflow, &input, &nothing).await;
        self.code().set_trouble(None);
        compare(W::NAME, what, &undisturbed, &disturbed);
    }

    async fn trial<W: WorkflowCode, F: Future<Output = ()>>(
        &self,
        workflow: W,
        input: &[Payload],
        drive: &impl Fn(WorkflowHandle<W::Output>) -> F,
    ) -> Trial {
        self.workflow(workflow);
        self.ready().await;
        let workflow_id = format!("trial-of-{}", W::NAME);
        let start: WorkflowStart<Vec<Payload>, Value> =
            WorkflowStart::new(self.client(), W::NAME.to_owned(), workflow.options(), |payloads: &Vec<Payload>| {
                Ok(payloads.clone())
            });
        let start = start.id(workflow_id.as_str()).id_reuse_policy(IdReusePolicy::AllowDuplicate);
        let handle =
            start.start(input.to_vec()).await.unwrap_or_else(|error| panic!("cannot start {}: {error}", W::NAME));
        let run_id: Option<RunId> = handle.run_id();
        let typed = self.client().handle::<W>(workflow_id);
        drive(run_id.map_or(typed.clone(), |run_id| typed.with_run_id(run_id))).await;
        let outcome = handle.result().await.map_err(|error| with_causes(&error));
        let mut histories: Vec<Vec<Event>> = Vec::new();
        let mut next = Some(handle);
        while let Some(handle) = next {
            let history = handle.history().await.unwrap_or_else(|error| panic!("cannot read the history: {error}"));
            next = history.last().and_then(goes_on_in).map(|run_id| handle.with_run_id(run_id));
            histories.push(history);
        }
        Trial { outcome, asked: histories.iter().flatten().filter_map(asked).collect(), histories }
    }
}

fn encoded<W: Workflow>(input: &W::Input) -> Vec<Payload> {
    W::encode_input(input).unwrap_or_else(|error| panic!("the input of {} cannot be encoded: {error}", W::NAME))
}

/// An error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The run of the chain that follows the one with this last event.
fn goes_on_in(last: &Event) -> Option<RunId> {
    match &last.kind {
        EventKind::WorkflowContinuedAsNew(continued) => Some(continued.new_run_id),
        EventKind::WorkflowFailed(failed) => failed.new_run_id,
        EventKind::WorkflowTimedOut(timed_out) => timed_out.new_run_id,
        _ => None,
    }
}

/// What the code asked for with an event, if it did: without ids that differ from run to run, and without what the engine fills in.
fn asked(event: &Event) -> Option<String> {
    let name = event.kind.name();
    match &event.kind {
        EventKind::ActivityScheduled(scheduled) => Some(format!("{name} {}", scheduled.activity_type.as_str())),
        EventKind::TimerStarted(started) => Some(format!("{name} for {:?}", started.duration)),
        EventKind::StatePublished(published) => {
            let value = data::decode::<Value>(&published.value).unwrap_or_default();
            Some(format!("{name} {} = {value}", published.name.as_str()))
        }
        EventKind::MarkerRecorded(recorded) => Some(match &recorded.marker {
            Marker::Patch { patch_id, .. } => format!("{name} patch {}", patch_id.as_str()),
            Marker::Step(step) => format!("{name} step {}", step.name.as_str()),
        }),
        EventKind::SearchAttributesUpserted(upserted) => Some(format!("{name} {:?}", upserted.changes)),
        EventKind::PropertiesModified(modified) => {
            let memo: Vec<&String> = modified.changes.memo.keys().collect();
            Some(format!("{name} memo {memo:?}, details {:?}", modified.changes.current_details))
        }
        EventKind::WorkflowUpdateAccepted(accepted) => Some(format!("{name} {}", accepted.update.name.as_str())),
        EventKind::Peer(peer) => match peer.as_ref() {
            PeerEvent::StartChildInitiated { child, .. } => Some(format!("{name} {}", child.workflow_type)),
            PeerEvent::SignalInitiated { signal, .. } => Some(format!("{name} {}", signal.name)),
            PeerEvent::CancelInitiated { .. } => Some(name.to_owned()),
            _ => None,
        },
        EventKind::TimerCanceled(_)
        | EventKind::ActivityCancelRequested(_)
        | EventKind::WorkflowUpdateCompleted(_)
        | EventKind::WorkflowCompleted(_)
        | EventKind::WorkflowFailed(_)
        | EventKind::WorkflowCanceled(_)
        | EventKind::WorkflowContinuedAsNew(_) => Some(name.to_owned()),
        _ => None,
    }
}

#[track_caller]
fn compare(name: &str, what: &str, undisturbed: &Trial, disturbed: &Trial) {
    let mut difference = String::new();
    if undisturbed.outcome != disturbed.outcome {
        let told = |outcome: &Result<Value, String>| match outcome {
            Ok(value) => format!("the result {value}"),
            Err(error) => format!("the error {error:?}"),
        };
        let _ = writeln!(
            difference,
            "undisturbed it came to {}, disturbed to {}",
            told(&undisturbed.outcome),
            told(&disturbed.outcome)
        );
    }
    if undisturbed.asked != disturbed.asked {
        let rows = undisturbed.asked.len().max(disturbed.asked.len());
        let width = undisturbed.asked.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(11);
        let _ = writeln!(difference, "what the code asked for:\n  {:width$}  disturbed", "undisturbed");
        for row in 0..rows {
            let (left, right) = (undisturbed.asked.get(row), disturbed.asked.get(row));
            let mark = if left == right { ' ' } else { '>' };
            let cell = |text: Option<&String>| text.map_or("-", String::as_str).to_owned();
            let _ = writeln!(difference, "{mark} {:width$}  {}", cell(left), cell(right));
        }
    }
    let history: Vec<String> = disturbed.histories.iter().map(|history| timeline(history)).collect();
    let history = history.join("\n");
    assert!(
        difference.is_empty(),
        "{name}: {what}, and it did not go on as if nothing had happened\n{difference}{history}"
    );
}
