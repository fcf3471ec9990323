//! Task tokens: what a worker sends back with a result, opaque to everybody but the server.
//!
//! A token is `kind byte · checksum (4 bytes) · message`. The checksum tells garbage from a token of ours; it is no signature:
//! what a token may do is decided by the run it names, which compares attempt and times. The kind byte carries the format's
//! version, so that a server can refuse, and one day read, the tokens of another version.

use bytes::{BufMut as _, Bytes, BytesMut};
use engine_core::event::ContinueAsNewReasons;
use engine_core::execution;
use engine_core::ids::{EventId, RunId, WorkflowId};
use engine_core::time::Timestamp;
use prost::Message;
use uuid::Uuid;

use crate::convert::ConvertError;

const WORKFLOW_TASK_V1: u8 = 0x11;
const ACTIVITY_V1: u8 = 0x21;
const HEADER_BYTES: usize = 1 + 4;

/// One handing-out of a workflow task, and where its run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowTaskToken {
    /// The number of the run's namespace.
    pub namespace_id: i32,
    /// The run's workflow id, which names its shard.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// Which task of the run.
    pub task: execution::WorkflowTaskToken,
}

/// One attempt of an activity, and where its run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityToken {
    /// The number of the run's namespace.
    pub namespace_id: i32,
    /// The run's workflow id, which names its shard.
    pub workflow_id: WorkflowId,
    /// The run.
    pub run_id: RunId,
    /// Which attempt of which activity of the run.
    pub task: execution::ActivityToken,
}

#[derive(Clone, PartialEq, Message)]
struct WorkflowTaskMessage {
    #[prost(message, required, tag = "1")]
    run: RunMessage,
    #[prost(uint64, tag = "2")]
    scheduled_event_id: u64,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(sfixed64, tag = "4")]
    scheduled_at: i64,
    #[prost(sfixed64, tag = "5")]
    started_at: i64,
    #[prost(uint64, tag = "6")]
    history_size_bytes: u64,
    #[prost(bool, tag = "7")]
    suggest_for_history_events: bool,
    #[prost(bool, tag = "8")]
    suggest_for_history_bytes: bool,
    #[prost(bool, tag = "9")]
    suggest_for_updates: bool,
    #[prost(sfixed64, tag = "10")]
    history_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ActivityMessage {
    #[prost(message, required, tag = "1")]
    run: RunMessage,
    #[prost(uint64, tag = "2")]
    scheduled_event_id: u64,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(sfixed64, tag = "4")]
    started_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RunMessage {
    #[prost(int32, tag = "1")]
    namespace_id: i32,
    #[prost(string, tag = "2")]
    workflow_id: String,
    #[prost(bytes = "bytes", tag = "3")]
    run_id: Bytes,
}

impl WorkflowTaskToken {
    /// The token as a worker gets it.
    pub fn encode(&self) -> Bytes {
        let message = WorkflowTaskMessage {
            run: RunMessage::new(self.namespace_id, &self.workflow_id, self.run_id),
            scheduled_event_id: self.task.scheduled_event_id.0,
            attempt: self.task.attempt,
            scheduled_at: self.task.scheduled_at.as_micros(),
            started_at: self.task.started_at.as_micros(),
            history_at: self.task.history_at.as_micros(),
            history_size_bytes: self.task.history_size_bytes,
            suggest_for_history_events: self.task.suggest_continue_as_new.history_events,
            suggest_for_history_bytes: self.task.suggest_continue_as_new.history_bytes,
            suggest_for_updates: self.task.suggest_continue_as_new.updates,
        };
        seal(WORKFLOW_TASK_V1, &message)
    }

    /// Reads a token that came back. Refuses all bytes that [`WorkflowTaskToken::encode`] did not write.
    pub fn decode(token: &[u8]) -> Result<Self, ConvertError> {
        let message: WorkflowTaskMessage = open(WORKFLOW_TASK_V1, token)?;
        let (namespace_id, workflow_id, run_id) = message.run.parse()?;
        Ok(Self {
            namespace_id,
            workflow_id,
            run_id,
            task: execution::WorkflowTaskToken {
                scheduled_event_id: EventId(message.scheduled_event_id),
                attempt: message.attempt,
                scheduled_at: Timestamp::from_micros(message.scheduled_at),
                started_at: Timestamp::from_micros(message.started_at),
                history_at: Timestamp::from_micros(message.history_at),
                history_size_bytes: message.history_size_bytes,
                suggest_continue_as_new: ContinueAsNewReasons {
                    history_events: message.suggest_for_history_events,
                    history_bytes: message.suggest_for_history_bytes,
                    updates: message.suggest_for_updates,
                },
            },
        })
    }
}

impl ActivityToken {
    /// The token as a worker gets it.
    pub fn encode(&self) -> Bytes {
        let message = ActivityMessage {
            run: RunMessage::new(self.namespace_id, &self.workflow_id, self.run_id),
            scheduled_event_id: self.task.scheduled_event_id.0,
            attempt: self.task.attempt,
            started_at: self.task.started_at.as_micros(),
        };
        seal(ACTIVITY_V1, &message)
    }

