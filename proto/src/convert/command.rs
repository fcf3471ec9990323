//! Commands.

use engine_core::command::{Command, ScheduleActivity};
use engine_core::ids::{ActivityId, ActivityType, TaskQueueName, TimerId};

use super::error::Inside as _;
use super::field::{optional_id, required, required_id};
use super::{
    ConvertError, activity_timeouts_from_proto, activity_timeouts_to_proto, duration_from_proto, duration_to_proto,
    failure_from_outside, failure_to_proto, payload_from_proto, payload_to_proto, payloads_from_proto,
    payloads_to_proto, retry_policy_from_proto, retry_policy_to_proto,
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
        }),
        Command::RequestCancelActivity { activity_id } => {
            Message::RequestCancelActivity(v1::RequestCancelActivityCommand { activity_id: activity_id.to_string() })
        }
        Command::StartTimer { timer_id, duration } => Message::StartTimer(v1::StartTimerCommand {
            timer_id: timer_id.to_string(),
            duration: Some(duration_to_proto(*duration)),
        }),
        Command::CancelTimer { timer_id } => {
            Message::CancelTimer(v1::CancelTimerCommand { timer_id: timer_id.to_string() })
        }
        Command::CompleteWorkflow { result } => {
            Message::CompleteWorkflow(v1::CompleteWorkflowCommand { result: result.as_ref().map(payload_to_proto) })
        }
        Command::FailWorkflow { failure } => {
            Message::FailWorkflow(v1::FailWorkflowCommand { failure: Some(failure_to_proto(failure)) })
        }
        Command::CancelWorkflow { details } => {
            Message::CancelWorkflow(v1::CancelWorkflowCommand { details: details.as_ref().map(payload_to_proto) })
        }
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
        },
        Message::CancelTimer(message) => {
            Command::CancelTimer { timer_id: required_id("cancel_timer.timer_id", &message.timer_id, TimerId::parse)? }
        }
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
