//! Many starts at once: cutting them into requests, and repeating what the engine could not take.

use engine_core::limits::STARTS_MAX;
use engine_proto::v1;
use futures::{StreamExt, stream};
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::error::retry_delay;
use super::{Client, ClientError};
use crate::backoff::Backoff;
use crate::transport::is_unavailable;

/// How many requests are under way: while the engine commits the starts of one it reads those of the next.
const REQUESTS_AT_ONCE: usize = 2;

/// Size from which a request takes no further start: with one of the largest payload on top it stays well below the largest
/// message.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// What the engine answered for each start of a request; `None`: nothing, which it must not.
pub(super) type Answers<S> = Vec<Option<Result<S, v1::StartWorkflowRefusal>>>;

/// What can be started many at once.
pub(super) trait Starts {
    /// One start.
    type Request: Message + Clone;
    /// What the engine says of one that was made.
    type Started: Send;

    /// The id under which it is started.
    fn id(start: &Self::Request) -> &str;

    /// Makes one request of many starts until it is answered.
    fn send(
        client: &Client,
        starts: Vec<Self::Request>,
    ) -> impl Future<Output = Result<Answers<Self::Started>, ClientError>> + Send;
}

/// What became of one start: its id and what the engine said.
type StartOutcome<S> = Result<(String, <S as Starts>::Started), ClientError>;

/// What became of all, by their places among those of their request.
type Outcomes<S> = Vec<StartOutcome<S>>;

/// `starts` are encoded, or say why they could not be.
pub(super) async fn start_many<S: Starts>(
    client: &Client,
    mut starts: impl Iterator<Item = Result<S::Request, ClientError>>,
) -> Outcomes<S> {
    // Cut as they are needed, so that only what is under way is held in encoded form.
    let requests = std::iter::from_fn(|| {
        let mut bytes = 0;
        let mut request = Vec::new();
        while request.len() < STARTS_MAX && bytes < REQUEST_BYTES {
            let Some(start) = starts.next() else { break };
            bytes += start.as_ref().map_or(0, Message::encoded_len);
            request.push(start);
        }
        (!request.is_empty()).then_some(request)
    });
    let outcomes = stream::iter(requests).map(|request| make::<S>(client, request)).buffered(REQUESTS_AT_ONCE);
    outcomes.concat().await
}

/// Makes one request until each of its starts is decided, or the client's patience is at its end.
async fn make<S: Starts>(client: &Client, starts: Vec<Result<S::Request, ClientError>>) -> Outcomes<S> {
    let began = Instant::now();
    let patience = client.patience();
    let mut outcomes: Vec<Option<StartOutcome<S>>> = Vec::new();
    let mut open: Vec<(usize, S::Request)> = Vec::new();
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
        let answered = match S::send(client, open.iter().map(|(_, start)| start.clone()).collect()).await {
            Ok(answers) => answers,
            Err(error) => {
                // The request was not answered, or refused as a whole: so was each start.
                for (place, _) in &open {
                    outcomes[*place] = Some(Err(error.repeated()));
                }
                break;
            }
        };
        let mut pause = backoff.pause();
        let mut again = Vec::new();
        let mut refused_for_now = Vec::new();
        let mut answered = answered.into_iter();
        for (place, start) in open {
            match answered.next().flatten() {
                Some(Ok(started)) => outcomes[place] = Some(Ok((S::id(&start).to_owned(), started))),
                Some(Err(refusal)) => {
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

fn status(refusal: v1::StartWorkflowRefusal) -> Status {
    Status::with_details(Code::from_i32(refusal.code), refusal.message, refusal.status.into())
}
