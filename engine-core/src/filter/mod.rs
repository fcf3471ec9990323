//! The language in which runs are listed and counted: `WorkflowType = 'order' AND Status = 'Running' ORDER BY StartTime DESC`.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | [`Filter`]: what a text means |
//! | `lex` | words of a text, and where they stand |
//! | `parse` | from words to a filter |
//! | `instant` | instants as people write them |
//! | `matches` | whether a run is meant |
//!
//! ```text
//! filter    = [ or ] [ "ORDER" "BY" column [ "ASC" | "DESC" ] ]            for lists
//!           | [ or ] [ "GROUP" "BY" column ]                               for counts
//! or        = and { "OR" and }          and = unary { "AND" unary }
//! unary     = "NOT" unary | "(" or ")" | condition
//! condition = column ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
//!           | column [ "NOT" ] "IN" "(" value { "," value } ")"
//!           | column [ "NOT" ] "BETWEEN" value "AND" value
//!           | column [ "NOT" ] "STARTS_WITH" text
//!           | column "IS" [ "NOT" ] "NULL"
//! ```
//!
//! Words of the language and names of columns are the same in upper and lower case; texts stand in single or double quotes. A
//! column that a run has no value of is neither equal nor unequal to anything: only `IS NULL` finds it.
//!
//! Columns are a closed list and values are data: a store turns a filter into a statement of its own words with bound parameters.

mod instant;
mod lex;
mod matches;
mod parse;

use std::fmt;

use crate::event::CloseStatus;
use crate::ids::RunId;
use crate::time::Timestamp;

pub use matches::{Listed, OrderKey};
pub use parse::{parse_count, parse_list};

/// What a list or count asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Which runs; all if there is none.
    pub condition: Option<Condition>,
    /// In which order they come.
    pub order: Order,
    /// For counts: by which column they are told apart.
    pub group_by: Option<Column>,
}

/// In which order runs come. Those that are equal come by run id, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub column: Column,
    /// Largest first.
    pub descending: bool,
}

impl Default for Order {
    /// Latest start first.
    fn default() -> Self {
        Self { column: Column::StartTime, descending: true }
    }
}

/// What is known of a run in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The user's key.
    WorkflowId,
    /// The code that it runs.
    WorkflowType,
    /// The run.
    RunId,
    /// Where its workflow tasks go.
    TaskQueue,
    /// Where it stands: `Running`, or how it closed.
    Status,
    /// When it started.
    StartTime,
    /// When it closed; no value while it is open.
    CloseTime,
    /// How many events it had when it closed; 0 while it is open.
    HistoryLength,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 8] = [
        Column::WorkflowId,
        Column::WorkflowType,
        Column::RunId,
        Column::TaskQueue,
        Column::Status,
        Column::StartTime,
        Column::CloseTime,
        Column::HistoryLength,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Column::WorkflowId => "WorkflowId",
            Column::WorkflowType => "WorkflowType",
            Column::RunId => "RunId",
            Column::TaskQueue => "TaskQueue",
            Column::Status => "Status",
            Column::StartTime => "StartTime",
            Column::CloseTime => "CloseTime",
            Column::HistoryLength => "HistoryLength",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        // The name that the column has elsewhere.
        if name.eq_ignore_ascii_case("ExecutionStatus") {
            return Some(Column::Status);
        }
        Self::ALL.into_iter().find(|column| column.name().eq_ignore_ascii_case(name))
    }

    fn kind(self) -> Kind {
        match self {
            Column::WorkflowId | Column::WorkflowType | Column::TaskQueue => Kind::Text,
            Column::RunId => Kind::Run,
            Column::Status => Kind::Status,
            Column::StartTime | Column::CloseTime => Kind::Time,
            Column::HistoryLength => Kind::Int,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Run,
    Status,
    Time,
    Int,
}

/// A value that a column is compared with. Its kind is the column's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A text, compared byte by byte.
    Text(String),
    /// A run.
    Run(RunId),
    /// How a run closed; `None` while it is open.
    Status(Option<CloseStatus>),
    /// An instant.
    Time(Timestamp),
    /// An integer.
    Int(i64),
}

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// Which runs are meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All of them hold.
    All(Vec<Condition>),
    /// One of them holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// A column compared with a value.
    Compare(Column, Comparison, Value),
    /// A column is one of the values.
    In(Column, Vec<Value>),
    /// A column is at least the first and at most the second.
    Between(Column, Value, Value),
    /// A text begins with another.
    StartsWith(Column, String),
    /// A column has no value.
    IsNull(Column),
}

/// A text that is no filter: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, and what would be right.
    pub problem: String,
    /// Where, in characters from 1.
    pub column: usize,
    /// The line of the text with a caret under the place.
    pub picture: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, column, picture } = self;
        write!(f, "{problem}, at column {column}\n{picture}")
    }
}

impl std::error::Error for SyntaxError {}

#[cfg(test)]
mod tests;
