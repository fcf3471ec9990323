//! The worker's stream to the server, and the pauses between two of them.
//!
//! A [`Link`] is always in one of three states, and [`Link::next`] is what happens to it next. It does no work of its own:
//! what goes up the stream and what comes down is the loop's.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use engine_proto::convert::duration_from_proto;
use engine_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::backoff::Backoff;
use crate::transport::Transport;

/// Longest time for a server to take a stream and to say welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);

/// First pause before a stream is tried again.
const PAUSE_INITIAL: Duration = Duration::from_millis(50);

/// Longest pause: a server that is back has its workers within this time.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// A stream that lasted this long is replaced at once when it breaks; one that did not is replaced after a pause.
const LASTED: Duration = Duration::from_secs(1);

/// Messages that wait for the connection. A few, so that more results gather in the next one while these are under way.
const MESSAGES_MAX: usize = 2;

/// Without a word for so many keepalive intervals the stream is dead.
const KEEPALIVES_MISSED: u32 = 3;

type Connecting = Pin<Box<dyn Future<Output = Result<Streaming<v1::ServerMessage>, Status>> + Send>>;

/// The worker's stream.
pub(super) struct Link {
    transport: Transport,
    state: State,
    backoff: Backoff,
}

enum State {
    /// No stream; the next try comes at this instant.
    Down { retry_at: Instant },
    /// The server was asked for a stream.
    Opening { answer: Connecting, messages: mpsc::Sender<v1::WorkerMessage>, give_up_at: Instant },
    /// A stream.
    Up {
        incoming: Box<Streaming<v1::ServerMessage>>,
        messages: mpsc::Sender<v1::WorkerMessage>,
        since: Instant,
        /// How long the server may be silent.
        silence_max: Duration,
        silent_until: Instant,
    },
}

/// What happened to the link.
pub(super) enum LinkEvent {
    /// It is time to open a stream: call [`Link::open`] with a hello.
    TimeToOpen,
    /// There is a stream.
    Opened,
    /// A message came.
    Message(Box<v1::ServerMessage>),
    /// There is room for a message: call [`Link::send`].
    CanSend,
    /// There is no stream any more.
    Broke(Status),
}

impl Link {
    pub(super) fn new(transport: Transport) -> Self {
        let state = State::Down { retry_at: Instant::now() };
        Self { transport, state, backoff: Backoff::new(PAUSE_INITIAL, PAUSE_MAX) }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Asks the server for a stream that begins with this hello.
    pub(super) fn open(&mut self, hello: v1::Hello) {
        let (messages, outgoing) = mpsc::channel(MESSAGES_MAX);
        let first = v1::WorkerMessage { hello: Some(hello), ..Default::default() };
        messages.try_send(first).expect("a new channel has room");
        let mut service = self.transport.workers();
        let answer =
            Box::pin(
                async move { service.session(ReceiverStream::new(outgoing)).await.map(tonic::Response::into_inner) },
            );
        self.state = State::Opening { answer, messages, give_up_at: Instant::now() + WELCOME_WITHIN };
    }

    /// Waits for what happens next; `wants_to_send`: room for a message counts as something that happens. May be dropped
    /// and called again without losing anything.
    pub(super) async fn next(&mut self, wants_to_send: bool) -> LinkEvent {
        match &mut self.state {
            State::Down { retry_at } => {
                tokio::time::sleep_until(*retry_at).await;
                LinkEvent::TimeToOpen
            }
            State::Opening { answer, messages, give_up_at } => {
                let answer = tokio::time::timeout_at(*give_up_at, answer).await;
                match answer.unwrap_or_else(|_| Err(silent(WELCOME_WITHIN))) {
                    Ok(incoming) => {
                        let now = Instant::now();
                        self.state = State::Up {
                            incoming: Box::new(incoming),
                            messages: messages.clone(),
                            since: now,
                            silence_max: WELCOME_WITHIN,
                            silent_until: now + WELCOME_WITHIN,
                        };
                        LinkEvent::Opened
                    }
                    Err(status) => self.broke(status),
                }
            }
            State::Up { incoming, messages, silence_max, silent_until, .. } => {
                let broke = tokio::select! {
                    biased;
                    message = incoming.message() => match message {
                        Ok(Some(message)) => {
                            if let Some(welcome) = &message.welcome {
                                *silence_max = keepalive(welcome);
                            }
                            *silent_until = Instant::now() + *silence_max;
                            return LinkEvent::Message(Box::new(message));
                        }
                        Ok(None) => Status::unavailable("the server ended the stream"),
                        Err(status) => status,
                    },
                    room = messages.reserve(), if wants_to_send => match room {
                        Ok(_) => return LinkEvent::CanSend,
                        Err(_) => Status::unavailable("the stream takes no more messages"),
                    },
                    () = tokio::time::sleep_until(*silent_until) => silent(*silence_max),
                };
                self.broke(broke)
            }
        }
    }

    /// Sends a message. There is room for it after [`LinkEvent::CanSend`]; a message that finds a broken stream is dropped, as
    /// if it had been lost on the way.
    pub(super) fn send(&self, message: v1::WorkerMessage) {
        if let State::Up { messages, .. } = &self.state {
            let _ = messages.try_send(message);
        }
    }

    /// Ends the stream, and opens the next one after a pause.
    pub(super) fn close(&mut self) {
        self.state = State::Down { retry_at: Instant::now() + self.backoff.pause() };
    }

    fn broke(&mut self, status: Status) -> LinkEvent {
        let lasted = match &self.state {
            State::Up { since, .. } => since.elapsed() >= LASTED,
            State::Down { .. } | State::Opening { .. } => false,
        };
        if lasted {
            self.backoff = Backoff::new(PAUSE_INITIAL, PAUSE_MAX);
            self.state = State::Down { retry_at: Instant::now() };
        } else {
            self.close();
        }
        LinkEvent::Broke(status)
    }
}

fn silent(limit: Duration) -> Status {
    Status::unavailable(format!("the server was silent for {limit:?}"))
}

fn keepalive(welcome: &v1::Welcome) -> Duration {
    let interval = welcome.keepalive.and_then(|keepalive| duration_from_proto("keepalive", keepalive).ok());
    match interval {
        Some(interval) if !interval.is_zero() => interval * KEEPALIVES_MISSED,
        // The server promises nothing: HTTP/2 pings are left to find out.
        Some(_) | None => Duration::from_secs(365 * 24 * 3600),
    }
}
