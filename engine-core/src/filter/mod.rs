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
//! Columns are a closed list, and after them the search attributes that are registered in the namespace; values, and the names of
//! attributes, are data: a store turns a filter into a statement of its own words with bound parameters.

mod instant;
mod lex;
mod matches;
mod parse;

use std::fmt;

use crate::event::CloseStatus;
use crate::ids::{RunId, SearchAttributeName};
use crate::search::{BUILD_ID, DEPLOYMENT, PAUSED, SearchType, TASK_FAILURE, VERSIONING_BEHAVIOR};
use crate::time::Timestamp;

pub use instant::parse as parse_instant;
pub use matches::{Listed, OrderKey};
pub use parse::{parse_count, parse_count_of, parse_list, parse_list_of};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A search attribute as the namespace knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Its name, as it was registered.
    pub name: SearchAttributeName,
    /// Of which type its values are. A value of another type, from before the attribute was registered anew, is no value.
    pub search_type: SearchType,
}

/// What is known of a run in lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    /// A search attribute; no value if the run has none.
    Attribute(Attribute),
}

/// What is listed: it decides by which names two of the columns go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subject {
    /// Runs of workflows: `WorkflowId`, `WorkflowType`.
    #[default]
    Workflows,
    /// Standalone activities: `ActivityId`, `ActivityType`.
    Activities,
}

impl Subject {
    /// What the subject calls a column.
    pub fn name_of(self, column: &Column) -> &str {
        match (self, column) {
            (Subject::Activities, Column::WorkflowId) => "ActivityId",
            (Subject::Activities, Column::WorkflowType) => "ActivityType",
            _ => column.name(),
        }
    }
}

impl Column {
    /// Those that every run has; not the search attributes.
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
    pub fn name(&self) -> &str {
        match self {
            Column::WorkflowId => "WorkflowId",
            Column::WorkflowType => "WorkflowType",
            Column::RunId => "RunId",
            Column::TaskQueue => "TaskQueue",
            Column::Status => "Status",
            Column::StartTime => "StartTime",
            Column::CloseTime => "CloseTime",
            Column::HistoryLength => "HistoryLength",
            Column::Attribute(attribute) => attribute.name.as_str(),
        }
    }

    /// The column of this name, of those that every run has.
    pub(crate) fn of_name(name: &str, subject: Subject) -> Option<Self> {
        // The name that the column has elsewhere.
        if name.eq_ignore_ascii_case("ExecutionStatus") {
            return Some(Column::Status);
        }
        let own = [
            (PAUSED, SearchType::Bool),
            (TASK_FAILURE, SearchType::Keyword),
            (DEPLOYMENT, SearchType::Keyword),
            (BUILD_ID, SearchType::Keyword),
            (VERSIONING_BEHAVIOR, SearchType::Keyword),
        ];
        if let Some((name, search_type)) = own.into_iter().find(|(own, _)| name.eq_ignore_ascii_case(own)) {
            let name = SearchAttributeName::from_trusted(name);
            return Some(Column::Attribute(Attribute { name, search_type }));
        }
        Self::ALL.into_iter().find(|column| subject.name_of(column).eq_ignore_ascii_case(name))
    }

    fn kind(&self) -> Kind {
        match self {
            Column::WorkflowId | Column::WorkflowType | Column::TaskQueue => Kind::Text,
            Column::RunId => Kind::Run,
            Column::Status => Kind::Status,
            Column::StartTime | Column::CloseTime => Kind::Time,
            Column::HistoryLength => Kind::Int,
            Column::Attribute(attribute) => match attribute.search_type {
                SearchType::Keyword => Kind::Text,
                SearchType::KeywordList => Kind::Words,
                SearchType::Text => Kind::Prose,
                SearchType::Int => Kind::Int,
                SearchType::Double => Kind::Double,
                SearchType::Bool => Kind::Bool,
                SearchType::Datetime => Kind::Time,
            },
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
    Double,
    Bool,
    /// Words, each compared as a whole.
    Words,
    /// A text that is found by its words.
    Prose,
}

/// A number that is neither infinite nor not-a-number, so that numbers have an order.
#[derive(Debug, Clone, Copy)]
pub struct Number(f64);

impl Number {
    /// The least of them.
    pub const LEAST: Number = Number(f64::MIN);

    /// `None` if it is infinite or not a number. There is one zero.
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(if number == 0.0 { 0.0 } else { number }))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
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
    /// A number.
    Double(Number),
    /// Yes or no.
    Bool(bool),
    /// Words, all of which a list or a text must have to be equal.
    Words(Vec<String>),
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
