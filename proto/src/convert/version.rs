//! Versions of workers.

use std::sync::Arc;

use engine_core::event::{VersioningBehavior, VersioningOverride, WorkerVersion};
use engine_core::ids::{BuildId, DeploymentName};

use super::{ConvertError, required, required_id};
use crate::v1;

/// A version as a message.
pub fn worker_version_to_proto(version: &WorkerVersion) -> v1::WorkerVersion {
    v1::WorkerVersion { deployment_name: version.deployment.to_string(), build_id: version.build_id.to_string() }
}

/// A version from a message.
pub fn worker_version_from_proto(message: &v1::WorkerVersion) -> Result<WorkerVersion, ConvertError> {
    Ok(WorkerVersion {
        deployment: required_id("deployment_name", &message.deployment_name, DeploymentName::parse)?,
        build_id: required_id("build_id", &message.build_id, BuildId::parse)?,
    })
}

/// A version from a message that was stored.
pub(super) fn worker_version_from_trusted(message: v1::WorkerVersion) -> WorkerVersion {
    WorkerVersion {
        deployment: DeploymentName::from_trusted(message.deployment_name),
        build_id: BuildId::from_trusted(message.build_id),
    }
}

/// How a run follows versions, as a message.
pub fn versioning_behavior_to_proto(behavior: VersioningBehavior) -> v1::VersioningBehavior {
    match behavior {
        VersioningBehavior::Pinned => v1::VersioningBehavior::Pinned,
        VersioningBehavior::AutoUpgrade => v1::VersioningBehavior::AutoUpgrade,
    }
}

/// How a run follows versions, from a message's number. `None`: it does not say, or in a way that this program does not know.
pub fn versioning_behavior_from_proto(number: i32) -> Option<VersioningBehavior> {
    match v1::VersioningBehavior::try_from(number) {
        Ok(v1::VersioningBehavior::Pinned) => Some(VersioningBehavior::Pinned),
        Ok(v1::VersioningBehavior::AutoUpgrade) => Some(VersioningBehavior::AutoUpgrade),
        Ok(v1::VersioningBehavior::Unspecified) | Err(_) => None,
    }
}

/// What is said instead of a run's code, as a message.
pub fn versioning_override_to_proto(versioning_override: &VersioningOverride) -> v1::VersioningOverride {
    let version = match versioning_override {
        VersioningOverride::Pinned(version) => Some(worker_version_to_proto(version)),
        VersioningOverride::AutoUpgrade => None,
    };
    v1::VersioningOverride { behavior: versioning_behavior_to_proto(versioning_override.behavior()).into(), version }
}

/// What is said instead of a run's code, from a message.
pub fn versioning_override_from_proto(message: &v1::VersioningOverride) -> Result<VersioningOverride, ConvertError> {
    match (versioning_behavior_from_proto(message.behavior), &message.version) {
        (Some(VersioningBehavior::Pinned), version) => {
            let version = required("version", version.as_ref())?;
            let version = worker_version_from_proto(version).map_err(|e| e.inside("version"))?;
            Ok(VersioningOverride::Pinned(Arc::new(version)))
        }
        (Some(VersioningBehavior::AutoUpgrade), None) => Ok(VersioningOverride::AutoUpgrade),
        (Some(VersioningBehavior::AutoUpgrade), Some(_)) => {
            Err(ConvertError::new("version", "cannot go with AUTO_UPGRADE, which follows the routing: leave it unset"))
        }
        (None, _) => Err(ConvertError::new("behavior", "must be PINNED or AUTO_UPGRADE")),
    }
}

/// What is said instead of a run's code, from a message that was stored.
pub(super) fn versioning_override_from_trusted(
    message: v1::VersioningOverride,
) -> Result<VersioningOverride, ConvertError> {
    match message.version {
        Some(version) => Ok(VersioningOverride::Pinned(Arc::new(worker_version_from_trusted(version)))),
        None => versioning_override_from_proto(&message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_that_could_not_be_followed_is_refused_naming_the_field() {
        let version = |build_id: &str| {
            Some(v1::WorkerVersion { deployment_name: "shop".to_owned(), build_id: build_id.to_owned() })
        };
        let (pinned, follows) = (v1::VersioningBehavior::Pinned.into(), v1::VersioningBehavior::AutoUpgrade.into());
        let refused = |behavior, version| {
            versioning_override_from_proto(&v1::VersioningOverride { behavior, version }).unwrap_err().to_string()
        };
        assert_eq!(refused(0, None), "behavior: must be PINNED or AUTO_UPGRADE");
        assert_eq!(refused(9, None), "behavior: must be PINNED or AUTO_UPGRADE");
        assert_eq!(refused(pinned, None), "version: must be set");
        assert_eq!(refused(pinned, version("")), "version.build_id: must not be empty");
        assert_eq!(
            refused(pinned, version(&"7".repeat(201))),
            "version.build_id: is 201 bytes long; the limit is 200 bytes"
        );
        assert_eq!(
            refused(follows, version("7")),
            "version: cannot go with AUTO_UPGRADE, which follows the routing: leave it unset"
        );
    }
}
