//! Search attributes: typed keys, declared once and used wherever a run is started, changed or read.

use std::marker::PhantomData;
use std::time::SystemTime;

use engine_core::ids::SearchAttributeName;
use engine_core::search::{SearchAttributes, SearchType, SearchValue};
use engine_core::time::Timestamp;

/// The name of a search attribute together with its type. `T` is what values look like in Rust: `str` for keywords and texts,
/// `[String]` for keyword lists, `i64`, `f64`, `bool`, and [`SystemTime`].
///
/// It must be registered in the namespace, with its type: [`NamespaceChange::search_attribute`](crate::client::NamespaceChange::search_attribute).
/// Values are recorded in the history, shown by lists and describe, and runs are listed by them: `client.list("Cents > 5000")`.
#[derive(Debug)]
pub struct SearchKey<T: ?Sized> {
    name: &'static str,
    search_type: SearchType,
    value: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Clone for SearchKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for SearchKey<T> {}

impl<T: ?Sized> SearchKey<T> {
    const fn new(name: &'static str, search_type: SearchType) -> Self {
        Self { name, search_type, value: PhantomData }
    }

    /// The attribute's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The type under which it must be registered in the namespace.
    pub fn search_type(&self) -> SearchType {
        self.search_type
    }

    /// Takes the attribute away from a run.
    pub fn remove(&self) -> SearchChange {
        SearchChange { name: self.name.to_owned(), value: None }
    }

    fn change(&self, value: SearchValue) -> SearchChange {
        SearchChange { name: self.name.to_owned(), value: Some(value) }
    }

    fn find<'a>(&self, attributes: &'a SearchAttributes) -> Option<&'a SearchValue> {
        attributes.iter().find(|(name, _)| name.as_str() == self.name).map(|(_, value)| value)
    }
}

impl SearchKey<str> {
    /// A word of at most 1000 bytes, compared as a whole.
    pub const fn keyword(name: &'static str) -> Self {
        Self::new(name, SearchType::Keyword)
    }

    /// A text, found by its words.
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, SearchType::Text)
    }

    /// Gives a run this value.
    pub fn set(&self, value: impl Into<String>) -> SearchChange {
        let value = value.into();
        self.change(match self.search_type {
            SearchType::Text => SearchValue::Text(value),
            SearchType::Keyword
            | SearchType::KeywordList
            | SearchType::Int
            | SearchType::Double
            | SearchType::Bool
            | SearchType::Datetime => SearchValue::Keyword(value),
        })
    }

    /// The value among those of a run.
    pub fn get<'a>(&self, attributes: &'a SearchAttributes) -> Option<&'a str> {
        match self.find(attributes)? {
            SearchValue::Keyword(text) | SearchValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl SearchKey<[String]> {
    /// Words: a run is found by each of them.
    pub const fn keyword_list(name: &'static str) -> Self {
        Self::new(name, SearchType::KeywordList)
    }

    /// Gives a run these words.
    pub fn set<W: Into<String>>(&self, words: impl IntoIterator<Item = W>) -> SearchChange {
        self.change(SearchValue::KeywordList(words.into_iter().map(Into::into).collect()))
    }

    /// The words among the values of a run.
    pub fn get<'a>(&self, attributes: &'a SearchAttributes) -> Option<&'a [String]> {
        match self.find(attributes)? {
            SearchValue::KeywordList(words) => Some(words),
            _ => None,
        }
    }
}

macro_rules! plain_key {
    ($value:ty, $make:ident, $variant:ident, $doc:literal) => {
        impl SearchKey<$value> {
            #[doc = $doc]
            pub const fn $make(name: &'static str) -> Self {
                Self::new(name, SearchType::$variant)
            }

            /// Gives a run this value.
            pub fn set(&self, value: $value) -> SearchChange {
                self.change(SearchValue::$variant(value))
            }

            /// The value among those of a run.
            pub fn get(&self, attributes: &SearchAttributes) -> Option<$value> {
                match self.find(attributes)? {
                    SearchValue::$variant(value) => Some(*value),
                    _ => None,
                }
            }
        }
    };
}

plain_key!(i64, int, Int, "An integer.");
plain_key!(f64, double, Double, "A finite number.");
plain_key!(bool, bool, Bool, "Yes or no.");

impl SearchKey<SystemTime> {
    /// An instant.
    pub const fn datetime(name: &'static str) -> Self {
        Self::new(name, SearchType::Datetime)
    }

    /// Gives a run this value, to the microsecond.
    pub fn set(&self, value: SystemTime) -> SearchChange {
        let micros = match value.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        self.change(SearchValue::Datetime(Timestamp::from_micros(micros)))
    }

    /// The value among those of a run.
    pub fn get(&self, attributes: &SearchAttributes) -> Option<SystemTime> {
        match self.find(attributes)? {
            SearchValue::Datetime(at) => {
                let distance = std::time::Duration::from_micros(at.as_micros().unsigned_abs());
                let epoch = SystemTime::UNIX_EPOCH;
                if at.as_micros() < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) }
            }
            _ => None,
        }
    }
}

/// A new value of one search attribute, or that it goes. Made by [`SearchKey`].
#[derive(Debug, Clone, PartialEq)]
pub struct SearchChange {
    pub(crate) name: String,
    pub(crate) value: Option<SearchValue>,
}

impl SearchChange {
    /// A change of an attribute whose name is not known when the program is compiled.
    pub fn of(name: impl Into<String>, value: Option<SearchValue>) -> Self {
        Self { name: name.into(), value }
    }

    /// `Err` says what is wrong with the name.
    pub(crate) fn into_parts(self) -> Result<(SearchAttributeName, Option<SearchValue>), String> {
        let name =
            SearchAttributeName::parse(&self.name).map_err(|error| format!("the name {:?} {error}", self.name))?;
        Ok((name, self.value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_reads_what_it_wrote_and_nothing_of_another_type() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1_500_000);
        let changes = [
            SearchKey::keyword("region").set("eu"),
            SearchKey::text("note").set("a long story"),
            SearchKey::keyword_list("tags").set(["new", "vip"]),
            SearchKey::int("cents").set(-7),
            SearchKey::double("rate").set(0.5),
            SearchKey::bool("gift").set(true),
            SearchKey::datetime("due").set(before),
        ];
        let attributes: SearchAttributes = changes
            .into_iter()
            .map(|change| change.into_parts().unwrap())
            .map(|(name, value)| (name, value.expect("it is set")))
            .collect();
        assert_eq!(SearchKey::keyword("region").get(&attributes), Some("eu"));
        assert_eq!(SearchKey::text("note").get(&attributes), Some("a long story"));
        assert_eq!(SearchKey::keyword_list("tags").get(&attributes), Some(&["new".to_owned(), "vip".to_owned()][..]));
        assert_eq!(SearchKey::int("cents").get(&attributes), Some(-7));
        assert_eq!(SearchKey::double("rate").get(&attributes), Some(0.5));
        assert_eq!(SearchKey::bool("gift").get(&attributes), Some(true));
        assert_eq!(SearchKey::datetime("due").get(&attributes), Some(before));
        assert_eq!(SearchKey::int("region").get(&attributes), None);
        assert_eq!(SearchKey::int("nothing").get(&attributes), None);
    }

    #[test]
    fn a_bad_name_is_told() {
        assert_eq!(SearchKey::int("").remove().into_parts(), Err("the name \"\" must not be empty".to_owned()));
    }
}
