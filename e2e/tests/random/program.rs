//! Programs as data, and the workflow that carries them out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use engine_e2e::checker::promises::Outcome;
use engine_e2e::ledger::Effect;
use engine_e2e::programs::{DRAWN, Note};
use engine_sdk::prelude::*;
use parking_lot::Mutex;

/// One thing that a program does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Op {
    /// An activity that fails so many times, and may be tried so often; 0 is without limit.
    Work {
        failures: u32,
        attempts: u32,
    },
    /// An activity that fails for good.
    Refuse,
    Nap {
        seconds: u64,
    },
    /// An activity under a timer that does not fire.
    Hurry,
    /// A step whose result is published, so that it can be compared with what was recorded.
    Draw,
    /// A step that fails.
    DrawNothing,
    /// The next note.
    Receive,
    Child(Vec<Op>),
    Together(Vec<Op>),
    /// The rest of the program is done by another run, which gets the notes that this one received too early.
    GoOn,
}

/// The effects of all activities, whichever worker they ran on.
pub(crate) type Ledger = Arc<Mutex<Vec<Effect>>>;

#[activity]
pub(crate) async fn toil(ctx: ActivityContext, failures: u32, fatal: bool) -> Result<String, ActivityError> {
    let info = ctx.info();
    let effect = {
        let mut ledger = ctx.state::<Ledger>().lock();
        let effect = Effect {
            workflow_id: info.workflow_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            run_id: info.run_id.to_string(),
            activity_id: info.activity_id.to_string(),
            attempt: ctx.attempt(),
            effect: format!("effect {}", ledger.len()),
            pid: std::process::id(),
        };
        ledger.push(effect.clone());
        effect.effect
    };
    if fatal {
        return Err(ActivityError::non_retryable("as asked"));
    }
    if ctx.attempt() <= failures {
        return Err(ActivityError::retryable("as asked"));
    }
    Ok(effect)
}

/// What an update asks its handler to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Errand {
    Answer,
    Work,
    Nap,
    Fail,
    BeRefused,
}

#[update]
pub(crate) struct Run {
    pub(crate) errand: Errand,
}

/// How many notes a run has received.
#[query]
pub(crate) fn received(told: &Arc<Mutex<Outcome>>) -> usize {
    told.lock().signals.len()
}

#[derive(Clone)]
struct Actor {
    ctx: WorkflowContext,
    told: Arc<Mutex<Outcome>>,
    /// Notes of earlier runs that the program has not used yet.
    credit: u32,
}

#[workflow]
pub(crate) async fn program(ctx: WorkflowContext, ops: Vec<Op>, credit: u32) -> Result<Outcome, WorkflowError> {
    let told: Arc<Mutex<Outcome>> = Arc::default();
    let shown = ctx.state(Arc::clone(&told));
    ctx.answer(received, &shown);
    let mut actor = Actor { ctx: ctx.clone(), told, credit };
    let of_handler = actor.clone();
    ctx.on_validated_update(
        |sent: &Run| match sent.errand {
            Errand::BeRefused => Err(WorkflowError::non_retryable("as asked")),
            _ => Ok(()),
        },
        move |sent: Run| {
            let actor = of_handler.clone();
            async move {
                match sent.errand {
                    Errand::Work => actor.work(0, 0, false).await?,
                    Errand::Nap => actor.ctx.sleep(seconds(3)).await,
                    Errand::Fail => return Err(WorkflowError::non_retryable("as asked")),
                    Errand::Answer | Errand::BeRefused => {}
                }
                Ok(())
            }
        },
    );
    let mut ops = VecDeque::from(ops);
    while let Some(op) = ops.pop_front() {
        if matches!(op, Op::GoOn) {
            let unused = actor.finish().await;
            return ctx.continue_as_new(program, (Vec::from(ops), actor.credit + unused)).await;
        }
        actor.perform(op).await?;
    }
    actor.finish().await;
    Ok(actor.told.lock().clone())
}

impl Actor {
    /// Waits for the handlers, and takes the notes that are left. Behind it nothing may be awaited: what arrives meanwhile keeps the
    /// run from closing.
    async fn finish(&self) -> u32 {
        self.ctx.wait_all_handlers_finished().await;
        let (mut notes, mut count) = (self.ctx.signals::<Note>(), 0);
        while let Some(note) = notes.try_recv() {
            self.receive(&note);
            count += 1;
        }
        count
    }

    fn receive(&self, note: &Note) {
        self.told.lock().signals.push(serde_json::to_value(note).expect("a note is JSON"));
    }

    async fn work(&self, failures: u32, attempts: u32, fatal: bool) -> Result<(), WorkflowError> {
        let retry = RetryPolicy { maximum_attempts: attempts, jitter: 0.0, ..RetryPolicy::default() };
        let end = self.ctx.run(toil, (failures, fatal)).start_to_close(minutes(1)).retry(retry).await;
        match end {
            Ok(effect) => self.told.lock().effects.push(effect),
            Err(failure) if failure.is_canceled() => return Err(WorkflowError::canceled()),
            Err(_) => self.told.lock().failed += 1,
        }
        Ok(())
    }

    fn perform(&mut self, op: Op) -> Pin<Box<dyn Future<Output = Result<(), WorkflowError>> + Send + '_>> {
        Box::pin(async move {
            let ctx = self.ctx.clone();
            match op {
                Op::Work { failures, attempts } => self.work(failures, attempts, false).await?,
                Op::Refuse => self.work(0, 0, true).await?,
                Op::Nap { seconds } => ctx.sleep(std::time::Duration::from_secs(seconds)).await,
                Op::Hurry => ctx.timeout(hours(100), self.work(0, 0, false)).await??,
                Op::Draw => {
                    let drawn: String = ctx.step("draw", || async { Ok(uuid::Uuid::now_v7().to_string()) }).await?;
                    ctx.publish(DRAWN, &drawn);
                }
                Op::DrawNothing => {
                    let nothing = ctx
                        .step("draw nothing", || async { Err::<String, _>(ActivityError::non_retryable("as asked")) });
                    let _ = nothing.await;
                }
                Op::Receive if self.credit > 0 => self.credit -= 1,
                Op::Receive => {
                    let note = ctx.signals::<Note>().recv().await;
                    self.receive(&note);
                }
                Op::Child(ops) => {
                    ctx.child(program).run((ops, 0)).await?;
                }
                Op::Together(ops) => {
                    let mut actors: Vec<Actor> = ops.iter().map(|_| self.clone()).collect();
                    let all = actors.iter_mut().zip(ops).map(|(actor, op)| actor.perform(op));
                    join_all(all).await.into_iter().collect::<Result<(), _>>()?;
                }
                Op::GoOn => {}
            }
            Ok(())
        })
    }
}
