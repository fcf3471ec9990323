//! Payloads.

use std::collections::BTreeMap;

use bytes::Bytes;
use engine_core::payload::Payload;

use crate::v1;

/// A payload as a message. Its bytes are shared, not copied.
pub fn payload_to_proto(payload: &Payload) -> v1::Payload {
    v1::Payload {
        encoding: payload.encoding.clone(),
        data: payload.data.clone(),
        metadata: payload.metadata.iter().map(|(key, value)| (key.clone(), value.to_vec())).collect(),
    }
}

/// A payload from a message: any payload will do.
pub fn payload_from_proto(message: v1::Payload) -> Payload {
    Payload {
        encoding: message.encoding,
        data: message.data,
        metadata: message.metadata.into_iter().map(|(key, value)| (key, Bytes::from(value))).collect(),
    }
}

/// Payloads as messages.
pub fn payloads_to_proto(payloads: &[Payload]) -> Vec<v1::Payload> {
    payloads.iter().map(payload_to_proto).collect()
}

/// Payloads from messages.
pub fn payloads_from_proto(messages: Vec<v1::Payload>) -> Vec<Payload> {
    messages.into_iter().map(payload_from_proto).collect()
}

/// A memo as a map. The map is ordered by key, and so is every memo that came from one.
pub fn memo_to_proto(memo: &[(String, Payload)]) -> BTreeMap<String, v1::Payload> {
    memo.iter().map(|(key, payload)| (key.clone(), payload_to_proto(payload))).collect()
}

/// A memo from a map, ordered by key.
pub fn memo_from_proto(memo: BTreeMap<String, v1::Payload>) -> Vec<(String, Payload)> {
    memo.into_iter().map(|(key, payload)| (key, payload_from_proto(payload))).collect()
}
