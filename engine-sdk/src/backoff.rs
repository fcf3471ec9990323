//! Pauses between tries that fail.

use std::time::Duration;

use engine_core::ids::mix;
use uuid::Uuid;

/// Pauses that grow from try to try, each shortened by chance, so that clients that lost the same server do not come back
/// at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    cap: Duration,
    seed: u64,
}

impl Backoff {
    /// The first pause is at most `initial`, each later one at most half as long again, up to `cap`.
    pub(crate) fn new(initial: Duration, cap: Duration) -> Self {
        // The low half of a UUIDv7 is random.
        Self { next: initial, cap, seed: Uuid::now_v7().as_u64_pair().1 }
    }

    /// The next pause: between half of its length and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let length = self.next.min(self.cap);
        self.next = (length + length / 2).min(self.cap);
        self.seed = mix(self.seed);
        // 53 bits: the precision of an f64's fraction.
        let chance = (self.seed >> 11) as f64 / (1_u64 << 53) as f64;
        length.mul_f64(0.5 + 0.5 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_are_shortened_by_at_most_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(200));
        let full = [100, 150, 200, 200, 200].map(Duration::from_millis);
        for length in full {
            let pause = backoff.pause();
            assert!(pause >= length / 2 && pause <= length, "{pause:?} of {length:?}");
        }
    }
}
