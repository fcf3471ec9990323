//! What a run is listed by and what people are shown of it: search attributes, memo, details.
//!
//! | input                            | events                   |
//! |----------------------------------|--------------------------|
//! | UpsertSearchAttributes (command) | SearchAttributesUpserted |
//! | ModifyProperties (command)       | PropertiesModified       |
//!
//! A change names what changes; the rest stays. A run that retries another begins with what that one began with.
//! Whether a search attribute's name is known, and of which type it is, is for the server to say: the rules here are those that
//! hold for any.

use std::collections::BTreeMap;

use crate::event::{EventKind, PropertiesModified, PropertyChanges, SearchAttributesUpserted, WorkflowStarted};
use crate::execution::Execution;
use crate::execution::check::{self, BadField};
use crate::execution::draft::Draft;
use crate::ids::EventId;
use crate::limits;
use crate::payload::Payload;
use crate::search::{SearchAttributeChanges, SearchAttributes, SearchValue};

/// What is shown of a run and may change while it is open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Properties {
    pub(super) search_attributes: SearchAttributes,
    pub(super) memo: BTreeMap<String, Payload>,
    pub(super) current_details: String,
}

impl Properties {
    pub(super) fn of_start(started: &WorkflowStarted) -> Self {
        Self {
            search_attributes: started.search_attributes.clone(),
            memo: started.memo.iter().cloned().collect(),
            current_details: String::new(),
        }
    }

    fn apply_search_attributes(&mut self, changes: &SearchAttributeChanges) {
        for (name, value) in changes {
            match value {
                Some(value) => self.search_attributes.insert(name.clone(), value.clone()),
                None => self.search_attributes.remove(name),
            };
        }
    }

    fn apply_changes(&mut self, changes: &PropertyChanges) {
        for (key, value) in &changes.memo {
            match value {
                Some(value) => self.memo.insert(key.clone(), value.clone()),
                None => self.memo.remove(key),
            };
        }
        if let Some(details) = &changes.current_details {
            self.current_details.clone_from(details);
        }
    }

    fn memo_size(&self) -> usize {
        self.memo.iter().map(|(key, value)| key.len() + value.size()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        let attributes = self.search_attributes.iter().map(|(name, value)| name.as_str().len() + value.size() + 64);
        attributes.sum::<usize>() + self.memo_size() + self.current_details.len()
    }
}

/// Refuses search attributes that break a rule which holds for any.
pub(super) fn check_search_attributes(attributes: &SearchAttributes) -> Result<(), BadField> {
    const FIELD: &str = "search_attributes";
    if attributes.len() > limits::SEARCH_ATTRIBUTES_MAX {
        let (count, limit) = (attributes.len(), limits::SEARCH_ATTRIBUTES_MAX);
        return Err(BadField::new(FIELD, format!("there are {count}; the limit is {limit} of one run")));
    }
    let mut total = 0;
    for (name, value) in attributes {
        total += name.as_str().len() + value.size();
        let has_nul = match value {
            SearchValue::Keyword(text) | SearchValue::Text(text) => text.contains('\0'),
            SearchValue::KeywordList(words) => words.iter().any(|word| word.contains('\0')),
            SearchValue::Int(_) | SearchValue::Double(_) | SearchValue::Bool(_) | SearchValue::Datetime(_) => false,
        };
        if has_nul {
            // Not every database can keep it.
            return Err(BadField::new(FIELD, format!("{name}: contains a NUL character")));
        }
        let longest = match value {
            SearchValue::Keyword(word) => word.len(),
            SearchValue::KeywordList(words) => words.iter().map(String::len).max().unwrap_or(0),
            SearchValue::Text(_)
            | SearchValue::Int(_)
            | SearchValue::Double(_)
            | SearchValue::Bool(_)
            | SearchValue::Datetime(_) => 0,
        };
        if longest > limits::SEARCH_VALUE_BYTES_MAX {
            let limit = limits::SEARCH_VALUE_BYTES_MAX;
            return Err(BadField::new(
                FIELD,
                format!("{name}: a keyword is {longest} bytes long; the limit is {limit} bytes: use a text"),
            ));
        }
        if value.is_odd_number() {
            return Err(BadField::new(FIELD, format!("{name}: must be a finite number")));
        }
    }
    if total > limits::SEARCH_ATTRIBUTES_BYTES_MAX {
        let limit = limits::SEARCH_ATTRIBUTES_BYTES_MAX;
        return Err(BadField::new(FIELD, format!("are {total} bytes large together; the limit is {limit} bytes")));
    }
    Ok(())
}

/// Refuses a summary or details that are too long.
pub(super) fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), BadField> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(BadField::new(field, format!("is {} bytes long; the limit is {limit} bytes", text.len())))
}

impl Draft<'_> {
    pub(super) fn upsert_search_attributes(
        &mut self,
        changes: SearchAttributeChanges,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        let properties = self.overlay.properties.get_or_insert_with(|| self.run.properties.clone());
        properties.apply_search_attributes(&changes);
        check_search_attributes(&properties.search_attributes)?;
        self.push(EventKind::SearchAttributesUpserted(SearchAttributesUpserted {
            workflow_task_completed_event_id,
            changes,
        }));
        Ok(())
    }

    pub(super) fn modify_properties(
        &mut self,
        changes: PropertyChanges,
        workflow_task_completed_event_id: EventId,
    ) -> Result<(), BadField> {
        let properties = self.overlay.properties.get_or_insert_with(|| self.run.properties.clone());
        properties.apply_changes(&changes);
        check::payload_size("memo", properties.memo_size())?;
        check_text("current_details", &properties.current_details, limits::DETAILS_BYTES_MAX)?;
        self.push(EventKind::PropertiesModified(PropertiesModified { workflow_task_completed_event_id, changes }));
        Ok(())
    }
}

