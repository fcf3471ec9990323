//! Pages of histories, and watching them grow.

use std::sync::Arc;

use bytes::Bytes;
use engine_core::ids::{EventId, RunId};
use engine_proto::{EncodedHistory, convert, v1};
use futures::Stream;
use prost::Message;
use tokio::sync::watch;
use tonic::Status;

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::rpc::workflow_service::Target;
use crate::shard::request::{News, ServerError, Subscribed};
use crate::store::{HistoryRow, ShardId};

/// Where the next page of a history begins. A client keeps it; its form may change.
#[derive(Clone, PartialEq, Message)]
struct PageToken {
    #[prost(bytes = "vec", tag = "1")]
    run_id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(bool, tag = "3")]
    reverse: bool,
}

/// One page. Events are passed through as they were stored.
pub(crate) async fn page(
    context: &Arc<NodeContext>,
    target: Target,
    request: &v1::GetWorkflowHistoryRequest,
) -> Result<v1::GetWorkflowHistoryResponse, ServerError> {
    let size =
        super::validate::page_size(request.page_size, limits::HISTORY_PAGE_DEFAULT, limits::HISTORY_PAGE_MAX)? as usize;
    let (run_id, from, reverse) = if request.page_token.is_empty() {
        let row = target.row(context).await?;
        let from = if request.reverse { EventId::NONE } else { EventId(request.first_event_id.max(1)) };
        (row.key.run_id, from, request.reverse)
    } else {
        let bad = || ServerError::Invalid {
            field: "page_token".into(),
            problem: "is not a token of this call: start again without one".into(),
        };
        let token = PageToken::decode(request.page_token.as_slice()).map_err(|_| bad())?;
        let run_id = uuid::Uuid::from_slice(&token.run_id).map_err(|_| bad())?;
        (RunId::from_uuid(run_id), EventId(token.from), token.reverse)
    };
    let (events, next) = collect(context, target.shard, run_id, from, reverse, size).await?;
    let next_page_token = next
        .map(|from| PageToken { run_id: run_id.as_uuid().as_bytes().to_vec(), from: from.0, reverse }.encode_to_vec());
    Ok(v1::GetWorkflowHistoryResponse {
        history: Some(EncodedHistory { events }),
        next_page_token: next_page_token.unwrap_or_default(),
        run_id: run_id.to_string(),
    })
}

/// Reads up to `size` events from `from` on, or about [`limits::HISTORY_PAGE_BYTES`], and where the next page begins if there is
/// anything behind them now.
async fn collect(
    context: &Arc<NodeContext>,
    shard: ShardId,
    run_id: RunId,
    mut from: EventId,
    reverse: bool,
    size: usize,
) -> Result<(Vec<Bytes>, Option<EventId>), ServerError> {
    let mut events = Vec::new();
    let mut bytes = 0;
    loop {
        let (rows_max, bytes_max) = (rows_for(size - events.len()), limits::HISTORY_PAGE_BYTES - bytes);
        let rows = read(context, shard, run_id, from, reverse, rows_max, bytes_max).await?;
        let row_bytes: usize = rows.iter().map(|row| row.events.len()).sum();
        let is_end = rows.len() < rows_max && row_bytes < bytes_max;
        let mut last = None;
        for row in rows {
            let mut of_row = split(row)?;
            if reverse {
                of_row.reverse();
            }
            for (id, event) in of_row {
                // The first row may begin before the page.
                if from.is_some() && (if reverse { id > from } else { id < from }) {
                    continue;
                }
                if events.len() == size {
                    return Ok((events, Some(id)));
                }
                bytes += event.len();
                events.push(event);
                last = Some(id);
            }
        }
        let next = match last {
            Some(last) if reverse => EventId(last.0 - 1),
            Some(last) => last.next(),
            None => return Ok((events, None)),
        };
        if is_end || !next.is_some() {
            return Ok((events, None));
        }
        if events.len() == size || bytes >= limits::HISTORY_PAGE_BYTES {
            // Backwards there is more until the first event; forwards only the store knows.
            let has_more = reverse || holds(read(context, shard, run_id, next, false, 1, 1).await?, next)?;
            return Ok((events, has_more.then_some(next)));
        }
        from = next;
    }
}

