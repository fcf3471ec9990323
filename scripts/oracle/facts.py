"""What of a recorded event is a fact about the rules, and not about the moment: its type, which events it refers to, and how it ended."""

from google.protobuf.message import Message
from temporalio.api.enums import v1 as enums

# Fields that are kept as they are, wherever they occur in an event's attributes.
PLAIN = {"attempt", "marker_name", "signal_name", "child_workflow_only"}
# Fields whose values are names of a list.
LISTS = {"retry_state", "timeout_type", "cause", "parent_close_policy"}
# References to events of another history.
ABROAD = {"external_initiated_event_id"}


def name_of(enum_value: str, prefix: str) -> str:
    """`RETRY_STATE_TIMEOUT` of the list `RETRY_STATE` as `Timeout`."""
    return "".join(word.capitalize() for word in enum_value.removeprefix(prefix + "_").split("_"))


def list_name(message: Message, field: str) -> str:
    """The name of a field's value in its list, without the list's own name."""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    value = descriptor.values_by_number[getattr(message, field)].name
    prefix = descriptor.values_by_number[0].name.removesuffix("_UNSPECIFIED")
    return name_of(value, prefix)


def failure_chain(failure) -> list[str]:
    """A failure and its causes, one line each: its kind and what programs decide by."""
    lines = []
    while True:
        kind = failure.WhichOneof("failure_info") or "none"
        line = [kind.removesuffix("_failure_info")]
        if kind == "application_failure_info":
            info = failure.application_failure_info
            line.append(info.type)
            if info.non_retryable:
                line.append("non_retryable")
        elif kind == "timeout_failure_info":
            line.append(list_name(failure.timeout_failure_info, "timeout_type"))
        elif kind in ("activity_failure_info", "child_workflow_execution_failure_info"):
            line.append(list_name(getattr(failure, kind), "retry_state"))
        lines.append(" ".join(line))
        if not failure.HasField("cause"):
            return lines
        failure = failure.cause


def fact(event) -> dict:
    """One event as a line of a fixture."""
    kind = name_of(enums.EventType.Name(event.event_type), "EVENT_TYPE")
    attributes = getattr(event, event.WhichOneof("attributes"))
    found = {"id": event.event_id, "type": kind}
    for descriptor, value in attributes.ListFields():
        field = descriptor.name
        if field in PLAIN or (field.endswith("_event_id") and field not in ABROAD):
            found[field] = value
        elif field in LISTS and descriptor.enum_type is not None:
            found[field] = list_name(attributes, field)
        elif field in ("failure", "last_failure", "continued_failure"):
            found[field] = failure_chain(value)
        elif field in ("activity_type", "workflow_type"):
            found[field] = value.name
        elif field == "new_execution_run_id" and value:
            found["continued"] = True
        elif field == "continued_execution_run_id" and value:
            found["continues"] = True
        elif field == "accepted_request":
            found["update_name"] = value.input.name
        elif field == "outcome":
            if value.HasField("failure"):
                found["failure"] = failure_chain(value.failure)
    return found
