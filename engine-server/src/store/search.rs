//! Filters as statements: what both SQL databases have in common.
//!
//! A statement is put together from words of this file alone; every value of the filter is a bound parameter.

use engine_core::filter::{Column, Comparison, Condition, Filter, Listed, Order, OrderKey, Value};
use engine_core::ids::RunId;
use engine_core::search::SearchType;

use super::attributes;
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
            search_attributes: &self.search_attributes,
        }
    }
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bind {
    Int(i64),
    Double(f64),
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
        let Order { column, descending } = &search.filter.order;
        let is_by_key = has_order_key(column);
        if let Some((at, run_id)) = &search.after {
            let than = if *descending { "<" } else { ">" };
            let at = match at {
                OrderKey::Int(number) => Some(Bind::Int(*number)),
                OrderKey::Double(number) => Some(Bind::Double(number.get())),
                OrderKey::Text(text) => Some(Bind::Text(text.clone())),
                OrderKey::Run => None,
            };
            match at.filter(|_| is_by_key) {
                Some(at) => {
                    statement.push(" AND (");
                    statement.order_key(column);
                    statement.push(&format!(", e.run_id) {than} ("));
                    statement.bind(at);
                    statement.push(", ");
                    statement.bind(Bind::Run(*run_id));
                    statement.push(")");
                }
                None => {
                    statement.push(&format!(" AND e.run_id {than} "));
                    statement.bind(Bind::Run(*run_id));
                }
            }
        }
        let direction = if *descending { "DESC" } else { "ASC" };
        statement.push(" ORDER BY ");
        if is_by_key {
            statement.order_key(column);
            statement.push(&format!(" {direction}, "));
        }
        statement.push(&format!("e.run_id {direction} LIMIT "));
        statement.bind(Bind::Int(search.limit.into()));
        statement
    }

    /// How many runs; with a group, one row for each: its value (a code, for statuses) and how many.
    pub(super) fn count(dialect: Dialect, namespace: NamespaceId, filter: &Filter) -> Self {
        let mut statement = Self { text: "SELECT coalesce(CAST(".to_owned(), binds: Vec::new(), dialect };
        match &filter.group_by {
            None => statement.push("''"),
            Some(column) => statement.column(column),
        }
        statement.push(" AS text), ''), count(*) FROM ");
        statement.which_runs(namespace, filter);
        if filter.group_by.is_some() {
            // By its place: the same words with other parameters are another expression.
            statement.push(&format!(" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {GROUPS_MAX}"));
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
            (Dialect::Postgres, Bind::Double(_)) => format!("${number}::float8"),
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
            Condition::Compare(column, Comparison::Equal, Value::Words(words)) => self.has_words(column, words),
            Condition::Compare(column, Comparison::Unequal, Value::Words(words)) => {
                self.push("NOT ");
                self.has_words(column, words);
            }
            Condition::Compare(column, comparison, value) => {
                self.column(column);
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
            Condition::In(column, values) if matches!(values.first(), Some(Value::Words(_))) => {
                self.push("(");
                for (index, value) in values.iter().enumerate() {
                    self.push(if index == 0 { "" } else { " OR " });
                    if let Value::Words(words) = value {
                        self.has_words(column, words);
                    }
                }
                self.push(")");
            }
            Condition::In(column, values) => {
                self.column(column);
                self.push(" IN (");
                for (index, value) in values.iter().enumerate() {
                    self.push(if index == 0 { "" } else { ", " });
                    self.value(value);
                }
                self.push(")");
            }
            Condition::Between(column, low, high) => {
                self.push("(");
                self.column(column);
                self.push(" BETWEEN ");
                self.value(low);
                self.push(" AND ");
                self.value(high);
                self.push(")");
            }
            Condition::StartsWith(column, prefix) if is_list(column) => self.each_word(column, |statement| {
                statement.starts_with("w.value", prefix);
            }),
            Condition::StartsWith(column, prefix) => {
                let mut own =
                    Self { text: String::new(), binds: std::mem::take(&mut self.binds), dialect: self.dialect };
                own.column(column);
                self.binds = own.binds;
                self.starts_with(&own.text, prefix);
            }
            Condition::IsNull(column) => {
                self.column(column);
                self.push(" IS NULL");
            }
        }
    }

    /// Whether the text that `own` stands for begins with `prefix`.
    fn starts_with(&mut self, own: &str, prefix: &str) {
        match self.dialect {
            Dialect::Postgres => self.push(&format!("starts_with({own}, ")),
            Dialect::Sqlite => {
                self.push(&format!("substr({own}, 1, length("));
                self.bind(Bind::Text(prefix.to_owned()));
                self.push(")) = (");
            }
        }
        self.bind(Bind::Text(prefix.to_owned()));
        self.push(")");
    }

    /// Whether a list, or the words of a text, have all these words; unknown if the run has no value.
    fn has_words(&mut self, column: &Column, words: &[String]) {
        self.push("(");
        for (index, word) in words.iter().enumerate() {
            self.push(if index == 0 { "" } else { " AND " });
            self.each_word(column, |statement| {
                statement.push("w.value = ");
                statement.bind(Bind::Text(word.clone()));
            });
        }
        self.push(")");
    }

    /// Whether a condition holds for one of the words of a list or text; unknown if the run has no value.
    fn each_word(&mut self, column: &Column, condition: impl FnOnce(&mut Self)) {
        let Column::Attribute(attribute) = column else {
            unreachable!("only attributes have words");
        };
        let key = attributes::words_key(attribute);
        self.push("(CASE WHEN e.attributes -> ");
        self.bind(Bind::Text(key.clone()));
        self.push(match self.dialect {
            Dialect::Postgres => " IS NOT NULL THEN EXISTS (SELECT 1 FROM jsonb_array_elements_text(e.attributes -> ",
            Dialect::Sqlite => " IS NOT NULL THEN EXISTS (SELECT 1 FROM json_each(e.attributes -> ",
        });
        self.bind(Bind::Text(key));
        self.push(match self.dialect {
            Dialect::Postgres => ") AS w (value) WHERE ",
            Dialect::Sqlite => ") AS w WHERE ",
        });
        condition(self);
        self.push(") END)");
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
            Value::Double(number) => Bind::Double(number.get()),
            Value::Bool(yes) => Bind::Int((*yes).into()),
            // Lists and texts are compared word by word.
            Value::Words(words) => Bind::Text(words.join(" ")),
        });
    }

    /// A column as a statement has it. The status of an open run is 0 here, so that it is equal or unequal to others.
    fn column(&mut self, column: &Column) {
        let words = match column {
            Column::WorkflowId => "e.workflow_id",
            Column::WorkflowType => "e.workflow_type",
            Column::RunId => "e.run_id",
            Column::TaskQueue => "e.task_queue",
            Column::Status => "coalesce(e.status, 0)",
            Column::StartTime => "e.started_at",
            Column::CloseTime => "e.closed_at",
            Column::HistoryLength => "e.history_length",
            Column::Attribute(attribute) => {
                self.push("(e.attributes ->> ");
                self.bind(Bind::Text(attributes::key(attribute)));
                match (self.dialect, attribute.search_type) {
                    (Dialect::Sqlite, _) | (Dialect::Postgres, SearchType::KeywordList) => ")",
                    (Dialect::Postgres, SearchType::Keyword | SearchType::Text) => ") COLLATE \"C\"",
                    (Dialect::Postgres, SearchType::Int | SearchType::Bool | SearchType::Datetime) => ")::int8",
                    (Dialect::Postgres, SearchType::Double) => ")::float8",
                }
            }
        };
        self.push(words);
    }

    /// What comes before the run id in an order, if [`has_order_key`] says that there is any. See [`Listed::order_key`].
    fn order_key(&mut self, column: &Column) {
        let least = match column {
            Column::CloseTime => Some("9223372036854775807"),
            Column::Attribute(attribute) => match attribute.search_type {
                SearchType::Int | SearchType::Datetime => Some("(-9223372036854775807 - 1)"),
                SearchType::Double => Some("-1.7976931348623157e308"),
                SearchType::Keyword | SearchType::Text | SearchType::KeywordList | SearchType::Bool => Some("''"),
            },
            Column::WorkflowId
            | Column::WorkflowType
            | Column::RunId
            | Column::TaskQueue
            | Column::Status
            | Column::StartTime
            | Column::HistoryLength => None,
        };
        if least.is_some() {
            self.push("coalesce(");
        }
        self.column(column);
        if let Some(least) = least {
            self.push(&format!(", {least})"));
        }
    }
}

