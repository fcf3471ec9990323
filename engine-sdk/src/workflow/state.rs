//! What a run's context, futures and runner share: the replayer, and who waits for what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};

use engine_core::command::UnreadSignal;
use engine_core::event::WorkflowTaskFailureCause;
use engine_core::ids::{SignalName, mix};
use engine_core::payload::{self, Payload};
use engine_core::replay::{Activation, Handle, Outcome, Replayer};
use engine_core::time::Timestamp;
use futures::future::AbortHandle;
use parking_lot::{Mutex, MutexGuard};

use super::context::WorkflowInfo;
use super::query::Queries;
use super::runner::WorkflowTaskError;
use super::scope;
use super::step::{StepEnd, StepState, StepWork};
use super::update::Updates;
use super::waker::RootWaker;

pub(super) struct Shared {
    pub(super) root: Arc<RootWaker>,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { root: RootWaker::new(), state: Mutex::new(State::new()) })
    }

    /// For reading, and for the runner.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// For changing the run on behalf of its code. `None` if the caller is not part of a running task: a context that was
    /// carried into another task or thread, or the futures of a run that is being dropped.
    pub(super) fn lock_as_code(&self) -> Option<MutexGuard<'_, State>> {
        if self.root.is_retired() {
            return None;
        }
        if !self.root.is_current() {
            self.root.mark_foreign();
            return None;
        }
        let mut state = self.state.lock();
        if self.root.is_read_only() {
            let message = "the workflow was asked for something while it may only be looked at: a validator decides by the \
                           update and by the workflow's state, and changes nothing";
            state.fail_task(WorkflowTaskFailureCause::WorkerFailure, "ReadOnly", message.to_owned());
            return None;
        }
        Some(state)
    }
}

pub(super) struct State {
    pub(super) replayer: Replayer,
    pub(super) now: Timestamp,
    pub(super) replaying: bool,
    pub(super) info: Option<Arc<WorkflowInfo>>,
    pub(super) cancel_reason: Option<String>,
    pub(super) random: Random,
    /// Values that a unit test wants before those of `random`.
    #[cfg(feature = "testing")]
    pub(super) given_random: VecDeque<u64>,
    /// Ends the task as failed, whatever the code does.
    pub(super) fatal: Option<WorkflowTaskError>,
    /// Counts what may have made a condition true.
    pub(super) progress: u64,
    /// By [`Handle::index`].
    handle_wakers: Vec<Option<Waker>>,
    handle_waiters: usize,
    signals: BTreeMap<SignalName, SignalQueue>,
    /// Bytes of signals that wait, for the cache's budget.
    signal_bytes: usize,
    pub(super) updates: Updates,
    pub(super) cancel_waiters: Waiters,
    pub(super) condition_waiters: Waiters,
    /// Steps that are not over.
    pub(super) steps: BTreeMap<Handle, StepState>,
    step_launches: u64,
    /// Steps make no pauses between their attempts: for tests, whose time skips.
    pub(super) has_no_step_pauses: bool,
    /// Closures of the user's that will not run (any more); dropped without the lock.
    given_up: Vec<StepState>,
    pub(super) scopes: Vec<scope::Node>,
    pub(super) queries: Queries,
    /// What a workflow written as a struct handles by its methods.
    pub(super) methods: Option<MethodSignals>,
    /// Asynchronous handlers that are under way.
    pub(super) handlers_running: usize,
    /// Of the last signal that came.
    signals_seen: u64,
}

/// Signals that methods handle.
pub(super) struct MethodSignals {
    pub(super) names: BTreeSet<SignalName>,
    /// Whether there is a method for all other names.
    pub(super) any: bool,
    pub(super) waker: Option<Waker>,
    /// Handles the signals that came: before updates are decided, whose validators must see what was sent before them.
    pub(super) pump: Pump,
}

