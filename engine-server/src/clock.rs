//! What time it is. The only place of the server that asks.
//!
//! A [`Clock`] is the machine's, or one for tests that stands while anything is under way and skips to the next instant for which
//! something waits when nothing is. "Nothing" is known, not guessed; each thing that can be under way is in one of these places:
//!
//! | where it is | who says so |
//! |---|---|
//! | a call, a schedule that works | a [`Busy`] guard; a call that only waits for a run has a `Waiting` beside it |
//! | a lane's inbox, batch, look-ups | the lane, which is the one that skips, and only when it has nothing to do itself |
//! | a task in a queue that somebody serves, or in a worker's hand | the lane, which looks at the queues and sessions |
//! | an activity that waits for this clock | it dozes ([`Clock::doze`]), which does not count as being in hand |
//! | what a dozing activity and the server tell each other | [`Clock::posted`], [`Clock::delivered`] |
//! | somebody whose instant has come and who was not polled yet | it is still among the sleepers, with an instant that has passed |
//!
//! Time passes only while somebody waits for it: a call that waits for a run's outcome, or [`Clock::advance_to`]. So a test that starts a
//! workflow and then sends it a signal does not find that its deadline has passed in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// The instant, by this machine's clock.
fn machine_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::EPOCH + since
}

/// The time by which a server acts. By default the machine's; clones are the same clock.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Skipping>>);

impl Clock {
    /// A clock for tests: it shows `at`, and stands until somebody waits for time to pass and nothing else is under way. Then it skips to the
    /// next instant for which something waits. A node with such a clock has one lane.
    pub fn skipping(at: Timestamp) -> Clock {
        let state = State { now: at, ..State::default() };
        Clock(Some(Arc::new(Skipping { state: Mutex::new(state), reconsider: Notify::new() })))
    }

    /// Whether it is one that skips.
    pub fn is_skipping(&self) -> bool {
        self.0.is_some()
    }

