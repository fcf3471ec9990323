//! The workflows and activities of the tests.
//!
//! Each activity has one effect, a line in the ledger, and returns the line's name; each workflow returns what it saw
//! ([`Outcome`]): so the checker can follow a result back to what happened in the world.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use engine_sdk::prelude::*;

pub use crate::checker::promises::Outcome;
use crate::gate;
use crate::ledger::{Effect, Ledger};
use crate::progress::Reporter;

/// What a worker process is told on its command line, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// The server.
    pub address: String,
    /// The queue to serve.
    pub queue: String,
    /// Shown in histories.
    pub identity: String,
    /// The ledger.
    pub ledger: PathBuf,
    /// The socket to tell of effects at.
    pub progress: PathBuf,
    /// Which build of the program it is.
    pub build: Build,
    /// The deployment whose version it announces: its build is the name of `build`. `None`: it has no version.
    pub deployment: Option<String>,
    /// The definitions that it has; empty is all.
    pub only: Vec<String>,
    /// How long its activities may go on when it is asked to stop.
    pub shutdown_grace_ms: u64,
}

/// Builds of the program, as deploys would bring them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Build {
    /// The code that histories were made with.
    Right,
    /// [`deployed`] asks for something else than before.
    Changed,
    /// [`deployed`] panics.
    Panicking,
    /// [`deployed`] computes for ever.
    Hanging,
}

/// What the activities of a worker share.
#[derive(Debug)]
pub struct World {
    ledger: Ledger,
    reporter: Reporter,
}

impl World {
    /// Connects to the ledger and to the test.
    pub fn open(ledger: &Path, progress: &Path) -> anyhow::Result<World> {
        Ok(World { ledger: Ledger::open(ledger)?, reporter: Reporter::connect(progress)? })
    }

    /// Has this attempt's effect, and gives its name.
    fn effect(&self, ctx: &ActivityContext) -> anyhow::Result<String> {
        let info = ctx.info();
        let effect = Effect {
            workflow_id: info.workflow_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            run_id: info.run_id.to_string(),
            activity_id: info.activity_id.to_string(),
            attempt: ctx.attempt(),
            effect: uuid::Uuid::now_v7().to_string(),
            pid: std::process::id(),
        };
        self.ledger.append(&effect).context("have the effect")?;
        self.reporter.report()?;
        Ok(effect.effect)
    }
}

fn effect(ctx: &ActivityContext) -> Result<String, ActivityError> {
    ctx.state::<World>().effect(ctx).map_err(|error| ActivityError::retryable(format!("{error:#}")))
}

/// Works for so long before its effect, and again behind it: a kill meets it before, between and after.
#[activity(start_to_close = "60s", retry(initial_interval = "50ms", max_interval = "200ms"))]
pub async fn step(ctx: ActivityContext, pause_ms: u64) -> Result<String, ActivityError> {
    tokio::time::sleep(millis(pause_ms)).await;
    let effect = effect(&ctx)?;
    tokio::time::sleep(millis(pause_ms)).await;
    Ok(effect)
}

/// Like [`step`], but never tried again.
#[activity(start_to_close = "60s", retry(max_attempts = 1))]
pub async fn once(ctx: ActivityContext, pause_ms: u64) -> Result<String, ActivityError> {
    tokio::time::sleep(millis(pause_ms)).await;
    let effect = effect(&ctx)?;
    tokio::time::sleep(millis(pause_ms)).await;
    Ok(effect)
}

/// Has its effect in every attempt, and fails in the first ones.
#[activity(start_to_close = "60s", retry(initial_interval = "20ms", max_interval = "50ms"))]
pub async fn flaky(ctx: ActivityContext, failures: u32) -> Result<String, ActivityError> {
    let effect = effect(&ctx)?;
    if ctx.attempt() <= failures {
        return Err(ActivityError::retryable(format!("attempt {} fails as it should", ctx.attempt())));
    }
    Ok(effect)
}

/// Panics in the first attempt.
#[activity(start_to_close = "60s", retry(initial_interval = "20ms"))]
pub async fn panicky(ctx: ActivityContext) -> Result<String, ActivityError> {
    assert!(ctx.attempt() > 1, "the first attempt panics as it should");
    effect(&ctx)
}

/// Waits at a gate before its effect.
#[activity(start_to_close = "60s", retry(initial_interval = "50ms"))]
pub async fn gated(ctx: ActivityContext, gate: PathBuf) -> Result<String, ActivityError> {
    gate::wait_at(&gate).await.map_err(|error| ActivityError::retryable(format!("{error:#}")))?;
    effect(&ctx)
}

/// Like [`gated`], but never tried again.
#[activity(start_to_close = "60s", retry(max_attempts = 1))]
pub async fn gated_once(ctx: ActivityContext, gate: PathBuf) -> Result<String, ActivityError> {
    gate::wait_at(&gate).await.map_err(|error| ActivityError::retryable(format!("{error:#}")))?;
    effect(&ctx)
}