impl Execution {
    pub(super) fn apply_search_attributes(&mut self, event: &SearchAttributesUpserted) {
        self.properties.apply_search_attributes(&event.changes);
    }

    pub(super) fn apply_properties_modified(&mut self, event: &PropertiesModified) {
        self.properties.apply_changes(&event.changes);
    }

    /// What the run is listed by.
    pub fn search_attributes(&self) -> &SearchAttributes {
        &self.properties.search_attributes
    }

    /// Facts for people, kept with the run.
    pub fn memo(&self) -> &BTreeMap<String, Payload> {
        &self.properties.memo
    }

    /// What the code says that the run is at; empty if it does not.
    pub fn current_details(&self) -> &str {
        &self.properties.current_details
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::execution::support::*;
    use crate::ids::SearchAttributeName;

    fn name(text: &str) -> SearchAttributeName {
        SearchAttributeName::from_trusted(text)
    }

    fn upsert(changes: &[(&str, Option<SearchValue>)]) -> Command {
        let changes = changes.iter().map(|(key, value)| (name(key), value.clone())).collect();
        Command::UpsertSearchAttributes { changes }
    }

    fn refused(run: &mut Run, command: Command) -> String {
        run.turn(vec![command]);
        run.take_log().lines().last().expect("a refusal is logged").to_owned()
    }

    #[test]
    fn a_change_names_what_changes_and_the_rest_stays() {
        let run = Run::start_with(|started| {
            started.search_attributes.insert(name("region"), SearchValue::Keyword("eu".into()));
            started.search_attributes.insert(name("cents"), SearchValue::Int(5));
        });
        let run = check(
            run,
            |run| {
                run.turn(vec![
                    upsert(&[("cents", Some(SearchValue::Int(7)))]),
                    upsert(&[("region", None), ("vip", Some(SearchValue::Bool(true)))]),
                ]);
            },
            "
                ~ task started attempt=1
                2 WorkflowTaskScheduled attempt=1
                3 WorkflowTaskStarted scheduled=2
                4 WorkflowTaskCompleted scheduled=2 started=3
                5 SearchAttributesUpserted cents task=4
                6 SearchAttributesUpserted region vip task=4
            ",
        );
        let expected = [(name("cents"), SearchValue::Int(7)), (name("vip"), SearchValue::Bool(true))];
        assert_eq!(*run.execution.search_attributes(), SearchAttributes::from(expected));
    }

    #[test]
    fn memo_and_details_change_the_same_way() {
        let mut run = Run::start_with(|started| started.memo.push(("owner".into(), Payload::json("\"a\""))));
        let changes = PropertyChanges {
            memo: BTreeMap::from([("owner".into(), None), ("desk".into(), Some(Payload::json("3")))]),
            current_details: Some("waits for the courier".into()),
        };
        run.turn(vec![Command::ModifyProperties(changes), Command::ModifyProperties(PropertyChanges::default())]);
        assert_eq!(*run.execution.memo(), BTreeMap::from([("desk".into(), Payload::json("3"))]));
        assert_eq!(run.execution.current_details(), "waits for the courier");
    }

    #[test]
    fn what_is_too_large_fails_the_task_and_changes_nothing() {
        let mut run = Run::start();
        let keyword = Some(SearchValue::Keyword("x".repeat(1001)));
        assert_eq!(
            refused(&mut run, upsert(&[("a", keyword)])),
            "= refused BadCommand: commands[0] (UpsertSearchAttributes): search_attributes: a: a keyword is 1001 bytes long; the limit is 1000 bytes: use a text"
        );
        assert!(run.execution.search_attributes().is_empty());
        let mut run = Run::start();
        assert_eq!(
            refused(&mut run, upsert(&[("a", Some(SearchValue::Double(f64::NAN)))])),
            "= refused BadCommand: commands[0] (UpsertSearchAttributes): search_attributes: a: must be a finite number"
        );
        assert!(run.execution.search_attributes().is_empty());
    }

    #[test]
    fn limits_count_what_the_run_has_already() {
        let mut run = Run::start_with(|started| {
            for number in 0..limits::SEARCH_ATTRIBUTES_MAX {
                started.search_attributes.insert(name(&format!("a{number}")), SearchValue::Int(1));
            }
        });
        run.turn(vec![upsert(&[("a7", None), ("b", Some(SearchValue::Int(1)))])]);
        assert_eq!(run.execution.search_attributes().len(), limits::SEARCH_ATTRIBUTES_MAX);
        run.signal("go");
        assert_eq!(
            refused(&mut run, upsert(&[("c", Some(SearchValue::Int(1)))])),
            "= refused BadCommand: commands[0] (UpsertSearchAttributes): search_attributes: there are 101; the limit is 100 of one run"
        );
    }
}