/// Whether event `id` is among the rows.
fn holds(rows: Vec<HistoryRow>, id: EventId) -> Result<bool, ServerError> {
    for row in rows {
        if split(row)?.last().is_some_and(|(last, _)| *last >= id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many rows to read for so many events. A turn mostly has three; to read one row for each would read two of three in vain.
/// Bounded, because the store looks at all rows that are asked for, even at those behind the limit of bytes.
fn rows_for(events: usize) -> usize {
    events.div_ceil(2).clamp(1, 1_000)
}

async fn read(
    context: &Arc<NodeContext>,
    shard: ShardId,
    run_id: RunId,
    from: EventId,
    reverse: bool,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Vec<HistoryRow>, ServerError> {
    let rows_max = u32::try_from(rows_max).unwrap_or(u32::MAX);
    let store = Arc::clone(&context.store);
    detached(async move { store.read_history(shard, run_id, from, reverse, rows_max, bytes_max).await }).await
}

/// Events of a run from `from` on, encoded, at most about `most` of them and about a page's bytes; none behind the last.
pub(crate) async fn events(
    context: &Arc<NodeContext>,
    shard: ShardId,
    run_id: RunId,
    from: EventId,
    most: usize,
) -> Result<Vec<(EventId, Bytes)>, ServerError> {
    let mut events = Vec::new();
    for row in read(context, shard, run_id, from, false, most, limits::HISTORY_PAGE_BYTES).await? {
        events.extend(split(row)?.into_iter().filter(|(id, _)| *id >= from));
    }
    Ok(events)
}

/// Runs a read of the store to its end, even if the caller goes away: a database future must not be dropped half-way.
pub(crate) async fn detached<T: Send + 'static>(
    read: impl Future<Output = Result<T, crate::store::StoreError>> + Send + 'static,
) -> Result<T, ServerError> {
    match tokio::spawn(read).await {
        Ok(result) => result.map_err(ServerError::from),
        Err(error) => Err(ServerError::unavailable(error.to_string())),
    }
}

/// A row's events, each with its number.
fn split(row: HistoryRow) -> Result<Vec<(EventId, Bytes)>, ServerError> {
    let first = row.first_event_id;
    let history =
        EncodedHistory::decode(row.events).map_err(|e| ServerError::Internal(format!("history row {first}: {e}")))?;
    Ok(history.events.into_iter().zip(first.0..).map(|(event, id)| (EventId(id), event)).collect())
}

/// All events after `after`, then new ones as they become durable, until the close event.
pub(crate) fn watch(
    context: Arc<NodeContext>,
    target: Target,
    after: EventId,
) -> impl Stream<Item = Result<v1::WatchWorkflowResponse, Status>> + Send {
    let watcher = Watcher { context, target, last: after, run: None, news: None, ended: false };
    futures::stream::unfold(watcher, |mut watcher| async move {
        match watcher.next().await {
            Ok(message) => message.map(|message| (Ok(message), watcher)),
            Err(error) => {
                watcher.ended = true;
                Some((Err(to_status(error)), watcher))
            }
        }
    })
}

struct Watcher {
    context: Arc<NodeContext>,
    target: Target,
    last: EventId,
    run: Option<RunId>,
    news: Option<watch::Receiver<News>>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Result<Option<v1::WatchWorkflowResponse>, ServerError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            // Subscribed before reading: what becomes durable after the read is announced.
            if self.run.is_none() {
                match self.target.subscribe(&self.context).await? {
                    Subscribed::Open { run_id, news } => (self.run, self.news) = (Some(run_id), Some(news)),
                    Subscribed::Closed(row) => self.run = Some(row.key.run_id),
                }
            }
            let run_id = self.run.expect("set above");
            let rows = read(
                &self.context,
                self.target.shard,
                run_id,
                self.last.next(),
                false,
                256,
                limits::HISTORY_PAGE_BYTES,
            )
            .await?;
            let mut events = Vec::new();
            for row in rows {
                events.extend(split(row)?.into_iter().filter(|(id, _)| *id > self.last));
            }
            if let Some((last, bytes)) = events.last() {
                self.last = *last;
                let message = v1::HistoryEvent::decode(bytes.clone())
                    .map_err(|e| ServerError::Internal(e.to_string()))
                    .and_then(|event| {
                        convert::event_from_proto(event).map_err(|e| ServerError::Internal(e.to_string()))
                    })?;
                self.ended = message.kind.close_status().is_some();
                let history = EncodedHistory { events: events.into_iter().map(|(_, bytes)| bytes).collect() };
                return Ok(Some(v1::WatchWorkflowResponse { history: Some(history), run_id: run_id.to_string() }));
            }
            let Some(news) = &mut self.news else {
                self.ended = true;
                return Ok(None);
            };
            let stopping = self.context.stopping();
            let (last, is_news) = (self.last, |news: &News, last| news.lost || news.last_event_id > last);
            let more = async { news.wait_for(|news| is_news(news, last)).await.is_ok_and(|news| !news.lost) };
            let more = tokio::select! {
                more = more => more,
                () = stopping.cancelled() => return Err(ServerError::unavailable("the server is stopping: watch again")),
            };
            if !more {
                // The shard moved or was recovered: subscribe again, to the same run.
                self.target.run_id = self.run.take();
                self.news = None;
            }
        }
    }
}
