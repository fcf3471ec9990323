//! Versions of workers, and how a run follows them.

use engine_core::event::VersioningBehavior;
use engine_proto::{convert, v1};
use serde_json::{Value, json};

use super::text;

/// A version, for programs.
pub(super) fn value(version: &v1::WorkerVersion) -> Value {
    json!({ "deployment_name": version.deployment_name, "build_id": version.build_id })
}

/// How a run follows versions, for programs: the name in the .proto file.
pub(super) fn behavior(number: i32) -> Option<&'static str> {
    convert::versioning_behavior_from_proto(number).map(|behavior| match behavior {
        VersioningBehavior::Pinned => "PINNED",
        VersioningBehavior::AutoUpgrade => "AUTO_UPGRADE",
    })
}

/// How a run follows versions, for programs.
pub(super) fn versioning_value(versioning: &v1::WorkflowVersioning) -> Value {
    json!({
        "version": versioning.version.as_ref().map(value),
        "behavior": behavior(versioning.behavior),
        "versioning_override": versioning.versioning_override.as_ref().map(|said| json!({
            "behavior": behavior(said.behavior),
            "version": said.version.as_ref().map(value),
        })),
        "target": versioning.target.as_ref().map(value),
    })
}

fn words(version: &v1::WorkerVersion) -> String {
    text::one_line(&format!("{}:{}", version.deployment_name, version.build_id), text::SHORT)
}

/// A run's version, for a list.
pub(super) fn listed(run: &v1::WorkflowSummary) -> String {
    match (&run.version, convert::versioning_behavior_from_proto(run.versioning_behavior)) {
        (None, _) => String::new(),
        (Some(version), Some(VersioningBehavior::Pinned)) => format!("{} (pinned)", words(version)),
        (Some(version), Some(VersioningBehavior::AutoUpgrade) | None) => words(version),
    }
}

/// What is known of a run and versions, for people.
pub(super) fn facts(versioning: &v1::WorkflowVersioning) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(version) = &versioning.version {
        let follows = match convert::versioning_behavior_from_proto(versioning.behavior) {
            Some(VersioningBehavior::Pinned) => ", pinned by its code",
            Some(VersioningBehavior::AutoUpgrade) => ", follows the routing",
            None => "",
        };
        facts.push(("Version", format!("{}{follows}", words(version))));
    }
    match &versioning.versioning_override {
        Some(v1::VersioningOverride { version: Some(version), .. }) => {
            facts.push(("Moved", format!("stays with {}, whatever its code says", words(version))));
        }
        Some(_) => facts.push(("Moved", "follows the routing, whatever its code says".to_owned())),
        None => {}
    }
    if let Some(target) = &versioning.target {
        facts.push(("Next task", format!("goes to {}", words(target))));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(build_id: &str) -> Option<v1::WorkerVersion> {
        Some(v1::WorkerVersion { deployment_name: "shop".into(), build_id: build_id.into() })
    }

    #[test]
    fn a_run_shows_its_version_what_an_operator_said_and_where_it_goes_next() {
        let run = v1::WorkflowVersioning {
            version: version("build-42"),
            behavior: v1::VersioningBehavior::AutoUpgrade.into(),
            versioning_override: None,
            target: version("build-43"),
        };
        let lines = |run: &v1::WorkflowVersioning| {
            facts(run).iter().map(|(name, words)| format!("{name}: {words}")).collect::<Vec<_>>()
        };
        assert_eq!(lines(&run), ["Version: shop:build-42, follows the routing", "Next task: goes to shop:build-43"]);
        let moved = v1::WorkflowVersioning {
            behavior: v1::VersioningBehavior::Pinned.into(),
            versioning_override: Some(v1::VersioningOverride {
                behavior: v1::VersioningBehavior::Pinned.into(),
                version: version("build-43"),
            }),
            ..run.clone()
        };
        assert_eq!(
            lines(&moved)[..2],
            ["Version: shop:build-42, pinned by its code", "Moved: stays with shop:build-43, whatever its code says"]
        );
        let value = versioning_value(&moved);
        assert_eq!(
            (&value["behavior"], &value["versioning_override"]["behavior"]),
            (&json!("PINNED"), &json!("PINNED"))
        );
        assert_eq!(value["target"], json!({ "deployment_name": "shop", "build_id": "build-43" }));
        assert_eq!(lines(&v1::WorkflowVersioning::default()), Vec::<String>::new());
    }

    #[test]
    fn a_list_says_which_runs_are_pinned() {
        let run = v1::WorkflowSummary { version: version("build-42"), ..v1::WorkflowSummary::default() };
        assert_eq!(listed(&run), "shop:build-42");
        let pinned = v1::WorkflowSummary { versioning_behavior: v1::VersioningBehavior::Pinned.into(), ..run };
        assert_eq!(listed(&pinned), "shop:build-42 (pinned)");
        assert_eq!(listed(&v1::WorkflowSummary::default()), "");
    }
}
