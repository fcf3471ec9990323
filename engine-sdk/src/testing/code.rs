//! What the test engine's worker runs, and what went wrong with it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_core::time::Timestamp;
use engine_proto::token::WorkflowTaskToken;
use engine_server::Clock;
use engine_server::clock::Busy;
use futures::FutureExt;
use parking_lot::Mutex;

use super::mock::{ActivityWatch, Mock, WorkflowMock, WorkflowWatch};
use crate::activity::{ActivityContext, SharedState};
use crate::client::Client;
use crate::data;
use crate::definition::{Activity, ActivityCode, Workflow};
use crate::error::{ActivityError, WorkflowError};
use crate::worker::hooks::TestHost;
use crate::worker::registry::{ErasedActivity, erase_activity};
use crate::workflow::ErasedWorkflow;

/// What happens to every activity in [`super::crash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its first attempt does its work, and its worker dies before anybody learns of it.
    RunsTwice,
    /// Its first attempt fails.
    FailsOnce,
}

/// All code of a test engine.
pub(super) struct Code {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    workflows: HashMap<&'static str, Arc<dyn ErasedWorkflow>>,
    activities: HashMap<&'static str, Arc<ActivityWatch>>,
    state: Arc<SharedState>,
    trouble: Option<Trouble>,
    /// Workflow tasks done since it was set, and the one after which the worker dies.
    tasks_done: u32,
    dies_after: Option<u32>,
    /// Held from a death to the next worker's first task, so that time stands.
    dead: Option<Busy>,
    problems: Vec<String>,
}

impl Code {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    pub(super) fn add_workflow(&self, name: &'static str, code: Arc<dyn ErasedWorkflow>) {
        self.inner.lock().workflows.insert(name, code);
    }

    pub(super) fn add_activity<A: ActivityCode>(&self, activity: A) {
        self.watch(A::NAME).replace(erase_activity(activity));
    }

    pub(super) fn add_state<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        Arc::make_mut(&mut self.inner.lock().state).insert(value);
    }

    pub(super) fn mock_activity<A: Activity, F>(
        &self,
        code: impl Fn(ActivityContext, A::Input) -> F + Send + Sync + 'static,
    ) -> Mock<A>
    where
        F: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        let code = Arc::new(code);
        let erased: ErasedActivity = Arc::new(move |ctx, input| {
            let code = Arc::clone(&code);
            async move {
                let input =
                    A::decode_input(input).map_err(|error| ActivityError::non_retryable(error).into_failure())?;
                let output = code(ctx, input).await.map_err(ActivityError::into_failure)?;
                data::encode_result(&output).map_err(|error| ActivityError::non_retryable(error).into_failure())
            }
            .boxed()
        });
        let watch = self.watch(A::NAME);
        watch.replace(erased);
        Mock::new(watch)
    }

    pub(super) fn watch_activity<A: Activity>(&self) -> Mock<A> {
        Mock::new(self.watch(A::NAME))
    }

    fn watch(&self, name: &'static str) -> Arc<ActivityWatch> {
        Arc::clone(self.inner.lock().activities.entry(name).or_default())
    }

    pub(super) fn mock_workflow<W: Workflow>(
        &self,
        code: impl Fn(W::Input) -> Result<W::Output, WorkflowError> + Send + Sync + 'static,
    ) -> WorkflowMock<W> {
        let watch = Arc::new(WorkflowWatch::new::<W>(code));
        self.add_workflow(W::NAME, Arc::clone(&watch) as Arc<dyn ErasedWorkflow>);
        WorkflowMock::new(watch)
    }

    pub(super) fn take_problems(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().problems)
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.inner.lock().trouble = trouble;
    }

    /// Counts workflow tasks from here on; after `death` of them the worker dies.
    pub(super) fn count_tasks(&self, death: Option<u32>) {
        let mut inner = self.inner.lock();
        (inner.tasks_done, inner.dies_after) = (0, death);
    }

    /// How many workflow tasks were done since [`Code::count_tasks`].
    pub(super) fn tasks_done(&self) -> u32 {
        self.inner.lock().tasks_done
    }

    /// The code of an activity; of one that nobody has, code that fails and tells the test.
    fn activity(&self, name: &str) -> ErasedActivity {
        let (watch, trouble) = {
            let inner = self.inner.lock();
            (inner.activities.get(name).cloned(), inner.trouble)
        };
        match watch {
            Some(watch) => watch.code(self.clock.clone(), trouble),
            None => {
                let problem = format!(
                    "activity {name:?} was called, and the test engine has no code for it: add it with `env.activity({name})`, or \
                     replace it with `env.mock({name}, |input| Ok(..))`"
                );
                let mut inner = self.inner.lock();
                if !inner.problems.contains(&problem) {
                    inner.problems.push(problem.clone());
                }
                Arc::new(move |_, _| {
                    let failure = ActivityError::non_retryable(problem.clone()).into_failure();
                    std::future::ready(Err(failure)).boxed()
                })
            }
        }
    }

    pub(super) fn workflow(&self, name: &str) -> Option<Arc<dyn ErasedWorkflow>> {
        self.inner.lock().workflows.get(name).cloned()
    }

    /// Whether the worker dies now, after a workflow task that is done.
    fn dies(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.tasks_done += 1;
        // The next worker's first task finds the old guard, if it was not given back yet.
        inner.dead = None;
        let dies = inner.dies_after == Some(inner.tasks_done);
        if dies {
            inner.dead = Some(self.clock.busy());
        }
        dies
    }
}

