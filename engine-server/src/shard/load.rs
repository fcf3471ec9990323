//! From rows back to a run in memory.

use engine_core::event::Event;
use engine_core::execution::{CorruptHistory, Execution};
use engine_core::ids::EventId;
use engine_core::time::Timestamp;
use engine_proto::{EncodedHistory, convert, v1};
use prost::Message;

use crate::shard::progress;
use crate::shard::run::{HotRun, Standing, Tail};
use crate::store::StoredRun;

fn corrupt(event_id: EventId, problem: impl ToString) -> CorruptHistory {
    CorruptHistory { event_id, problem: problem.to_string() }
}

/// Rebuilds a run from what is stored of it. Equal to the run that wrote it, but for what was never durable.
pub(crate) fn hot_run(stored: StoredRun, now: Timestamp) -> Result<HotRun, CorruptHistory> {
    let mut tail = Tail::default();
    let mut history_bytes = 0;
    let mut events: Vec<Event> = Vec::new();
    for row in stored.history {
        history_bytes += row.events.len() as u64;
        let encoded = EncodedHistory::decode(row.events).map_err(|e| corrupt(row.first_event_id, e))?;
        for bytes in encoded.events {
            let event = decode_event(&bytes)?;
            tail.push(event.id, bytes);
            events.push(event);
        }
    }
    let mut execution = Execution::replay(events)?;
    let next_buffer_position = stored.buffered.last().map_or(1, |row| row.position + 1);
    let has_stored_buffer = !stored.buffered.is_empty();
    let buffered: Vec<Event> =
        stored.buffered.iter().map(|row| decode_event(&row.event)).collect::<Result<_, CorruptHistory>>()?;
    let progress: Vec<_> =
        stored.progress.iter().map(|row| progress::decode(&row.progress)).collect::<Result<_, CorruptHistory>>()?;
    execution.restore(buffered, progress)?;
    let mut run = HotRun::new(stored.row.key, execution, now);
    run.tail = tail;
    run.history_bytes = history_bytes;
    run.durable_wake_at = stored.row.wake_at;
    let listed_rightly = stored.row.search_attributes == run.listed_by();
    run.listed_as = listed_rightly.then(|| Standing::of(&run.execution));
    run.has_stored_buffer = has_stored_buffer;
    run.next_buffer_position = next_buffer_position;
    Ok(run)
}

/// Decodes one stored event.
pub(crate) fn decode_event(bytes: &[u8]) -> Result<Event, CorruptHistory> {
    let message = v1::HistoryEvent::decode(bytes).map_err(|e| corrupt(EventId::NONE, e))?;
    let id = EventId(message.event_id);
    convert::event_from_proto(message).map_err(|e| corrupt(id, e))
}