/// Lets the methods of a workflow handle what came.
pub(super) type Pump = Arc<dyn Fn(&mut Context<'_>) + Send + Sync>;

#[derive(Default)]
struct SignalQueue {
    /// Each with its place among the signals of all names.
    waiting: VecDeque<(u64, Vec<Payload>)>,
    waiters: Waiters,
}

/// Wakers by registration, so that a future that is dropped takes its own with it.
#[derive(Default)]
pub(super) struct Waiters {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Waiters {
    pub(super) fn register(&mut self, key: &mut Option<u64>, waker: &Waker) {
        let key = *key.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        match self.wakers.get_mut(&key) {
            Some(known) => known.clone_from(waker),
            None => drop(self.wakers.insert(key, waker.clone())),
        }
    }

    pub(super) fn remove(&mut self, key: Option<u64>) {
        if let Some(key) = key {
            self.wakers.remove(&key);
        }
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.wakers).into_values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }
}

impl State {
    pub(super) fn next_random(&mut self) -> u64 {
        #[cfg(feature = "testing")]
        if let Some(given) = self.given_random.pop_front() {
            return given;
        }
        self.random.next()
    }

    fn new() -> Self {
        Self {
            replayer: Replayer::new(),
            now: Timestamp::EPOCH,
            replaying: false,
            info: None,
            cancel_reason: None,
            random: Random(0),
            #[cfg(feature = "testing")]
            given_random: VecDeque::new(),
            fatal: None,
            progress: 0,
            handle_wakers: Vec::new(),
            handle_waiters: 0,
            signals: BTreeMap::new(),
            signal_bytes: 0,
            updates: Updates::default(),
            cancel_waiters: Waiters::default(),
            condition_waiters: Waiters::default(),
            steps: BTreeMap::new(),
            step_launches: 0,
            has_no_step_pauses: false,
            given_up: Vec::new(),
            scopes: Vec::new(),
            queries: Queries::default(),
            methods: None,
            handlers_running: 0,
            signals_seen: 0,
        }
    }

    /// Takes note of what happened since the task before. The wakers must be woken in their order, without the lock.
    pub(super) fn begin(&mut self, activation: Activation) -> Vec<Waker> {
        self.now = activation.now;
        self.replaying = activation.replaying;
        if let Some(info) = &mut self.info {
            let info = Arc::make_mut(info);
            info.history_length = activation.history_length;
            info.history_size_bytes = activation.history_size_bytes;
            info.suggest_continue_as_new = activation.suggest_continue_as_new;
        }
        self.updates.deliver(activation.updates);
        let mut wakers = Vec::with_capacity(activation.outcomes.len());
        for outcome in activation.outcomes {
            match outcome {
                Outcome::Resolved(handle) => wakers.extend(self.take_handle_waker(handle)),
                Outcome::Signaled { name, input } => {
                    self.signal_bytes += payload::total_size(&input);
                    let queue = self.signals.entry(name).or_default();
                    self.signals_seen += 1;
                    queue.waiting.push_back((self.signals_seen, input));
                    wakers.extend(queue.waiters.take());
                    wakers.extend(self.methods.as_mut().and_then(|methods| methods.waker.take()));
                }
                Outcome::CancelRequested { reason } => {
                    self.cancel_reason.get_or_insert(reason);
                    wakers.extend(self.cancel_waiters.take());
                    wakers.extend(self.cancel_scopes(None));
                }
            }
        }
        wakers
    }

    /// Whether the code waits for something that the engine will bring.
    pub(super) fn is_waiting(&self) -> bool {
        self.handle_waiters > 0
            || !self.cancel_waiters.is_empty()
            || !self.condition_waiters.is_empty()
            || self.updates.is_waiting()
            || self.waits_in_scopes()
            || self.signals.values().any(|queue| !queue.waiters.is_empty())
    }

    pub(super) fn wait_for(&mut self, handle: Handle, waker: &Waker) {
        if self.handle_wakers.len() <= handle.index() {
            self.handle_wakers.resize(handle.index() + 1, None);
        }
        match &mut self.handle_wakers[handle.index()] {
            Some(known) => known.clone_from(waker),
            empty => {
                *empty = Some(waker.clone());
                self.handle_waiters += 1;
            }
        }
    }

    pub(super) fn take_handle_waker(&mut self, handle: Handle) -> Option<Waker> {
        let waker = self.handle_wakers.get_mut(handle.index())?.take()?;
        self.handle_waiters -= 1;
        Some(waker)
    }

    pub(super) fn next_signal(&mut self, name: &SignalName) -> Option<Vec<Payload>> {
        let (_, input) = self.signals.get_mut(name)?.waiting.pop_front()?;
        self.signal_bytes -= payload::total_size(&input);
        self.progress += 1;
        Some(input)
    }

    /// Takes all signals that were not received, in the order of the history. Those of a name that has no channel count too: the
    /// next run's code may have one.
    pub(super) fn take_unread_signals(&mut self) -> Vec<UnreadSignal> {
        self.signal_bytes = 0;
        let mut unread = Vec::new();
        for (name, queue) in &mut self.signals {
            unread.extend(queue.waiting.drain(..).map(|(place, input)| (place, name.clone(), input)));
        }
        unread.sort_unstable_by_key(|(place, ..)| *place);
        unread.into_iter().map(|(_, name, input)| UnreadSignal { name, input }).collect()
    }

    /// The oldest signal that a method handles; `waker` is woken by the next one if there is none.
    pub(super) fn next_method_signal(&mut self, waker: &Waker) -> Option<(SignalName, Vec<Payload>)> {
        let methods = self.methods.as_mut()?;
        let handled = self.signals.iter().filter(|(name, _)| methods.any || methods.names.contains(*name));
        let oldest = handled.filter_map(|(name, queue)| queue.waiting.front().map(|(place, _)| (*place, name.clone())));
        let Some((_, name)) = oldest.min() else {
            methods.waker = Some(waker.clone());
            return None;
        };
        let input = self.next_signal(&name)?;
        Some((name, input))
    }

    pub(super) fn signal_count(&self, name: &SignalName) -> usize {
        self.signals.get(name).map_or(0, |queue| queue.waiting.len())
    }

    pub(super) fn signal_waiters(&mut self, name: &SignalName) -> &mut Waiters {
        if !self.signals.contains_key(name) {
            self.signals.insert(name.clone(), SignalQueue::default());
        }
        &mut self.signals.get_mut(name).expect("inserted above").waiters
    }

    /// Ends the task as failed. The first reason counts.
    pub(super) fn fail_task(&mut self, cause: WorkflowTaskFailureCause, type_name: &str, message: String) {
        self.fatal.get_or_insert_with(|| WorkflowTaskError::new(cause, type_name, message));
    }

    /// Makes the steps run that do not yet: history will not have their end.
    pub(super) fn launch_steps(&mut self, copy: u64, seed: u64) -> Vec<StepWork> {
        let mut work = Vec::new();
        for (handle, state) in &mut self.steps {
            if let StepState::Running { .. } = state {
                continue;
            }
            self.step_launches += 1;
            let launch = self.step_launches;
            let (abort, _) = AbortHandle::new_pair();
            if let StepState::Planned(task) = std::mem::replace(state, StepState::Running { launch, abort }) {
                let (run, abort) = task.launch(copy, *handle, launch, mix(seed ^ launch), !self.has_no_step_pauses);
                *state = StepState::Running { launch, abort };
                work.push(run);
            }
        }
        work
    }

    /// Whether the run waits for this end of a step.
    pub(super) fn expects(&self, end: &StepEnd) -> bool {
        matches!(self.steps.get(&end.handle), Some(StepState::Running { launch, .. }) if *launch == end.launch)
    }

    /// The step is over, or nobody wants its end any more: it is stopped.
    pub(super) fn end_step(&mut self, handle: Handle) {
        let Some(state) = self.steps.remove(&handle) else { return };
        match state {
            StepState::Running { abort, .. } => abort.abort(),
            StepState::Planned(_) => self.given_up.push(state),
        }
    }

    pub(super) fn take_given_up(&mut self) -> Vec<StepState> {
        std::mem::take(&mut self.given_up)
    }

    /// Bytes that the run holds beside its futures, roughly.
    pub(super) fn memory_size(&self) -> usize {
        self.signal_bytes + self.updates.bytes() + self.handle_wakers.len() * 64 + self.replayer.open_count() * 256
    }
}

/// Random numbers that are the same whenever the run is replayed (SplitMix64). Not for secrets.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value
    }
}
