//! Filters as statements: what both SQL databases have in common.
//!
//! A statement is put together from words of this file alone; every value of the filter is a bound parameter.

use engine_core::filter::{Column, Comparison, Condition, Filter, Listed, Order, OrderKey, Value};
use engine_core::ids::RunId;

use super::codes::status_code;
use super::{ExecutionRow, NamespaceId};

/// Most groups that a count tells apart.
pub const GROUPS_MAX: u32 = 1000;

/// Which page of which list.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Only of this namespace.
    pub namespace: NamespaceId,
    /// Which runs, in which order.
    pub filter: Filter,
    /// Only runs that come behind this one (the last of the page before).
    pub after: Option<(OrderKey, RunId)>,
    /// Most rows.
    pub limit: u32,
}

impl ExecutionRow {
    /// What filters see of it.
    pub fn listed(&self) -> Listed<'_> {
        Listed {
            workflow_id: &self.key.workflow_id,
            workflow_type: &self.workflow_type,
            run_id: self.key.run_id,
            task_queue: &self.task_queue,
            status: self.status,
            started_at: self.started_at,
            closed_at: self.closed_at,
            history_length: self.history_length,
        }
    }
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bind {
    Int(i64),
    Text(String),
    Run(RunId),
}

/// What differs between the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// A statement and its parameters.
#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
    dialect: Dialect,
}

impl Statement {
    /// Rows of `columns` of the runs of a page.
    pub(super) fn list(dialect: Dialect, columns: &str, search: &Search) -> Self {
        let mut statement = Self { text: format!("SELECT {columns} FROM "), binds: Vec::new(), dialect };
        statement.which_runs(search.namespace, &search.filter);
        let Order { column, descending } = search.filter.order;
        let key = order_expression(column);
        if let Some((at, run_id)) = &search.after {
            let than = if descending { "<" } else { ">" };
            match (key, at) {
                (Some(key), OrderKey::Int(number)) => {
                    statement.push(&format!(" AND ({key}, e.run_id) {than} ("));
                    statement.bind(Bind::Int(*number));
                    statement.push(", ");
                    statement.bind(Bind::Run(*run_id));
                    statement.push(")");
                }
                (Some(key), OrderKey::Text(text)) => {
                    statement.push(&format!(" AND ({key}, e.run_id) {than} ("));
                    statement.bind(Bind::Text(text.clone()));
                    statement.push(", ");
                    statement.bind(Bind::Run(*run_id));
                    statement.push(")");
                }
                (None, _) | (Some(_), OrderKey::Run) => {
                    statement.push(&format!(" AND e.run_id {than} "));
                    statement.bind(Bind::Run(*run_id));
                }
            }
        }
        let direction = if descending { "DESC" } else { "ASC" };
        statement.push(" ORDER BY ");
        if let Some(key) = key {
            statement.push(&format!("{key} {direction}, "));
        }
        statement.push(&format!("e.run_id {direction} LIMIT "));
        statement.bind(Bind::Int(search.limit.into()));
        statement
    }

    /// How many runs; with a group, one row for each: its value (a code, for statuses) and how many.
    pub(super) fn count(dialect: Dialect, namespace: NamespaceId, filter: &Filter) -> Self {
        let value = match filter.group_by {
            None => "''",
            Some(Column::Status) => "coalesce(e.status, 0)",
            Some(Column::TaskQueue) => "e.task_queue",
            Some(_) => "e.workflow_type",
        };
        let text = format!("SELECT CAST({value} AS text), count(*) FROM ");
        let mut statement = Self { text, binds: Vec::new(), dialect };
        statement.which_runs(namespace, filter);
        if filter.group_by.is_some() {
            statement.push(&format!(" GROUP BY {value} ORDER BY 2 DESC, 1 LIMIT {GROUPS_MAX}"));
        }
        statement
    }

    fn push(&mut self, words: &str) {
        self.text.push_str(words);
    }

    fn bind(&mut self, bind: Bind) {
        let number = self.binds.len() + 1;
        let place = match (self.dialect, &bind) {
            (Dialect::Sqlite, _) => format!("?{number}"),
            (Dialect::Postgres, Bind::Int(_)) => format!("${number}::int8"),
            (Dialect::Postgres, Bind::Text(_)) => format!("${number}::text"),
            (Dialect::Postgres, Bind::Run(_)) => format!("${number}::uuid"),
        };
        self.binds.push(bind);
        self.text.push_str(&place);
    }

