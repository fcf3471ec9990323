//! Names and numbers that identify things. Each is its own type, so that a run id can never be passed for a workflow id.
//!
//! Text identifiers are validated once, where they enter ([`Namespace::parse`] and its siblings); a value of the type
//! is within its limit. `from_trusted` is for text that was validated before it was stored.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::limits;
use crate::time::Timestamp;

/// Why a text was refused as an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text was empty.
    #[error("must not be empty")]
    Empty,
    /// The text was longer than the limit.
    #[error("is {actual} bytes long; the limit is {limit} bytes")]
    TooLong {
        /// Length of the text in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text contained a control character.
    #[error("contains a control character at byte {at}")]
    ControlCharacter {
        /// Byte offset of the character.
        at: usize,
    },
}

fn check_text(text: &str, limit: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > limit {
        return Err(InvalidId::TooLong { actual: text.len(), limit });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(InvalidId::ControlCharacter { at }),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        text_id! { $(#[$doc])* $name up to ID_LENGTH_MAX }
    };
    ($(#[$doc:meta])* $name:ident up to $limit:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Validates `text`: not empty, at most [`limits::", stringify!($limit), "`] bytes, no control characters.")]
            pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                check_text(text, limits::$limit)?;
                Ok(Self(Arc::from(text)))
            }

            /// Wraps text that was validated before it was stored, or that is a constant of the program.
            pub fn from_trusted(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The isolation unit of ids and queues.
    Namespace
}
text_id! {
    /// The user's key for one logical process. At most one run of it is open at a time.
    WorkflowId
}
text_id! {
    /// The name under which a workflow's code is registered.
    WorkflowType
}
text_id! {
    /// The name under which an activity's code is registered.
    ActivityType
}
text_id! {
    /// Names one activity within a run; chosen by the workflow, unique among the run's pending activities.
    ActivityId
}
text_id! {
    /// Names one timer within a run; chosen by the workflow, unique among the run's pending timers.
    TimerId
}
text_id! {
    /// A named queue of tasks that workers serve.
    TaskQueueName
}
text_id! {
    /// The name of a signal.
    SignalName
}
text_id! {
    /// The name of a query.
    QueryName
}
text_id! {
    /// The name under which a run publishes a value.
    PublishedName
}
text_id! {
    /// The name of an update: which handler it is for.
    UpdateName
}
text_id! {
    /// The sender's key for one update, unique within a run: a repeat with the same id is the same update.
    UpdateId
}
text_id! {
    /// A client's key that makes a request safe to repeat.
    RequestId
}

text_id! {
    /// Names a change of workflow code, for [`crate::marker::Marker::Patch`].
    PatchId
}
text_id! {
    /// What workflow code calls one of its steps.
    StepName
}
text_id! {
    /// The name of a search attribute.
    SearchAttributeName
}
text_id! {
    /// Names the builds of one program that take each other's place.
    DeploymentName up to VERSION_NAME_BYTES_MAX
}
text_id! {
    /// Names one build of a deployment.
    BuildId up to VERSION_NAME_BYTES_MAX
}

/// One run of a workflow id: a UUIDv7, so that later runs sort after earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// Builds a version-7 id from an instant and 80 bits of caller-supplied randomness (six of them are overwritten
    /// by the version and variant bits of RFC 9562).
    pub fn from_parts(at: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(at.as_micros().max(0) / 1000).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id of the run that follows this one in its chain, when it is closed by `event` at `now`.
    ///
    /// It is a function of its arguments, so that a decision made twice names the same run, and it always sorts
    /// after `self`.
    pub fn successor(self, event: EventId, now: Timestamp) -> Self {
        let own_millis = (self.0.as_u128() >> 80) as i64;
        let at = now.max(Timestamp::from_micros((own_millis + 1) * 1000));
        let (high, low) = self.0.as_u64_pair();
        let a = mix(high ^ mix(event.0));
        let b = mix(low ^ a);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&a.to_be_bytes());
        random[8..].copy_from_slice(&b.to_be_bytes()[..2]);
        Self::from_parts(at, random)
    }

    /// Wraps any UUID, for instance one read back from the store.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// Parses the hyphenated form.
    pub fn parse(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }

    /// A number that is stable for this run: the seed of its random values.
    pub fn seed(self) -> u64 {
        let (high, low) = self.0.as_u64_pair();
        mix(high ^ low.rotate_left(32))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A bijective 64-bit mixer (the finaliser of SplitMix64, Steele, Lea and Flood 2014): neighbouring inputs give
/// unrelated outputs. Not cryptographic.
pub fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The number of an event in its run's history, counted from 1. Zero means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(pub u64);

impl EventId {
    /// No event: an unnumbered event, or a reference to nothing.
    pub const NONE: EventId = EventId(0);
    /// The first event of each history.
    pub const FIRST: EventId = EventId(1);

    /// The next number.
    pub fn next(self) -> EventId {
        EventId(self.0 + 1)
    }

    /// Whether this refers to an event.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_over_long_id_is_refused_with_its_length() {
        assert_eq!(WorkflowId::parse(""), Err(InvalidId::Empty));
        let long = "x".repeat(limits::ID_LENGTH_MAX + 1);
        let error = WorkflowId::parse(long).unwrap_err();
        assert_eq!(error.to_string(), "is 1001 bytes long; the limit is 1000 bytes");
        assert_eq!(WorkflowId::parse("a\nb"), Err(InvalidId::ControlCharacter { at: 1 }));
    }

    #[test]
    fn a_successor_run_sorts_after_its_predecessor_even_within_one_millisecond() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let first = RunId::from_parts(now, [0xff; 10]);
        let second = first.successor(EventId(5), now);
        assert!(second > first);
        assert_eq!(second, first.successor(EventId(5), now), "a repeated decision names the same run");
        assert_ne!(second, first.successor(EventId(6), now));
    }
}
