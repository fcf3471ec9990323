//! Commands.

use engine_core::command::{Command, ContinueAsNew, ScheduleActivity, UnreadSignal};
use engine_core::ids::{
    ActivityId, ActivityType, PublishedName, SignalName, TaskQueueName, TimerId, UpdateId, WorkflowType,
};

use super::error::Inside as _;
use super::field::{optional_id, required, required_id};
use super::update::update_outcome_from_outside;
use super::{
    ConvertError, activity_timeouts_from_proto, activity_timeouts_to_proto, duration_from_proto, duration_to_proto,
    failure_from_outside, failure_to_proto, marker_from_proto, marker_to_proto, memo_from_proto, memo_to_proto,
    optional_duration_from_proto, payload_from_proto, payload_to_proto, payloads_from_proto, payloads_to_proto,
    property_changes_from_proto, property_changes_to_proto, retry_policy_from_proto, retry_policy_to_proto,
    search_changes_from_proto, search_changes_to_proto, update_outcome_to_proto, update_request_from_proto,
    update_request_to_proto,
};
use crate::v1;
use v1::command::Command as Message;

/// A command as a message.
pub fn command_to_proto(command: &Command) -> v1::Command {
    let message = match command {
        Command::ScheduleActivity(activity) => Message::ScheduleActivity(v1::ScheduleActivityCommand {
            activity_id: activity.activity_id.to_string(),
            activity_type: activity.activity_type.to_string(),
            task_queue: activity.task_queue.as_ref().map(ToString::to_string).unwrap_or_default(),
            input: payloads_to_proto(&activity.input),
            timeouts: Some(activity_timeouts_to_proto(&activity.timeouts)),
            retry_policy: activity.retry_policy.as_ref().map(retry_policy_to_proto),
            summary: activity.summary.clone(),
        }),
        Command::RequestCancelActivity { activity_id } => {
            Message::RequestCancelActivity(v1::RequestCancelActivityCommand { activity_id: activity_id.to_string() })
        }
        Command::StartTimer { timer_id, duration, summary } => Message::StartTimer(v1::StartTimerCommand {
            timer_id: timer_id.to_string(),
            duration: Some(duration_to_proto(*duration)),
            summary: summary.clone(),
        }),
        Command::CancelTimer { timer_id } => {
            Message::CancelTimer(v1::CancelTimerCommand { timer_id: timer_id.to_string() })
        }
        Command::PublishState { name, value } => Message::PublishState(v1::PublishStateCommand {
            name: name.to_string(),
            value: Some(payload_to_proto(value)),
        }),
        Command::RecordMarker(marker) => Message::RecordMarker(marker_to_proto(marker)),
        Command::UpsertSearchAttributes { changes } => {
            Message::UpsertSearchAttributes(search_changes_to_proto(changes))
        }
        Command::ModifyProperties(changes) => Message::ModifyProperties(property_changes_to_proto(changes)),
        Command::AcceptUpdate(update) => {
            Message::AcceptUpdate(v1::AcceptUpdateCommand { update: Some(update_request_to_proto(update)) })
        }
        Command::CompleteUpdate { update_id, outcome } => Message::CompleteUpdate(v1::CompleteUpdateCommand {
            update_id: update_id.to_string(),
            outcome: Some(update_outcome_to_proto(outcome)),
        }),
        Command::CompleteWorkflow { result } => {
            Message::CompleteWorkflow(v1::CompleteWorkflowCommand { result: result.as_ref().map(payload_to_proto) })
        }
        Command::FailWorkflow { failure } => {
            Message::FailWorkflow(v1::FailWorkflowCommand { failure: Some(failure_to_proto(failure)) })
        }
        Command::CancelWorkflow { details } => {
            Message::CancelWorkflow(v1::CancelWorkflowCommand { details: details.as_ref().map(payload_to_proto) })
        }
        Command::Peer(command) => super::peer::command_to_proto(command),
        Command::ContinueAsNew(command) => Message::ContinueAsNew(continue_as_new_to_proto(command)),
    };
    v1::Command { command: Some(message) }
}

/// A command from a message. Failures in it are cut to the limits.
pub fn command_from_proto(message: v1::Command) -> Result<Command, ConvertError> {
    Ok(match required("command", message.command)? {
        Message::ScheduleActivity(message) => {
            Command::ScheduleActivity(Box::new(schedule_activity(message).inside("schedule_activity")?))
        }
        Message::RequestCancelActivity(message) => Command::RequestCancelActivity {
            activity_id: required_id("request_cancel_activity.activity_id", &message.activity_id, ActivityId::parse)?,
        },
        Message::StartTimer(message) => Command::StartTimer {
            timer_id: required_id("start_timer.timer_id", &message.timer_id, TimerId::parse)?,
            duration: required("start_timer.duration", message.duration)
                .and_then(|duration| duration_from_proto("start_timer.duration", duration))?,
            summary: message.summary,
        },
        Message::CancelTimer(message) => {
            Command::CancelTimer { timer_id: required_id("cancel_timer.timer_id", &message.timer_id, TimerId::parse)? }
        }
        Message::PublishState(message) => Command::PublishState {
            name: required_id("publish_state.name", &message.name, PublishedName::parse)?,
            value: payload_from_proto(required("publish_state.value", message.value)?),
        },
        Message::RecordMarker(message) => {
            Command::RecordMarker(Box::new(marker_from_proto(message).inside("record_marker")?))
        }
        Message::UpsertSearchAttributes(message) => Command::UpsertSearchAttributes {
            changes: search_changes_from_proto(message).inside("upsert_search_attributes")?,
        },
        Message::ModifyProperties(message) => Command::ModifyProperties(property_changes_from_proto(message)),
        Message::AcceptUpdate(message) => {
            let update = required("accept_update.update", message.update)?;
            Command::AcceptUpdate(Box::new(update_request_from_proto(update).inside("accept_update.update")?))
        }
        Message::CompleteUpdate(message) => Command::CompleteUpdate {
            update_id: required_id("complete_update.update_id", &message.update_id, UpdateId::parse)?,
            outcome: required("complete_update.outcome", message.outcome)
                .and_then(|outcome| update_outcome_from_outside(outcome).inside("complete_update.outcome"))?,
        },
        Message::CompleteWorkflow(message) => {
            Command::CompleteWorkflow { result: message.result.map(payload_from_proto) }
        }
        Message::FailWorkflow(message) => Command::FailWorkflow {
            failure: required("fail_workflow.failure", message.failure)
                .and_then(|failure| failure_from_outside(failure).inside("fail_workflow.failure"))?,
        },
        Message::CancelWorkflow(message) => {
            Command::CancelWorkflow { details: message.details.map(payload_from_proto) }
        }
        message @ (Message::StartChild(_) | Message::SignalExternal(_) | Message::RequestCancelExternal(_)) => {
            Command::Peer(Box::new(super::peer::command_from_proto(message)?))
        }
        Message::ContinueAsNew(message) => {
            Command::ContinueAsNew(Box::new(continue_as_new(message).inside("continue_as_new")?))
        }
    })
}

