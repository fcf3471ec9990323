//! Events.
//!
//! Their identifiers were validated before they were written, so reading takes them as they are: a limit that is lowered one
//! day must not make old histories unreadable.

mod from_proto;
mod replayed;
mod to_proto;

use bytes::Bytes;
use engine_core::event::{Event, TaskVersioning, VersioningBehavior, WorkerMetadata};
use engine_core::ids::DeploymentName;
use prost::Message as _;

pub use from_proto::{event_from_proto, workflow_started_from_proto};
pub use replayed::event_for_replay;
pub use to_proto::{event_to_proto, workflow_started_to_proto};

use super::version::{versioning_behavior_from_proto, versioning_behavior_to_proto};
use crate::v1;

/// An event in the bytes in which it is stored, paged and sent.
pub fn encode_event(event: &Event) -> Bytes {
    event_to_proto(event).encode_to_vec().into()
}

/// What runs workflow code, as a message.
pub fn worker_metadata_to_proto(worker: &WorkerMetadata) -> v1::WorkerMetadata {
    v1::WorkerMetadata {
        sdk_name: worker.sdk_name.clone(),
        sdk_version: worker.sdk_version.clone(),
        build_id: worker.build_id.clone(),
        flags: worker.flags.clone(),
        deployment_name: worker.versioning.as_ref().map_or_else(String::new, |it| it.deployment.to_string()),
        versioning_behavior: worker
            .versioning
            .as_ref()
            .map_or(0, |it| versioning_behavior_to_proto(it.behavior).into()),
    }
}

