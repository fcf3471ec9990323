//! Search attributes, and other things that are shown of a run.

use std::collections::BTreeMap;

use engine_core::event::PropertyChanges;
use engine_core::ids::SearchAttributeName;
use engine_core::search::{SearchAttributeChanges, SearchAttributes, SearchType, SearchValue};
use engine_core::time::Timestamp;
use v1::search_value::Value;

use super::error::ConvertError;
use super::field::required;
use super::{payload_from_proto, payload_to_proto};
use crate::v1;

/// A search attribute's value as a message.
pub fn search_value_to_proto(value: &SearchValue) -> v1::SearchValue {
    let value = match value {
        SearchValue::Keyword(word) => Value::Keyword(word.clone()),
        SearchValue::KeywordList(words) => Value::KeywordList(v1::KeywordList { words: words.clone() }),
        SearchValue::Text(text) => Value::Text(text.clone()),
        SearchValue::Int(number) => Value::Int(*number),
        SearchValue::Double(number) => Value::Double(*number),
        SearchValue::Bool(yes) => Value::Bool(*yes),
        SearchValue::Datetime(at) => Value::DatetimeUs(at.as_micros()),
    };
    v1::SearchValue { value: Some(value) }
}

/// A search attribute's value from a message.
pub fn search_value_from_proto(field: &str, message: v1::SearchValue) -> Result<SearchValue, ConvertError> {
    Ok(match required(field, message.value)? {
        Value::Keyword(word) => SearchValue::Keyword(word),
        Value::KeywordList(list) => SearchValue::KeywordList(list.words),
        Value::Text(text) => SearchValue::Text(text),
        Value::Int(number) => SearchValue::Int(number),
        Value::Double(number) => SearchValue::Double(number),
        Value::Bool(yes) => SearchValue::Bool(yes),
        Value::DatetimeUs(micros) => SearchValue::Datetime(Timestamp::from_micros(micros)),
    })
}

/// Search attributes as a map.
pub fn search_attributes_to_proto(attributes: &SearchAttributes) -> BTreeMap<String, v1::SearchValue> {
    attributes.iter().map(|(name, value)| (name.to_string(), search_value_to_proto(value))).collect()
}

/// Search attributes from a map. The names must be valid; whether they are known is for the server to say.
pub fn search_attributes_from_proto(
    messages: BTreeMap<String, v1::SearchValue>,
) -> Result<SearchAttributes, ConvertError> {
    let convert = |(name, message): (String, v1::SearchValue)| {
        let value = search_value_from_proto(&field_of(&name), message)?;
        Ok((attribute_name(&name)?, value))
    };
    messages.into_iter().map(convert).collect()
}

/// A change of search attributes as a message.
pub fn search_changes_to_proto(changes: &SearchAttributeChanges) -> v1::SearchAttributeChanges {
    let mut message = v1::SearchAttributeChanges::default();
    for (name, value) in changes {
        match value {
            Some(value) => drop(message.set.insert(name.to_string(), search_value_to_proto(value))),
            None => message.removed.push(name.to_string()),
        }
    }
    message
}

/// A change of search attributes from a message. What is both set and taken away is set.
pub fn search_changes_from_proto(message: v1::SearchAttributeChanges) -> Result<SearchAttributeChanges, ConvertError> {
    let removed = message.removed.iter().map(|name| Ok((attribute_name(name)?, None)));
    let mut changes: SearchAttributeChanges = removed.collect::<Result<_, ConvertError>>()?;
    changes.extend(search_attributes_from_proto(message.set)?.into_iter().map(|(name, value)| (name, Some(value))));
    Ok(changes)
}

/// A change of what people are shown as a message.
pub fn property_changes_to_proto(changes: &PropertyChanges) -> v1::PropertyChanges {
    let mut message =
        v1::PropertyChanges { current_details: changes.current_details.clone(), ..v1::PropertyChanges::default() };
    for (key, value) in &changes.memo {
        match value {
            Some(value) => drop(message.memo.insert(key.clone(), payload_to_proto(value))),
            None => message.removed_memo.push(key.clone()),
        }
    }
    message
}

/// A change of what people are shown from a message.
pub fn property_changes_from_proto(message: v1::PropertyChanges) -> PropertyChanges {
    let mut memo: BTreeMap<_, _> = message.removed_memo.into_iter().map(|key| (key, None)).collect();
    memo.extend(message.memo.into_iter().map(|(key, value)| (key, Some(payload_from_proto(value)))));
    PropertyChanges { memo, current_details: message.current_details }
}

/// The type of a search attribute as a message.
pub fn search_type_to_proto(search_type: SearchType) -> v1::SearchAttributeType {
    match search_type {
        SearchType::Keyword => v1::SearchAttributeType::Keyword,
        SearchType::KeywordList => v1::SearchAttributeType::KeywordList,
        SearchType::Text => v1::SearchAttributeType::Text,
        SearchType::Int => v1::SearchAttributeType::Int,
        SearchType::Double => v1::SearchAttributeType::Double,
        SearchType::Bool => v1::SearchAttributeType::Bool,
        SearchType::Datetime => v1::SearchAttributeType::Datetime,
    }
}

/// The type of a search attribute from a message.
pub fn search_type_from_proto(field: &str, number: i32) -> Result<SearchType, ConvertError> {
    use v1::SearchAttributeType as Message;
    match Message::try_from(number) {
        Ok(Message::Keyword) => Ok(SearchType::Keyword),
        Ok(Message::KeywordList) => Ok(SearchType::KeywordList),
        Ok(Message::Text) => Ok(SearchType::Text),
        Ok(Message::Int) => Ok(SearchType::Int),
        Ok(Message::Double) => Ok(SearchType::Double),
        Ok(Message::Bool) => Ok(SearchType::Bool),
        Ok(Message::Datetime) => Ok(SearchType::Datetime),
        Ok(Message::Unspecified) | Err(_) => Err(ConvertError::new(field, "must name a type of search attributes")),
    }
}

fn attribute_name(name: &str) -> Result<SearchAttributeName, ConvertError> {
    SearchAttributeName::parse(name)
        .map_err(|error| ConvertError::new("search_attributes", format!("the name of one {error}")))
}

fn field_of(name: &str) -> String {
    let shown: String = name.chars().take(100).collect();
    format!("search_attributes[{shown:?}]")
}
