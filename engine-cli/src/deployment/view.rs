//! How a deployment looks, for people and for programs.

use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use serde_json::{Value, json};

use crate::view::{table, text, time};

fn instant(message: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    message.and_then(|message| convert::timestamp_from_proto("time", message).ok())
}

fn instant_value(message: Option<prost_types::Timestamp>) -> Value {
    instant(message).map_or(Value::Null, |at| json!(time::rfc3339(at)))
}

fn at(message: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    instant(message).map(|at| format!("{} ({})", time::date_time(at), time::ago(at, now))).unwrap_or_default()
}

/// A build, or nothing if there is none.
pub(super) fn named(build_id: &str) -> Option<&str> {
    Some(build_id).filter(|build_id| !build_id.is_empty())
}

/// The number as it was written: a share has at most two decimals, and half of its bits are lost in a float.
pub(super) fn percentage(share: f32) -> f64 {
    (f64::from(share) * 100.0).round() / 100.0
}

fn current(build_id: &str) -> String {
    match named(build_id) {
        Some(build_id) => text::one_line(build_id, usize::MAX),
        None => "none: new runs go to workers without a version".to_owned(),
    }
}

fn ramping(build_id: &str, share: f32) -> String {
    named(build_id)
        .map(|build_id| format!("{} ({} %)", text::one_line(build_id, usize::MAX), percentage(share)))
        .unwrap_or_default()
}

/// Deployments as a table.
pub(super) fn list(deployments: &[v1::DeploymentSummary], now: Timestamp, width: Option<u16>) -> String {
    let row = |deployment: &v1::DeploymentSummary| {
        vec![
            text::one_line(&deployment.name, text::SHORT),
            text::one_line(&deployment.current_build_id, text::SHORT),
            ramping(&deployment.ramping_build_id, deployment.ramping_percentage),
            deployment.versions.to_string(),
            instant(deployment.create_time).map(|at| time::ago(at, now)).unwrap_or_default(),
        ]
    };
    let header = &["DEPLOYMENT", "CURRENT", "RAMPING", "VERSIONS", "CREATED"];
    let columns = table::Columns { header, right: &[3], wrapping: &[4] };
    table::table(columns, deployments.iter().map(row).collect(), width)
}

/// A deployment in a list, for programs.
pub(super) fn summary_value(deployment: &v1::DeploymentSummary) -> Value {
    json!({
        "name": deployment.name,
        "current_build_id": named(&deployment.current_build_id),
        "ramping_build_id": named(&deployment.ramping_build_id),
        "ramping_percentage": percentage(deployment.ramping_percentage),
        "versions": deployment.versions,
        "create_time": instant_value(deployment.create_time),
    })
}

fn status(version: &v1::DeploymentVersion) -> &'static str {
    version.status().as_str_name().trim_start_matches("VERSION_STATUS_")
}

/// A deployment, for people.
pub(super) fn describe(deployment: &v1::Deployment, now: Timestamp, width: Option<u16>) -> String {
    let mut facts = vec![
        ("Deployment", text::one_line(&deployment.name, usize::MAX)),
        ("Current", current(&deployment.current_build_id)),
    ];
    if named(&deployment.ramping_build_id).is_some() {
        facts.push(("Ramping", ramping(&deployment.ramping_build_id, deployment.ramping_percentage)));
    }
    facts.push(("Queues", text::one_line(&deployment.task_queues.join(", "), usize::MAX)));
    facts.push(("Created", at(deployment.create_time, now)));
    if deployment.routing_change_time.is_some() {
        let by = match deployment.routing_change_identity.as_str() {
            "" => String::new(),
            identity => format!(", by {}", text::one_line(identity, text::SHORT)),
        };
        facts.push(("Changed", format!("{}{by}", at(deployment.routing_change_time, now))));
    }
    facts.push(("Revision", deployment.revision.to_string()));
    let row = |version: &v1::DeploymentVersion| {
        vec![
            text::one_line(&version.build_id, text::SHORT),
            status(version).to_owned(),
            version.pinned_runs.to_string(),
            version.following_runs.to_string(),
            version.workers.to_string(),
            instant(version.first_seen_time).map(|at| time::ago(at, now)).unwrap_or_default(),
            text::one_line(&version.task_queues.join(", "), text::SHORT),
        ]
    };
    let header = &["BUILD", "STATUS", "PINNED RUNS", "FOLLOWING RUNS", "WORKERS", "FIRST SEEN", "QUEUES"];
    let columns = table::Columns { header, right: &[2, 3, 4], wrapping: &[5, 6] };
    let versions = table::table(columns, deployment.versions.iter().map(row).collect(), width);
    format!("{}\n\n{versions}", table::facts(&facts))
}

