//! Search attributes: typed values by which runs are listed.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::SearchAttributeName;
use crate::time::Timestamp;

/// The search attributes of a run, by name.
pub type SearchAttributes = BTreeMap<SearchAttributeName, SearchValue>;

/// A change of search attributes: `None` takes the attribute away.
pub type SearchAttributeChanges = BTreeMap<SearchAttributeName, Option<SearchValue>>;

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
