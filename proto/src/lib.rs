//! The `engine.v1` gRPC messages and services, and their conversion to the core types.
//!
//! Messages are plain data and stop at the rim: servers and SDK convert them with [`convert`] where they enter and leave.
//! An event is encoded once, when it is appended; from then on it travels as [`EncodedHistory`].

use bytes::Bytes;

pub mod convert;
pub mod token;

/// Generated messages, clients and servers of package `engine.v1`.
#[expect(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated; every message and field carries its comment from the .proto file"
)]
pub mod v1 {
    tonic::include_proto!("engine.v1");
}

/// The compiled descriptors of `engine.v1`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `engine.v1.History` with its events left encoded.
///
/// A field of messages and a field of bytes are the same on the wire, so a history page or a task goes from the store to a
/// worker without being decoded; the reader decodes each event with `v1::HistoryEvent::decode`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct EncodedHistory {
    /// One encoded `engine.v1.HistoryEvent` each, in order.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub events: Vec<Bytes>,
}