/// A deployment, for programs.
pub(super) fn value(deployment: &v1::Deployment) -> Value {
    let version = |version: &v1::DeploymentVersion| {
        json!({
            "build_id": version.build_id,
            "status": status(version),
            "task_queues": version.task_queues,
            "first_seen_time": instant_value(version.first_seen_time),
            "last_current_time": instant_value(version.last_current_time),
            "last_ramping_time": instant_value(version.last_ramping_time),
            "left_time": instant_value(version.left_time),
            "pinned_runs": version.pinned_runs,
            "following_runs": version.following_runs,
            "workers": version.workers,
        })
    };
    json!({
        "name": deployment.name,
        "current_build_id": named(&deployment.current_build_id),
        "ramping_build_id": named(&deployment.ramping_build_id),
        "ramping_percentage": percentage(deployment.ramping_percentage),
        "revision": deployment.revision,
        "task_queues": deployment.task_queues,
        "versions": deployment.versions.iter().map(version).collect::<Vec<_>>(),
        "create_time": instant_value(deployment.create_time),
        "routing_change_time": instant_value(deployment.routing_change_time),
        "routing_change_identity": deployment.routing_change_identity,
    })
}

/// What `set-current` and `unset-current` did.
pub(super) fn current_changed(deployment: &v1::Deployment, previous: &str) -> String {
    let name = text::one_line(&deployment.name, text::SHORT);
    let before = named(previous).map(|build_id| format!("; before: {}", text::one_line(build_id, text::SHORT)));
    let before = before.unwrap_or_default();
    match named(&deployment.current_build_id) {
        Some(build_id) => {
            format!("build {} of deployment {name} is current{before}", text::one_line(build_id, text::SHORT))
        }
        None => {
            format!("no build of deployment {name} is current, new runs go to workers without a version{before}")
        }
    }
}