/// Whether something comes before the run id in an order. Run ids are made of the instant of the start.
fn has_order_key(column: &Column) -> bool {
    match column {
        Column::RunId | Column::StartTime | Column::Status => false,
        Column::WorkflowId
        | Column::WorkflowType
        | Column::TaskQueue
        | Column::CloseTime
        | Column::HistoryLength
        | Column::Attribute(_) => true,
    }
}

/// Whether a column's values are lists of words.
fn is_list(column: &Column) -> bool {
    matches!(column, Column::Attribute(attribute) if attribute.search_type == SearchType::KeywordList)
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
    match &filter.group_by {
        Some(Column::Status) => {}
        Some(Column::Attribute(attribute)) if attribute.search_type == SearchType::Bool => {
            return Ok(match value.as_str() {
                "1" => "true".to_owned(),
                "0" => "false".to_owned(),
                _ => value,
            });
        }
        Some(_) | None => return Ok(value),
    }
    let code = value.parse().map_err(|_| super::StoreError::Corrupt(format!("{value:?} is no status")))?;
    let status = if code == 0 { None } else { Some(super::codes::status_of_code(code)?) };
    Ok(Value::status_name(status).to_owned())
}

#[cfg(test)]
mod tests {
    use engine_core::filter::parse_list;
    use engine_core::ids::SearchAttributeName;
    use engine_core::search::SearchTypes;

