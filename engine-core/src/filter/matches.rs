//! Whether a run is meant, and where it comes in a list: what a store without a language of its own uses, and what those that have
//! one are compared with.

use std::cmp::Ordering;

use super::parse::status_name;
use super::{Column, Comparison, Condition, Order, Value};
use crate::event::CloseStatus;
use crate::ids::RunId;
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
}

/// By what a run is ordered: never absent, so that a page can go on behind it. A close time that there is not yet is the latest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKey {
    /// The run's id: later starts have larger ones.
    Run,
    /// A number or an instant in microseconds.
    Int(i64),
    /// A text.
    Text(String),
}

impl Listed<'_> {
    fn value(&self, column: Column) -> Option<Value> {
        Some(match column {
            Column::WorkflowId => Value::Text(self.workflow_id.to_owned()),
            Column::WorkflowType => Value::Text(self.workflow_type.to_owned()),
            Column::RunId => Value::Run(self.run_id),
            Column::TaskQueue => Value::Text(self.task_queue.to_owned()),
            Column::Status => Value::Status(self.status),
            Column::StartTime => Value::Time(self.started_at),
            Column::CloseTime => Value::Time(self.closed_at?),
            Column::HistoryLength => Value::Int(i64::try_from(self.history_length).unwrap_or(i64::MAX)),
        })
    }

    /// By what it comes in this order.
    pub fn order_key(&self, order: Order) -> OrderKey {
        match order.column {
            Column::WorkflowId => OrderKey::Text(self.workflow_id.to_owned()),
            Column::WorkflowType => OrderKey::Text(self.workflow_type.to_owned()),
            Column::TaskQueue => OrderKey::Text(self.task_queue.to_owned()),
            // Run ids are made of the instant of the start.
            Column::RunId | Column::StartTime | Column::Status => OrderKey::Run,
            Column::CloseTime => OrderKey::Int(self.closed_at.map_or(i64::MAX, Timestamp::as_micros)),
            Column::HistoryLength => OrderKey::Int(i64::try_from(self.history_length).unwrap_or(i64::MAX)),
        }
    }

    /// The name of the group that it belongs to.
    pub fn group(&self, column: Column) -> String {
        match column {
            Column::Status => status_name(self.status).to_owned(),
            Column::WorkflowType => self.workflow_type.to_owned(),
            Column::TaskQueue => self.task_queue.to_owned(),
            Column::WorkflowId | Column::RunId | Column::StartTime | Column::CloseTime | Column::HistoryLength => {
                String::new()
            }
        }
    }
}

impl Order {
    /// Which of two runs comes first.
    pub fn compare(self, one: (&OrderKey, RunId), other: (&OrderKey, RunId)) -> Ordering {
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
                let ordering = run.value(*column)?.cmp(value);
                Some(match comparison {
                    Comparison::Equal => ordering.is_eq(),
                    Comparison::Unequal => ordering.is_ne(),
                    Comparison::Less => ordering.is_lt(),
                    Comparison::AtMost => ordering.is_le(),
                    Comparison::Greater => ordering.is_gt(),
                    Comparison::AtLeast => ordering.is_ge(),
                })
            }
            Condition::In(column, values) => {
                let value = run.value(*column)?;
                Some(values.contains(&value))
            }
            Condition::Between(column, low, high) => {
                let value = run.value(*column)?;
                Some(*low <= value && value <= *high)
            }
            Condition::StartsWith(column, prefix) => match run.value(*column)? {
                Value::Text(text) => Some(text.starts_with(prefix.as_str())),
                Value::Run(_) | Value::Status(_) | Value::Time(_) | Value::Int(_) => Some(false),
            },
            Condition::IsNull(column) => Some(run.value(*column).is_none()),
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