/// What `ramp` and `unramp` did.
pub(super) fn ramping_changed(deployment: &v1::Deployment) -> String {
    let name = text::one_line(&deployment.name, text::SHORT);
    match named(&deployment.ramping_build_id) {
        Some(build_id) => format!(
            "build {} of deployment {name} gets {} % of the workflow ids",
            text::one_line(build_id, text::SHORT),
            percentage(deployment.ramping_percentage)
        ),
        None => format!("no build of deployment {name} is ramping"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_200_000_000);

    fn earlier(seconds: u64) -> Option<prost_types::Timestamp> {
        Some(convert::timestamp_to_proto(NOW - Duration::from_secs(seconds)))
    }

    fn version(build_id: &str, status: v1::VersionStatus) -> v1::DeploymentVersion {
        v1::DeploymentVersion {
            build_id: build_id.into(),
            status: status.into(),
            task_queues: vec!["orders".into(), "returns".into()],
            first_seen_time: earlier(200),
            ..v1::DeploymentVersion::default()
        }
    }

    fn shop() -> v1::Deployment {
        v1::Deployment {
            name: "shop".into(),
            current_build_id: "build-42".into(),
            ramping_build_id: "build-43".into(),
            ramping_percentage: 12.34,
            revision: 7,
            task_queues: vec!["orders".into(), "returns".into()],
            versions: vec![
                v1::DeploymentVersion { workers: 1, ..version("build-43", v1::VersionStatus::Ramping) },
                v1::DeploymentVersion {
                    following_runs: 9,
                    workers: 3,
                    ..version("build-42", v1::VersionStatus::Current)
                },
                v1::DeploymentVersion { pinned_runs: 12, ..version("build-41", v1::VersionStatus::Draining) },
            ],
            create_time: earlier(86_400),
            routing_change_time: earlier(5),
            routing_change_identity: "ada@desk-3".into(),
        }
    }

    #[test]
    fn a_deployment_says_where_new_runs_go_and_which_versions_are_needed() {
        let expected = "\
Deployment  shop
Current     build-42
Ramping     build-43 (12.34 %)
Queues      orders, returns
Created     2023-11-13 22:16:40.000Z (1day ago)
Changed     2023-11-14 22:16:35.000Z (5s ago), by ada@desk-3
Revision    7

BUILD     STATUS    PINNED RUNS  FOLLOWING RUNS  WORKERS  FIRST SEEN  QUEUES
build-43  RAMPING             0               0        1  3m 20s ago  orders, returns
build-42  CURRENT             0               9        3  3m 20s ago  orders, returns
build-41  DRAINING           12               0        0  3m 20s ago  orders, returns";
        assert_eq!(describe(&shop(), NOW, None), expected);
        let value = value(&shop());
        assert_eq!((&value["current_build_id"], &value["ramping_percentage"]), (&json!("build-42"), &json!(12.34)));
        assert_eq!(
            (&value["versions"][2]["status"], &value["versions"][2]["pinned_runs"]),
            (&json!("DRAINING"), &json!(12))
        );
        assert_eq!(value["versions"][2]["left_time"], Value::Null);
    }

    #[test]
    fn a_deployment_that_nobody_routed_to_says_so() {
        let new = v1::Deployment {
            name: "shop".into(),
            revision: 1,
            task_queues: vec!["orders".into()],
            create_time: earlier(5),
            ..v1::Deployment::default()
        };
        let text = describe(&new, NOW, None);
        assert!(text.contains("Current     none: new runs go to workers without a version"), "{text}");
        assert!(!text.contains("Ramping") && !text.contains("Changed"), "{text}");
        assert_eq!(value(&new)["current_build_id"], Value::Null);
    }

    #[test]
    fn a_list_is_one_line_for_each_deployment() {
        let summary = v1::DeploymentSummary {
            name: "shop".into(),
            current_build_id: "build-42".into(),
            ramping_build_id: "build-43".into(),
            ramping_percentage: 50.0,
            versions: 3,
            create_time: earlier(200),
        };
        let bank = v1::DeploymentSummary { name: "bank".into(), versions: 1, ..v1::DeploymentSummary::default() };
        let expected = "\
DEPLOYMENT  CURRENT   RAMPING          VERSIONS  CREATED
shop        build-42  build-43 (50 %)         3  3m 20s ago
bank                                          1";
        assert_eq!(list(&[summary.clone(), bank], NOW, None), expected);
        assert_eq!(summary_value(&summary)["ramping_percentage"], 50.0);
    }

    #[test]
    fn what_was_done_is_said_with_what_was_before() {
        let said = current_changed(&shop(), "build-41");
        assert_eq!(said, "build build-42 of deployment shop is current; before: build-41");
        assert_eq!(ramping_changed(&shop()), "build build-43 of deployment shop gets 12.34 % of the workflow ids");
        let none = v1::Deployment { name: "shop".into(), ..v1::Deployment::default() };
        assert_eq!(
            current_changed(&none, "build-42"),
            "no build of deployment shop is current, new runs go to workers without a version; before: build-42"
        );
        assert_eq!(ramping_changed(&none), "no build of deployment shop is ramping");
    }
}
