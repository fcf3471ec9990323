//! Search attributes: typed values by which runs are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::filter::{Column, Subject};
use crate::ids::SearchAttributeName;
use crate::limits;
use crate::time::Timestamp;

/// The search attributes of a run, by name.
pub type SearchAttributes = BTreeMap<SearchAttributeName, SearchValue>;

/// A change of search attributes: `None` takes the attribute away.
pub type SearchAttributeChanges = BTreeMap<SearchAttributeName, Option<SearchValue>>;

/// The search attributes that are registered in a namespace, with their types. No two names differ in case alone.
pub type SearchTypes = BTreeMap<SearchAttributeName, SearchType>;

/// A value by which runs are listed.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchValue {
    /// A word, compared as a whole.
    Keyword(String),
    /// Words: a run is found by each of them.
    KeywordList(Vec<String>),
    /// A text, found by its words.
    Text(String),
    /// An integer.
    Int(i64),
    /// A number, never infinite and never not-a-number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// An instant.
    Datetime(Timestamp),
}

/// The type of a search attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchType {
    /// See [`SearchValue::Keyword`].
    Keyword,
    /// See [`SearchValue::KeywordList`].
    KeywordList,
    /// See [`SearchValue::Text`].
    Text,
    /// See [`SearchValue::Int`].
    Int,
    /// See [`SearchValue::Double`].
    Double,
    /// See [`SearchValue::Bool`].
    Bool,
    /// See [`SearchValue::Datetime`].
    Datetime,
}

impl SearchType {
    /// All of them.
    pub const ALL: [SearchType; 7] = [
        SearchType::Keyword,
        SearchType::KeywordList,
        SearchType::Text,
        SearchType::Int,
        SearchType::Double,
        SearchType::Bool,
        SearchType::Datetime,
    ];

    /// The type's name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            SearchType::Keyword => "Keyword",
            SearchType::KeywordList => "KeywordList",
            SearchType::Text => "Text",
            SearchType::Int => "Int",
            SearchType::Double => "Double",
            SearchType::Bool => "Bool",
            SearchType::Datetime => "Datetime",
        }
    }

    /// The type of this name, in any mix of upper and lower case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for SearchType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl SearchValue {
    /// Its type.
    pub fn search_type(&self) -> SearchType {
        match self {
            SearchValue::Keyword(_) => SearchType::Keyword,
            SearchValue::KeywordList(_) => SearchType::KeywordList,
            SearchValue::Text(_) => SearchType::Text,
            SearchValue::Int(_) => SearchType::Int,
            SearchValue::Double(_) => SearchType::Double,
            SearchValue::Bool(_) => SearchType::Bool,
            SearchValue::Datetime(_) => SearchType::Datetime,
        }
    }

    /// Bytes of what it holds.
    pub fn size(&self) -> usize {
        match self {
            SearchValue::Keyword(text) | SearchValue::Text(text) => text.len(),
            SearchValue::KeywordList(words) => words.iter().map(String::len).sum(),
            SearchValue::Int(_) | SearchValue::Double(_) | SearchValue::Datetime(_) => 8,
            SearchValue::Bool(_) => 1,
        }
    }

    /// Whether it is a number that is infinite or not a number.
    pub fn is_odd_number(&self) -> bool {
        matches!(self, SearchValue::Double(number) if !number.is_finite())
    }
}

/// The words by which a text is found: what lies between its letters and digits does not count, nor does upper or lower case.
/// Each once, in order.
pub fn words_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase);
    words.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The attribute that the engine itself gives a run while it is paused: it is listed by `Paused = true`, and found no longer once it is
/// resumed or closed.
pub const PAUSED: &str = "Paused";

/// The attribute that the engine itself gives a run whose last workflow task failed: the kind of the failure
/// ([`crate::execution::Execution::task_failure`]). It is gone as soon as a task of the run succeeds.
pub const TASK_FAILURE: &str = "TaskFailure";