    /// Reads a token that came back. Refuses all bytes that [`ActivityToken::encode`] did not write.
    pub fn decode(token: &[u8]) -> Result<Self, ConvertError> {
        let message: ActivityMessage = open(ACTIVITY_V1, token)?;
        let (namespace_id, workflow_id, run_id) = message.run.parse()?;
        Ok(Self {
            namespace_id,
            workflow_id,
            run_id,
            task: execution::ActivityToken {
                scheduled_event_id: EventId(message.scheduled_event_id),
                attempt: message.attempt,
                started_at: Timestamp::from_micros(message.started_at),
            },
        })
    }
}

impl RunMessage {
    fn new(namespace_id: i32, workflow_id: &WorkflowId, run_id: RunId) -> Self {
        Self {
            namespace_id,
            workflow_id: workflow_id.to_string(),
            run_id: Bytes::copy_from_slice(run_id.as_uuid().as_bytes()),
        }
    }

    fn parse(self) -> Result<(i32, WorkflowId, RunId), ConvertError> {
        let workflow_id = WorkflowId::parse(&self.workflow_id).map_err(|_| not_ours())?;
        let run_id = Uuid::from_slice(&self.run_id).map_err(|_| not_ours())?;
        Ok((self.namespace_id, workflow_id, RunId::from_uuid(run_id)))
    }
}

fn seal(kind: u8, message: &impl Message) -> Bytes {
    let mut token = BytesMut::with_capacity(HEADER_BYTES + message.encoded_len());
    token.put_u8(kind);
    token.put_bytes(0, 4);
    message.encode(&mut token).expect("a growing buffer has room");
    let checksum = checksum(kind, &token[HEADER_BYTES..]);
    token[1..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
    token.freeze()
}

fn open<M: Message + Default>(kind: u8, token: &[u8]) -> Result<M, ConvertError> {
    match token {
        [WORKFLOW_TASK_V1 | ACTIVITY_V1, a, b, c, d, body @ ..]
            if checksum(token[0], body) == u32::from_be_bytes([*a, *b, *c, *d]) =>
        {
            if token[0] != kind {
                let other = if kind == ACTIVITY_V1 { "a workflow task" } else { "an activity" };
                return Err(ConvertError::new("token", format_args!("is the token of {other}")));
            }
            M::decode(body).map_err(|_| not_ours())
        }
        _ => Err(not_ours()),
    }
}

fn not_ours() -> ConvertError {
    ConvertError::new("token", "is not a token of this server")
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits folded to 32: enough to tell garbage, cut and mixed-up tokens from ours.
fn checksum(kind: u8, body: &[u8]) -> u32 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = body.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step);
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow_task() -> WorkflowTaskToken {
        WorkflowTaskToken {
            namespace_id: 7,
            workflow_id: WorkflowId::from_trusted("order-42"),
            run_id: RunId::from_parts(Timestamp::from_micros(1_700_000_000_000_000), [3; 10]),
            task: execution::WorkflowTaskToken {
                scheduled_event_id: EventId(2),
                attempt: 4,
                scheduled_at: Timestamp::from_micros(1_700_000_000_000_001),
                started_at: Timestamp::from_micros(-2),
                history_at: Timestamp::from_micros(-3),
                history_size_bytes: 1 << 40,
                suggest_continue_as_new: ContinueAsNewReasons {
                    history_events: false,
                    history_bytes: true,
                    updates: true,
                },
            },
        }
    }

    fn activity() -> ActivityToken {
        let WorkflowTaskToken { namespace_id, workflow_id, run_id, .. } = workflow_task();
        let task = execution::ActivityToken {
            scheduled_event_id: EventId(5),
            attempt: 1,
            started_at: Timestamp::from_micros(1_700_000_000_000_002),
        };
        ActivityToken { namespace_id, workflow_id, run_id, task }
    }

    #[test]
    fn tokens_survive_a_round_trip() {
        assert_eq!(WorkflowTaskToken::decode(&workflow_task().encode()), Ok(workflow_task()));
        assert_eq!(ActivityToken::decode(&activity().encode()), Ok(activity()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let token = activity().encode();
        for position in 0..token.len() {
            assert!(ActivityToken::decode(&token[..position]).is_err(), "cut at {position}");
            for bit in 0..8 {
                let mut forged = token.to_vec();
                forged[position] ^= 1 << bit;
                assert!(ActivityToken::decode(&forged).is_err(), "bit {bit} of byte {position}");
            }
        }
    }

    #[test]
    fn garbage_and_the_other_kind_are_told_apart_in_one_sentence() {
        let error = ActivityToken::decode(b"garbage").unwrap_err();
        assert_eq!(error.to_string(), "token: is not a token of this server");
        assert_eq!(ActivityToken::decode(b"").unwrap_err(), error);
        let error = ActivityToken::decode(&workflow_task().encode()).unwrap_err();
        assert_eq!(error.to_string(), "token: is the token of a workflow task");
        let error = WorkflowTaskToken::decode(&activity().encode()).unwrap_err();
        assert_eq!(error.to_string(), "token: is the token of an activity");
    }
}