    /// The instant that it shows.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(machine_now, |skipping| skipping.state.lock().now)
    }

    /// Waits until `at`, or for ever. May return a little early or late: whoever waits looks at the clock again. The sleep begins with
    /// this call, not with the first poll. What comes of it counts as being under way until the guard is dropped.
    pub(crate) fn sleep_until(&self, at: Option<Timestamp>) -> impl Future<Output = Busy> + Send + use<> {
        let sleeper = self.0.as_ref().zip(at).map(|(skipping, at)| Sleeper::new(skipping, at, None));
        let pause = at.filter(|_| self.0.is_none()).map(|at| at.since(machine_now()));
        async move {
            match (sleeper, pause) {
                (Some(sleeper), _) => sleeper.await,
                (None, Some(pause)) => {
                    tokio::time::sleep(pause).await;
                    Busy(None)
                }
                (None, None) => std::future::pending().await,
            }
        }
    }

    /// Something is under way until the guard is dropped: time stands.
    pub fn busy(&self) -> Busy {
        Busy::new(self.0.as_ref())
    }

    /// Whoever holds a [`Busy`] guard only waits, as long as `is_quiet` says so. `wants_time`: and it is for such waits that time passes.
    pub(crate) fn wait(&self, wants_time: bool, is_quiet: impl Fn() -> bool + Send + 'static) -> Waiting {
        let registered = self.0.as_ref().map(|skipping| {
            let id = {
                let mut state = skipping.state.lock();
                let id = state.next_id();
                state.waiting.insert(id, Wait { wants_time, is_quiet: Box::new(is_quiet) });
                id
            };
            skipping.reconsider.notify_one();
            (Arc::clone(skipping), id)
        });
        Waiting(registered)
    }

    /// An activity, known by its task's token, waits until `at`; [`Timestamp::MAX`] is for ever. It does not count as running meanwhile, unless
    /// `is_disturbed` says that there is something else for it to do.
    ///
    /// On the machine's clock it is a plain sleep.
    pub fn doze<F: Fn() -> bool + Send + 'static>(
        &self,
        token: &[u8],
        at: Timestamp,
        is_disturbed: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let dozing = self.0.as_ref().map(|skipping| {
            let doze = Doze { token: token.to_vec(), is_disturbed: Box::new(is_disturbed) };
            Sleeper::new(skipping, at, Some(doze))
        });
        let pause = at.since(machine_now());
        async move {
            match dozing {
                Some(dozing) => drop(dozing.await),
                None => tokio::time::sleep(pause).await,
            }
        }
    }

    /// A message about an activity's task is on its way.
    pub fn posted(&self, mail: Mail, token: &[u8]) {
        if let Some(skipping) = &self.0 {
            skipping.state.lock().mail.insert((mail, token.to_vec()));
        }
    }

    /// The message arrived, or never will.
    pub fn delivered(&self, mail: Mail, token: &[u8]) {
        if let Some(skipping) = &self.0 {
            skipping.state.lock().mail.remove(&(mail, token.to_vec()));
            skipping.reconsider.notify_one();
        }
    }

    /// Lets time pass up to `at`, instant by instant: whatever is due before happens at its time, and what follows from it too. Ends when
    /// nothing is under way at `at`. If `at` has passed, it only waits for that. On the machine's clock it is a plain sleep.
    pub async fn advance_to(&self, at: Timestamp) {
        let Some(skipping) = &self.0 else {
            return tokio::time::sleep(at.since(machine_now())).await;
        };
        let (reached, wait) = oneshot::channel();
        {
            let mut state = skipping.state.lock();
            let key = (at.max(state.now), state.next_id());
            state.goals.insert(key, reached);
        }
        skipping.reconsider.notify_one();
        // The lane is gone with its server: time stands for ever.
        wait.await.ok();
    }

    /// What kept the clock from skipping when it was last looked at, for people; `None` if nothing did.
    pub fn obstacle(&self) -> Option<String> {
        self.0.as_ref()?.state.lock().obstacle.as_ref().map(ToString::to_string)
    }

    /// Ends when [`Clock::skip`] should be called again.
    pub(crate) async fn reconsider(&self) {
        match &self.0 {
            Some(skipping) => skipping.reconsider.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Skips if nothing is under way and somebody wants time to pass: to the next instant for which something waits, or to the goal of
    /// [`Clock::advance_to`]. Called by the lane, which knows `work`; `due` is when it has something to do by itself.
    ///
    /// Returns whether the clock shows another instant now.
    pub(crate) fn skip(&self, work: impl FnOnce() -> LaneWork, due: Option<Timestamp>) -> bool {
        let Some(skipping) = &self.0 else {
            return false;
        };
        let work = work();
        let mut state = skipping.state.lock();
        // Who asked for it does not wait any more.
        state.goals.retain(|_, reached| !reached.is_closed());
        state.obstacle = state.obstacle(&work);
        if state.obstacle.is_some() {
            return false;
        }
        let is_wanted = state.waiting.values().any(|wait| wait.wants_time);
        let goal = state.goals.keys().next().map(|(at, _)| *at);
        let next = state.sleepers.keys().next().map(|(at, _)| *at).into_iter().chain(due).min();
        let next = next.filter(|at| *at < Timestamp::MAX);
        let target = match (goal, next) {
            (Some(goal), Some(next)) => goal.min(next),
            (Some(goal), None) => goal,
            (None, Some(next)) if is_wanted => next,
            (None, _) => {
                state.obstacle = Some(if is_wanted { Obstacle::NothingToWaitFor } else { Obstacle::NobodyWaits });
                return false;
            }
        };
        let is_reached = goal.is_some_and(|goal| goal <= target) && next.is_none_or(|next| next > target);
        let moves = target > state.now;
        state.now = state.now.max(target);
        let now = state.now;
        let woken: Vec<Waker> = state
            .sleepers
            .iter_mut()
            .take_while(|((at, _), _)| *at <= now)
            .filter_map(|(_, waker)| waker.take())
            .collect();
        let mut reached = Vec::new();
        if is_reached {
            while let Some(entry) = state.goals.first_entry().filter(|entry| entry.key().0 <= now) {
                reached.push(entry.remove());
            }
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        for reached in reached {
            // Who asked may have given up.
            let _ = reached.send(());
        }
        moves
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Clock(the machine's)"),
            Some(_) => f.debug_struct("Clock").field("now", &self.now()).field("obstacle", &self.obstacle()).finish(),
        }
    }
}

/// What a dozing activity and the server tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mail {
    /// The activity's sign of life, on its way to the server.
    Heartbeat,
    /// The server's wish that it stops, on its way to the worker.
    Stop,
}

/// What a lane sees when it has nothing to do.
#[derive(Debug, Default)]
pub(crate) struct LaneWork {
    /// It waits for the store, for another lane, or has something in its inbox.
    pub(crate) is_busy: bool,
    /// Tasks in queues that somebody serves.
    pub(crate) queued: usize,
    /// Workflow tasks in workers' hands.
    pub(crate) workflow_tasks: usize,
    /// Tokens of the activities in workers' hands.
    pub(crate) activities: Vec<bytes::Bytes>,
}

/// Why time stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Obstacle {
    Lane,
    Calls(usize),
    Queued(usize),
    WorkflowTasks(usize),
    Activities(usize),
    Mail,
    Woken,
    NobodyWaits,
    NothingToWaitFor,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Lane => f.write_str("the server has something to write"),
            Obstacle::Calls(many) => write!(f, "{many} calls are being answered"),
            Obstacle::Queued(many) => write!(f, "{many} tasks wait for a worker that is busy"),
            Obstacle::WorkflowTasks(many) => write!(f, "{many} workflow tasks are being worked on"),
            Obstacle::Activities(many) => write!(f, "{many} activities are running, and time stands while they do"),
            Obstacle::Mail => f.write_str("an activity is being heard or told something"),
            Obstacle::Woken => f.write_str("something whose time has come is about to happen"),
            Obstacle::NobodyWaits => f.write_str("nobody waits for time to pass"),
            Obstacle::NothingToWaitFor => f.write_str(
                "nothing is under way and nothing waits for time: what is waited for needs something from outside, such as a signal",
            ),
        }
    }
}

