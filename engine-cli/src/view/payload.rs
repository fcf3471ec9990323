//! Payloads: JSON where they are JSON, and what they are where they are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_core::payload::{JSON, Payload};
use engine_proto::v1;
use serde_json::{Map, Value, json};

use super::text::{one_line, size};
use crate::args::InputArgs;
use crate::error::CliError;

/// The arguments that the command line gives, as the server gets them.
pub(crate) fn read_inputs(arguments: &InputArgs) -> Result<Vec<v1::Payload>, CliError> {
    let typed =
        (1..).zip(&arguments.input).map(|(number, text)| json_payload(text, &format!("--input number {number}")));
    let files = arguments.input_file.iter().map(|path| {
        let content =
            if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
        let text = content.map_err(|error| CliError::usage(format!("cannot read --input-file {path}: {error}")))?;
        json_payload(&text, &format!("--input-file {path}"))
    });
    typed.chain(files).collect()
}

/// `text`, which must be one JSON document, as it was written: no number loses digits.
pub(crate) fn json_payload(text: &str, what: &str) -> Result<v1::Payload, CliError> {
    let text = text.trim();
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(CliError::usage(format!(
            "{what} is not JSON: {error} (text needs its own quotes, as in --input '\"text\"')"
        )));
    }
    Ok(v1::Payload { encoding: JSON.to_owned(), data: text.to_owned().into(), ..v1::Payload::default() })
}

/// A payload for people: JSON text, or what it is.
pub(crate) fn words(payload: &Payload, limit: usize) -> String {
    match std::str::from_utf8(&payload.data) {
        Ok(text) if payload.encoding == JSON => one_line(text, limit),
        _ => format!("<{} of {}>", size(payload.data.len() as u64), one_line(&payload.encoding, 40)),
    }
}

/// Several payloads for people.
pub(crate) fn list_words(payloads: &[Payload], limit: usize) -> String {
    let words: Vec<String> = payloads.iter().map(|payload| words(payload, limit)).collect();
    one_line(&words.join(", "), limit)
}

/// A payload for programs: `{"encoding", "data"}`, where `data` is the value if it is JSON, and `data_base64` instead of `data` if not.
pub(crate) fn value(payload: &Payload) -> Value {
    let mut object = Map::new();
    object.insert("encoding".into(), json!(payload.encoding));
    let decoded = (payload.encoding == JSON).then(|| serde_json::from_slice::<Value>(&payload.data).ok()).flatten();
    match decoded {
        Some(decoded) => object.insert("data".into(), decoded),
        None => object.insert("data_base64".into(), json!(STANDARD.encode(&payload.data))),
    };
    if !payload.metadata.is_empty() {
        let metadata: Map<String, Value> =
            payload.metadata.iter().map(|(key, bytes)| (key.clone(), json!(STANDARD.encode(bytes)))).collect();
        object.insert("metadata_base64".into(), Value::Object(metadata));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn input_is_checked_and_kept_as_written() {
        let arguments =
            InputArgs { input: vec![" 12345678901234567890123 ".into(), "\"b\"".into()], input_file: vec![] };
        let payloads = read_inputs(&arguments).unwrap();
        assert_eq!(payloads[0].data, "12345678901234567890123", "no digit is lost");
        assert_eq!(payloads[1].encoding, "json/plain");
        let wrong = InputArgs { input: vec!["1".into(), "text".into()], input_file: vec![] };
        let CliError::Told(told) = read_inputs(&wrong).unwrap_err() else { panic!("it says something") };
        assert!(told.message.starts_with("--input number 2 is not JSON: "), "{}", told.message);
        assert_eq!(told.exit, crate::error::Exit::Usage);
    }

    #[test]
    fn a_file_is_one_argument() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input.json");
        std::fs::write(&path, "{\n \"a\": 1 }\n").unwrap();
        let arguments = InputArgs { input: vec![], input_file: vec![path.display().to_string()] };
        assert_eq!(read_inputs(&arguments).unwrap()[0].data, "{\n \"a\": 1 }");
        let missing = InputArgs { input: vec![], input_file: vec!["/nowhere".into()] };
        assert!(read_inputs(&missing).is_err());
    }

    #[test]
    fn json_is_shown_as_json_and_other_bytes_as_what_they_are() {
        let payload = Payload::json("{\"a\":[1]}");
        assert_eq!(words(&payload, 80), "{\"a\":[1]}");
        assert_eq!(value(&payload), json!({ "encoding": "json/plain", "data": { "a": [1] } }));
        let mut binary =
            Payload { encoding: "proto".into(), data: Bytes::from_static(&[0, 255]), ..Payload::default() };
        binary.metadata.insert("key".into(), Bytes::from_static(b"k1"));
        assert_eq!(words(&binary, 80), "<2 B of proto>");
        let expected = json!({ "encoding": "proto", "data_base64": "AP8=", "metadata_base64": { "key": "azE=" } });
        assert_eq!(value(&binary), expected);
        let broken = Payload::json("{");
        assert_eq!(value(&broken), json!({ "encoding": "json/plain", "data_base64": "ew==" }), "never lost");
    }
}
