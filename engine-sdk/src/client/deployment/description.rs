//! Where a deployment and its versions stand.

use engine_core::ids::{BuildId, DeploymentName, TaskQueueName};
use engine_core::time::Timestamp;
use engine_proto::convert::{ConvertError, optional_id, required, required_id, timestamp_from_proto};
use engine_proto::v1;

/// What lists show of a deployment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeploymentSummary {
    /// Its name.
    pub name: DeploymentName,
    /// The build to which new runs go; `None`: to workers without a version.
    pub current: Option<BuildId>,
    /// The build to which a share of them goes.
    pub ramping: Option<RampingBuild>,
    /// How many versions it has.
    pub versions: u32,
    /// When it was first heard of.
    pub created_at: Timestamp,
}

/// A build to which a share of the new runs goes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RampingBuild {
    /// The build.
    pub build_id: BuildId,
    /// How large the share is: 0 to 100.
    pub percentage: f32,
}

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeploymentDescription {
    /// Its name.
    pub name: DeploymentName,
    /// The build to which new runs go; `None`: to workers without a version.
    pub current: Option<BuildId>,
    /// The build to which a share of them goes.
    pub ramping: Option<RampingBuild>,
    /// Counts its changes, from 1: see [`super::RoutingChange::if_revision`].
    pub revision: i64,
    /// The queues that belong to it, by name.
    pub task_queues: Vec<TaskQueueName>,
    /// Its versions, the one that was heard of last first.
    pub versions: Vec<VersionDescription>,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it was last said where new runs go; `None`: never.
    pub routing_changed_at: Option<Timestamp>,
    /// Who said so; empty: nobody.
    pub routing_changed_by: String,
}

impl DeploymentDescription {
    /// One of its versions.
    pub fn version(&self, build_id: &str) -> Option<&VersionDescription> {
        self.versions.iter().find(|version| version.build_id.as_str() == build_id)
    }
}

/// Where a version of a deployment stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VersionDescription {
    /// The build.
    pub build_id: BuildId,
    /// How it stands.
    pub status: VersionStatus,
    /// The queues with which workers announced it, by name.
    pub task_queues: Vec<TaskQueueName>,
    /// When it was first heard of.
    pub first_seen_at: Timestamp,
    /// When it last became current; `None`: never.
    pub last_current_at: Option<Timestamp>,
    /// When it last began to ramp; `None`: never.
    pub last_ramping_at: Option<Timestamp>,
    /// Since when it is neither current nor ramping; `None`: it never was, or is.
    pub left_at: Option<Timestamp>,
    /// Open runs that are pinned to it.
    pub pinned_runs: u64,
    /// Open runs that it moved forward last and that are not pinned: their next workflow task goes to the current or the ramping build.
    pub following_runs: u64,
    /// Workers of it that are connected to the server that answered.
    pub workers: u32,
}

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionStatus {
    /// Workers announced it; it has been neither current nor ramping, and no open run is pinned to it.
    Inactive,
    /// New runs go there.
    Current,
    /// A share of the new runs goes there.
    Ramping,
    /// Neither current nor ramping, but open runs are pinned to it: its workers are needed.
    Draining,
    /// Neither current nor ramping any more, and no open run is pinned to it: its workers can go.
    Drained,
}

impl TryFrom<v1::DeploymentSummary> for DeploymentSummary {
    type Error = ConvertError;

    fn try_from(message: v1::DeploymentSummary) -> Result<Self, ConvertError> {
        Ok(DeploymentSummary {
            name: required_id("name", &message.name, DeploymentName::parse)?,
            current: optional_id("current_build_id", &message.current_build_id, BuildId::parse)?,
            ramping: ramping(&message.ramping_build_id, message.ramping_percentage)?,
            versions: message.versions,
            created_at: timestamp_from_proto("create_time", required("create_time", message.create_time)?)?,
        })
    }
}

impl TryFrom<v1::Deployment> for DeploymentDescription {
    type Error = ConvertError;

    fn try_from(message: v1::Deployment) -> Result<Self, ConvertError> {
        Ok(DeploymentDescription {
            name: required_id("name", &message.name, DeploymentName::parse)?,
            current: optional_id("current_build_id", &message.current_build_id, BuildId::parse)?,
            ramping: ramping(&message.ramping_build_id, message.ramping_percentage)?,
            revision: message.revision,
            task_queues: queues(&message.task_queues)?,
            versions: message.versions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            created_at: timestamp_from_proto("create_time", required("create_time", message.create_time)?)?,
            routing_changed_at: instant("routing_change_time", message.routing_change_time)?,
            routing_changed_by: message.routing_change_identity,
        })
    }
}

impl TryFrom<v1::DeploymentVersion> for VersionDescription {
    type Error = ConvertError;

    fn try_from(message: v1::DeploymentVersion) -> Result<Self, ConvertError> {
        let first_seen = required("versions.first_seen_time", message.first_seen_time)?;
        Ok(VersionDescription {
            build_id: required_id("versions.build_id", &message.build_id, BuildId::parse)?,
            status: status(message.status)?,
            task_queues: queues(&message.task_queues)?,
            first_seen_at: timestamp_from_proto("versions.first_seen_time", first_seen)?,
            last_current_at: instant("versions.last_current_time", message.last_current_time)?,
            last_ramping_at: instant("versions.last_ramping_time", message.last_ramping_time)?,
            left_at: instant("versions.left_time", message.left_time)?,
            pinned_runs: message.pinned_runs,
            following_runs: message.following_runs,
            workers: message.workers,
        })
    }
}

fn ramping(build_id: &str, percentage: f32) -> Result<Option<RampingBuild>, ConvertError> {
    let build_id = optional_id("ramping_build_id", build_id, BuildId::parse)?;
    Ok(build_id.map(|build_id| RampingBuild { build_id, percentage }))
}

fn queues(names: &[String]) -> Result<Vec<TaskQueueName>, ConvertError> {
    names.iter().map(|name| required_id("task_queues", name, TaskQueueName::parse)).collect()
}

fn status(number: i32) -> Result<VersionStatus, ConvertError> {
    match v1::VersionStatus::try_from(number) {
        Ok(v1::VersionStatus::Inactive) => Ok(VersionStatus::Inactive),
        Ok(v1::VersionStatus::Current) => Ok(VersionStatus::Current),
        Ok(v1::VersionStatus::Ramping) => Ok(VersionStatus::Ramping),
        Ok(v1::VersionStatus::Draining) => Ok(VersionStatus::Draining),
        Ok(v1::VersionStatus::Drained) => Ok(VersionStatus::Drained),
        Ok(v1::VersionStatus::Unspecified) | Err(_) => {
            Err(ConvertError::new("versions.status", format_args!("has the unknown value {number}")))
        }
    }
}

fn instant(field: &str, message: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, ConvertError> {
    message.map(|message| timestamp_from_proto(field, message)).transpose()
}