/// Like [`gated`], with the retry policy that activities have by default.
#[activity(start_to_close = "60s")]
pub async fn gated_plainly(ctx: ActivityContext, gate: PathBuf) -> Result<String, ActivityError> {
    gate::wait_at(&gate).await.map_err(|error| ActivityError::retryable(format!("{error:#}")))?;
    effect(&ctx)
}

/// Has no effect, but tells the test that it ran.
#[activity(start_to_close = "60s")]
pub async fn quick(ctx: ActivityContext) -> Result<(), ActivityError> {
    ctx.state::<World>().reporter.report().map_err(|error| ActivityError::retryable(format!("{error:#}")))
}

/// A message with a text that no other has.
#[signal]
#[derive(Debug, Clone)]
pub struct Note {
    /// The text.
    pub text: String,
}

/// One step after another.
#[workflow]
pub async fn chain(ctx: WorkflowContext, steps: u32, pause_ms: u64) -> Result<Outcome, WorkflowError> {
    let mut outcome = Outcome::default();
    for _ in 0..steps {
        outcome.effects.push(ctx.run(step, pause_ms).await?);
    }
    Ok(outcome)
}

/// Steps side by side.
#[workflow]
pub async fn fan_out(ctx: WorkflowContext, width: u32, pause_ms: u64) -> Result<Outcome, WorkflowError> {
    let steps = join_all((0..width).map(|_| ctx.run(step, pause_ms))).await;
    Ok(Outcome { effects: steps.into_iter().collect::<Result<_, _>>()?, ..Outcome::default() })
}

/// Short sleeps with steps between them, and long ones that are given up.
#[workflow]
pub async fn naps(ctx: WorkflowContext, count: u32, nap_ms: u64) -> Result<Outcome, WorkflowError> {
    let mut outcome = Outcome::default();
    for _ in 0..count {
        ctx.sleep(millis(nap_ms)).await;
        let in_time = ctx.timeout(hours(1), ctx.run(step, 1)).await?;
        outcome.effects.push(in_time?);
    }
    Ok(outcome)
}

/// Waits for so many notes, with a step behind each.
#[workflow]
pub async fn notes(ctx: WorkflowContext, count: u32) -> Result<Outcome, WorkflowError> {
    let mut arrived = ctx.signals::<Note>();
    let mut outcome = Outcome::default();
    for _ in 0..count {
        outcome.signals.push(serde_json::to_value(arrived.recv().await)?);
        outcome.effects.push(ctx.run(step, 1).await?);
    }
    Ok(outcome)
}

/// The texts of notes, in the order in which they came.
#[derive(Debug, Default)]
pub struct Texts(Vec<String>);

/// What [`listener`] has heard.
#[query]
pub fn heard(texts: &Texts) -> Vec<String> {
    texts.0.clone()
}

/// Waits for so many notes, and tells those who ask what it has heard.
#[workflow]
pub async fn listener(ctx: WorkflowContext, count: u32) -> Result<Outcome, WorkflowError> {
    let texts = ctx.state(Texts::default());
    ctx.answer(heard, &texts);
    let mut arrived = ctx.signals::<Note>();
    let mut outcome = Outcome::default();
    for _ in 0..count {
        let note = arrived.recv().await;
        outcome.signals.push(serde_json::to_value(&note)?);
        texts.write().0.push(note.text);
    }
    Ok(outcome)
}

/// Steps that are never tried again: those that fail are counted.
#[workflow]
pub async fn careful(ctx: WorkflowContext, steps: u32, pause_ms: u64) -> Result<Outcome, WorkflowError> {
    let mut outcome = Outcome::default();
    for _ in 0..steps {
        match ctx.run(once, pause_ms).await {
            Ok(effect) => outcome.effects.push(effect),
            Err(_) => outcome.failed += 1,
        }
    }
    Ok(outcome)
}

/// A step that fails so many times, and one behind it.
#[workflow]
pub async fn stubborn(ctx: WorkflowContext, failures: u32) -> Result<Outcome, WorkflowError> {
    let first = ctx.run(flaky, failures).await?;
    let second = ctx.run(step, 1).await?;
    Ok(Outcome { effects: vec![first, second], ..Outcome::default() })
}

/// An activity that panics, and goes well when it is tried again.
#[workflow]
pub async fn clumsy(ctx: WorkflowContext) -> Result<Outcome, WorkflowError> {
    Ok(Outcome { effects: vec![ctx.run(panicky, ()).await?], ..Outcome::default() })
}

/// Two activities that wait at a gate, one of which is never tried again.
#[workflow]
pub async fn gates(ctx: WorkflowContext, gate: PathBuf) -> Result<Outcome, WorkflowError> {
    let (one, two) = (ctx.run(gated, gate.clone()).start(), ctx.run(gated_once, gate).start());
    let (one, two) = join!(one, two);
    Ok(Outcome { effects: vec![one?, two?], ..Outcome::default() })
}

/// An activity that waits at a gate.
#[workflow]
pub async fn held(ctx: WorkflowContext, gate: PathBuf) -> Result<Outcome, WorkflowError> {
    Ok(Outcome { effects: vec![ctx.run(gated_plainly, gate).await?], ..Outcome::default() })
}

