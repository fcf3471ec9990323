//! Published state: named values that the code shows to whoever asks, with no worker running.
//!
//! | a value under the name | input                  | events         |
//! |------------------------|------------------------|----------------|
//! | none                   | PublishState (command) | StatePublished |
//! | one                    | PublishState (command) | StatePublished, in place of the one before |
//!
//! A published value changes nothing else: it is no news, needs no task, and stays readable after the run is closed. Earlier
//! values are in the history, so that a reader can ask for the state as of any event. A run that continues another begins with
//! nothing published.

use std::collections::BTreeMap;

use crate::event::{EventKind, StatePublished};
use crate::execution::Execution;
use crate::execution::check::BadField;
use crate::execution::draft::Draft;
use crate::ids::{EventId, PublishedName};
use crate::limits;
use crate::payload::Payload;
use crate::time::Timestamp;

/// What a run shows under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedValue {
    /// The name.
    pub name: PublishedName,
    /// The `StatePublished` event.
    pub event_id: EventId,
    /// When.
    pub at: Timestamp,
    /// The value.
    pub value: Payload,
}

/// What a run shows, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Published {
    by_name: BTreeMap<PublishedName, (EventId, Timestamp, Payload)>,
    bytes: usize,
}

impl Published {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Size of the values and names.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn set(&mut self, event_id: EventId, at: Timestamp, published: &StatePublished) {
        let entry = (event_id, at, published.value.clone());
        match self.by_name.insert(published.name.clone(), entry) {
            Some((_, _, before)) => self.bytes -= before.size(),
            None => self.bytes += published.name.as_str().len(),
        }
        self.bytes += published.value.size();
    }
}

impl Draft<'_> {
    pub(super) fn publish_state(
        &mut self,
        name: PublishedName,
        value: Payload,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        let (size, limit) = (value.size(), limits::PUBLISHED_VALUE_BYTES_MAX);
        if size > limit {
            let problem = format!("is {size} bytes large; the limit is {limit} bytes: publish what people look at");
            return Err(BadField::new("value", problem));
        }
        if !self.run.published.by_name.contains_key(&name) && !self.overlay.published_names.contains(&name) {
            let limit = limits::PUBLISHED_NAMES_MAX;
            if self.run.published.len() + self.overlay.published_names.len() >= limit {
                let problem =
                    format!("{name:?} would be one more than the {limit} names under which a run may publish");
                return Err(BadField::new("name", problem));
            }
            self.overlay.published_names.insert(name.clone());
        }
        self.push(EventKind::StatePublished(StatePublished { workflow_task_completed_event_id, name, value }));
        Ok(())
    }
}

impl Execution {
    /// What the run shows, by name.
    pub fn published(&self) -> impl Iterator<Item = PublishedValue> {
        self.published.by_name.iter().map(|(name, (event_id, at, value))| PublishedValue {
            name: name.clone(),
            event_id: *event_id,
            at: *at,
            value: value.clone(),
        })
    }

    pub(super) fn apply_state_published(&mut self, id: EventId, at: Timestamp, published: &StatePublished) {
        self.published.set(id, at, published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::support::*;

    fn shown(run: &Run) -> Vec<(String, u64, String)> {
        let text = |value: &Payload| String::from_utf8(value.data.to_vec()).unwrap();
        run.execution.published().map(|it| (it.name.to_string(), it.event_id.0, text(&it.value))).collect()
    }

    #[test]
    fn a_value_takes_the_place_of_the_one_before() {
        let mut run = Run::start();
        run.turn(vec![publish("status", "1"), publish("eta", "9"), publish("status", "2")]);
        run.signal("go");
        let run = check(
            run,
            |run| run.turn(vec![publish("status", "3"), complete()]),
            "
                ~ task started attempt=1
                9 WorkflowTaskScheduled attempt=1
                10 WorkflowTaskStarted scheduled=9
                11 WorkflowTaskCompleted scheduled=9 started=10
                12 StatePublished status task=11 value=3
                13 WorkflowCompleted task=11
                > Closed Completed
            ",
        );
        let expected = [("eta", 6, "9"), ("status", 12, "3")];
        assert_eq!(shown(&run), expected.map(|(name, id, value)| (name.to_owned(), id, value.to_owned())));
    }

    #[test]
    fn publishing_needs_no_task_and_leaves_the_run_idle() {
        let mut run = Run::start();
        run.turn(vec![publish("status", "1")]);
        assert!(run.execution.is_idle());
        assert_eq!(run.execution.pending_workflow_task(), None);
        assert_eq!(run.recovered(), run.execution);
    }

    #[test]
    fn names_and_sizes_are_limited_and_a_known_name_is_always_welcome() {
        let refused = |run: &mut Run, commands| {
            run.signal("go");
            run.turn(commands);
            run.take_log().lines().last().unwrap().to_owned()
        };
        let mut run = Run::start();
        run.turn((0..limits::PUBLISHED_NAMES_MAX).map(|n| publish(&format!("n{n}"), "0")).collect());
        let one_more = refused(&mut run, vec![publish("n0", "1"), publish("other", "1")]);
        assert_eq!(
            one_more,
            r#"= refused BadCommand: commands[1] (PublishState): name: "other" would be one more than the 64 names under which a run may publish"#
        );
        run.turn(vec![publish("n0", "1")]);
        assert_eq!(shown(&run)[0].2, "1");
        let large = "1".repeat(limits::PUBLISHED_VALUE_BYTES_MAX);
        assert_eq!(
            refused(&mut run, vec![publish("n0", &large)]),
            "= refused BadCommand: commands[0] (PublishState): value: is 32778 bytes large; the limit is 32768 bytes: publish what people look at"
        );
        assert_eq!(shown(&run)[0].2, "1");
    }

    #[test]
    fn memory_is_counted_once_for_each_name() {
        let mut run = Run::start();
        run.turn(vec![publish("status", "12345")]);
        let first = run.execution.published.bytes();
        run.signal("go");
        run.turn(vec![publish("status", "54321")]);
        assert_eq!(run.execution.published.bytes(), first);
    }
}
