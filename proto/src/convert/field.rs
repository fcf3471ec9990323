//! Single fields: identifiers, required messages, enum values.

use engine_core::ids::{InvalidId, RunId};
use uuid::Uuid;

use super::ConvertError;

/// The value of a field that must be set.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, "must be set"))
}

/// An identifier that must be there: `required_id("workflow_id", &request.workflow_id, WorkflowId::parse)`.
pub fn required_id<'a, T>(
    field: &str,
    text: &'a str,
    parse: impl FnOnce(&'a str) -> Result<T, InvalidId>,
) -> Result<T, ConvertError> {
    parse(text).map_err(|problem| ConvertError::new(field, problem))
}

/// An identifier that may be left empty.
pub fn optional_id<'a, T>(
    field: &str,
    text: &'a str,
    parse: impl FnOnce(&'a str) -> Result<T, InvalidId>,
) -> Result<Option<T>, ConvertError> {
    if text.is_empty() { Ok(None) } else { required_id(field, text, parse).map(Some) }
}

/// A run id in its hyphenated form.
pub fn run_id(field: &str, text: &str) -> Result<RunId, ConvertError> {
    Uuid::try_parse(text)
        .map(RunId::from_uuid)
        .map_err(|_| ConvertError::new(field, format_args!("{text:?} is not a UUID")))
}

/// A run id that may be left empty.
pub fn optional_run_id(field: &str, text: &str) -> Result<Option<RunId>, ConvertError> {
    if text.is_empty() { Ok(None) } else { run_id(field, text).map(Some) }
}

/// The enum value with this number. `E::default()` is its UNSPECIFIED.
pub(super) fn specified<E>(field: &str, number: i32) -> Result<E, ConvertError>
where
    E: TryFrom<i32> + Default + PartialEq,
{
    match E::try_from(number) {
        Ok(value) if value != E::default() => Ok(value),
        Ok(_) => Err(ConvertError::new(field, "must be set")),
        Err(_) => Err(ConvertError::new(field, format_args!("has the unknown value {number}"))),
    }
}

#[cfg(test)]
mod tests {
    use engine_core::ids::WorkflowId;

    use super::*;

    #[test]
    fn an_identifier_is_validated_under_its_fields_name() {
        let error = required_id("workflow_id", "", WorkflowId::parse).unwrap_err();
        assert_eq!(error.to_string(), "workflow_id: must not be empty");
        assert_eq!(optional_id("request_id", "", WorkflowId::parse), Ok(None));
        let error = optional_id("request_id", "a\u{7}", WorkflowId::parse).unwrap_err();
        assert_eq!(error.to_string(), "request_id: contains a control character at byte 1");
    }

    #[test]
    fn a_run_id_is_a_uuid_or_nothing() {
        let error = optional_run_id("execution.run_id", "seven").unwrap_err();
        assert_eq!(error.to_string(), "execution.run_id: \"seven\" is not a UUID");
        assert_eq!(optional_run_id("run_id", ""), Ok(None));
    }
}