/// Code that a deploy changes between its first step and the note that it waits for.
#[workflow]
pub async fn deployed(ctx: WorkflowContext) -> Result<Outcome, WorkflowError> {
    let mut outcome = Outcome::default();
    match BUILD.get() {
        Some(Build::Changed) => ctx.sleep(Duration::from_secs(5)).await,
        Some(Build::Panicking) => panic!("this build panics as it should"),
        Some(Build::Hanging) => loop {
            #[allow_nondeterminism]
            std::thread::park();
        },
        Some(Build::Right) | None => {}
    }
    outcome.effects.push(ctx.run(step, 1).await?);
    outcome.signals.push(serde_json::to_value(ctx.signals::<Note>().recv().await)?);
    outcome.effects.push(ctx.run(step, 1).await?);
    Ok(outcome)
}

/// Activities one after the other, and then a wait that only a note ends: an open run with a long history.
#[workflow]
pub async fn waiting(ctx: WorkflowContext, rounds: u32) -> Result<Outcome, WorkflowError> {
    for _ in 0..rounds {
        ctx.run(quick, ()).await?;
    }
    let note = ctx.signals::<Note>().recv().await;
    Ok(Outcome { signals: vec![serde_json::to_value(note)?], ..Outcome::default() })
}

/// Waits for so many notes, with a step behind each, and stays with the build that has it: neither of the two follows a history of the
/// other.
#[workflow(name = "stays", versioning = "pinned")]
pub async fn stays_right(ctx: WorkflowContext, count: u32) -> Result<Outcome, WorkflowError> {
    notes.call(ctx, count).await
}

/// As the changed build has it.
#[workflow(name = "stays", versioning = "pinned")]
pub async fn stays_changed(ctx: WorkflowContext, count: u32) -> Result<Outcome, WorkflowError> {
    ctx.sleep(millis(1)).await;
    notes.call(ctx, count).await
}

/// Like [`notes`], and goes to the current build with each of its workflow tasks.
#[workflow(versioning = "auto_upgrade")]
pub async fn follows(ctx: WorkflowContext, count: u32) -> Result<Outcome, WorkflowError> {
    notes.call(ctx, count).await
}

/// Steps of the code's own, each with an activity behind it. What a step drew is published: code that went on after a kill with
/// anything else than what was recorded shows it.
#[workflow]
pub async fn drawing(ctx: WorkflowContext, count: u32, pause_ms: u64) -> Result<Outcome, WorkflowError> {
    let mut outcome = Outcome::default();
    for _ in 0..count {
        let drawn: String = ctx
            .step("draw", move || async move {
                tokio::time::sleep(millis(pause_ms)).await;
                Ok(uuid::Uuid::now_v7().to_string())
            })
            .await?;
        ctx.publish(DRAWN, &drawn);
        outcome.effects.push(ctx.run(step, pause_ms).await?);
    }
    Ok(outcome)
}

/// The name under which [`drawing`] publishes what a step drew.
pub const DRAWN: &str = "drawn";

/// Children side by side, each of which is a [`chain`]. All of their steps have to be done.
#[workflow]
pub async fn family(ctx: WorkflowContext, width: u32, steps: u32) -> Result<Outcome, WorkflowError> {
    let id = ctx.info().workflow_id.clone();
    let children = (0..width).map(|number| ctx.child(chain).id(format!("{id}/{number}")).run((steps, 2)));
    for child in join_all(children).await {
        let done = child?.effects.len();
        if done != steps as usize {
            return Err(WorkflowError::non_retryable(format!("a child returned {done} of {steps} effects")));
        }
    }
    Ok(Outcome::default())
}

/// Which build this process is: fixed before any code runs, as a build is.
static BUILD: std::sync::OnceLock<Build> = std::sync::OnceLock::new();

/// A worker with what the settings ask for.
pub async fn worker(settings: &WorkerSettings) -> anyhow::Result<Worker> {
    BUILD.set(settings.build).ok().context("one build for each process")?;
    let client = Client::connect(&settings.address).await?;
    let build_id = format!("{:?}", settings.build);
    let worker = Worker::new(client, &settings.queue).identity(&settings.identity);
    let worker = match &settings.deployment {
        Some(deployment) => worker.deployment(deployment, build_id),
        None => worker.build_id(build_id),
    };
    let mut worker = worker
        .shutdown_grace(Duration::from_millis(settings.shutdown_grace_ms))
        .state(World::open(&settings.ledger, &settings.progress)?);
    let has = |name: &str| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    macro_rules! add {
        ($method:ident: $($definition:ident)*) => {
            $(if has(stringify!($definition)) { worker = worker.$method($definition); })*
        };
    }
    add!(workflow: chain fan_out naps notes listener careful stubborn clumsy gates held deployed waiting drawing family follows);
    if has("stays") {
        worker = match settings.build {
            Build::Changed => worker.workflow(stays_changed),
            Build::Right | Build::Panicking | Build::Hanging => worker.workflow(stays_right),
        };
    }
    add!(activity: step quick once flaky panicky gated gated_once gated_plainly);
    Ok(worker)
}
