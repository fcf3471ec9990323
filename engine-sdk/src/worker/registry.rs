//! The code that a worker has, by the names under which it is recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use engine_core::failure::Failure;
use engine_core::payload::Payload;
use engine_core::version::VersioningBehavior;
use futures::FutureExt;

use crate::activity::ActivityContext;
use crate::data::{self, RawArguments};
use crate::definition::{ActivityCode, BoxFuture, WorkflowCode};
use crate::error::ActivityError;
use crate::replay::Replayer;
use crate::workflow::{ErasedWorkflow, WorkflowRun, erase};

/// An activity's code, its types erased.
pub(crate) type ErasedActivity =
    Arc<dyn Fn(ActivityContext, Vec<Payload>) -> BoxFuture<Result<Payload, Failure>> + Send + Sync>;

/// The code that a worker has.
#[derive(Default)]
pub(super) struct Registry {
    activities: BTreeMap<&'static str, ErasedActivity>,
    workflows: BTreeMap<&'static str, Arc<dyn ErasedWorkflow>>,
    any_activity: Option<ErasedActivity>,
    any_workflow: Option<Arc<dyn ErasedWorkflow>>,
    /// How runs follow versions whose code does not say.
    versioning_default: Option<VersioningBehavior>,
    /// What a test engine has, in place of all of it.
    #[cfg(feature = "testing")]
    test: Option<super::hooks::Hooks>,
    /// Names that were registered twice.
    duplicates: Vec<String>,
}

impl Registry {
    pub(super) fn add_activity<A: ActivityCode>(&mut self, activity: A) {
        let code = erase_activity(activity);
        if self.activities.insert(A::NAME, code).is_some() {
            self.duplicates.push(format!("activity {:?}", A::NAME));
        }
    }

    /// For types that have no code of their own.
    pub(super) fn set_any_activity<A: ActivityCode<Input = RawArguments>>(&mut self, activity: A) {
        self.any_activity = Some(Arc::new(move |ctx, input| run_activity(activity, ctx, input).boxed()));
    }

    /// For types that have no code of their own.
    pub(super) fn set_any_workflow<W: WorkflowCode<Input = RawArguments>>(&mut self, workflow: W) {
        self.any_workflow = Some(erase(workflow));
    }

    pub(super) fn has_any_activity(&self) -> bool {
        self.any_activity.is_some() || self.is_test()
    }

    pub(super) fn has_any_workflow(&self) -> bool {
        self.any_workflow.is_some() || self.is_test()
    }

    pub(super) fn add_workflow<W: WorkflowCode>(&mut self, workflow: W) {
        if self.workflows.insert(W::NAME, erase(workflow)).is_some() {
            self.duplicates.push(format!("workflow {:?}", W::NAME));
        }
    }

    /// Takes all code from a test engine.
    #[cfg(feature = "testing")]
    pub(super) fn set_test(&mut self, hooks: super::hooks::Hooks) {
        self.test = Some(hooks);
    }

    #[cfg(feature = "testing")]
    fn is_test(&self) -> bool {
        self.test.is_some()
    }

    #[cfg(not(feature = "testing"))]
    fn is_test(&self) -> bool {
        false
    }

    pub(super) fn activity(&self, name: &str) -> Option<ErasedActivity> {
        #[cfg(feature = "testing")]
        if let Some(test) = &self.test {
            return test.activity(name);
        }
        self.activities.get(name).or(self.any_activity.as_ref()).cloned()
    }

    /// A run of a workflow's code that has not seen an event yet.
    pub(super) fn workflow_run(&self, name: &str) -> Option<WorkflowRun> {
        let run = WorkflowRun::new(self.workflow(name)?);
        #[cfg(feature = "testing")]
        if self.is_test() {
            return Some(run.without_step_pauses().with_values_compared());
        }
        Some(run)
    }

    fn workflow(&self, name: &str) -> Option<Arc<dyn ErasedWorkflow>> {
        #[cfg(feature = "testing")]
        if let Some(test) = &self.test {
            return test.workflow(name);
        }
        self.workflows.get(name).or(self.any_workflow.as_ref()).cloned()
    }

    pub(super) fn set_versioning_default(&mut self, behavior: VersioningBehavior) {
        self.versioning_default = Some(behavior);
    }

    /// How runs of a type follow versions. `None`: neither the code nor the worker says.
    pub(super) fn versioning(&self, workflow_type: &str) -> Option<VersioningBehavior> {
        self.workflow(workflow_type).and_then(|code| code.versioning()).or(self.versioning_default)
    }

    /// The workflows' code, for replaying histories.
    pub(super) fn replayer(&self) -> Replayer {
        let named =
            self.workflows.iter().fold(Replayer::new(), |replayer, (name, code)| replayer.with(name, Arc::clone(code)));
        named.with_any(self.any_workflow.clone())
    }

    pub(super) fn activity_types(&self) -> impl Iterator<Item = &'static str> {
        self.activities.keys().copied()
    }

    pub(super) fn workflow_types(&self) -> impl Iterator<Item = &'static str> {
        self.workflows.keys().copied()
    }

    pub(super) fn has_activities(&self) -> bool {
        self.has_any_activity() || !self.activities.is_empty()
    }

    pub(super) fn has_workflows(&self) -> bool {
        self.has_any_workflow() || !self.workflows.is_empty()
    }

    /// The name that was registered twice, if one was.
    pub(super) fn duplicate(&self) -> Option<&str> {
        self.duplicates.first().map(String::as_str)
    }

    /// The sentence about a task for code that the worker does not have.
    pub(super) fn unknown(&self, what: &str, name: &str) -> String {
        let known: Vec<&str> = match what {
            "workflow" => self.workflow_types().collect(),
            _ => self.activity_types().collect(),
        };
        if known.is_empty() {
            format!("this worker has no {what} {name:?}; it has no {what} at all")
        } else {
            format!("this worker has no {what} {name:?}; it has {}", known.join(", "))
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("workflows", &self.workflows.keys())
            .field("activities", &self.activities.keys())
            .finish()
    }
}

/// Takes the types off an activity.
pub(crate) fn erase_activity<A: ActivityCode>(activity: A) -> ErasedActivity {
    Arc::new(move |ctx, input| run_activity(activity, ctx, input).boxed())
}

async fn run_activity<A: ActivityCode>(
    activity: A,
    ctx: ActivityContext,
    input: Vec<Payload>,
) -> Result<Payload, Failure> {
    // Retried by the policy: a worker with newer code may understand the input.
    let input = A::decode_input(input).map_err(|error| ActivityError::from(error).into_failure())?;
    let output = activity.execute(ctx, input).await.map_err(ActivityError::into_failure)?;
    // The code did its work; doing it again would not make its result encodable.
    data::encode_result(&output).map_err(|error| ActivityError::non_retryable(error).into_failure())
}
