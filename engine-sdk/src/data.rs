//! Values of the user's program as payloads: JSON, one payload for each argument.
//!
//! A value is encoded where it enters the engine and decoded where it leaves it, so its type may change between two
//! deployments as far as serde allows: a field with `#[serde(default)]` may be added, and so may a last argument of type
//! `Option<T>`, which an older caller leaves out.

use std::any::type_name;
use std::fmt;

use bytes::Bytes;
use engine_core::payload::{JSON, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be arguments and results: serde can write and read it, and it borrows nothing. `#[payload]` makes a
/// struct or enum one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded",
    label = "arguments and results are recorded as JSON",
    note = "put `#[payload]` above the type, or `#[derive(Serialize, Deserialize)]` if the program depends on serde"
)]
pub trait Recordable: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Recordable for T {}

/// Whether both are the same value: a map may be written in another order.
#[cfg(feature = "testing")]
pub(crate) fn is_same_value(one: &Payload, other: &Payload) -> bool {
    let value = |payload: &Payload| serde_json::from_slice::<serde_json::Value>(&payload.data).ok();
    one == other
        || (one.encoding == JSON && other.encoding == JSON && value(one).is_some_and(|one| Some(one) == value(other)))
}

/// Encodes one value.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload, DataError> {
    encode_at(Place::Value, value)
}

/// Decodes one value.
pub fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, DataError> {
    decode_at(Place::Value, Some(payload))
}

/// Decodes what an activity or workflow returned. No payload stands for `()`.
pub fn decode_result<T: DeserializeOwned>(payload: Option<&Payload>) -> Result<T, DataError> {
    decode_at(Place::Result, payload)
}

/// Encodes what an activity or workflow returned.
pub fn encode_result<T: Serialize + ?Sized>(value: &T) -> Result<Payload, DataError> {
    encode_at(Place::Result, value)
}

/// Decodes the content of a signal, which is one value; a signal without payload stands for `()`.
pub fn decode_signal<T: DeserializeOwned>(input: &[Payload]) -> Result<T, DataError> {
    match input {
        [] => decode_at(Place::Signal, None),
        [payload] => decode_at(Place::Signal, Some(payload)),
        more => Err(DataError {
            place: Place::Signal,
            type_name: type_name::<T>(),
            problem: Problem::TooMany { expected: 1, actual: more.len() },
        }),
    }
}

/// Encodes the arguments of one call, in order.
#[derive(Debug, Default)]
pub struct ArgumentWriter {
    payloads: Vec<Payload>,
}

impl ArgumentWriter {
    /// No arguments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next argument of a definition, which must be able to read it again.
    pub fn argument<T: Recordable>(&mut self, value: &T) -> Result<(), DataError> {
        self.push(value)
    }

    /// Adds the next argument.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DataError> {
        let place = Place::Argument(self.payloads.len() + 1);
        self.payloads.push(encode_at(place, value)?);
        Ok(())
    }

    /// All arguments.
    pub fn finish(self) -> Vec<Payload> {
        self.payloads
    }
}

/// The arguments of a call by name: a tuple of them. `()`, `(one,)`, `(one, two)`, up to eight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of arguments",
    label = "expected a tuple with one value for each argument",
    note = "a single argument is written as a tuple of one: `(argument,)`"
)]
pub trait Arguments {
    /// One payload for each argument.
    fn encode(&self) -> Result<Vec<Payload>, DataError>;
}

macro_rules! arguments {
    ($($type:ident $index:tt),*) => {
        impl<$($type: Serialize),*> Arguments for ($($type,)*) {
            fn encode(&self) -> Result<Vec<Payload>, DataError> {
                #[allow(unused_mut, reason = "nothing is pushed for the empty tuple")]
                let mut writer = ArgumentWriter::new();
                $(writer.push(&self.$index)?;)*
                Ok(writer.finish())
            }
        }
    };
}

arguments!();
arguments!(A 0);
arguments!(A 0, B 1);
arguments!(A 0, B 1, C 2);
arguments!(A 0, B 1, C 2, D 3);
arguments!(A 0, B 1, C 2, D 3, E 4);
arguments!(A 0, B 1, C 2, D 3, E 4, F 5);
arguments!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
arguments!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// Decodes the arguments of one call, in order.
#[derive(Debug)]
pub struct ArgumentReader {
    payloads: std::vec::IntoIter<Payload>,
    index: usize,
}

impl ArgumentReader {
    /// Begins to decode the arguments of a function that takes `expected` of them. More payloads than that are an error,
    /// fewer are one only if the argument's type does not accept JSON `null`.
    pub fn new(payloads: Vec<Payload>, expected: usize) -> Result<Self, DataError> {
        if payloads.len() > expected {
            return Err(DataError {
                place: Place::Arguments,
                type_name: "",
                problem: Problem::TooMany { expected, actual: payloads.len() },
            });
        }
        Ok(Self { payloads: payloads.into_iter(), index: 0 })
    }

    /// The next argument.
    #[expect(clippy::should_implement_trait, reason = "each call may ask for another type")]
    pub fn next<T: Recordable>(&mut self) -> Result<T, DataError> {
        self.index += 1;
        decode_at(Place::Argument(self.index), self.payloads.next().as_ref())
    }
}

