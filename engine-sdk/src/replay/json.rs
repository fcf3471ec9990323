//! Histories as JSON files. `docs/history-json.md` documents the form; of each event only `encoded` is read, which holds all of it as it
//! is stored, so that a file that was exported once can be replayed for ever.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::event::Event;
use engine_proto::convert::{HISTORY_JSON_FORMAT, encode_event, event_from_proto};
use engine_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct EventObject {
    event_id: u64,
    #[serde(rename = "type", default)]
    name: String,
    /// Files from before it was written are in the first one.
    #[serde(default = "first_format")]
    format: u32,
    encoded: Option<String>,
}

fn first_format() -> u32 {
    1
}

/// A history as JSON that [`from_json`] and [`super::Replayer::replay_json`] read: for golden histories that a test replays.
/// `engine workflow history ID --output json` prints more for people.
///
/// # Panics
/// Never: numbers and strings can be written.
pub fn to_json(history: &[Event]) -> String {
    let objects: Vec<EventObject> = history
        .iter()
        .map(|event| EventObject {
            event_id: event.id.0,
            name: event.kind.name().to_owned(),
            format: HISTORY_JSON_FORMAT,
            encoded: Some(STANDARD.encode(encode_event(event))),
        })
        .collect();
    serde_json::to_string_pretty(&objects).expect("numbers and strings can be written")
}

/// A history from JSON: an array of events, each with its `encoded`.
///
/// # Errors
/// In a sentence that names the event.
pub fn from_json(json: &str) -> Result<Vec<Event>, UnreadableHistory> {
    let objects: Vec<EventObject> = serde_json::from_str(json)
        .map_err(|error| UnreadableHistory(format!("it is not an array of events: {error}")))?;
    if objects.is_empty() {
        return Err(UnreadableHistory("it has no events".to_owned()));
    }
    let read = |(index, object): (usize, EventObject)| {
        let wrong = |problem: String| UnreadableHistory(format!("event {} {problem}", object.event_id));
        if object.event_id != index as u64 + 1 {
            return Err(wrong(format!(
                "stands where event {} belongs: export the whole history, oldest first",
                index + 1
            )));
        }
        if object.format > HISTORY_JSON_FORMAT {
            return Err(wrong(format!(
                "is in format {}, and this build reads formats up to {HISTORY_JSON_FORMAT}: a newer engine exported the history, so \
                 replay it with a newer SDK",
                object.format
            )));
        }
        let encoded = object.encoded.as_ref().ok_or_else(|| {
            wrong("has no `encoded`: it was printed by an older `engine workflow history`, or by hand".to_owned())
        })?;
        let bytes =
            STANDARD.decode(encoded).map_err(|error| wrong(format!("has an `encoded` that is not base64: {error}")))?;
        let message =
            v1::HistoryEvent::decode(bytes.as_slice()).map_err(|error| wrong(format!("is not an event: {error}")))?;
        if message.attributes.is_none() {
            return Err(wrong(format!(
                "is of type {:?}, which this build does not know: a newer engine recorded it, so replay it with a newer SDK",
                object.name
            )));
        }
        let event = event_from_proto(message).map_err(|error| wrong(format!("cannot be understood: {error}")))?;
        if event.id.0 == object.event_id { Ok(event) } else { Err(wrong(format!("holds event {}", event.id))) }
    };
    objects.into_iter().enumerate().map(read).collect()
}

/// Why JSON is no history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableHistory(pub(super) String);
