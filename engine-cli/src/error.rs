//! Exit codes, and the one sentence that goes with each.

use std::process::ExitCode;

use serde_json::json;

use crate::output::Format;

/// How the process ends. Scripts rely on the numbers: they are in `--help` and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done.
    Done,
    /// The request failed in a way that has no number of its own.
    Failed,
    /// The command line, an input or a configuration file is wrong. Nothing was sent.
    Usage,
    /// The workflow whose outcome was asked for did not complete.
    WorkflowFailed,
    /// There is no such namespace, workflow or run.
    NotFound,
    /// The server or its database cannot be reached, or is overloaded: try again later.
    Unavailable,
    /// The workflow id is taken.
    AlreadyExists,
    /// The time to wait for the outcome is over; the workflow runs on.
    StillRunning,
    /// A server cannot run here as it is asked to: occupied address, file in use, unfit database.
    CannotServe,
}

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the request failed
  2  wrong arguments, input or configuration; nothing was sent
  3  the workflow failed, timed out, was canceled or terminated (result, start --wait)
  4  no such namespace, workflow or run
  5  the server or the database cannot be reached or is overloaded: try again later
  6  the workflow id is taken
  7  still running when --timeout was over (result, start --wait)
  8  a server cannot run here: occupied address, file in use, unfit database";

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::WorkflowFailed => 3,
            Exit::NotFound => 4,
            Exit::Unavailable => 5,
            Exit::AlreadyExists => 6,
            Exit::StillRunning => 7,
            Exit::CannotServe => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CliError {
    /// Something to say.
    Told(Told),
    /// Nobody reads our output any more, as in `engine workflow list | head -1`: end without a word.
    OutputClosed,
}

/// What an error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// One sentence, lower case, without a final period.
    pub(crate) message: String,
    /// The field of the request that is wrong, if one is.
    pub(crate) field: Option<String>,
}

impl CliError {
    /// An error without a field.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Told(Told { exit, message: message.into(), field: None })
    }

    /// Wrong arguments or input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Prints the error to standard error and gives the process's exit code.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        match self {
            CliError::OutputClosed => ExitCode::SUCCESS,
            CliError::Told(told) => {
                eprintln!("{}", told.render(format));
                told.exit.into()
            }
        }
    }
}

impl Told {
    fn render(&self, format: Format) -> String {
        match format {
            Format::Json => {
                json!({ "error": { "exit_code": self.exit.code(), "message": self.message, "field": self.field } })
                    .to_string()
            }
            Format::Text => format!("error: {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        let exits = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::WorkflowFailed,
            Exit::NotFound,
            Exit::Unavailable,
            Exit::AlreadyExists,
            Exit::StillRunning,
            Exit::CannotServe,
        ];
        for (number, exit) in (0..).zip(exits) {
            assert_eq!(exit.code(), number);
            assert!(EXIT_CODES.contains(&format!("\n  {number}  ")), "{number}");
        }
    }

    #[test]
    fn errors_are_one_sentence_for_people_and_an_object_for_programs() {
        let told =
            Told { exit: Exit::NotFound, message: "no workflow \"x\"".into(), field: Some("workflow_id".into()) };
        assert_eq!(told.render(Format::Text), "error: no workflow \"x\"");
        let object: serde_json::Value = serde_json::from_str(&told.render(Format::Json)).unwrap();
        assert_eq!(object["error"]["exit_code"], 4);
        assert_eq!(object["error"]["field"], "workflow_id");
    }
}
