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
    /// A child that waits for so many notes, which it is sent, and is then dealt with so.
    Talk {
        notes: u32,
        then: Then,
    },
    /// A child whose runs fail so many times, and that is tried [`TRIES`] times.
    Stumble {
        failures: u32,
    },
    /// Fails the run until it has been tried so often.
    Trip {
        failures: u32,
    },
    /// A note for another workflow.
    Tell(Whom),
    /// A request to stop, for a workflow that there is not.
    StopNobody,
    /// Sets the search attribute [`STAGE`], or takes it away, and notes the same in the memo.
    Tag(Option<i64>),
    Together(Vec<Op>),
    /// The rest of the program is done by another run, which gets the notes that this one received too early.
    GoOn,
}

/// How a parent ends with its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Wait,
    /// Asks it to stop, as the parent that it is.
    Cancel,
    /// Asks it to stop as anybody could who knows its name.
    CancelByName,
}

/// Who is told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whom {
    /// The program that the test started, which may be the sender itself, or be closed.
    Main,
    Nobody,
}

/// The workflow id of the program that the test starts; its children have ids of their own.
pub(crate) const MAIN: &str = "main";
/// An attribute that runs are listed by.
pub(crate) const STAGE: SearchKey<i64> = SearchKey::int("Stage");
/// The type of the error of a run that trips.
const TRIPPED: &str = "Tripped";
/// How often a child is tried that stumbles.
pub(crate) const TRIES: u32 = 3;

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
    /// How many notes this run has sent: each is another one.
    sent: Arc<Mutex<u32>>,
}

#[workflow]
pub(crate) async fn program(ctx: WorkflowContext, ops: Vec<Op>, credit: u32) -> Result<Outcome, WorkflowError> {
    let told: Arc<Mutex<Outcome>> = Arc::default();
    let shown = ctx.state(Arc::clone(&told));
    ctx.answer(received, &shown);
    let mut actor = Actor { ctx: ctx.clone(), told, credit, sent: Arc::default() };
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
        ctx.unless_cancelled(actor.perform(op)).await??;
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

    /// A note that no other run sends, and this one once.
    fn note(&self) -> Note {
        let mut sent = self.sent.lock();
        *sent += 1;
        Note { text: format!("note {sent} of run {}", self.ctx.info().run_id) }
    }

    async fn talk(&self, notes: u32, then: Then) -> Result<(), WorkflowError> {
        let mut ops = vec![Op::Receive; notes as usize];
        if then != Then::Wait {
            // Until it is asked to stop.
            ops.push(Op::Nap { seconds: 1_000_000 });
        }
        let mut child = self.ctx.child(program).start((ops, 0)).await?;
        for _ in 0..notes {
            match child.signal(self.note()).await {
                // If the parent was reset behind the child's end: it has all that it waited for.
                Err(failure) if failure.is_not_found() => {}
                sent => sent?,
            }
        }
        match then {
            Then::Wait => {}
            Then::Cancel => child.cancel(),
            Then::CancelByName => self.ctx.external(child.workflow_id()).cancel("as asked").await?,
        }
        match child.result().await {
            Err(failure) if then != Then::Wait && failure.is_canceled() => Ok(()),
            Ok(_) if then == Then::Wait => Ok(()),
            Ok(outcome) => {
                Err(WorkflowError::non_retryable(format!("the child that was to stop returned {outcome:?}")))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    async fn stumble(&self, failures: u32) -> Result<(), WorkflowError> {
        let retry = RetryPolicy { maximum_attempts: TRIES, jitter: 0.0, ..RetryPolicy::default() };
        let child = self.ctx.child(program).retry(retry).run((vec![Op::Trip { failures }], 0)).await;
        match child {
            Ok(_) if failures < TRIES => Ok(()),
            Err(failure) if failures >= TRIES && failure.error_type() == Some(TRIPPED) => Ok(()),
            Ok(_) => Err(WorkflowError::non_retryable("a child that fails each time did not")),
            Err(failure) => Err(failure.into()),
        }
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
                Op::Talk { notes, then } => self.talk(notes, then).await?,
                Op::Stumble { failures } => self.stumble(failures).await?,
                Op::Trip { failures } if ctx.info().attempt <= failures => {
                    return Err(WorkflowError::retryable("as asked").with_type(TRIPPED));
                }
                Op::Trip { .. } => {}
                Op::Tell(Whom::Main) => match ctx.external(MAIN).signal(self.note()).await {
                    Err(failure) if failure.is_not_found() => {}
                    sent => sent?,
                },
                Op::Tell(Whom::Nobody) => is_refused(ctx.external("nobody").signal(self.note()).await)?,
                Op::StopNobody => is_refused(ctx.external("nobody").cancel("as asked").await)?,
                Op::Tag(stage) => {
                    ctx.upsert_search_attributes([stage.map_or_else(|| STAGE.remove(), |stage| STAGE.set(stage))]);
                    ctx.upsert_memo("stage", &stage);
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

/// Nobody was told.
fn is_refused(answer: Result<(), PeerFailure>) -> Result<(), WorkflowError> {
    match answer {
        Err(failure) if failure.is_not_found() => Ok(()),
        Err(failure) => Err(failure.into()),
        Ok(()) => Err(WorkflowError::non_retryable("there is nobody, and was told")),
    }
}
