//! When the calls of an open loop are due: evenly spaced from a start, whatever became of earlier ones.

use std::time::{Duration, Instant};

/// Evenly spaced instants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    pub(super) per_second: f64,
}

impl Schedule {
    /// When call number `index`, from 0, is due. Computed from the start, so that no error adds up.
    pub(super) fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / self.per_second)
    }

    /// How many calls are due before `end`.
    pub(super) fn count_before(&self, end: Instant) -> u64 {
        let exact = end.saturating_duration_since(self.start).as_secs_f64() * self.per_second;
        // A call due at the very end is not before it; rounding must not make it so.
        (exact - 1e-6).ceil().max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_even_distances_however_many_there_were() {
        let schedule = Schedule { start: Instant::now(), per_second: 400.0 };
        assert_eq!(schedule.due(0), schedule.start);
        assert_eq!(schedule.due(1) - schedule.start, Duration::from_micros(2_500));
        assert_eq!(schedule.due(4_000_000) - schedule.start, Duration::from_secs(10_000));
    }

    #[test]
    fn a_window_has_as_many_calls_as_the_rate_says() {
        let schedule = Schedule { start: Instant::now(), per_second: 3_000.0 };
        let after = |seconds: f64| schedule.count_before(schedule.start + Duration::from_secs_f64(seconds));
        assert_eq!(after(0.0), 0);
        assert_eq!(after(1.0), 3_000);
        assert_eq!(after(2.5), 7_500);
        assert_eq!(after(0.000_1), 1, "the call that is due at once");
    }
}
