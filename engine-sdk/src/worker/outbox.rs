//! Results on their way to the server.
//!
//! A result stays here from the end of its task until the server says that it is dealt with. A stream that breaks leaves
//! in doubt which results arrived: all that are here are sent again on the next one, and tokens make the repeat harmless.

use std::collections::{BTreeMap, VecDeque};

use engine_core::failure::Failure;
use engine_core::limits;
use engine_proto::convert::failure_to_proto;
use engine_proto::v1;
use engine_proto::v1::task_result::Result as Outcome;
use prost::Message;

/// Most bytes of results in one message, unless a single result is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// Most results in one message.
const BATCH_RESULTS: usize = 1000;

/// Largest result: one message, with room for its frame and what travels with it.
const RESULT_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - limits::PAYLOAD_BYTES_MAX - 64 * 1024;

/// Above this the worker asks for no more tasks until the server has dealt with some results.
const FULL_BYTES: usize = 64 * 1024 * 1024;

/// Above this the worker asks for no more tasks until the server has dealt with some results.
const FULL_RESULTS: usize = 20_000;

/// Which slots a result frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Workflow,
    Activity,
}

/// A result that the server has not dealt with.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) token: Vec<u8>,
    /// Of a workflow task: the run.
    pub(super) run_id: Option<String>,
    outcome: Outcome,
    /// Details that the attempt had not sent when it failed.
    heartbeat: Option<v1::ActivityHeartbeat>,
    bytes: usize,
    /// Whether it still has its slot: until it is sent for the first time.
    has_slot: bool,
}

impl Kept {
    /// Whether it is an activity's return value.
    pub(super) fn is_activity_value(&self) -> bool {
        matches!(self.outcome, Outcome::ActivityCompleted(_))
    }
}

/// What one message carries.
#[derive(Debug, Default)]
pub(super) struct SentResults {
    pub(super) results: Vec<v1::TaskResult>,
    pub(super) heartbeats: Vec<v1::ActivityHeartbeat>,
    /// Slots that became free, one entry each.
    pub(super) freed: Vec<Kind>,
}

/// Results that the server has not dealt with, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    last_id: u64,
    kept: BTreeMap<u64, Kept>,
    unsent: VecDeque<u64>,
    bytes: usize,
}

impl Outbox {
    /// Keeps a workflow task's result. `has_slot`: its slot becomes free when it is sent.
    pub(super) fn push_workflow(&mut self, run_id: String, token: Vec<u8>, outcome: Outcome) {
        self.push(Kind::Workflow, token, Some(run_id), outcome, None, true);
    }

    /// Keeps an activity task's result.
    pub(super) fn push_activity(&mut self, token: Vec<u8>, outcome: Outcome, heartbeat: Option<v1::ActivityHeartbeat>) {
        self.push(Kind::Activity, token, None, outcome, heartbeat, true);
    }

    /// Keeps a result of a task that has no slot any more.
    pub(super) fn push_activity_without_slot(&mut self, token: Vec<u8>, outcome: Outcome) {
        self.push(Kind::Activity, token, None, outcome, None, false);
    }

    fn push(
        &mut self,
        kind: Kind,
        token: Vec<u8>,
        run_id: Option<String>,
        outcome: Outcome,
        heartbeat: Option<v1::ActivityHeartbeat>,
        has_slot: bool,
    ) {
        let (outcome, bytes) = within_limit(outcome, &token);
        self.last_id += 1;
        self.bytes += bytes;
        self.kept.insert(self.last_id, Kept { kind, token, run_id, outcome, heartbeat, bytes, has_slot });
        self.unsent.push_back(self.last_id);
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether the server has yet to deal with the result of a workflow task of this run.
    pub(super) fn has_result_of(&self, run_id: &str) -> bool {
        self.kept.values().any(|kept| kept.run_id.as_deref() == Some(run_id))
    }

    /// Whether so much waits for the server that the worker should take no more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > FULL_BYTES || self.kept.len() > FULL_RESULTS
    }

    /// Tokens of tasks whose result the server may not have.
    pub(super) fn tokens(&self, kind: Kind) -> impl Iterator<Item = &Vec<u8>> {
        self.kept.values().filter(move |kept| kept.kind == kind).map(|kept| &kept.token)
    }

    /// A new stream: whatever the server has not dealt with is sent again, in order.
    pub(super) fn begin_stream(&mut self) {
        self.unsent = self.kept.keys().copied().collect();
    }

