//! Messages between workflows: what the sender's history says of each, against the histories of those who got it.

use std::collections::BTreeMap;

use engine_proto::v1;
use engine_proto::v1::history_event::Attributes;

use super::chains::{Index, shared_until};
use super::{Rule, Run, Violations};

/// A message as its sender's history tells of it.
#[derive(Debug, Clone, Copy)]
enum Message<'a> {
    Signal(&'a v1::SignalPeer),
    Cancel(&'a v1::CancelPeer),
}

impl Message<'_> {
    fn target(&self) -> Option<&v1::PeerTarget> {
        match self {
            Message::Signal(signal) => signal.target.as_ref(),
            Message::Cancel(cancel) => cancel.target.as_ref(),
        }
    }
}

pub(super) fn check(index: &Index<'_>, violations: &mut Violations) {
    for run in index.runs() {
        sent(index, run, violations);
        received(index, run, violations);
    }
}

fn messages(run: &Run) -> BTreeMap<u64, Message<'_>> {
    let messages = run.facts().filter_map(|(id, fact)| match fact {
        Attributes::SignalExternalInitiated(event) => Some((id, Message::Signal(event.signal.as_ref()?))),
        Attributes::RequestCancelExternalInitiated(event) => Some((id, Message::Cancel(event.cancel.as_ref()?))),
        _ => None,
    });
    messages.collect()
}

/// Which message an event ends, and who got it, if somebody did.
fn outcome(fact: &Attributes) -> Option<(u64, Option<&str>)> {
    match fact {
        Attributes::ExternalSignaled(end) => Some((end.initiated_event_id, Some(&end.run_id))),
        Attributes::ExternalCancelRequested(end) => Some((end.initiated_event_id, Some(&end.run_id))),
        Attributes::SignalExternalFailed(end) => Some((end.initiated_event_id, None)),
        Attributes::RequestCancelExternalFailed(end) => Some((end.initiated_event_id, None)),
        _ => None,
    }
}

fn sent<'a>(index: &Index<'a>, run: &'a Run, violations: &mut Violations) {
    let mut open = messages(run);
    for (id, fact) in run.facts() {
        let Some((initiated, receiver)) = outcome(fact) else { continue };
        let message = open.remove(&initiated).filter(|_| initiated < id);
        // It is judged where it was written.
        if id < shared_until(run) {
            continue;
        }
        let right = match (message, receiver) {
            (Some(message), Some(receiver)) => has_arrived(index, run, (initiated, message), receiver, id),
            (Some(message), None) => nobody_was_there(index, run, initiated, message, id),
            (None, _) => Err("which it did not send, or which had ended".to_owned()),
        };
        if let Err(problem) = right {
            let problem = format!("event {id} of run {} ends message {initiated}, {problem}: {fact:?}", run.run_id);
            violations.add(Rule::PeerMessage, &run.workflow_id, problem);
        }
    }
}

/// The request id under which a signal travels.
fn request_id<'a>(index: &Index<'a>, sender: &'a Run, initiated: u64) -> String {
    format!("{}/{initiated}", index.writer(sender, initiated).run_id)
}

fn has_arrived<'a>(
    index: &Index<'a>,
    sender: &'a Run,
    (initiated, message): (u64, Message<'_>),
    receiver: &str,
    end: u64,
) -> Result<(), String> {
    let target = message.target().map_or("", |target| target.workflow_id.as_str());
    let receiver = index.get(receiver).filter(|receiver| receiver.workflow_id == target);
    let receiver = receiver.ok_or("which no run of that workflow got")?;
    match message {
        Message::Signal(signal) => {
            let id = request_id(index, sender, initiated);
            let is_it = |received: &&v1::WorkflowSignaled| received.request_id == id && received.input == signal.input;
            let copies: Vec<&str> = index
                .runs()
                .filter(|run| run.workflow_id == target)
                .flat_map(|run| index.own_signals(run).into_iter().map(move |received| (run, received.signal)))
                .filter(|(_, received)| is_it(received))
                .map(|(run, _)| run.run_id.as_str())
                .collect();
            if copies.len() == 1 { Ok(()) } else { Err(format!("which is in {copies:?}")) }
        }
        Message::Cancel(_) => {
            let asked = receiver.facts().any(|(_, fact)| matches!(fact, Attributes::WorkflowCancelRequested(_)));
            let closed = receiver.events.last().map_or(i64::MAX, |close| close.event_time_us);
            let at = sender.event(end).map_or(i64::MIN, |end| end.event_time_us);
            if asked || closed <= at { Ok(()) } else { Err("of which the other does not know".to_owned()) }
        }
    }
}

/// A workflow that was open all the time from the message on to its end could have got it.
fn nobody_was_there(
    index: &Index<'_>,
    sender: &Run,
    initiated: u64,
    message: Message<'_>,
    end: u64,
) -> Result<(), String> {
    let Some(target) = message.target() else { return Err("which is for nobody".to_owned()) };
    let time = |run: &Run, id| run.event(id).map_or(0, |event| event.event_time_us);
    let (from, until) = (time(sender, initiated), time(sender, end));
    let could = index.runs().find(|run| {
        run.workflow_id == target.workflow_id
            && (target.run_id.is_empty() || run.run_id == target.run_id)
            && time(run, shared_until(run).max(1)) < from
            && time(run, run.events.len() as u64) > until
    });
    match could {
        Some(run) => Err(format!("though run {} was there", run.run_id)),
        None => Ok(()),
    }
}

