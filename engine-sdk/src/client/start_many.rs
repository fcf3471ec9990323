//! Many starts at once: cutting them into requests, and repeating what the engine could not take.

use engine_core::limits::STARTS_MAX;
use engine_proto::v1;
use engine_proto::v1::start_workflow_outcome::Outcome;
use futures::{StreamExt, stream};
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::error::retry_delay;
use super::start::{Template, handle};
use super::{Client, ClientError, WorkflowHandle, until_answered};
use crate::backoff::Backoff;
use crate::transport::is_unavailable;

/// How many requests are under way: while the engine commits the starts of one it reads those of the next.
const REQUESTS_AT_ONCE: usize = 2;

/// Size from which a request takes no further start: with one of the largest payload on top it stays well below the largest
/// message.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// What became of one start, by its place among those of its request.
type Outcomes<T> = Vec<Result<WorkflowHandle<T>, ClientError>>;

/// A start as it was encoded, or why it could not be.
type Encoded = Result<v1::StartWorkflowRequest, ClientError>;

pub(super) async fn start_many<I, T>(
    client: &Client,
    template: &Template<I>,
    mut starts: impl Iterator<Item = (String, I)>,
) -> Outcomes<T> {
    // Cut as they are needed, so that only what is under way is held in encoded form.
    let requests = std::iter::from_fn(|| {
        let mut bytes = 0;
        let mut request = Vec::new();
        while request.len() < STARTS_MAX && bytes < REQUEST_BYTES {
            let Some((workflow_id, input)) = starts.next() else { break };
            let start = template.request(workflow_id, &input).map_err(ClientError::from);
            bytes += start.as_ref().map_or(0, Message::encoded_len);
            request.push(start);
        }
        (!request.is_empty()).then_some(request)
    });
    let outcomes = stream::iter(requests).map(|request| make(client, request)).buffered(REQUESTS_AT_ONCE);
    outcomes.concat().await
}

/// Makes one request until each of its starts is decided, or the client's patience is at its end.
async fn make<T>(client: &Client, starts: Vec<Encoded>) -> Outcomes<T> {
    let began = Instant::now();
    let patience = client.patience();
    let mut outcomes: Vec<Option<Result<WorkflowHandle<T>, ClientError>>> = Vec::new();
    let mut open: Vec<(usize, v1::StartWorkflowRequest)> = Vec::new();
    for (place, start) in starts.into_iter().enumerate() {
        match start {
            Ok(request) => {
                open.push((place, request));
                outcomes.push(None);
            }
            Err(error) => outcomes.push(Some(Err(error))),
        }
    }
    let mut backoff = Backoff::new(super::retry::PAUSE_INITIAL, super::retry::PAUSE_MAX);
    while !open.is_empty() {
        let request = v1::StartWorkflowsRequest { starts: open.iter().map(|(_, start)| start.clone()).collect() };
        let service = client.transport().workflows();
        let answer = until_answered(patience, |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.start_workflows(request).await }
        });
        let answered = match answer.await {
            Ok(answer) => answer.outcomes.into_iter().map(|outcome| outcome.outcome).collect(),
            Err(error) => {
                fail_all(&mut outcomes, &open, error);
                break;
            }
        };
        let mut pause = backoff.pause();
        let mut again = Vec::new();
        let mut refused_for_now = Vec::new();
        let mut answered: std::collections::VecDeque<Option<Outcome>> = answered;
        for (place, start) in open {
            match answered.pop_front().flatten() {
                Some(Outcome::Started(started)) => {
                    outcomes[place] = Some(handle(client, start.workflow_id, started));
                }
                Some(Outcome::Refused(refusal)) => {
                    let status = status(refusal);
                    let hint = retry_delay(&status);
                    if is_unavailable(&status) || (status.code() == Code::ResourceExhausted && hint.is_some()) {
                        pause = pause.max(hint.unwrap_or_default());
                        again.push((place, start));
                        refused_for_now.push(status);
                    } else {
                        outcomes[place] = Some(Err(ClientError::from_status(&status)));
                    }
                }
                None => {
                    let message = "the engine's answer has no outcome for this start".to_owned();
                    outcomes[place] = Some(Err(ClientError::Other { code: Code::Internal, message }));
                }
            }
        }
        if patience.retry_for.is_some_and(|limit| began.elapsed() + pause > limit) {
            for ((place, _), status) in again.iter().zip(&refused_for_now) {
                outcomes[*place] = Some(Err(ClientError::from_status(status)));
            }
            break;
        }
        if !again.is_empty() {
            tracing::debug!(starts = again.len(), ?pause, "will try these starts again");
            tokio::time::sleep(pause).await;
        }
        open = again;
    }
    outcomes.into_iter().map(|outcome| outcome.expect("each start was decided or failed")).collect()
}

/// The request was not answered, or refused as a whole: so was each start.
fn fail_all<T>(
    outcomes: &mut [Option<Result<WorkflowHandle<T>, ClientError>>],
    open: &[(usize, v1::StartWorkflowRequest)],
    error: ClientError,
) {
    for (place, _) in open {
        outcomes[*place] = Some(Err(error.repeated()));
    }
}

fn status(refusal: v1::StartWorkflowRefusal) -> Status {
    Status::with_details(Code::from_i32(refusal.code), refusal.message, refusal.status.into())
}
