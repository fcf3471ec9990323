//! What code and history differ in, for people: the commands of one workflow task side by side.

use std::fmt;
use std::fmt::Write;

use super::matching::{Issued, Step};
use crate::ids::EventId;

/// Commands before the first difference that are shown.
const CONTEXT_BEFORE: usize = 5;
/// Commands from the first difference on that are shown, on each side.
const CONTEXT_AFTER: usize = 20;

/// The code issued other commands than history has. The workflow task fails with it and is tried again: code that follows the
/// history heals the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nondeterminism {
    /// The first event that the code contradicts.
    pub event_id: EventId,
    /// What history has there.
    pub expected: String,
    /// What the code asked for there, and where in its source, if that is known.
    pub actual: String,
    /// The task's commands side by side, one to a line, those of the code with their place in its source; `>` marks the first
    /// difference.
    pub diff: String,
}

impl Nondeterminism {
    /// The first `matched` entries of both lists agree.
    pub(super) fn new(
        completed: EventId,
        event_id: EventId,
        history: &[(EventId, Step)],
        code: &[Issued],
        matched: usize,
    ) -> Self {
        let nothing = || "nothing".to_owned();
        Self {
            event_id,
            expected: history.get(matched).map_or_else(nothing, |(_, step)| step.to_string()),
            actual: code.get(matched).map_or_else(nothing, |own| with_place(own, " at ")),
            diff: diff(completed, history, code, matched),
        }
    }
}

impl Nondeterminism {
    /// The command is the same, but it carries something else.
    pub(super) fn with_values(mut self, history: &str, code: &str) -> Self {
        self.expected = format!("{} with {history}", self.expected);
        self.actual = format!("{} with {code}", self.actual);
        self
    }
}

impl fmt::Display for Nondeterminism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_id, expected, actual, diff } = self;
        write!(
            f,
            "the workflow code does not follow its history: at event {event_id} the history has {expected}, \
             but the code asked for {actual}\n{diff}"
        )
    }
}

impl std::error::Error for Nondeterminism {}

/// A line of the difference: an index on either side.
type Line = (Option<usize>, Option<usize>);

/// A command of the code's, with its place in the source behind `separator`.
fn with_place(own: &Issued, separator: &str) -> String {
    match own.place {
        Some(place) => format!("{}{separator}{}:{}", own.step, place.file(), place.line()),
        None => own.step.to_string(),
    }
}

fn diff(completed: EventId, history: &[(EventId, Step)], code: &[Issued], matched: usize) -> String {
    let skipped = matched.saturating_sub(CONTEXT_BEFORE);
    let history_end = history.len().min(matched + CONTEXT_AFTER);
    let code_end = code.len().min(matched + CONTEXT_AFTER);
    let mut lines: Vec<Line> = (skipped..matched).map(|at| (Some(at), Some(at))).collect();
    lines.extend(align(history, code, matched..history_end, matched..code_end));

    let left: Vec<String> = lines
        .iter()
        .map(|(at, _)| at.and_then(|at| history.get(at)).map_or_else(|| "-".to_owned(), |(_, step)| step.to_string()))
        .collect();
    let width = left.iter().map(|text| text.chars().count()).max().unwrap_or(0).max("history".len());
    let mut text = format!("commands of the workflow task completed at event {completed}:\n");
    let _ = write!(text, "  {:>6}  {:width$}  code", "event", "history");
    if skipped > 0 {
        let _ = write!(text, "\n          ({skipped} equal commands before)");
    }
    for (number, ((in_history, in_code), left)) in lines.iter().zip(&left).enumerate() {
        let mark = if number == matched - skipped { '>' } else { ' ' };
        let event = in_history.and_then(|at| history.get(at)).map(|(id, _)| id.to_string()).unwrap_or_default();
        let right = in_code.and_then(|at| code.get(at)).map_or_else(|| "-".to_owned(), |own| with_place(own, "  "));
        let _ = write!(text, "\n{mark} {event:>6}  {left:width$}  {right}");
    }
    let (more_history, more_code) = (history.len() - history_end, code.len() - code_end);
    if more_history + more_code > 0 {
        let _ = write!(text, "\n          (and {more_history} more in the history, {more_code} more of the code)");
    }
    text
}

/// Puts steps that resemble each other on one line, as many as keep their order (longest common subsequence), and steps
/// between them side by side as long as both sides have some.
fn align(
    history: &[(EventId, Step)],
    code: &[Issued],
    left: std::ops::Range<usize>,
    right: std::ops::Range<usize>,
) -> Vec<Line> {
    let (rows, columns) = (left.len(), right.len());
    let same = |i: usize, j: usize| history[left.start + i].1.resembles(&code[right.start + j].step);
    // longest[i][j]: length of the longest common subsequence of what follows (i, j).
    let mut longest = vec![vec![0_usize; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            longest[i][j] =
                if same(i, j) { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < rows || j < columns {
        let pair_loses_nothing =
            i < rows && j < columns && longest[i][j] == longest[i + 1][j + 1] + usize::from(same(i, j));
        if pair_loses_nothing {
            lines.push((Some(left.start + i), Some(right.start + j)));
            i += 1;
            j += 1;
        } else if j == columns || (i < rows && longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push((Some(left.start + i), None));
            i += 1;
        } else {
            lines.push((None, Some(right.start + j)));
            j += 1;
        }
    }
    lines
}
