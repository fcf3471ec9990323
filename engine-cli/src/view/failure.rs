//! Failures and their chains of causes, in words.

use engine_core::failure::{Failure, FailureKind, RetryState, TimeoutKind};

use super::text::one_line;

/// The chain on one line: outermost first.
pub(crate) fn one_line_words(failure: &Failure, limit: usize) -> String {
    let links: Vec<String> = failure.chain().map(link).collect();
    one_line(&links.join("; caused by "), limit)
}

/// The chain with one line for each link.
pub(crate) fn lines(failure: &Failure) -> String {
    let links: Vec<String> = failure.chain().map(|failure| one_line(&link(failure), usize::MAX)).collect();
    links.join("\n  caused by ")
}

fn link(failure: &Failure) -> String {
    let label = match &failure.kind {
        FailureKind::Application { type_name, non_retryable, .. } => {
            let name = if type_name.is_empty() { "error" } else { type_name };
            format!("{name}{}", if *non_retryable { " (not retryable)" } else { "" })
        }
        FailureKind::Timeout { timeout, .. } => format!("{} timeout", timeout_words(*timeout)),
        FailureKind::Canceled { .. } => "canceled".to_owned(),
        FailureKind::Terminated => "terminated".to_owned(),
        FailureKind::WorkerLost => "worker lost".to_owned(),
        FailureKind::Server { .. } => "engine".to_owned(),
        FailureKind::Activity { activity_type, activity_id, retry_state, .. } => {
            format!("activity {activity_type} ({activity_id}) failed, {}", retry_state_words(*retry_state))
        }
        FailureKind::ChildWorkflow { workflow_type, workflow_id, retry_state, .. } => {
            format!("child {workflow_type} ({workflow_id}) failed, {}", retry_state_words(*retry_state))
        }
    };
    if failure.message.is_empty() { label } else { format!("{label}: {}", failure.message) }
}

/// The timeout's name.
pub(crate) fn timeout_words(timeout: TimeoutKind) -> &'static str {
    match timeout {
        TimeoutKind::StartToClose => "start-to-close",
        TimeoutKind::ScheduleToStart => "schedule-to-start",
        TimeoutKind::ScheduleToClose => "schedule-to-close",
        TimeoutKind::Heartbeat => "heartbeat",
    }
}

/// Why there is no further attempt.
pub(crate) fn retry_state_words(state: RetryState) -> &'static str {
    match state {
        RetryState::InProgress => "another attempt follows",
        RetryState::NonRetryableFailure => "not retryable",
        RetryState::Timeout => "no time left for another attempt",
        RetryState::MaximumAttemptsReached => "attempts used up",
        RetryState::RetryPolicyNotSet => "no retry policy",
        RetryState::CancelRequested => "cancellation was requested",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_from_the_outside_in() {
        let mut failure = Failure::timeout(TimeoutKind::StartToClose, None);
        failure.message = "took longer than 30s".into();
        failure.cause = Some(Box::new(Failure::application("shop::Declined", "card\ndeclined")));
        assert_eq!(
            one_line_words(&failure, 200),
            "start-to-close timeout: took longer than 30s; caused by shop::Declined: card declined"
        );
        assert_eq!(
            lines(&failure),
            "start-to-close timeout: took longer than 30s\n  caused by shop::Declined: card declined"
        );
    }
}
