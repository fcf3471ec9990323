//! Search attributes, for programs and for people.

use engine_core::search::{SearchAttributeChanges, SearchAttributes, SearchValue};
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
