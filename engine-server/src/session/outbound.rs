//! What goes down a worker's stream: everything that is ready goes into one message.

use std::time::Duration;

use engine_proto::v1;
use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use crate::limits;
use crate::session::Outbound;

/// The stream of messages: the welcome, then what `queue` gives, and something at least every `keepalive`.
pub(crate) fn stream(
    welcome: v1::Welcome,
    queue: mpsc::UnboundedReceiver<Outbound>,
    keepalive: Duration,
) -> impl Stream<Item = Result<v1::ServerMessage, Status>> + Send {
    let first = v1::ServerMessage { welcome: Some(welcome), ..Default::default() };
    let state = Writer { first: Some(first), queue, keepalive, ended: None };
    futures::stream::unfold(state, |mut writer| async move { writer.next().await.map(|message| (message, writer)) })
}

struct Writer {
    first: Option<v1::ServerMessage>,
    queue: mpsc::UnboundedReceiver<Outbound>,
    keepalive: Duration,
    /// Set once the stream must end, with the reason that the worker is still to be told.
    ended: Option<Option<&'static str>>,
}

impl Writer {
    async fn next(&mut self) -> Option<Result<v1::ServerMessage, Status>> {
        if let Some(reason) = self.ended.take() {
            self.ended = Some(None);
            return reason.map(|reason| Err(Status::unavailable(reason)));
        }
        let mut message = self.first.take().unwrap_or_default();
        if message.welcome.is_some() {
            return Some(Ok(message));
        }
        let mut ready = Vec::with_capacity(16);
        match tokio::time::timeout(self.keepalive, self.queue.recv_many(&mut ready, limits::SESSION_GATHER_MAX)).await {
            Err(_) => return Some(Ok(message)),
            Ok(0) => return None,
            Ok(_) => {}
        }
        for outbound in ready {
            match outbound {
                Outbound::WorkflowTask(task) => message.workflow_tasks.push(*task),
                Outbound::ActivityTask(task) => message.activity_tasks.push(*task),
                Outbound::Ack(ack) => message.acks.push(ack),
                Outbound::Stop(stop) => message.activity_stops.push(stop),
                Outbound::Evict(run_id) => message.evict_run_ids.push(run_id.to_string()),
                Outbound::Drain => message.drain = true,
                Outbound::Drained => message.drained = true,
                Outbound::Reset(reason) => {
                    self.ended = Some(Some(reason));
                    break;
                }
            }
        }
        Some(Ok(message))
    }
}