struct Skipping {
    state: Mutex<State>,
    reconsider: Notify,
}

#[derive(Default)]
struct State {
    now: Timestamp,
    last_id: u64,
    /// Who waits for an instant. Those whose instant has come are under way until they notice it.
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
    busy: usize,
    waiting: HashMap<u64, Wait>,
    /// By the id of their sleeper.
    dozing: HashMap<u64, Doze>,
    mail: HashSet<(Mail, Vec<u8>)>,
    goals: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    /// When it was last looked at.
    obstacle: Option<Obstacle>,
}

struct Wait {
    wants_time: bool,
    is_quiet: Box<dyn Fn() -> bool + Send>,
}

struct Doze {
    token: Vec<u8>,
    is_disturbed: Box<dyn Fn() -> bool + Send>,
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn obstacle(&self, work: &LaneWork) -> Option<Obstacle> {
        if work.is_busy {
            return Some(Obstacle::Lane);
        }
        if self.sleepers.keys().next().is_some_and(|(at, _)| *at <= self.now) {
            return Some(Obstacle::Woken);
        }
        let quiet = self.waiting.values().filter(|wait| (wait.is_quiet)()).count();
        if self.busy > quiet || quiet < self.waiting.len() {
            return Some(Obstacle::Calls(self.busy.saturating_sub(quiet).max(1)));
        }
        if work.workflow_tasks > 0 {
            return Some(Obstacle::WorkflowTasks(work.workflow_tasks));
        }
        if work.queued > 0 {
            return Some(Obstacle::Queued(work.queued));
        }
        let dozing: HashSet<&[u8]> =
            self.dozing.values().filter(|doze| !(doze.is_disturbed)()).map(|doze| doze.token.as_slice()).collect();
        let awake = work.activities.iter().filter(|token| !dozing.contains(token.as_ref())).count();
        if awake > 0 {
            return Some(Obstacle::Activities(awake));
        }
        let in_hand = |token: &[u8]| work.activities.iter().any(|known| known.as_ref() == token);
        self.mail.iter().any(|(_, token)| in_hand(token)).then_some(Obstacle::Mail)
    }
}

/// Something is under way until this is dropped: a clock that skips stands. Means nothing on the machine's clock.
#[must_use = "time may pass as soon as it is dropped"]
pub struct Busy(Option<Arc<Skipping>>);

