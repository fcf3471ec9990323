//! Search attributes as the databases keep them: one JSON object beside a run's row, absent if the run has none.
//!
//! | key | value |
//! |---|---|
//! | `k:Name` | a keyword |
//! | `l:Name` | words, as an array |
//! | `t:Name` and `w:Name` | a text, and the words by which it is found, as an array |
//! | `i:Name`, `m:Name` | an integer, an instant in microseconds |
//! | `d:Name` | a number |
//! | `b:Name` | yes or no, as 1 or 0 |
//!
//! The type is part of the key, so a filter by a name that was registered anew with another type finds nothing of the old one,
//! and never fails at it. Once released, letters are never reused.

use engine_core::filter::Attribute;
use engine_core::ids::SearchAttributeName;
use engine_core::search::{SearchAttributes, SearchType, SearchValue, words_of};
use engine_core::time::Timestamp;
use serde_json::{Map, Value};

use super::StoreError;

fn letter(search_type: SearchType) -> char {
    match search_type {
        SearchType::Keyword => 'k',
        SearchType::KeywordList => 'l',
        SearchType::Text => 't',
        SearchType::Int => 'i',
        SearchType::Double => 'd',
        SearchType::Bool => 'b',
        SearchType::Datetime => 'm',
    }
}

fn key_of(search_type: SearchType, name: &SearchAttributeName) -> String {
    format!("{}:{name}", letter(search_type))
}

/// Where an attribute's value is.
pub(super) fn key(attribute: &Attribute) -> String {
    key_of(attribute.search_type, &attribute.name)
}

/// Where the words of a list or text are.
pub(super) fn words_key(attribute: &Attribute) -> String {
    match attribute.search_type {
        SearchType::Text => format!("w:{}", attribute.name),
        SearchType::Keyword
        | SearchType::KeywordList
        | SearchType::Int
        | SearchType::Double
        | SearchType::Bool
        | SearchType::Datetime => key(attribute),
    }
}

/// As they are stored; `None` if there are none.
pub(super) fn encode(attributes: &SearchAttributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut object = Map::new();
    for (name, value) in attributes {
        let stored = match value {
            SearchValue::Keyword(text) | SearchValue::Text(text) => Value::from(text.as_str()),
            SearchValue::KeywordList(words) => Value::from(words.as_slice()),
            SearchValue::Int(number) => Value::from(*number),
            SearchValue::Double(number) => Value::from(*number),
            SearchValue::Bool(yes) => Value::from(i64::from(*yes)),
            SearchValue::Datetime(at) => Value::from(at.as_micros()),
        };
        if let SearchValue::Text(text) = value {
            object.insert(format!("w:{name}"), Value::from(words_of(text)));
        }
        object.insert(key_of(value.search_type(), name), stored);
    }
    Some(Value::Object(object).to_string())
}

/// The inverse of [`encode`].
pub(super) fn decode(stored: Option<&str>) -> Result<SearchAttributes, StoreError> {
    let Some(stored) = stored else {
        return Ok(SearchAttributes::new());
    };
    let corrupt = || StoreError::Corrupt("the search attributes of a run cannot be understood".to_owned());
    let object: Map<String, Value> = serde_json::from_str(stored).map_err(|_| corrupt())?;
    let mut attributes = SearchAttributes::new();
    for (key, value) in object {
        let (letter, name) = key.split_once(':').ok_or_else(corrupt)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let value = match letter {
            "k" => text(&value).map(SearchValue::Keyword),
            "l" => value.as_array().and_then(|words| words.iter().map(text).collect()).map(SearchValue::KeywordList),
            "t" => text(&value).map(SearchValue::Text),
            "i" => value.as_i64().map(SearchValue::Int),
            "d" => value.as_f64().map(SearchValue::Double),
            "b" => value.as_i64().map(|yes| SearchValue::Bool(yes != 0)),
            "m" => value.as_i64().map(|micros| SearchValue::Datetime(Timestamp::from_micros(micros))),
            // The words of a text, which is there itself.
            "w" => continue,
            _ => None,
        };
        attributes.insert(SearchAttributeName::from_trusted(name), value.ok_or_else(corrupt)?);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_each_type_are_read_back_as_they_were_written() {
        let values = [
            SearchValue::Keyword("it\u{e4}'s \"quoted\"".into()),
            SearchValue::KeywordList(vec!["a".into(), String::new()]),
            SearchValue::Text("Some words, twice: words".into()),
            SearchValue::Int(i64::MIN),
            SearchValue::Double(-0.1),
            SearchValue::Double(1e300),
            SearchValue::Bool(true),
            SearchValue::Datetime(Timestamp::from_micros(-1)),
        ];
        let name = |index| SearchAttributeName::from_trusted(format!("a{index}"));
        let attributes: SearchAttributes = (0..).map(name).zip(values).collect();
        assert_eq!(decode(encode(&attributes).as_deref()).unwrap(), attributes);
        assert_eq!(encode(&SearchAttributes::new()), None);
        assert!(matches!(decode(Some("{\"x:a\":1}")), Err(StoreError::Corrupt(_))));
    }
}
