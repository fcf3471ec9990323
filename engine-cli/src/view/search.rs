//! Search attributes, for programs and for people.

use engine_core::filter::{Number, parse_instant};
use engine_core::search::{SearchAttributeChanges, SearchAttributes, SearchType, SearchValue};
use serde_json::{Map, Value, json};

use super::time;

/// By name, each as the JSON value that is nearest to it.
pub(crate) fn attributes(attributes: &SearchAttributes) -> Map<String, Value> {
    attributes.iter().map(|(name, value)| (name.to_string(), json_value(value))).collect()
}

/// By name; `null` where one is taken away.
pub(crate) fn changes(changes: &SearchAttributeChanges) -> Map<String, Value> {
    changes.iter().map(|(name, value)| (name.to_string(), value.as_ref().map_or(Value::Null, json_value))).collect()
}

/// A value as people write it.
pub(crate) fn words(value: &SearchValue) -> String {
    match value {
        SearchValue::Keyword(text) | SearchValue::Text(text) => text.clone(),
        SearchValue::KeywordList(list) => list.join(", "),
        SearchValue::Int(number) => number.to_string(),
        SearchValue::Double(number) => number.to_string(),
        SearchValue::Bool(yes) => yes.to_string(),
        SearchValue::Datetime(at) => time::rfc3339(*at),
    }
}

/// A value of this type, as people write it on a command line. `Err` says what is wrong.
pub(crate) fn read(text: &str, search_type: SearchType) -> Result<SearchValue, String> {
    let value = match search_type {
        SearchType::Keyword => Some(SearchValue::Keyword(text.to_owned())),
        SearchType::Text => Some(SearchValue::Text(text.to_owned())),
        SearchType::KeywordList => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Some(SearchValue::KeywordList(words.map(str::to_owned).collect()))
        }
        SearchType::Int => text.parse().ok().map(SearchValue::Int),
        SearchType::Double => text.parse().ok().and_then(Number::new).map(|number| SearchValue::Double(number.get())),
        SearchType::Bool => text.parse().ok().map(SearchValue::Bool),
        SearchType::Datetime => parse_instant(text).map(SearchValue::Datetime),
    };
    value.ok_or_else(|| {
        let example = match search_type {
            SearchType::Int => "integer of 64 bits",
            SearchType::Double => "number; write it like 2.5",
            SearchType::Bool => "yes or no; write true or false",
            SearchType::Keyword | SearchType::Text | SearchType::KeywordList | SearchType::Datetime => {
                "instant; write it like 2026-11-22 or 2026-11-22T09:30:00Z"
            }
        };
        format!("{text:?} is no {example}")
    })
}

fn json_value(value: &SearchValue) -> Value {
    match value {
        SearchValue::Keyword(text) | SearchValue::Text(text) => json!(text),
        SearchValue::KeywordList(list) => json!(list),
        SearchValue::Int(number) => json!(number),
        SearchValue::Double(number) => json!(number),
        SearchValue::Bool(yes) => json!(yes),
        SearchValue::Datetime(at) => json!(time::rfc3339(*at)),
    }
}