impl Busy {
    fn new(skipping: Option<&Arc<Skipping>>) -> Self {
        if let Some(skipping) = skipping {
            skipping.state.lock().busy += 1;
        }
        Busy(skipping.cloned())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(skipping) = &self.0 {
            skipping.state.lock().busy -= 1;
            skipping.reconsider.notify_one();
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

/// Whoever is busy only waits, until this is dropped.
#[must_use = "the wait is over as soon as it is dropped"]
pub(crate) struct Waiting(Option<(Arc<Skipping>, u64)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((skipping, id)) = &self.0 {
            let wait = skipping.state.lock().waiting.remove(id);
            // Outside of the lock: it holds what its owner put there.
            drop(wait);
        }
    }
}

/// Somebody who waits for an instant of a clock that skips.
struct Sleeper {
    skipping: Arc<Skipping>,
    key: (Timestamp, u64),
}

impl Sleeper {
    fn new(skipping: &Arc<Skipping>, at: Timestamp, doze: Option<Doze>) -> Self {
        let is_dozing = doze.is_some();
        let key = {
            let mut state = skipping.state.lock();
            let id = state.next_id();
            state.sleepers.insert((at, id), None);
            state.dozing.extend(doze.map(|doze| (id, doze)));
            (at, id)
        };
        if is_dozing {
            skipping.reconsider.notify_one();
        }
        Self { skipping: Arc::clone(skipping), key }
    }
}

impl Future for Sleeper {
    type Output = Busy;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Busy> {
        let mut state = self.skipping.state.lock();
        if state.now < self.key.0 {
            state.sleepers.insert(self.key, Some(cx.waker().clone()));
            return Poll::Pending;
        }
        // In one step: at no moment is it neither asleep nor busy.
        state.sleepers.remove(&self.key);
        state.busy += 1;
        let doze = state.dozing.remove(&self.key.1);
        drop(state);
        drop(doze);
        Poll::Ready(Busy(Some(Arc::clone(&self.skipping))))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let doze = {
            let mut state = self.skipping.state.lock();
            state.sleepers.remove(&self.key);
            state.dozing.remove(&self.key.1)
        };
        drop(doze);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn nothing() -> LaneWork {
        LaneWork::default()
    }

    fn activity_in_hand() -> LaneWork {
        LaneWork { activities: vec![bytes::Bytes::from_static(b"charge")], ..LaneWork::default() }
    }

    fn after(seconds: u64) -> Timestamp {
        NOON + Duration::from_secs(seconds)
    }

    #[test]
    fn time_passes_only_while_somebody_waits_for_it() {
        let clock = Clock::skipping(NOON);
        assert!(!clock.skip(nothing, Some(after(60))));
        assert_eq!(clock.obstacle().unwrap(), "nobody waits for time to pass");
        let _waiting = clock.wait(true, || true);
        let _busy = clock.busy();
        assert!(clock.skip(nothing, Some(after(60))));
        assert_eq!(clock.now(), after(60));
        assert!(!clock.skip(nothing, None));
        assert!(clock.obstacle().unwrap().contains("something from outside"));
    }

    #[test]
    fn time_stands_while_anything_is_under_way() {
        let clock = Clock::skipping(NOON);
        let goal = Box::pin(clock.advance_to(after(100))).shared();
        assert!(goal.clone().now_or_never().is_none());
        for busy in [
            LaneWork { is_busy: true, ..nothing() },
            LaneWork { queued: 1, ..nothing() },
            LaneWork { workflow_tasks: 1, ..nothing() },
            activity_in_hand(),
        ] {
            assert!(!clock.skip(|| busy, None));
        }
        let call = clock.busy();
        assert!(!clock.skip(nothing, None));
        // It has its answer and nobody has looked at it yet.
        let waiting = clock.wait(true, || false);
        assert!(!clock.skip(nothing, None));
        drop(waiting);
        drop(call);
        assert!(clock.skip(nothing, None));
        assert_eq!(clock.now(), after(100));
        assert!(goal.now_or_never().is_some());
    }

    #[test]
    fn sleepers_wake_one_instant_after_the_other_and_count_until_they_are_polled() {
        let clock = Clock::skipping(NOON);
        let goal = Box::pin(clock.advance_to(after(10))).shared();
        assert!(goal.clone().now_or_never().is_none());
        let mut late = Box::pin(clock.sleep_until(Some(after(20))));
        let mut first = Box::pin(clock.sleep_until(Some(after(5))));
        assert!(clock.skip(nothing, Some(after(7))));
        assert_eq!(clock.now(), after(5));
        assert!(!clock.skip(nothing, Some(after(7))), "the sleeper was not polled");
        let woken = first.as_mut().now_or_never().expect("its instant has come");
        assert!(!clock.skip(nothing, Some(after(7))), "what the sleeper does is under way");
        drop(woken);
        assert!(clock.skip(nothing, Some(after(7))));
        assert_eq!(clock.now(), after(7));
        assert!(clock.skip(nothing, None));
        assert_eq!(clock.now(), after(10));
        assert!(goal.now_or_never().is_some());
        assert!(late.as_mut().now_or_never().is_none());
    }

    #[test]
    fn an_activity_that_dozes_is_not_running_unless_something_is_on_its_way_to_it() {
        let clock = Clock::skipping(NOON);
        let mut doze = Box::pin(clock.doze(b"charge", after(30), || false));
        let _goal = Box::pin(clock.advance_to(after(60))).shared();
        assert!(_goal.clone().now_or_never().is_none());
        clock.posted(Mail::Stop, b"charge");
        assert!(!clock.skip(activity_in_hand, None));
        clock.delivered(Mail::Stop, b"charge");
        // Of an attempt that is over nobody expects an answer.
        clock.posted(Mail::Heartbeat, b"refund");
        assert!(clock.skip(activity_in_hand, None));
        assert_eq!(clock.now(), after(30));
        assert!(doze.as_mut().now_or_never().is_some());
        assert!(!clock.skip(activity_in_hand, None), "it is awake");
        let _disturbed = Box::pin(clock.doze(b"charge", after(40), || true));
        assert!(!clock.skip(activity_in_hand, None), "it dozes and was told to stop");
    }

    #[test]
    fn a_goal_that_nobody_waits_for_any_more_moves_nothing() {
        let clock = Clock::skipping(NOON);
        assert!(Box::pin(clock.advance_to(after(10))).now_or_never().is_none());
        assert!(!clock.skip(nothing, None));
        assert_eq!(clock.now(), NOON);
    }
}