    use super::*;

    #[test]
    fn values_are_parameters_and_words_are_ours() {
        let filter = parse_list(
            "WorkflowId = '''; DROP TABLE execution' AND Status != 'Failed' ORDER BY CloseTime",
            &SearchTypes::new(),
        )
        .unwrap();
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

    #[test]
    fn names_of_attributes_are_parameters_too() {
        let known = |name: &str, kind| SearchTypes::from([(SearchAttributeName::from_trusted(name), kind)]);
        let filter = parse_list("Total > 5 ORDER BY Total", &known("Total", SearchType::Int)).unwrap();
        let search = Search { namespace: NamespaceId(1), filter, after: None, limit: 10 };
        let statement = Statement::list(Dialect::Postgres, "e.run_id", &search);
        assert_eq!(
            statement.text,
            "SELECT e.run_id FROM engine.execution e WHERE e.namespace_id = $1::int8 AND (e.attributes ->> $2::text)::int8 > $3::int8 \
             ORDER BY coalesce((e.attributes ->> $4::text)::int8, (-9223372036854775807 - 1)) ASC, e.run_id ASC LIMIT $5::int8"
        );
        assert_eq!(statement.binds[1], Bind::Text("i:Total".into()));

        let filter = parse_list("Tags = 'x'", &known("Tags", SearchType::KeywordList)).unwrap();
        let statement = Statement::count(Dialect::Sqlite, NamespaceId(1), &filter);
        assert_eq!(
            statement.text,
            "SELECT coalesce(CAST('' AS text), ''), count(*) FROM execution e INDEXED BY execution_visible WHERE e.namespace_id = ?1 \
             AND ((CASE WHEN e.attributes -> ?2 IS NOT NULL THEN EXISTS (SELECT 1 FROM json_each(e.attributes -> ?3) AS w WHERE \
             w.value = ?4) END))"
        );
    }
}
