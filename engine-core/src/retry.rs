//! When the next attempt comes, if one comes at all.

use std::time::Duration;

use crate::failure::{Failure, FailureKind, RetryState, TimeoutKind};
use crate::ids::mix;
use crate::limits;
use crate::time::Timestamp;

/// How attempts follow each other. The interval before attempt *n* + 1 is
/// `initial_interval · backoff_coefficient^(n − 1)`, at most `maximum_interval`, less up to `jitter` of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Interval before the second attempt.
    pub initial_interval: Duration,
    /// Growth of the interval, at least 1.
    pub backoff_coefficient: f64,
    /// Largest interval.
    pub maximum_interval: Duration,
    /// Most attempts, counting the first. Zero means no limit.
    pub maximum_attempts: u32,
    /// Failures whose type name is one of these are not retried.
    pub non_retryable_types: Vec<String>,
    /// The share of the interval, from 0 to 1, that is left to chance, so that attempts that failed together do not
    /// come back together. Attempts are only ever early by it, never late: the cap stays a cap.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// One second, doubled each time up to 100 seconds, without end, 10 % jitter.
    fn default() -> Self {
        Self {
            initial_interval: limits::RETRY_INITIAL_INTERVAL_DEFAULT,
            backoff_coefficient: limits::RETRY_BACKOFF_COEFFICIENT_DEFAULT,
            maximum_interval: limits::RETRY_INITIAL_INTERVAL_DEFAULT * limits::RETRY_MAXIMUM_INTERVAL_FACTOR_DEFAULT,
            maximum_attempts: 0,
            non_retryable_types: Vec::new(),
            jitter: 0.1,
        }
    }
}

/// What a policy says about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// The next attempt begins at this instant.
    RetryAt(Timestamp),
    /// There is none, for this reason.
    GiveUp(RetryState),
}

impl RetryPolicy {
    /// Never a second attempt.
    pub fn none() -> Self {
        Self { maximum_attempts: 1, ..Self::default() }
    }

    /// What is wrong with the policy, naming the field; `Ok` if nothing is.
    pub fn validate(&self) -> Result<(), InvalidRetryPolicy> {
        if self.initial_interval.is_zero() {
            return Err(InvalidRetryPolicy { field: "initial_interval", problem: "must be more than zero" });
        }
        if !(self.backoff_coefficient.is_finite() && self.backoff_coefficient >= 1.0) {
            return Err(InvalidRetryPolicy { field: "backoff_coefficient", problem: "must be a number of at least 1" });
        }
        if self.maximum_interval < self.initial_interval {
            return Err(InvalidRetryPolicy {
                field: "maximum_interval",
                problem: "must not be less than initial_interval",
            });
        }
        if self.maximum_interval > limits::DURATION_MAX {
            return Err(InvalidRetryPolicy { field: "maximum_interval", problem: "must be at most 100 years" });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(InvalidRetryPolicy { field: "jitter", problem: "must be a number from 0 to 1" });
        }
        if self.non_retryable_types.len() > limits::NON_RETRYABLE_TYPES_MAX {
            return Err(InvalidRetryPolicy { field: "non_retryable_types", problem: "has more than 100 names" });
        }
        Ok(())
    }