/// Arguments as they came, for code that takes those of any definition: `#[workflow] async fn any(ctx: WorkflowContext, args:
/// RawArguments)`, `#[signal(any)]`, `#[query(any)]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawArguments(Vec<Payload>);

impl From<Vec<Payload>> for RawArguments {
    fn from(payloads: Vec<Payload>) -> Self {
        Self(payloads)
    }
}

impl RawArguments {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The argument at `index`, counted from 0. One that is missing can be read as an `Option`.
    pub fn get<T: Recordable>(&self, index: usize) -> Result<T, DataError> {
        decode_at(Place::Argument(index + 1), self.0.get(index))
    }

    /// All of them, encoded.
    pub fn into_payloads(self) -> Vec<Payload> {
        self.0
    }
}

fn encode_at<T: Serialize + ?Sized>(place: Place, value: &T) -> Result<Payload, DataError> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(Payload::json(Bytes::from(json))),
        Err(source) => Err(DataError { place, type_name: type_name::<T>(), problem: Problem::Encode(source) }),
    }
}

fn decode_at<T: DeserializeOwned>(place: Place, payload: Option<&Payload>) -> Result<T, DataError> {
    let error = |problem| DataError { place, type_name: type_name::<T>(), problem };
    let Some(payload) = payload else {
        return serde_json::from_slice(b"null").map_err(|_| error(Problem::Missing));
    };
    if payload.encoding != JSON {
        return Err(error(Problem::Encoding(payload.encoding.clone())));
    }
    serde_json::from_slice(&payload.data).map_err(|source| error(Problem::Decode(source)))
}

/// A value could not be encoded or decoded. Its text names the argument, counted from 1, and the type.
#[derive(Debug)]
pub struct DataError {
    place: Place,
    type_name: &'static str,
    problem: Problem,
}

impl DataError {
    /// The type that was to be encoded or decoded; empty if it is about the number of arguments.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The argument at fault, counted from 1; `None` if it is not about one argument.
    pub fn argument(&self) -> Option<usize> {
        match self.place {
            Place::Argument(index) => Some(index),
            Place::Arguments | Place::Result | Place::Signal | Place::Value => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Counted from 1.
    Argument(usize),
    Arguments,
    Result,
    Signal,
    Value,
}

#[derive(Debug)]
enum Problem {
    Encode(serde_json::Error),
    Decode(serde_json::Error),
    Missing,
    Encoding(String),
    TooMany { expected: usize, actual: usize },
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = self.type_name;
        match self.place {
            Place::Argument(index) => write!(f, "argument {index} of type `{type_name}` ")?,
            Place::Arguments => f.write_str("the list of arguments ")?,
            Place::Result => write!(f, "the result of type `{type_name}` ")?,
            Place::Signal => write!(f, "the signal of type `{type_name}` ")?,
            Place::Value => write!(f, "the value of type `{type_name}` ")?,
        }
        match &self.problem {
            Problem::Encode(source) => write!(f, "cannot be encoded as JSON: {source}"),
            Problem::Decode(source) => write!(f, "cannot be decoded from JSON: {source}"),
            Problem::Missing => f.write_str("is missing"),
            Problem::Encoding(encoding) => {
                write!(f, "has the encoding {encoding:?}; this program decodes only {JSON:?}")
            }
            Problem::TooMany { expected, actual } => write!(f, "has {actual} values; at most {expected} are expected"),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Encode(source) | Problem::Decode(source) => Some(source),
            Problem::Missing | Problem::Encoding(_) | Problem::TooMany { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_may_lack_a_last_option() {
        let mut writer = ArgumentWriter::new();
        writer.push("card").unwrap();
        writer.push(&7_u32).unwrap();
        let payloads = writer.finish();
        assert_eq!(payloads.len(), 2);
        let mut reader = ArgumentReader::new(payloads, 3).unwrap();
        assert_eq!(reader.next::<String>().unwrap(), "card");
        assert_eq!(reader.next::<u32>().unwrap(), 7);
        assert_eq!(reader.next::<Option<u32>>().unwrap(), None);
    }

    #[test]
    fn an_error_names_the_argument_and_its_type() {
        let mut reader = ArgumentReader::new(vec![Payload::json("\"x\"")], 2).unwrap();
        let error = reader.next::<u32>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "argument 1 of type `u32` cannot be decoded from JSON: invalid type: string \"x\", expected u32 at line 1 column 3"
        );
        assert_eq!(reader.next::<u32>().unwrap_err().to_string(), "argument 2 of type `u32` is missing");
        let error = ArgumentReader::new(vec![Payload::json("1"), Payload::json("2")], 1).unwrap_err();
        assert_eq!(error.to_string(), "the list of arguments has 2 values; at most 1 are expected");
    }

    #[test]
    fn nothing_stands_for_unit_and_an_unknown_encoding_is_named() {
        decode_result::<()>(None).unwrap();
        decode_signal::<()>(&[]).unwrap();
        let payload = Payload { encoding: "binary/encrypted".into(), ..Payload::default() };
        assert_eq!(
            decode::<u8>(&payload).unwrap_err().to_string(),
            "the value of type `u8` has the encoding \"binary/encrypted\"; this program decodes only \"json/plain\""
        );
    }
}
