//! What lists, counts and waits have in common, whatever they are about.

use engine_proto::{convert, v1};
use serde_json::{Value, json};

use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{failure, payload, run, text};

/// Most that is asked for at once.
const PAGE: usize = 1000;

/// Asks for page after page, `ask` telling how many and from which token on, until there is `limit` of it (0: all) or no more. Whether there
/// is more.
pub(crate) async fn pages<T>(
    limit: usize,
    mut ask: impl AsyncFnMut(u32, Vec<u8>) -> Result<(Vec<T>, Vec<u8>), CliError>,
) -> Result<(Vec<T>, bool), CliError> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let (mut found, mut token) = (Vec::new(), Vec::new());
    loop {
        let size = u32::try_from((limit - found.len()).min(PAGE)).expect("a page is small");
        let (page, next) = ask(size, token).await?;
        found.extend(page);
        token = next;
        if token.is_empty() || found.len() >= limit {
            return Ok((found, !token.is_empty()));
        }
    }
}

/// Prints how many there are, by group if the query has groups. `in_all` says it without.
pub(crate) fn print_count(
    count: u64,
    groups: &[v1::WorkflowGroup],
    in_all: &str,
    output: &mut Output,
) -> Result<Exit, CliError> {
    match output.format() {
        Format::Json => {
            let groups: Vec<Value> =
                groups.iter().map(|group| json!({ "value": group.value, "count": group.count })).collect();
            output.json(&json!({ "count": count, "groups": groups }))?;
        }
        Format::Text if groups.is_empty() => output.line(in_all)?,
        Format::Text => {
            for group in groups {
                output.line(&format!("{:>10}  {}", group.count, text::one_line(&group.value, text::SHORT)))?;
            }
            output.line(&format!("{count:>10}  in all"))?;
        }
    }
    Ok(Exit::Done)
}

/// Prints what `named`, a workflow or an activity, returned, or why it did not, and says by the exit code whether it did.
pub(crate) fn print_outcome(
    outcome: &v1::GetWorkflowResultResponse,
    named: &str,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let exit = exit(outcome.status());
    match output.format() {
        Format::Json => output.json(&run::outcome_value(outcome))?,
        Format::Text => match &outcome.result {
            Some(result) if exit == Exit::Done => {
                output.line(&payload::words(&convert::payload_from_proto(result.clone()), usize::MAX))?;
            }
            _ if exit == Exit::Done => output.line("null")?,
            _ => {
                let how = run::status(outcome.status()).to_lowercase().replace('_', " ");
                let why = run::failure_of(outcome.failure.as_ref());
                let why = why.map(|it| format!("\n  {}", failure::lines(&it))).unwrap_or_default();
                eprintln!("{named} {how}{why}");
            }
        },
    }
    Ok(exit)
}

fn exit(status: v1::WorkflowStatus) -> Exit {
    match status {
        v1::WorkflowStatus::Completed => Exit::Done,
        v1::WorkflowStatus::Failed
        | v1::WorkflowStatus::Canceled
        | v1::WorkflowStatus::Terminated
        | v1::WorkflowStatus::TimedOut => Exit::WorkflowFailed,
        // Of an activity: it was run again. The result of a workflow is that of its chain's last run, which is not continued.
        v1::WorkflowStatus::ContinuedAsNew => Exit::WorkflowFailed,
        v1::WorkflowStatus::Running | v1::WorkflowStatus::Unspecified => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_completed_is_a_success() {
        assert_eq!(exit(v1::WorkflowStatus::Completed), Exit::Done);
        for status in [v1::WorkflowStatus::Failed, v1::WorkflowStatus::Canceled, v1::WorkflowStatus::TimedOut] {
            assert_eq!(exit(status), Exit::WorkflowFailed);
        }
    }

    /// `total` numbers, in pages of at most three.
    async fn listed(total: usize, limit: usize) -> (usize, bool) {
        let (found, more) = pages(limit, async |size, token: Vec<u8>| {
            let from = token.first().map_or(0, |from| usize::from(*from));
            let to = (from + (size as usize).min(3)).min(total);
            let next = if to < total { vec![u8::try_from(to).expect("it is small")] } else { Vec::new() };
            Ok(((from..to).collect::<Vec<_>>(), next))
        })
        .await
        .map_err(|_| "nothing refuses")
        .expect("nothing refuses");
        assert!(found.iter().copied().eq(0..found.len()));
        (found.len(), more)
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_is_enough() {
        assert_eq!(listed(0, 5).await, (0, false));
        assert_eq!(listed(7, 0).await, (7, false));
        assert_eq!(listed(7, 7).await, (7, false));
        assert_eq!(listed(7, 5).await, (5, true));
        assert_eq!(listed(2, 5).await, (2, false));
    }
}