    /// The next results to send, as many as one message should carry.
    pub(super) fn take_batch(&mut self) -> SentResults {
        let mut sent = SentResults::default();
        let mut bytes = 0;
        while let Some(result_id) = self.unsent.front() {
            let kept = self.kept.get_mut(result_id).expect("what is unsent is kept");
            bytes += kept.bytes;
            if !sent.results.is_empty() && (bytes > BATCH_BYTES || sent.results.len() == BATCH_RESULTS) {
                break;
            }
            sent.results.push(v1::TaskResult { result_id: *result_id, result: Some(kept.outcome.clone()) });
            sent.heartbeats.extend(kept.heartbeat.clone());
            if std::mem::take(&mut kept.has_slot) {
                sent.freed.push(kept.kind);
            }
            self.unsent.pop_front();
        }
        sent
    }

    /// The server dealt with a result. `None` if it did so before.
    pub(super) fn acknowledge(&mut self, result_id: u64) -> Option<Kept> {
        let kept = self.kept.remove(&result_id)?;
        self.bytes -= kept.bytes;
        if self.unsent.contains(&result_id) {
            self.unsent.retain(|unsent| *unsent != result_id);
        }
        Some(kept)
    }
}

/// A result that fits into a message, and its size. One that did not would break each stream it is sent on, for ever: its
/// task fails instead, in a sentence with the limit.
fn within_limit(outcome: Outcome, token: &[u8]) -> (Outcome, usize) {
    let size = |outcome: Outcome| {
        let result = v1::TaskResult { result_id: u64::MAX, result: Some(outcome) };
        (result.encoded_len(), result.result.expect("set above"))
    };
    let (bytes, outcome) = size(outcome);
    if bytes <= RESULT_BYTES_MAX {
        return (outcome, bytes);
    }
    let sentence = |what: &str| format!("{what} {bytes} bytes; the limit is {RESULT_BYTES_MAX} bytes");
    let token = token.to_vec();
    let (bytes, outcome) = size(match outcome {
        Outcome::WorkflowTaskCompleted(_) | Outcome::WorkflowTaskFailed(_) => {
            let failure = Failure::server(sentence("the commands of one workflow task have"), false);
            Outcome::WorkflowTaskFailed(v1::WorkflowTaskFailure {
                token,
                cause: v1::WorkflowTaskFailureCause::BadCommand.into(),
                failure: Some(failure_to_proto(&failure)),
            })
        }
        Outcome::ActivityCompleted(_)
        | Outcome::ActivityFailed(_)
        | Outcome::ActivityCanceled(_)
        | Outcome::ActivityDetached(_) => {
            let failure = Failure::server(sentence("the activity's result has"), true);
            Outcome::ActivityFailed(v1::ActivityTaskFailure { token, failure: Some(failure_to_proto(&failure)) })
        }
    });
    (outcome, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(bytes: usize) -> Outcome {
        let data = bytes::Bytes::from(vec![b'1'; bytes]);
        let result = Some(v1::Payload { data, ..Default::default() });
        Outcome::ActivityCompleted(v1::ActivityTaskCompletion { token: b"a".to_vec(), result })
    }

    fn ids(sent: &SentResults) -> Vec<u64> {
        sent.results.iter().map(|result| result.result_id).collect()
    }

    #[test]
    fn a_result_is_sent_again_until_it_is_acknowledged_and_frees_its_slot_once() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push_activity(b"a".to_vec(), completed(1), None);
        }
        let sent = outbox.take_batch();
        assert_eq!((ids(&sent), sent.freed.len()), (vec![1, 2, 3], 3));
        assert!(outbox.acknowledge(2).is_some());
        assert!(outbox.acknowledge(2).is_none());
        assert!(!outbox.has_unsent());
        outbox.begin_stream();
        assert_eq!(outbox.tokens(Kind::Activity).count(), 2);
        let sent = outbox.take_batch();
        assert_eq!((ids(&sent), sent.freed.len()), (vec![1, 3], 0));
        outbox.acknowledge(1);
        outbox.acknowledge(3);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_and_always_has_one_result() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push_activity(b"a".to_vec(), completed(BATCH_BYTES * 2 / 3), None);
        }
        assert_eq!(ids(&outbox.take_batch()), [1]);
        assert_eq!(ids(&outbox.take_batch()), [2]);
        outbox.push_activity(b"a".to_vec(), completed(BATCH_BYTES * 2), None);
        assert_eq!(ids(&outbox.take_batch()), [3]);
        assert_eq!(ids(&outbox.take_batch()), [4]);
    }

    #[test]
    fn a_result_that_fits_into_no_message_becomes_a_failure() {
        let mut outbox = Outbox::default();
        outbox.push_activity(b"a".to_vec(), completed(RESULT_BYTES_MAX + 1), None);
        let Some(Outcome::ActivityFailed(failed)) = outbox.take_batch().results.remove(0).result else {
            panic!("expected a failure");
        };
        let failure = failed.failure.unwrap();
        assert!(failure.message.ends_with("bytes; the limit is 14614528 bytes"), "{}", failure.message);
    }
}