/// What says that it is from another workflow is.
fn received<'a>(index: &Index<'a>, run: &'a Run, violations: &mut Violations) {
    for received in index.own_signals(run) {
        let Some((sender, initiated)) = received.signal.request_id.rsplit_once('/') else { continue };
        let (Some(sender), Ok(initiated)) = (index.get(sender), initiated.parse::<u64>()) else { continue };
        let sent = matches!(messages(sender).get(&initiated), Some(Message::Signal(signal))
            if signal.input == received.signal.input
                && signal.target.as_ref().is_some_and(|target| target.workflow_id == run.workflow_id));
        violations.require(sent, Rule::PeerMessage, &run.workflow_id, || {
            format!("event {} is a signal that run {} did not send", received.event_id, sender.run_id)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Evidence;
    use crate::clerk::payload;

    fn run(workflow_id: &str, facts: Vec<Attributes>) -> Run {
        let event =
            |(event_id, fact)| v1::HistoryEvent { event_id, event_time_us: event_id as i64, attributes: Some(fact) };
        let mut all = vec![Attributes::WorkflowStarted(v1::WorkflowStarted::default())];
        all.extend(facts);
        let events = (1..).zip(all).map(event).collect();
        Run { workflow_id: workflow_id.into(), run_id: format!("{workflow_id}-run"), events, ..Run::default() }
    }

    fn target() -> Option<v1::PeerTarget> {
        Some(v1::PeerTarget { workflow_id: "to".into(), ..Default::default() })
    }

    fn signal() -> Attributes {
        let signal = v1::SignalPeer { target: target(), input: vec![payload(&"hello".into())], ..Default::default() };
        Attributes::SignalExternalInitiated(v1::SignalExternalInitiated { signal: Some(signal), ..Default::default() })
    }

    fn cancel() -> Attributes {
        let cancel = Some(v1::CancelPeer { target: target(), ..Default::default() });
        Attributes::RequestCancelExternalInitiated(v1::RequestCancelExternalInitiated { cancel, ..Default::default() })
    }

    fn delivered() -> Attributes {
        let end = v1::ExternalSignaled { initiated_event_id: 2, workflow_id: "to".into(), run_id: "to-run".into() };
        Attributes::ExternalSignaled(end)
    }

    fn asked() -> Attributes {
        let (workflow_id, run_id) = ("to".into(), "to-run".into());
        let end = v1::ExternalCancelRequested { initiated_event_id: 2, workflow_id, run_id };
        Attributes::ExternalCancelRequested(end)
    }

    fn failed() -> Attributes {
        Attributes::SignalExternalFailed(v1::SignalExternalFailed { initiated_event_id: 2, ..Default::default() })
    }

    fn got(from: &str) -> Attributes {
        let (request_id, input) = (from.into(), vec![payload(&"hello".into())]);
        Attributes::WorkflowSignaled(v1::WorkflowSignaled { request_id, input, ..Default::default() })
    }

    fn other() -> Attributes {
        Attributes::WorkflowPaused(v1::WorkflowPaused::default())
    }

    #[track_caller]
    fn broken(runs: Vec<Run>, count: usize) {
        let mut violations = Violations::default();
        check(&Index::new(&Evidence { runs, ..Evidence::default() }), &mut violations);
        assert_eq!(violations.found.len(), count, "{violations:?}");
    }

    #[test]
    fn what_was_delivered_is_there_once_and_was_sent() {
        let from = |end| run("from", vec![signal(), end]);
        let copy = || got("from-run/2");
        broken(vec![from(delivered()), run("to", vec![copy()])], 0);
        broken(vec![from(delivered()), run("to", vec![])], 1);
        broken(vec![from(delivered()), run("to", vec![copy(), copy()])], 1);
        broken(vec![run("from", vec![signal(), delivered(), delivered()]), run("to", vec![copy()])], 1);
        broken(vec![run("from", vec![cancel()]), run("to", vec![copy()])], 1);
    }

    #[test]
    fn what_could_not_be_delivered_had_no_receiver() {
        let from = || run("from", vec![signal(), failed()]);
        broken(vec![from()], 0);
        broken(vec![from(), run("to", vec![other()])], 0);
        broken(vec![from(), run("to", vec![other(), other(), other()])], 1);
    }

    #[test]
    fn who_was_asked_to_stop_knows_it_or_was_closed() {
        let from = || run("from", vec![cancel(), asked()]);
        let request = || Attributes::WorkflowCancelRequested(v1::WorkflowCancelRequested::default());
        broken(vec![from(), run("to", vec![other(), other(), other(), request()])], 0);
        broken(vec![from(), run("to", vec![other()])], 0);
        broken(vec![from(), run("to", vec![other(), other(), other()])], 1);
        broken(vec![from()], 1);
    }
}
