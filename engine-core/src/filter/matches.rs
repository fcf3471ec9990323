//! Whether a run is meant, and where it comes in a list: what a store without a language of its own uses, and what those that have
//! one are compared with.

use std::cmp::Ordering;

use super::parse::status_name;
use super::{Attribute, Column, Comparison, Condition, Number, Order, Value};
use crate::event::CloseStatus;
use crate::ids::RunId;
use crate::search::{SearchAttributes, SearchType, SearchValue, words_of};
use crate::time::Timestamp;

/// What lists know of a run.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named after the columns")]
pub struct Listed<'a> {
    pub workflow_id: &'a str,
    pub workflow_type: &'a str,
    pub run_id: RunId,
    pub task_queue: &'a str,
    pub status: Option<CloseStatus>,
    pub started_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub history_length: u64,
    pub search_attributes: &'a SearchAttributes,
}

/// By what a run is ordered: never absent, so that a page can go on behind it. A close time that there is not yet is the latest;
/// a search attribute that a run has not is the least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKey {
    /// The run's id: later starts have larger ones.
    Run,
    /// A number or an instant in microseconds.
    Int(i64),
    /// A text.
    Text(String),
    /// A number.
    Double(Number),
}

impl Listed<'_> {
    /// The value of a search attribute, if it is of the type that is registered.
    fn attribute(&self, attribute: &Attribute) -> Option<&SearchValue> {
        self.search_attributes.get(&attribute.name).filter(|value| value.search_type() == attribute.search_type)
    }

    fn value(&self, column: &Column) -> Option<Value> {
        Some(match column {
            Column::WorkflowId => Value::Text(self.workflow_id.to_owned()),
            Column::WorkflowType => Value::Text(self.workflow_type.to_owned()),
            Column::RunId => Value::Run(self.run_id),
            Column::TaskQueue => Value::Text(self.task_queue.to_owned()),
            Column::Status => Value::Status(self.status),
            Column::StartTime => Value::Time(self.started_at),
            Column::CloseTime => Value::Time(self.closed_at?),
            Column::HistoryLength => Value::Int(i64::try_from(self.history_length).unwrap_or(i64::MAX)),
            Column::Attribute(attribute) => match self.attribute(attribute)? {
                SearchValue::Keyword(word) => Value::Text(word.clone()),
                SearchValue::KeywordList(words) => Value::Words(words.clone()),
                SearchValue::Text(text) => Value::Words(words_of(text)),
                SearchValue::Int(number) => Value::Int(*number),
                SearchValue::Double(number) => Value::Double(Number::new(*number)?),
                SearchValue::Bool(yes) => Value::Bool(*yes),
                SearchValue::Datetime(at) => Value::Time(*at),
            },
        })
    }

    /// Whether a text, or a word of a list, begins with `prefix`.
    fn starts_with(&self, column: &Column, prefix: &str) -> Option<bool> {
        if let Column::Attribute(attribute) = column
            && let SearchValue::Text(text) = self.attribute(attribute)?
        {
            return Some(text.starts_with(prefix));
        }
        Some(match self.value(column)? {
            Value::Text(text) => text.starts_with(prefix),
            Value::Words(words) => words.iter().any(|word| word.starts_with(prefix)),
            Value::Run(_) | Value::Status(_) | Value::Time(_) | Value::Int(_) | Value::Double(_) | Value::Bool(_) => {
                false
            }
        })
    }

    /// By what it comes in this order.
    pub fn order_key(&self, order: &Order) -> OrderKey {
        match &order.column {
            Column::WorkflowId => OrderKey::Text(self.workflow_id.to_owned()),
            Column::WorkflowType => OrderKey::Text(self.workflow_type.to_owned()),
            Column::TaskQueue => OrderKey::Text(self.task_queue.to_owned()),
            // Run ids are made of the instant of the start.
            Column::RunId | Column::StartTime | Column::Status => OrderKey::Run,
            Column::CloseTime => OrderKey::Int(self.closed_at.map_or(i64::MAX, Timestamp::as_micros)),
            Column::HistoryLength => OrderKey::Int(i64::try_from(self.history_length).unwrap_or(i64::MAX)),
            Column::Attribute(attribute) => match (self.value(&order.column), attribute.search_type) {
                (Some(Value::Text(text)), _) => OrderKey::Text(text),
                (Some(Value::Int(number)), _) => OrderKey::Int(number),
                (Some(Value::Time(at)), _) => OrderKey::Int(at.as_micros()),
                (Some(Value::Double(number)), _) => OrderKey::Double(number),
                (_, SearchType::Keyword) => OrderKey::Text(String::new()),
                (_, SearchType::Int | SearchType::Datetime) => OrderKey::Int(i64::MIN),
                (_, SearchType::Double) => OrderKey::Double(Number::LEAST),
                (_, SearchType::KeywordList | SearchType::Text | SearchType::Bool) => OrderKey::Run,
            },
        }
    }

    /// The name of the group that it belongs to; empty if it has no value of the column.
    pub fn group(&self, column: &Column) -> String {
        match column {
            Column::Status => status_name(self.status).to_owned(),
            Column::WorkflowType => self.workflow_type.to_owned(),
            Column::TaskQueue => self.task_queue.to_owned(),
            Column::WorkflowId | Column::RunId | Column::StartTime | Column::CloseTime | Column::HistoryLength => {
                String::new()
            }
            Column::Attribute(_) => match self.value(column) {
                Some(Value::Text(text)) => text,
                Some(Value::Int(number)) => number.to_string(),
                Some(Value::Bool(yes)) => yes.to_string(),
                Some(Value::Run(_) | Value::Status(_) | Value::Time(_) | Value::Double(_) | Value::Words(_)) | None => {
                    String::new()
                }
            },
        }
    }
}

