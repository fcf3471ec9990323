//! Wakes, from inside and from outside of a workflow task, and panics.
//!
//! Workflow code is polled on whatever thread the worker chooses, without a runtime. Whoever wakes it must do so while one of
//! its tasks runs, on that thread: a wake from anywhere else comes from something that is not the workflow's own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::task::Wake;

thread_local! {
    /// The run whose task runs on this thread; 0 if none does.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    /// Where the last panic of a run on this thread began.
    static PANIC_LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Wakes the run's outermost future.
pub(super) struct RootWaker {
    id: u64,
    woken: AtomicBool,
    foreign: AtomicBool,
    retired: AtomicBool,
    /// While set, nothing may be asked for: a validator runs.
    read_only: AtomicBool,
}

impl RootWaker {
    pub(super) fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            woken: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
        })
    }

    /// Which copy of the run it is: no other one of this process has the number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether a task of this run runs on this thread.
    pub(super) fn is_current(&self) -> bool {
        CURRENT.get() == self.id
    }

    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Something from outside touched the run.
    pub(super) fn mark_foreign(&self) {
        self.foreign.store(true, Ordering::Release);
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }

    /// The run leaves this worker: from here on nothing that happens to its futures means anything.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The run's code is to be polled once more. To be called within its task.
    pub(super) fn wake_now(&self) {
        self.woken.store(true, Ordering::Release);
    }

    /// Runs code that may look at the run and not change it.
    pub(super) fn read_only<T>(&self, code: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a AtomicBool, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::Release);
            }
        }
        let _restore = Restore(&self.read_only, self.read_only.swap(true, Ordering::AcqRel));
        code()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Runs `code` as part of a task of this run. `Err` holds the text and place of a panic.
    pub(super) fn enter<T>(&self, code: impl FnOnce() -> T) -> Result<T, String> {
        catch_as(self.id, code)
    }
}

/// Runs `code` of the user's that is part of no task. `Err` holds the text and place of a panic.
pub(super) fn catch_outside<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    /// No run has this number.
    const OUTSIDE: u64 = u64::MAX;
    catch_as(OUTSIDE, code)
}

fn catch_as<T>(current: u64, code: impl FnOnce() -> T) -> Result<T, String> {
    install_panic_hook();
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let restore = Restore(CURRENT.replace(current));
    // Unwind-safe: a run that panicked in a task is never polled again, and what panicked outside of one could only read.
    let result = catch_unwind(AssertUnwindSafe(code));
    drop(restore);
    result.map_err(|panic| {
        let text = panic_text(panic.as_ref());
        match PANIC_LOCATION.take() {
            Some(location) => format!("{text}, at {location}"),
            None => text,
        }
    })
}

impl Wake for RootWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_current() {
            self.woken.store(true, Ordering::Release);
        } else {
            self.mark_foreign();
        }
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

/// Only a panic hook learns where a panic began. Ours notes it for workflow code and leaves the rest to the hook before it.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CURRENT.get() != 0
                && let Some(location) = info.location()
            {
                PANIC_LOCATION.set(Some(location.to_string()));
            }
            before(info);
        }));
    });
}