/// The attribute that the engine itself gives a run that has met a version: the deployment of the version that it stays with, or that moved
/// it forward last ([`crate::execution::Execution::listed_version`]). A closed run keeps it, and the two below.
pub const DEPLOYMENT: &str = "Deployment";

/// The build of that version.
pub const BUILD_ID: &str = "BuildId";

/// How that run follows versions: [`crate::version::VersioningBehavior::name`].
pub const VERSIONING_BEHAVIOR: &str = "VersioningBehavior";

/// Words of the filter language that would be mistaken for an attribute of that name.
const WORDS_OF_FILTERS: [&str; 15] = [
    "and",
    "asc",
    "between",
    "by",
    "desc",
    "false",
    "group",
    "in",
    "is",
    "not",
    "null",
    "or",
    "order",
    "starts_with",
    "true",
];

/// Whether an attribute can be registered under this name. `Err` says what is wrong with it.
///
/// Names are written without quotes in filters: ASCII letters, digits and `_`, no digit first, at most
/// [`limits::SEARCH_NAME_BYTES_MAX`] bytes; not the name of a column that every run has, nor a word of the language.
pub fn check_new_name(name: &str) -> Result<SearchAttributeName, String> {
    let first_is_right = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first_is_right || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("{name:?} is no name: use letters, digits and _, and no digit first"));
    }
    if name.len() > limits::SEARCH_NAME_BYTES_MAX {
        let limit = limits::SEARCH_NAME_BYTES_MAX;
        return Err(format!("the name is {} bytes long; the limit is {limit} bytes", name.len()));
    }
    if [Subject::Workflows, Subject::Activities].into_iter().any(|subject| Column::of_name(name, subject).is_some()) {
        return Err(format!("{name} is a column that every run has: choose another name"));
    }
    if WORDS_OF_FILTERS.iter().any(|word| word.eq_ignore_ascii_case(name)) {
        return Err(format!("{name} is a word of the filter language: choose another name"));
    }
    Ok(SearchAttributeName::from_trusted(name))
}

/// Whether runs may have this value of this attribute. `Err` says why not, and what is registered.
pub fn check_registered(name: &SearchAttributeName, value: &SearchValue, known: &SearchTypes) -> Result<(), String> {
    match known.get(name) {
        Some(search_type) if *search_type == value.search_type() => Ok(()),
        Some(search_type) => {
            Err(format!("{name} is registered as {search_type}, and the value is of type {}", value.search_type()))
        }
        None if known.is_empty() => {
            Err(format!("{name} is not registered: the namespace has no search attributes; register it first"))
        }
        None => {
            let known: Vec<String> = known.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
            Err(format!("{name} is not registered in the namespace, which has {}; register it first", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_by_its_words_in_any_case() {
        assert_eq!(
            words_of("Late delivery -- of the LATE \u{c4}pfel, 2x"),
            ["2x", "delivery", "late", "of", "the", "\u{e4}pfel"]
        );
        assert_eq!(words_of(" -- "), [""; 0]);
    }

    #[test]
    fn names_that_filters_could_not_write_are_refused() {
        for name in ["Total", "_x1", "CustomerId"] {
            assert!(check_new_name(name).is_ok(), "{name}");
        }
        for name in
            ["", "1st", "a-b", "a b", "gr\u{f6}\u{df}e", "status", "ExecutionStatus", "Between", &"x".repeat(65)]
        {
            assert!(check_new_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_must_have_the_registered_type() {
        let name = |text: &str| SearchAttributeName::from_trusted(text);
        let known = SearchTypes::from([(name("Total"), SearchType::Int)]);
        assert_eq!(check_registered(&name("Total"), &SearchValue::Int(1), &known), Ok(()));
        let wrong = check_registered(&name("Total"), &SearchValue::Bool(true), &known).unwrap_err();
        assert_eq!(wrong, "Total is registered as Int, and the value is of type Bool");
        let unknown = check_registered(&name("total"), &SearchValue::Int(1), &known).unwrap_err();
        assert_eq!(unknown, "total is not registered in the namespace, which has Total (Int); register it first");
    }
}