/// What runs workflow code, from a message. A worker with a deployment that does not say how the run follows versions lets it follow them.
pub fn worker_metadata_from_proto(message: v1::WorkerMetadata) -> WorkerMetadata {
    let versioning = (!message.deployment_name.is_empty()).then(|| {
        Box::new(TaskVersioning {
            deployment: DeploymentName::from_trusted(&message.deployment_name),
            behavior: versioning_behavior_from_proto(message.versioning_behavior)
                .unwrap_or(VersioningBehavior::AutoUpgrade),
        })
    });
    WorkerMetadata {
        versioning,
        sdk_name: message.sdk_name,
        sdk_version: message.sdk_version,
        build_id: message.build_id,
        flags: message.flags,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use engine_core::event::EventKind;
    use engine_core::ids::EventId;

    use super::*;
    use crate::convert::{HISTORY_JSON_FORMAT, samples};

    #[test]
    fn every_event_survives_a_round_trip() {
        let mut names = BTreeSet::new();
        for event in samples::events() {
            names.insert(event.kind.name());
            let decoded = v1::HistoryEvent::decode(encode_event(&event)).unwrap();
            assert_eq!(event_from_proto(decoded), Ok(event));
        }
        assert_eq!(names.len(), 49, "one sample of each kind at least: {names:?}");
    }

    #[test]
    fn an_event_without_attributes_or_with_a_hole_is_refused() {
        let error = event_from_proto(v1::HistoryEvent { event_id: 7, event_time_us: 0, attributes: None }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "attributes: are of a kind that this build does not know: a newer engine recorded the event"
        );
        let mut message = event_to_proto(
            samples::events().iter().find(|event| matches!(event.kind, EventKind::WorkflowFailed(_))).unwrap(),
        );
        let Some(v1::history_event::Attributes::WorkflowFailed(failed)) = &mut message.attributes else {
            panic!("it is a WorkflowFailed")
        };
        failed.failure = None;
        assert_eq!(event_from_proto(message).unwrap_err().to_string(), "workflow_failed.failure: must be set");
    }

    /// Where exported events of every kind are pinned. Events are appended, with `BLESS=1`, and never changed.
    const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories/every_event.json");

    /// An event as `docs/history-json.md` has it, with what replaying reads.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Exported {
        event_id: u64,
        #[serde(rename = "type")]
        name: String,
        format: u32,
        encoded: String,
    }

    /// If this test fails, histories that users exported cannot be read any more, or lose something: do not bless it, undo the change.
    #[test]
    fn exported_events_of_every_kind_stay_readable() {
        let text = std::fs::read_to_string(PINNED).unwrap_or_else(|_| "[]".to_owned());
        let mut pinned: Vec<Exported> = serde_json::from_str(&text).unwrap();
        let mut known_events = Vec::new();
        for exported in &pinned {
            let bytes = STANDARD.decode(&exported.encoded).unwrap();
            let event = event_from_proto(v1::HistoryEvent::decode(bytes.as_slice()).unwrap()).unwrap();
            assert_eq!((event.id.0, event.kind.name()), (exported.event_id, exported.name.as_str()));
            assert_eq!(
                encode_event(&event),
                bytes,
                "something of the {} is lost or written in another way",
                exported.name
            );
            known_events.push(Event { id: EventId::NONE, ..event });
        }
        if std::env::var_os("BLESS").is_none() {
            let known: BTreeSet<&str> = pinned.iter().map(|exported| exported.name.as_str()).collect();
            let mut kinds: BTreeSet<&str> = samples::events().iter().map(|event| event.kind.name()).collect();
            kinds.retain(|kind| !known.contains(kind));
            assert!(kinds.is_empty(), "not pinned yet, append them with BLESS=1: {kinds:?}");
            return;
        }
        let unnumbered = |event: Event| Event { id: EventId::NONE, ..event };
        let lacking: Vec<Event> =
            samples::events().into_iter().filter(|event| !known_events.contains(&unnumbered(event.clone()))).collect();
        for (event, number) in lacking.into_iter().zip(pinned.len() as u64 + 1..) {
            let event = Event { id: EventId(number), ..event };
            let (name, encoded) = (event.kind.name().to_owned(), STANDARD.encode(encode_event(&event)));
            pinned.push(Exported { event_id: number, name, format: HISTORY_JSON_FORMAT, encoded });
        }
        let lines: Vec<String> = pinned.iter().map(|exported| serde_json::to_string(exported).unwrap()).collect();
        std::fs::write(PINNED, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }

    /// What was written by any released version must be read by all later ones. If this test fails, the stored format
    /// changed: do not bless it, undo the change.
    #[test]
    fn the_stored_format_does_not_change() {
        let hex = |event: &Event| -> String { encode_event(event).iter().map(|byte| format!("{byte:02x}")).collect() };
        assert_eq!(hex(&samples::golden_started()), GOLDEN_STARTED);
        assert_eq!(hex(&samples::golden_failed()), GOLDEN_FAILED);
    }

    const GOLDEN_STARTED: &str = concat!(
        "080110c0c480c1c1c4820352d5020a0764656661756c7412086f726465722d34321a2430313862636665352d36",
        "3837622d373130312d383130312d3031303130313031303130312208636865636b6f75742a066f726465727332",
        "1b0a0a6a736f6e2f706c61696e120d7b2263656e7473223a3130307d3a0308901c420308880e4a02080a520b08",
        "90fecfaa06108094ef3a5a380a040803100e11000000000000f43f1a02084d20092a0c436172644465636c696e",
        "65642a0a4f75744f6653746f636b31000000000000000060026a2430313862636665352d363837622d37323032",
        "2d383230322d303230323032303230323032722430313862636665352d363837622d373330332d383330332d30",
        "333033303330333033303382010808021080cab5ee018a01057265712d31920108636c6940686f73749a01230a",
        "0161121e0a0a6a736f6e2f706c61696e1201311a0d0a066b65792d6964120300ff079a01030a0162",
    );
    const GOLDEN_FAILED: &str = concat!(
        "08ac0210c0c480c1c1c482038a0256080510061a410a1673746172742d746f2d636c6f73652074696d656f7574",
        "12230a0d63617264206465636c696e65641a120a0e73686f703a3a4465636c696e656410012202080120042a0b",
        "776f726b657240686f7374",
    );
}