/// Whether a run's value is what a filter names: a list or text must have all the words.
fn equals(own: &Value, wanted: &Value) -> bool {
    match (own, wanted) {
        (Value::Words(own), Value::Words(wanted)) => wanted.iter().all(|word| own.contains(word)),
        (own, wanted) => own == wanted,
    }
}

impl Order {
    /// Which of two runs comes first.
    pub fn compare(&self, one: (&OrderKey, RunId), other: (&OrderKey, RunId)) -> Ordering {
        let ascending = one.cmp(&other);
        if self.descending { ascending.reverse() } else { ascending }
    }
}

impl Condition {
    /// Whether the run is meant. `None`: that cannot be said, because it has no value of a column.
    pub fn matches(&self, run: &Listed<'_>) -> Option<bool> {
        match self {
            // False if one is false, even if another cannot be said.
            Condition::All(parts) => parts.iter().try_fold_unknown(run, false),
            Condition::Any(parts) => parts.iter().try_fold_unknown(run, true),
            Condition::Not(condition) => condition.matches(run).map(|matches| !matches),
            Condition::Compare(column, comparison, value) => {
                let own = run.value(column)?;
                Some(match comparison {
                    Comparison::Equal => equals(&own, value),
                    Comparison::Unequal => !equals(&own, value),
                    Comparison::Less => own < *value,
                    Comparison::AtMost => own <= *value,
                    Comparison::Greater => own > *value,
                    Comparison::AtLeast => own >= *value,
                })
            }
            Condition::In(column, values) => {
                let own = run.value(column)?;
                Some(values.iter().any(|value| equals(&own, value)))
            }
            Condition::Between(column, low, high) => {
                let value = run.value(column)?;
                Some(*low <= value && value <= *high)
            }
            Condition::StartsWith(column, prefix) => run.starts_with(column, prefix),
            Condition::IsNull(column) => Some(run.value(column).is_none()),
        }
    }
}

trait TryFoldUnknown {
    /// `decisive` if one part says so; else unknown if one part is; else the opposite.
    fn try_fold_unknown(self, run: &Listed<'_>, decisive: bool) -> Option<bool>;
}

impl<'a, I: Iterator<Item = &'a Condition>> TryFoldUnknown for I {
    fn try_fold_unknown(self, run: &Listed<'_>, decisive: bool) -> Option<bool> {
        let mut unknown = false;
        for part in self {
            match part.matches(run) {
                Some(matches) if matches == decisive => return Some(decisive),
                Some(_) => {}
                None => unknown = true,
            }
        }
        (!unknown).then_some(!decisive)
    }
}

/// The name under which filters and counts know a status.
impl Value {
    /// A status as people write it.
    pub fn status_name(status: Option<CloseStatus>) -> &'static str {
        status_name(status)
    }
}