    fn which_runs(&mut self, namespace: NamespaceId, filter: &Filter) {
        let one_id = filter.condition.as_ref().is_some_and(names_workflow_id);
        // Naming every shard lets a workflow id be looked up by key; all else is read by the index of what is visible.
        self.push(match (self.dialect, one_id) {
            (Dialect::Postgres, _) => "engine.execution e WHERE ",
            (Dialect::Sqlite, true) => "execution e INDEXED BY execution_key WHERE ",
            (Dialect::Sqlite, false) => "execution e INDEXED BY execution_visible WHERE ",
        });
        self.push(match (self.dialect, one_id) {
            (Dialect::Postgres, true) => "e.shard_id = ANY (ARRAY(SELECT s.id FROM engine.shard s)) AND ",
            (Dialect::Sqlite, true) => "e.shard_id IN (SELECT s.id FROM shard s) AND ",
            (Dialect::Postgres | Dialect::Sqlite, false) => "",
        });
        self.push("e.namespace_id = ");
        self.bind(Bind::Int(namespace.0.into()));
        if let Some(condition) = &filter.condition {
            self.push(" AND ");
            self.condition(condition);
        }
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::All(parts) => self.joined(parts, " AND "),
            Condition::Any(parts) => self.joined(parts, " OR "),
            Condition::Not(condition) => {
                self.push("NOT ");
                self.push("(");
                self.condition(condition);
                self.push(")");
            }
            Condition::Compare(column, comparison, value) => {
                self.push(expression(*column));
                self.push(match comparison {
                    Comparison::Equal => " = ",
                    Comparison::Unequal => " <> ",
                    Comparison::Less => " < ",
                    Comparison::AtMost => " <= ",
                    Comparison::Greater => " > ",
                    Comparison::AtLeast => " >= ",
                });
                self.value(value);
            }
            Condition::In(column, values) => {
                self.push(expression(*column));
                self.push(" IN (");
                for (index, value) in values.iter().enumerate() {
                    self.push(if index == 0 { "" } else { ", " });
                    self.value(value);
                }
                self.push(")");
            }
            Condition::Between(column, low, high) => {
                self.push("(");
                self.push(expression(*column));
                self.push(" BETWEEN ");
                self.value(low);
                self.push(" AND ");
                self.value(high);
                self.push(")");
            }
            Condition::StartsWith(column, prefix) => {
                let column = expression(*column);
                match self.dialect {
                    Dialect::Postgres => self.push(&format!("starts_with({column}, ")),
                    Dialect::Sqlite => {
                        self.push(&format!("substr({column}, 1, length("));
                        self.bind(Bind::Text(prefix.clone()));
                        self.push(")) = (");
                    }
                }
                self.bind(Bind::Text(prefix.clone()));
                self.push(")");
            }
            Condition::IsNull(column) => {
                self.push(expression(*column));
                self.push(" IS NULL");
            }
        }
    }

    fn joined(&mut self, parts: &[Condition], word: &str) {
        self.push("(");
        for (index, part) in parts.iter().enumerate() {
            self.push(if index == 0 { "" } else { word });
            self.condition(part);
        }
        self.push(")");
    }

    fn value(&mut self, value: &Value) {
        self.bind(match value {
            Value::Text(text) => Bind::Text(text.clone()),
            Value::Run(run_id) => Bind::Run(*run_id),
            Value::Status(status) => Bind::Int(status.map_or(0, status_code).into()),
            Value::Time(at) => Bind::Int(at.as_micros()),
            Value::Int(number) => Bind::Int(*number),
        });
    }
}

/// A column as a statement has it. The status of an open run is 0 here, so that it is equal or unequal to others.
fn expression(column: Column) -> &'static str {
    match column {
        Column::WorkflowId => "e.workflow_id",
        Column::WorkflowType => "e.workflow_type",
        Column::RunId => "e.run_id",
        Column::TaskQueue => "e.task_queue",
        Column::Status => "coalesce(e.status, 0)",
        Column::StartTime => "e.started_at",
        Column::CloseTime => "e.closed_at",
        Column::HistoryLength => "e.history_length",
    }
}

/// What comes before the run id in an order; nothing if run ids are the order. See [`Listed::order_key`].
fn order_expression(column: Column) -> Option<&'static str> {
    match column {
        Column::RunId | Column::StartTime | Column::Status => None,
        Column::CloseTime => Some("coalesce(e.closed_at, 9223372036854775807)"),
        Column::WorkflowId | Column::WorkflowType | Column::TaskQueue | Column::HistoryLength => {
            Some(expression(column))
        }
    }
}

/// Whether only runs of one workflow id are meant.
fn names_workflow_id(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(Column::WorkflowId, Comparison::Equal, _) => true,
        Condition::All(parts) => parts.iter().any(names_workflow_id),
        Condition::Compare(..)
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::In(..)
        | Condition::Between(..)
        | Condition::StartsWith(..)
        | Condition::IsNull(_) => false,
    }
}

/// The name of a group, from what the statement gave for it.
pub(super) fn group_name(filter: &Filter, value: String) -> Result<String, super::StoreError> {
    if filter.group_by != Some(Column::Status) {
        return Ok(value);
    }
    let code = value.parse().map_err(|_| super::StoreError::Corrupt(format!("{value:?} is no status")))?;
    let status = if code == 0 { None } else { Some(super::codes::status_of_code(code)?) };
    Ok(Value::status_name(status).to_owned())
}

#[cfg(test)]
mod tests {
    use engine_core::filter::parse_list;

    use super::*;

    #[test]
    fn values_are_parameters_and_words_are_ours() {
        let filter =
            parse_list("WorkflowId = '''; DROP TABLE execution' AND Status != 'Failed' ORDER BY CloseTime").unwrap();
        let run_id = RunId::from_uuid(uuid::Uuid::nil());
        let after = Some((OrderKey::Int(7), run_id));
        let search = Search { namespace: NamespaceId(1), filter, after, limit: 10 };
        let statement = Statement::list(Dialect::Postgres, "e.run_id", &search);
        assert_eq!(
            statement.text,
            "SELECT e.run_id FROM engine.execution e WHERE e.shard_id = ANY (ARRAY(SELECT s.id FROM engine.shard s)) AND \
             e.namespace_id = $1::int8 AND (e.workflow_id = $2::text AND coalesce(e.status, 0) <> $3::int8) \
             AND (coalesce(e.closed_at, 9223372036854775807), e.run_id) > ($4::int8, $5::uuid) \
             ORDER BY coalesce(e.closed_at, 9223372036854775807) ASC, e.run_id ASC LIMIT $6::int8"
        );
        assert_eq!(
            statement.binds,
            [
                Bind::Int(1),
                Bind::Text("'; DROP TABLE execution".into()),
                Bind::Int(2),
                Bind::Int(7),
                Bind::Run(run_id),
                Bind::Int(10)
            ]
        );
    }
}