/// The commands of a completed workflow task; an error names the command by its position, `commands[3]`.
pub fn commands_from_proto(messages: Vec<v1::Command>) -> Result<Vec<Command>, ConvertError> {
    let convert =
        |(index, message)| command_from_proto(message).map_err(|error| error.inside(format_args!("commands[{index}]")));
    messages.into_iter().enumerate().map(convert).collect()
}

fn schedule_activity(message: v1::ScheduleActivityCommand) -> Result<ScheduleActivity, ConvertError> {
    Ok(ScheduleActivity {
        activity_id: required_id("activity_id", &message.activity_id, ActivityId::parse)?,
        activity_type: required_id("activity_type", &message.activity_type, ActivityType::parse)?,
        task_queue: optional_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
        input: payloads_from_proto(message.input),
        timeouts: activity_timeouts_from_proto(message.timeouts.unwrap_or_default()).inside("timeouts")?,
        retry_policy: message.retry_policy.map(retry_policy_from_proto).transpose().inside("retry_policy")?,
        summary: message.summary,
    })
}

fn continue_as_new_to_proto(command: &ContinueAsNew) -> v1::ContinueAsNewCommand {
    let signal = |signal: &UnreadSignal| v1::UnreadSignal {
        signal_name: signal.name.to_string(),
        input: payloads_to_proto(&signal.input),
    };
    v1::ContinueAsNewCommand {
        workflow_type: command.workflow_type.as_ref().map(ToString::to_string).unwrap_or_default(),
        task_queue: command.task_queue.as_ref().map(ToString::to_string).unwrap_or_default(),
        input: payloads_to_proto(&command.input),
        run_timeout: command.run_timeout.map(duration_to_proto),
        task_timeout: command.task_timeout.map(duration_to_proto),
        retry_policy: command.retry_policy.as_ref().map(retry_policy_to_proto),
        memo: command.memo.as_ref().map(|memo| v1::NewMemo { fields: memo_to_proto(memo) }),
        unread_signals: command.unread_signals.iter().map(signal).collect(),
    }
}

fn continue_as_new(message: v1::ContinueAsNewCommand) -> Result<ContinueAsNew, ConvertError> {
    let signal = |(index, signal): (usize, v1::UnreadSignal)| {
        let name = required_id("signal_name", &signal.signal_name, SignalName::parse)
            .map_err(|error| error.inside(format_args!("unread_signals[{index}]")))?;
        Ok(UnreadSignal { name, input: payloads_from_proto(signal.input) })
    };
    Ok(ContinueAsNew {
        workflow_type: optional_id("workflow_type", &message.workflow_type, WorkflowType::parse)?,
        task_queue: optional_id("task_queue", &message.task_queue, TaskQueueName::parse)?,
        input: payloads_from_proto(message.input),
        run_timeout: optional_duration_from_proto("run_timeout", message.run_timeout)?,
        task_timeout: optional_duration_from_proto("task_timeout", message.task_timeout)?,
        retry_policy: message.retry_policy.map(retry_policy_from_proto).transpose().inside("retry_policy")?,
        memo: message.memo.map(|memo| memo_from_proto(memo.fields)),
        unread_signals: message
            .unread_signals
            .into_iter()
            .enumerate()
            .map(signal)
            .collect::<Result<_, ConvertError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;

    #[test]
    fn every_command_survives_a_round_trip() {
        let commands = samples::commands();
        let messages: Vec<v1::Command> = commands.iter().map(command_to_proto).collect();
        assert_eq!(commands_from_proto(messages), Ok(commands));
    }

    #[test]
    fn an_invalid_command_is_named_by_position_and_field() {
        let mut messages: Vec<v1::Command> = samples::commands().iter().map(command_to_proto).collect();
        let Some(Message::ScheduleActivity(activity)) = &mut messages[1].command else { panic!("see samples") };
        activity.activity_id = String::new();
        let error = commands_from_proto(messages).unwrap_err();
        assert_eq!(error.to_string(), "commands[1].schedule_activity.activity_id: must not be empty");

        let nothing = vec![v1::Command { command: None }];
        assert_eq!(commands_from_proto(nothing).unwrap_err().to_string(), "commands[0].command: must be set");
    }
}
