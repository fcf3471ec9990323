//! Which field of a message is wrong, and how.

use std::fmt::Display;

/// A message that the core types cannot hold. A server answers INVALID_ARGUMENT and names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConvertError {
    /// The field's path from the converted message, such as `commands[3].schedule_activity.activity_id`.
    pub field: String,
    /// What is wrong with it, for people; reads on from the field's name.
    pub problem: String,
}

impl ConvertError {
    /// `field` is wrong in the way that `problem` says.
    pub fn new(field: impl Into<String>, problem: impl Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    /// The same error as seen from the message that holds the converted one in `outer`.
    pub fn inside(mut self, outer: impl Display) -> Self {
        self.field = if self.field.is_empty() { outer.to_string() } else { format!("{outer}.{}", self.field) };
        self
    }
}

/// Adds the outer field to the error of a conversion.
pub(super) trait Inside<T> {
    /// See [`ConvertError::inside`].
    fn inside(self, outer: &str) -> Result<T, ConvertError>;
}

impl<T> Inside<T> for Result<T, ConvertError> {
    fn inside(self, outer: &str) -> Result<T, ConvertError> {
        self.map_err(|error| error.inside(outer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_grows_from_the_inside() {
        let error =
            ConvertError::new("activity_id", "must not be empty").inside("schedule_activity").inside("commands[3]");
        assert_eq!(error.to_string(), "commands[3].schedule_activity.activity_id: must not be empty");
        assert_eq!(ConvertError::new("", "must be set").inside("failure").field, "failure");
    }
}
