//! Retry policies, crons and activity timeouts.

use engine_core::cron::Cron;
use engine_core::event::ActivityTimeouts;
use engine_core::limits;
use engine_core::retry::RetryPolicy;

use super::{ConvertError, duration_to_proto, optional_duration_from_proto};
use crate::v1;

/// A retry policy as a message, every field set.
pub fn retry_policy_to_proto(policy: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        initial_interval: Some(duration_to_proto(policy.initial_interval)),
        backoff_coefficient: policy.backoff_coefficient,
        maximum_interval: Some(duration_to_proto(policy.maximum_interval)),
        maximum_attempts: policy.maximum_attempts,
        non_retryable_types: policy.non_retryable_types.clone(),
        jitter: Some(policy.jitter),
    }
}

/// A retry policy from a message, its unset fields filled in with the defaults. Refuses one that cannot be followed.
pub fn retry_policy_from_proto(message: v1::RetryPolicy) -> Result<RetryPolicy, ConvertError> {
    let default = RetryPolicy::default();
    let initial_interval =
        optional_duration_from_proto("initial_interval", message.initial_interval)?.unwrap_or(default.initial_interval);
    let maximum_interval = optional_duration_from_proto("maximum_interval", message.maximum_interval)?
        .unwrap_or_else(|| initial_interval.saturating_mul(limits::RETRY_MAXIMUM_INTERVAL_FACTOR_DEFAULT));
    let policy = RetryPolicy {
        initial_interval,
        // In proto3 a plain number that is not set is zero, which could not be followed anyway.
        backoff_coefficient: if message.backoff_coefficient == 0.0 {
            default.backoff_coefficient
        } else {
            message.backoff_coefficient
        },
        maximum_interval,
        maximum_attempts: message.maximum_attempts,
        non_retryable_types: message.non_retryable_types,
        jitter: message.jitter.unwrap_or(default.jitter),
    };
    policy.validate().map_err(|invalid| ConvertError::new(invalid.field, invalid.problem))?;
    Ok(policy)
}

/// A cron as a message.
pub fn cron_to_proto(cron: &Cron) -> v1::Cron {
    v1::Cron { expression: cron.expression.clone(), time_zone: cron.time_zone.clone() }
}

/// A cron from a message. Whether it can be read is checked where a run begins.
pub fn cron_from_proto(message: v1::Cron) -> Cron {
    Cron { expression: message.expression, time_zone: message.time_zone }
}

/// Activity timeouts as a message.
pub fn activity_timeouts_to_proto(timeouts: &ActivityTimeouts) -> v1::ActivityTimeouts {
    v1::ActivityTimeouts {
        schedule_to_close: timeouts.schedule_to_close.map(duration_to_proto),
        schedule_to_start: timeouts.schedule_to_start.map(duration_to_proto),
        start_to_close: timeouts.start_to_close.map(duration_to_proto),
        heartbeat: timeouts.heartbeat.map(duration_to_proto),
    }
}

/// Activity timeouts from a message.
pub fn activity_timeouts_from_proto(message: v1::ActivityTimeouts) -> Result<ActivityTimeouts, ConvertError> {
    Ok(ActivityTimeouts {
        schedule_to_close: optional_duration_from_proto("schedule_to_close", message.schedule_to_close)?,
        schedule_to_start: optional_duration_from_proto("schedule_to_start", message.schedule_to_start)?,
        start_to_close: optional_duration_from_proto("start_to_close", message.start_to_close)?,
        heartbeat: optional_duration_from_proto("heartbeat", message.heartbeat)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::convert::samples;

    #[test]
    fn policies_and_timeouts_survive_a_round_trip() {
        for policy in [RetryPolicy::default(), RetryPolicy::none(), samples::retry_policy()] {
            assert_eq!(retry_policy_from_proto(retry_policy_to_proto(&policy)), Ok(policy));
        }
        for timeouts in [ActivityTimeouts::default(), samples::timeouts()] {
            assert_eq!(activity_timeouts_from_proto(activity_timeouts_to_proto(&timeouts)), Ok(timeouts));
        }
    }

    #[test]
    fn what_is_not_set_is_filled_in() {
        assert_eq!(retry_policy_from_proto(v1::RetryPolicy::default()), Ok(RetryPolicy::default()));
        let ten = v1::RetryPolicy {
            initial_interval: Some(duration_to_proto(Duration::from_secs(10))),
            jitter: Some(0.0),
            ..v1::RetryPolicy::default()
        };
        let policy = retry_policy_from_proto(ten).unwrap();
        assert_eq!(policy.maximum_interval, Duration::from_secs(1000), "100 times the initial interval");
        assert_eq!(policy.jitter, 0.0, "a jitter of zero is not the default");
    }

    #[test]
    fn a_policy_that_cannot_be_followed_names_its_field() {
        let zero =
            v1::RetryPolicy { initial_interval: Some(prost_types::Duration::default()), ..v1::RetryPolicy::default() };
        assert_eq!(retry_policy_from_proto(zero).unwrap_err().to_string(), "initial_interval: must be more than zero");
        let shrinking = v1::RetryPolicy { backoff_coefficient: 0.5, ..v1::RetryPolicy::default() };
        assert_eq!(retry_policy_from_proto(shrinking).unwrap_err().field, "backoff_coefficient");
    }
}
