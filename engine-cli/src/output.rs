//! Standard output: a terminal, a file or a pipe that somebody may close.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::error::{CliError, Exit};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people.
    Text,
    /// JSON for programs; its form is documented and stable.
    Json,
}

/// Where results go.
pub(crate) struct Output {
    writer: Box<dyn Write + Send>,
    format: Format,
    width: Option<u16>,
}

impl Output {
    /// Standard output. Tables fit the width of a terminal, and are as wide as they need to be anywhere else.
    pub(crate) fn stdout(format: Format) -> Self {
        let stdout = io::stdout();
        let width = if stdout.is_terminal() { comfy_table::Table::new().width() } else { None };
        Self { writer: Box::new(stdout), format, width }
    }

    /// How results are printed.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The width that tables must fit into, if there is one.
    pub(crate) fn width(&self) -> Option<u16> {
        self.width
    }

    /// Prints a line (or several, if the text has line breaks) and makes it visible at once: a reader may be waiting.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        let text = text.trim_end_matches('\n');
        let written = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::new(Exit::Failed, format!("cannot write to standard output: {error}")),
        })
    }

    /// Prints a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).expect("values have string keys and no failing parts");
        self.line(&text)
    }

    /// Prints a value as one line of JSON, for streams.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).expect("values have string keys and no failing parts");
        self.line(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_the_command_without_a_word() {
        let mut output = Output { writer: Box::new(Closed), format: Format::Text, width: None };
        assert_eq!(output.line("x"), Err(CliError::OutputClosed));
    }
}