/// The code, for a worker of one namespace.
pub(super) struct Host {
    code: Arc<Code>,
    client: Client,
}

impl Host {
    /// `client` is of the worker's namespace.
    pub(super) fn new(code: Arc<Code>, client: Client) -> Self {
        Self { code, client }
    }
}

impl TestHost for Host {
    fn activity(&self, name: &str) -> Option<ErasedActivity> {
        Some(self.code.activity(name))
    }

    fn workflow(&self, name: &str) -> Option<Arc<dyn ErasedWorkflow>> {
        self.code.workflow(name)
    }

    fn state(&self) -> Arc<SharedState> {
        Arc::clone(&self.code.inner.lock().state)
    }

    fn workflow_task_failed(&self, token: &[u8], message: &str) {
        let Ok(token) = WorkflowTaskToken::decode(token) else { return };
        let workflow_id = token.workflow_id.as_str().to_owned();
        self.code.inner.lock().problems.push(format!("a workflow task of {workflow_id:?} failed: {message}"));
        // It would be tried again for ever. Whoever waits for it learns why.
        let handle = self.client.handle_named::<()>(workflow_id).with_run_id(token.run_id);
        let reason: String = format!("a workflow task failed: {message}").chars().take(2_000).collect();
        let busy = self.code.clock.busy();
        tokio::spawn(async move {
            if let Err(error) = handle.terminate(reason).await {
                tracing::debug!(%error, "a run whose workflow task failed is closed already");
            }
            drop(busy);
        });
    }

    fn dies(&self, _run_id: &str) -> bool {
        self.code.dies()
    }
}

/// The attempt waits for the engine's time.
pub(super) async fn pause(clock: &Clock, ctx: &ActivityContext, duration: Duration) -> Result<(), ActivityError> {
    let until = if duration == Duration::MAX { Timestamp::MAX } else { clock.now() + duration };
    let disturbed = ctx.clone();
    let doze = clock.doze(&ctx.info().token, until, move || disturbed.is_cancelled());
    tokio::select! {
        () = doze => Ok(()),
        _ = ctx.cancelled() => Err(ctx.canceled()),
    }
}

/// What a worker that dies leaves of an attempt.
pub(super) fn worker_lost() -> Failure {
    Failure::worker_lost("the test had the worker die")
}

/// The arguments of a call.
pub(super) type Arguments = Vec<Payload>;
