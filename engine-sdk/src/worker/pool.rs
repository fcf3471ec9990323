//! Threads that run workflow code.
//!
//! Workflow code only computes, but it may compute for long, so it must not run on the threads that drive the worker's stream
//! and its activities. As many threads as the machine has cores take pieces of work in order; a thread that is busy with
//! one piece for longer than [`STUCK_AFTER`] does not count, and another one joins while work waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Work that waits this long brings another thread.
pub(super) const STUCK_AFTER: Duration = Duration::from_millis(10);

/// A thread beyond the usual number leaves after being idle for this long.
const IDLE_MAX: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// A pool of threads. Threads end when the pool is dropped, after the piece of work that they have in hand.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work_came: Condvar,
    threads_usual: usize,
    threads_max: usize,
}

struct State {
    waiting: VecDeque<(Instant, Work)>,
    threads: usize,
    /// Of them, those that did not look for work yet.
    starting: usize,
    idle: usize,
    /// A thread was woken and has not looked for work yet: it wakes the next one if there is more, so that a burst of work costs
    /// its sender one system call.
    is_waking: bool,
    is_closed: bool,
}

impl Pool {
    /// At most `threads_max` threads; usually one for each core.
    pub(super) fn new(threads_max: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let state =
            State { waiting: VecDeque::new(), threads: 0, starting: 0, idle: 0, is_waking: false, is_closed: false };
        let shared = Shared {
            state: Mutex::new(state),
            work_came: Condvar::new(),
            threads_usual: cores.min(threads_max.max(1)),
            threads_max: threads_max.max(1),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Has `work` run. A panic of it is caught and logged: work that matters reports its panics itself.
    pub(super) fn submit(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        state.waiting.push_back((Instant::now(), Box::new(work)));
        if state.idle > 0 {
            self.shared.wake_one(&mut state);
        } else if state.threads < self.shared.threads_usual {
            self.add_thread(&mut state);
        }
    }

    /// Whether work waits, so that [`Pool::relieve`] should be called after [`STUCK_AFTER`].
    pub(super) fn has_backlog(&self) -> bool {
        let state = self.shared.state.lock();
        !state.waiting.is_empty() && state.threads < self.shared.threads_max
    }

    /// Brings another thread if work has waited too long.
    pub(super) fn relieve(&self) {
        let mut state = self.shared.state.lock();
        let is_stuck = state.waiting.front().is_some_and(|(since, _)| since.elapsed() >= STUCK_AFTER);
        if is_stuck && state.idle + state.starting == 0 && state.threads < self.shared.threads_max {
            self.add_thread(&mut state);
        }
    }

    fn add_thread(&self, state: &mut State) {
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("workflows".to_owned()).spawn(move || shared.serve());
        match spawned {
            Ok(_) => {
                state.threads += 1;
                state.starting += 1;
            }
            Err(error) => tracing::warn!(%error, threads = state.threads, "cannot start another thread for workflows"),
        }
    }
}

impl Shared {
    /// Wakes an idle thread, unless one is on its way.
    fn wake_one(&self, state: &mut State) {
        if !state.is_waking {
            state.is_waking = true;
            self.work_came.notify_one();
        }
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        state.starting -= 1;
        loop {
            if let Some((_, work)) = state.waiting.pop_front() {
                if state.idle > 0 && !state.waiting.is_empty() {
                    self.wake_one(&mut state);
                }
                drop(state);
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                    tracing::error!("a piece of workflow work panicked outside of workflow code");
                }
                state = self.state.lock();
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle += 1;
            let is_timeout = self.work_came.wait_for(&mut state, IDLE_MAX).timed_out();
            state.idle -= 1;
            // Also after a time-out: whatever was sent to wake a thread, this one is awake and looks.
            state.is_waking = false;
            if is_timeout && state.waiting.is_empty() && state.threads > self.threads_usual {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.work_came.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Pool").field("threads", &state.threads).field("waiting", &state.waiting.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_runs_while_other_work_is_stuck() {
        let pool = Pool::new(64);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (done, finished) = mpsc::channel();
        let (started, running) = mpsc::channel();
        let stuck = pool.shared.threads_usual;
        for _ in 0..stuck {
            let (gate, started) = (Arc::clone(&gate), started.clone());
            pool.submit(move || {
                started.send(()).unwrap();
                let _ = gate.lock().recv();
            });
        }
        running.iter().take(stuck).for_each(drop);
        pool.submit(move || done.send(()).unwrap());
        assert!(pool.has_backlog());
        // What the worker does on its timer, as often as it takes for the work to be old enough.
        while finished.try_recv().is_err() {
            pool.relieve();
            std::thread::yield_now();
        }
        assert_eq!(pool.shared.state.lock().threads, stuck + 1);
        drop(release);
    }

    #[test]
    fn a_panic_does_not_end_the_thread() {
        let pool = Pool::new(1);
        let (done, finished) = mpsc::channel();
        pool.submit(|| panic!("expected by this test"));
        pool.submit(move || done.send(std::thread::current().name().map(str::to_owned)).unwrap());
        assert_eq!(finished.recv().unwrap().as_deref(), Some("workflows"));
        assert_eq!(pool.shared.state.lock().threads, 1);
    }
}