    /// The interval before attempt `attempt + 1`. `seed` picks the jitter: the same seed gives the same interval, so
    /// that the decision stays a function of its arguments.
    pub fn interval_after(&self, attempt: u32, seed: u64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap = self.maximum_interval.as_secs_f64();
        let grown = self.initial_interval.as_secs_f64() * self.backoff_coefficient.powi(exponent);
        let interval = if grown.is_finite() { grown.min(cap) } else { cap };
        // 53 bits: the precision of an f64's fraction.
        let chance = (mix(seed ^ u64::from(attempt)) >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(interval * (1.0 - self.jitter * chance))
    }

    /// Whether and when an attempt follows `attempt`, which failed with `failure` at `now`. Of all attempts,
    /// `counted` count towards the maximum (a delivery that was lost by the engine itself does not). No attempt may
    /// begin after `deadline`.
    pub fn after_failure(
        &self,
        failure: &Failure,
        attempt: u32,
        counted: u32,
        now: Timestamp,
        deadline: Timestamp,
        seed: u64,
    ) -> RetryDecision {
        if self.is_final(failure) {
            return RetryDecision::GiveUp(RetryState::NonRetryableFailure);
        }
        if self.maximum_attempts != 0 && counted >= self.maximum_attempts {
            return RetryDecision::GiveUp(RetryState::MaximumAttemptsReached);
        }
        let delay = match &failure.kind {
            FailureKind::Application { next_retry_delay: Some(delay), .. } => *delay,
            // The worker's death says nothing about the activity: there is nothing to back off from.
            FailureKind::WorkerLost => Duration::ZERO,
            FailureKind::Application { .. }
            | FailureKind::Timeout { .. }
            | FailureKind::Canceled { .. }
            | FailureKind::Terminated
            | FailureKind::Server { .. }
            | FailureKind::Activity { .. }
            | FailureKind::ChildWorkflow { .. } => self.interval_after(attempt, seed),
        };
        let next = now + delay;
        if next >= deadline {
            return RetryDecision::GiveUp(RetryState::Timeout);
        }
        RetryDecision::RetryAt(next)
    }

    fn is_final(&self, failure: &Failure) -> bool {
        match &failure.kind {
            FailureKind::Application { type_name, non_retryable, .. } => {
                *non_retryable || self.non_retryable_types.iter().any(|name| name == type_name)
            }
            FailureKind::Timeout { timeout, .. } => match timeout {
                TimeoutKind::StartToClose | TimeoutKind::Heartbeat => false,
                TimeoutKind::ScheduleToStart | TimeoutKind::ScheduleToClose => true,
            },
            FailureKind::Server { non_retryable } => *non_retryable,
            FailureKind::Canceled { .. } | FailureKind::Terminated => true,
            FailureKind::WorkerLost | FailureKind::Activity { .. } | FailureKind::ChildWorkflow { .. } => false,
        }
    }
}

/// A retry policy that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct InvalidRetryPolicy {
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy { jitter: 0.0, ..RetryPolicy::default() }
    }

    #[test]
    fn intervals_grow_up_to_the_cap() {
        let seconds: Vec<u64> = (1..10).map(|attempt| policy().interval_after(attempt, 7).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        assert_eq!(policy().interval_after(u32::MAX, 7).as_secs(), 100);
    }

    #[test]
    fn jitter_only_shortens_and_is_a_function_of_its_seed() {
        let jittered = RetryPolicy::default();
        for seed in 0..1000 {
            let interval = jittered.interval_after(1, seed).as_secs_f64();
            assert!((0.9..=1.0).contains(&interval), "{interval}");
        }
        assert_eq!(jittered.interval_after(3, 9), jittered.interval_after(3, 9));
        assert_ne!(jittered.interval_after(3, 9), jittered.interval_after(3, 10));
    }

    #[test]
    fn the_reasons_to_give_up_are_told_apart() {
        let failure = Failure::application("CardDeclined", "no");
        let stop = RetryPolicy { non_retryable_types: vec!["CardDeclined".into()], ..policy() };
        let decide = |policy: &RetryPolicy, counted, deadline| {
            policy.after_failure(&failure, counted, counted, NOW, deadline, 0)
        };
        assert_eq!(decide(&stop, 1, Timestamp::MAX), RetryDecision::GiveUp(RetryState::NonRetryableFailure));
        let twice = RetryPolicy { maximum_attempts: 2, ..policy() };
        assert_eq!(decide(&twice, 1, Timestamp::MAX), RetryDecision::RetryAt(NOW + Duration::from_secs(1)));
        assert_eq!(decide(&twice, 2, Timestamp::MAX), RetryDecision::GiveUp(RetryState::MaximumAttemptsReached));
        assert_eq!(decide(&policy(), 1, NOW + Duration::from_millis(500)), RetryDecision::GiveUp(RetryState::Timeout));
    }

    #[test]
    fn an_error_may_set_its_own_delay_and_a_lost_worker_is_retried_at_once() {
        let mut failure = Failure::application("Busy", "later");
        if let FailureKind::Application { next_retry_delay, .. } = &mut failure.kind {
            *next_retry_delay = Some(Duration::from_secs(77));
        }
        assert_eq!(
            policy().after_failure(&failure, 1, 1, NOW, Timestamp::MAX, 0),
            RetryDecision::RetryAt(NOW + Duration::from_secs(77))
        );
        assert_eq!(
            policy().after_failure(&Failure::worker_lost("gone"), 1, 1, NOW, Timestamp::MAX, 0),
            RetryDecision::RetryAt(NOW)
        );
    }

    #[test]
    fn a_policy_that_cannot_be_followed_names_its_field() {
        let wrong = RetryPolicy { backoff_coefficient: 0.5, ..policy() };
        assert_eq!(wrong.validate().unwrap_err().field, "backoff_coefficient");
        let wrong = RetryPolicy { jitter: f64::NAN, ..policy() };
        assert_eq!(wrong.validate().unwrap_err().field, "jitter");
        assert_eq!(RetryPolicy::none().validate(), Ok(()));
    }
}
