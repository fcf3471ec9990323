//! Encoded histories, and the rows that they are stored in.
//!
//! A row is an encoded `engine.v1.History`: the events that one turn appended. Because the encoding of a message with one
//! repeated field is a concatenation, so are rows: rows in sequence are again a row.

use bytes::{Buf as _, Bytes};
use engine_core::event::Event;
use engine_core::ids::EventId;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{ConvertError, encode_event, event_from_proto, event_to_proto};
use crate::{EncodedHistory, v1};

/// The form in which histories are exported as JSON (`docs/history-json.md`), written beside each event. It grows when an older reader would
/// misunderstand what is written, which a new field or a new type of event does not bring about.
pub const HISTORY_JSON_FORMAT: u32 = 1;

/// `events` in `engine.v1.History`.
const EVENTS_TAG: u32 = 1;

/// `event_id` in `engine.v1.HistoryEvent`.
const EVENT_ID_TAG: u32 = 1;

/// The row that holds `events`, as it is stored. [`EncodedHistory::from_row`] takes it apart again.
pub fn encode_row(events: &[Event]) -> Bytes {
    // One buffer of the right size for all, since rows are what the server makes most of.
    let messages: Vec<v1::HistoryEvent> = events.iter().map(event_to_proto).collect();
    let mut row = Vec::with_capacity(prost::encoding::message::encoded_len_repeated(EVENTS_TAG, &messages));
    prost::encoding::message::encode_repeated(EVENTS_TAG, &messages, &mut row);
    row.into()
}

/// The number of an encoded event, without decoding the rest of it. 0 for a buffered event.
pub fn event_id_of(event: &Bytes) -> Result<EventId, ConvertError> {
    let mut rest = event.clone();
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(malformed)?;
        if tag == EVENT_ID_TAG && wire_type == WireType::Varint {
            return decode_varint(&mut rest).map(EventId).map_err(malformed);
        }
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(malformed)?;
    }
    // Zero is the default of a number, which is not written.
    Ok(EventId::NONE)
}

fn malformed(error: prost::DecodeError) -> ConvertError {
    ConvertError::new("", format_args!("cannot be decoded: {error}"))
}

impl EncodedHistory {
    /// The events, encoded.
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        Self { events: events.into_iter().map(encode_event).collect() }
    }

    /// The events of a row (or of several in sequence), each still encoded and sharing the row's memory.
    pub fn from_row(row: Bytes) -> Result<Self, ConvertError> {
        Self::decode(row).map_err(malformed)
    }

    /// The row that holds these events.
    pub fn to_row(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// The events, decoded. Fails on bytes that the engine did not write, naming the event by its position: `events[3]`.
    pub fn decode_events(&self) -> Result<Vec<Event>, ConvertError> {
        let decode = |(index, bytes): (usize, &Bytes)| {
            v1::HistoryEvent::decode(bytes.clone())
                .map_err(malformed)
                .and_then(event_from_proto)
                .map_err(|error| error.inside(format_args!("events[{index}]")))
        };
        self.events.iter().enumerate().map(decode).collect()
    }

    /// Total size of the encoded events in bytes.
    pub fn size(&self) -> usize {
        self.events.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{event_to_proto, samples};

    #[test]
    fn a_row_is_split_into_the_events_it_was_made_of_without_copying() {
        let events = samples::events();
        let row = encode_row(&events);
        let split = EncodedHistory::from_row(row.clone()).unwrap();
        assert_eq!(split, EncodedHistory::from_events(&events));
        assert_eq!(split.to_row(), row);
        assert_eq!(split.decode_events(), Ok(events));
        let memory = row.as_ptr_range();
        assert!(split.events.iter().all(|event| memory.contains(&event.as_ptr())), "slices of the row");
    }

    #[test]
    fn rows_in_sequence_are_a_row() {
        let events = samples::events();
        let (first, second) = events.split_at(5);
        let both = Bytes::from([encode_row(first), encode_row(second)].concat());
        assert_eq!(both, encode_row(&events));
        assert_eq!(EncodedHistory::from_row(Bytes::new()).unwrap().events.len(), 0);
    }

    #[test]
    fn a_row_is_an_engine_v1_history() {
        let events = samples::events();
        let messages: Vec<v1::HistoryEvent> = events.iter().map(event_to_proto).collect();
        #[derive(Clone, PartialEq, prost::Message)]
        struct History {
            #[prost(message, repeated, tag = "1")]
            events: Vec<v1::HistoryEvent>,
        }
        assert_eq!(encode_row(&events), History { events: messages }.encode_to_vec());
    }

    #[test]
    fn an_events_number_is_read_without_decoding_it() {
        for event in samples::events() {
            assert_eq!(event_id_of(&encode_event(&event)), Ok(event.id));
        }
        let buffered = Event { id: EventId::NONE, ..samples::golden_failed() };
        assert_eq!(event_id_of(&encode_event(&buffered)), Ok(EventId::NONE));
        assert!(event_id_of(&Bytes::from_static(&[0xff; 12])).is_err());
    }

    #[test]
    fn damaged_bytes_are_refused_with_their_place() {
        assert!(EncodedHistory::from_row(Bytes::from_static(&[0x0a, 0x50, 1])).is_err());
        let mut history = EncodedHistory::from_events(&samples::events());
        history.events[2] = Bytes::from_static(&[0xff]);
        let error = history.decode_events().unwrap_err();
        assert_eq!(error.field, "events[2]");
        assert!(error.problem.starts_with("cannot be decoded"), "{error}");
    }
}
