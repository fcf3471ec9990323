//! Values of the user's program, opaque to the engine.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The [`Payload::encoding`] of JSON, which the SDK and the CLI write.
pub const JSON: &str = "json/plain";

/// A serialized value with the name of its encoding. The engine never looks inside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// How `data` is encoded, for instance [`JSON`].
    pub encoding: String,
    /// The bytes. Cheap to clone.
    pub data: Bytes,
    /// Whatever a payload codec needs to decode it, such as a key id.
    pub metadata: BTreeMap<String, Bytes>,
}

impl Payload {
    /// A payload of JSON text.
    pub fn json(data: impl Into<Bytes>) -> Self {
        Self { encoding: JSON.to_owned(), data: data.into(), metadata: BTreeMap::new() }
    }

    /// Copies the bytes into memory of their own.
    ///
    /// For what is kept: a payload that came in a message is a slice of the buffer that the message was read into, and holds
    /// all of that (8 KiB and more) for its own hundred bytes.
    pub fn detach(&mut self) {
        self.data = Bytes::copy_from_slice(&self.data);
        for value in self.metadata.values_mut() {
            *value = Bytes::copy_from_slice(value);
        }
    }

    /// Its size for the limits, in bytes.
    pub fn size(&self) -> usize {
        let metadata: usize = self.metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.encoding.len() + self.data.len() + metadata
    }
}

/// Total size of `payloads` for the limits, in bytes.
pub fn total_size(payloads: &[Payload]) -> usize {
    payloads.iter().map(Payload::size).sum()
}
