//! How many tasks a worker has room for, and how much of that it has promised to the server.

/// The room for tasks of one kind. Tasks that run and credits that the server holds together never exceed `total`.
#[derive(Debug)]
pub(super) struct Slots {
    total: u32,
    /// Tasks that run, or whose result was not sent yet.
    taken: u32,
    /// Credits that the server holds on the current stream.
    granted: u32,
}

/// A server sent a task that it had no credit for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Slots {
    pub(super) fn new(total: u32) -> Self {
        Self { total, taken: 0, granted: 0 }
    }

    /// Credits are the stream's: a new one begins without.
    pub(super) fn begin_stream(&mut self) {
        self.granted = 0;
    }

    /// A task came against a credit.
    pub(super) fn take(&mut self) -> Result<(), Overrun> {
        self.granted = self.granted.checked_sub(1).ok_or(Overrun)?;
        self.taken += 1;
        Ok(())
    }

    /// A task's result is on its way, or it has none.
    pub(super) fn free(&mut self) {
        self.taken = self.taken.checked_sub(1).expect("each task frees the slot it took once");
    }

    /// Whether there is room that the server does not know of.
    pub(super) fn has_room(&self) -> bool {
        self.taken + self.granted < self.total
    }

    /// Promises all room that is left: the number of new credits.
    pub(super) fn grant(&mut self) -> u32 {
        let credits = self.total - self.taken - self.granted;
        self.granted += credits;
        credits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_and_tasks_never_exceed_the_slots() {
        let mut slots = Slots::new(3);
        assert_eq!(slots.grant(), 3);
        assert_eq!(slots.grant(), 0);
        slots.take().unwrap();
        slots.take().unwrap();
        assert!(!slots.has_room());
        slots.free();
        assert_eq!(slots.grant(), 1);
        // One runs, two are promised; a new stream forgets the promise and keeps the task.
        slots.begin_stream();
        assert_eq!(slots.take(), Err(Overrun));
        assert_eq!(slots.grant(), 2);
    }
}
