//! What goes down a worker's stream: everything that is ready goes into one message.

use std::collections::VecDeque;
use std::time::Duration;

use engine_proto::v1;
use futures::Stream;
use prost::Message;
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
    let state = Writer { first: Some(first), queue, ready: VecDeque::new(), keepalive, end: End::NotYet };
    futures::stream::unfold(state, |mut writer| async move { writer.next().await.map(|message| (message, writer)) })
}

struct Writer {
    first: Option<v1::ServerMessage>,
    queue: mpsc::UnboundedReceiver<Outbound>,
    /// Taken from the queue, not yet sent.
    ready: VecDeque<Outbound>,
    keepalive: Duration,
    end: End,
}

/// How far the end of the stream has come.
enum End {
    NotYet,
    /// The worker is still to be told why.
    Reason(&'static str),
    Told,
}

impl Writer {
    async fn next(&mut self) -> Option<Result<v1::ServerMessage, Status>> {
        match self.end {
            End::NotYet => {}
            End::Reason(reason) => {
                self.end = End::Told;
                return Some(Err(Status::unavailable(reason)));
            }
            End::Told => return None,
        }
        if let Some(welcome) = self.first.take() {
            return Some(Ok(welcome));
        }
        if self.ready.is_empty() {
            let mut ready = Vec::with_capacity(16);
            let received = self.queue.recv_many(&mut ready, limits::SESSION_GATHER_MAX);
            match tokio::time::timeout(self.keepalive, received).await {
                Err(_) => return Some(Ok(v1::ServerMessage::default())),
                Ok(0) => return None,
                Ok(_) => self.ready.extend(ready),
            }
        }
        Some(Ok(self.gather()))
    }

    /// As much of what is ready as fits into one message.
    fn gather(&mut self) -> v1::ServerMessage {
        let mut message = v1::ServerMessage::default();
        let mut bytes = 0;
        while let Some(outbound) = self.ready.pop_front() {
            match outbound {
                Outbound::WorkflowTask(task) => {
                    bytes += task.encoded_len();
                    message.workflow_tasks.push(*task);
                }
                Outbound::ActivityTask(task) => {
                    bytes += task.encoded_len();
                    message.activity_tasks.push(*task);
                }
                Outbound::Query(query) => {
                    bytes += query.encoded_len();
                    message.queries.push(*query);
                }
                Outbound::Ack(ack) => message.acks.push(ack),
                Outbound::Stop(stop) => message.activity_stops.push(stop),
                Outbound::Evict(run_id) => message.evict_run_ids.push(run_id.to_string()),
                Outbound::Durable(task) => message.durable_tasks.push(task),
                Outbound::Drain => message.drain = true,
                Outbound::Drained => message.drained = true,
                Outbound::Reset(reason) => {
                    self.end = End::Reason(reason);
                    break;
                }
            }
            if bytes >= limits::SESSION_MESSAGE_BYTES {
                break;
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    fn task(bytes: usize) -> Outbound {
        Outbound::WorkflowTask(Box::new(v1::WorkflowTask { token: vec![0; bytes], ..Default::default() }))
    }

    #[tokio::test]
    async fn what_is_ready_goes_into_few_messages_of_bounded_size() {
        let (sender, queue) = mpsc::unbounded_channel();
        for _ in 0..3 {
            sender.send(task(limits::SESSION_MESSAGE_BYTES / 2)).unwrap();
        }
        sender.send(Outbound::Reset("restarting")).unwrap();
        sender.send(task(1)).unwrap();
        let messages: Vec<_> = stream(v1::Welcome::default(), queue, Duration::from_secs(5)).collect().await;
        let tasks: Vec<usize> = messages
            .iter()
            .map(|message| message.as_ref().map_or(99, |message| message.workflow_tasks.len()))
            .collect();
        assert_eq!(tasks, [0, 2, 1, 99], "the welcome, two tasks, one task, the reason");
        assert_eq!(messages[3].as_ref().unwrap_err().message(), "restarting");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_still_says_that_it_is_alive() {
        let (_sender, queue) = mpsc::unbounded_channel();
        let mut messages = Box::pin(stream(v1::Welcome::default(), queue, Duration::from_secs(5)));
        messages.next().await.unwrap().unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(messages.next().await.unwrap().unwrap(), v1::ServerMessage::default());
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }
}
