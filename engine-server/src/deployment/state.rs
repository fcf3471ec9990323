//! A deployment, and what changes of it mean. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use engine_core::event::WorkerVersion;
use engine_core::ids::{BuildId, DeploymentName, TaskQueueName};
use engine_core::time::Timestamp;
use engine_proto::convert::{self, ConvertError};
use engine_proto::v1;
use prost::Message;

use crate::limits;
use crate::queue::{Route, SHARE_OF_ALL};
use crate::shard::request::ServerError;

/// A deployment: the builds of one program, and which of them gets what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) name: DeploymentName,
    pub(crate) created_at: Timestamp,
    pub(crate) versions: BTreeMap<BuildId, Version>,
    /// The build that gets what is not said to go elsewhere; `None`: workers without a version.
    pub(crate) current: Option<BuildId>,
    /// The build that gets a share of that, and how many of [`SHARE_OF_ALL`].
    pub(crate) ramping: Option<(BuildId, u16)>,
    /// When its routing was last changed, and by whom.
    pub(crate) changed: Option<(Timestamp, String)>,
}

/// What is known of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The queues with which workers announced it.
    pub(crate) task_queues: BTreeSet<TaskQueueName>,
    pub(crate) first_seen_at: Timestamp,
    pub(crate) last_current_at: Option<Timestamp>,
    pub(crate) last_ramping_at: Option<Timestamp>,
    /// Since when it is neither current nor ramping, if it was.
    pub(crate) left_at: Option<Timestamp>,
}

impl Version {
    fn new(now: Timestamp) -> Self {
        Self {
            task_queues: BTreeSet::new(),
            first_seen_at: now,
            last_current_at: None,
            last_ramping_at: None,
            left_at: None,
        }
    }
}

/// What an operator accepts of a build that is to get runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accepts {
    /// That no worker has announced it.
    pub(crate) unknown: bool,
    /// That it does not serve a queue that the current build serves.
    pub(crate) missing_queues: bool,
}

/// A change of routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// What is not said to go elsewhere goes there.
    Current(Option<BuildId>),
    /// This many of [`SHARE_OF_ALL`] of that go there.
    Ramping(Option<(BuildId, u16)>),
}

impl Deployment {
    pub(crate) fn new(name: DeploymentName, now: Timestamp) -> Self {
        Self { name, created_at: now, versions: BTreeMap::new(), current: None, ramping: None, changed: None }
    }

    /// The queues that belong to it.
    pub(crate) fn task_queues(&self) -> BTreeSet<&TaskQueueName> {
        self.versions.values().flat_map(|version| &version.task_queues).collect()
    }

    /// Whether a build serves all these queues, as far as workers have announced it.
    pub(crate) fn serves(&self, build_id: &BuildId, queues: &[TaskQueueName]) -> bool {
        let version = self.versions.get(build_id);
        version.is_some_and(|version| queues.iter().all(|queue| version.task_queues.contains(queue)))
    }

    /// Whether new runs may go to a build.
    pub(crate) fn is_in_use(&self, build_id: &BuildId) -> bool {
        self.current.as_ref() == Some(build_id) || self.ramping.as_ref().is_some_and(|(build, _)| build == build_id)
    }

    /// A worker of a build connected that serves these queues.
    pub(crate) fn announce(
        &mut self,
        build_id: &BuildId,
        queues: &[TaskQueueName],
        now: Timestamp,
    ) -> Result<(), ServerError> {
        let version = self.versions.entry(build_id.clone()).or_insert_with(|| Version::new(now));
        version.task_queues.extend(queues.iter().cloned());
        if self.versions.len() > limits::VERSIONS_MAX {
            let (name, limit) = (&self.name, limits::VERSIONS_MAX);
            return Err(ServerError::Refused(format!(
                "deployment {name:?} has {limit} versions, which is the limit, and none of them is drained: wait for runs that are \
                 pinned to old ones, or move them"
            )));
        }
        self.check_size()
    }

    /// Changes the routing. `false`: it was so already.
    pub(crate) fn change(
        &mut self,
        change: Change,
        accepts: Accepts,
        identity: &str,
        now: Timestamp,
    ) -> Result<bool, ServerError> {
        let before = (self.current.clone(), self.ramping.clone());
        match change {
            Change::Current(build) => {
                if let Some(build) = build.as_ref().filter(|build| self.current.as_ref() != Some(*build)) {
                    self.check_new(build, accepts, now)?;
                    self.version(build, |version| version.last_current_at = Some(now));
                }
                self.ramping.take_if(|(ramping, _)| Some(&*ramping) == build.as_ref());
                self.current = build;
            }
            Change::Ramping(ramping) => {
                if let Some((build, _)) = &ramping
                    && self.ramping.as_ref().is_none_or(|(ramping, _)| ramping != build)
                {
                    if self.current.as_ref() == Some(build) {
                        return Err(ServerError::Refused(format!(
                            "build {:?} of deployment {:?} is the current one and gets all that the ramping one does not: let another \
                             build ramp",
                            build.as_str(),
                            self.name.as_str()
                        )));
                    }
                    self.check_new(build, accepts, now)?;
                    self.version(build, |version| version.last_ramping_at = Some(now));
                }
                self.ramping = ramping;
            }
        }
        if before == (self.current.clone(), self.ramping.clone()) {
            return Ok(false);
        }
        for build in [before.0, before.1.map(|(build, _)| build)].into_iter().flatten() {
            if !self.is_in_use(&build) {
                self.version(&build, |version| version.left_at = Some(now));
            }
        }
        for build in [self.current.clone(), self.ramping.clone().map(|(build, _)| build)].into_iter().flatten() {
            self.version(&build, |version| version.left_at = None);
        }
        self.changed = Some((now, identity.to_owned()));
        self.check_size()?;
        Ok(true)
    }

    fn version(&mut self, build_id: &BuildId, change: impl FnOnce(&mut Version)) {
        if let Some(version) = self.versions.get_mut(build_id) {
            change(version);
        }
    }

    /// Whether a build may get runs; makes one known that no worker has announced, if that is accepted.
    fn check_new(&mut self, build_id: &BuildId, accepts: Accepts, now: Timestamp) -> Result<(), ServerError> {
        let Some(version) = self.versions.get(build_id) else {
            if !accepts.unknown {
                return Err(self.unknown(build_id));
            }
            if self.versions.len() >= limits::VERSIONS_MAX {
                let (name, limit) = (&self.name, limits::VERSIONS_MAX);
                return Err(ServerError::Refused(format!(
                    "deployment {name:?} has {limit} versions, which is the limit: delete one that is drained"
                )));
            }
            self.versions.insert(build_id.clone(), Version::new(now));
            return Ok(());
        };
        let current = self.current.as_ref().and_then(|current| self.versions.get(current));
        let missing = current.and_then(|current| current.task_queues.difference(&version.task_queues).next());
        match missing {
            Some(queue) if !accepts.missing_queues => Err(ServerError::Refused(format!(
                "build {:?} of deployment {:?} does not serve task queue {:?}, which the current build serves, so tasks would wait there: \
                 let a worker of it serve the queue, or accept that with allow_missing_task_queues",
                build_id.as_str(),
                self.name.as_str(),
                queue.as_str()
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// No worker has announced this build.
    pub(crate) fn unknown(&self, build_id: &BuildId) -> ServerError {
        const NAMED: usize = 5;
        let mut known: Vec<(&BuildId, &Version)> = self.versions.iter().collect();
        known.sort_by_key(|(_, version)| std::cmp::Reverse(version.first_seen_at));
        let more = if known.len() > NAMED { " and older ones" } else { "" };
        let named: Vec<String> = known.iter().take(NAMED).map(|(build, _)| format!("{:?}", build.as_str())).collect();
        ServerError::Refused(format!(
            "no worker has announced build {:?} of deployment {:?}, which has {}{more}: start a worker of it first, or accept that with \
             allow_unknown",
            build_id.as_str(),
            self.name.as_str(),
            named.join(", ")
        ))
    }

    fn check_size(&self) -> Result<(), ServerError> {
        let (size, limit) = (self.to_message(0).encoded_len(), limits::DEPLOYMENT_BYTES_MAX);
        if size <= limit {
            return Ok(());
        }
        Err(ServerError::Refused(format!(
            "deployment {:?} would be {size} bytes large with its versions and their task queues; the limit is {limit} bytes: delete \
             versions that are drained, or serve fewer queues",
            self.name.as_str()
        )))
    }

    /// Where the tasks of each of its queues go.
    pub(crate) fn routes(&self) -> Vec<(TaskQueueName, Route)> {
        let version =
            |build: &BuildId| Arc::new(WorkerVersion { deployment: self.name.clone(), build_id: build.clone() });
        let current = self.current.as_ref().map(version);
        let ramping = self.ramping.as_ref().map(|(build, share)| (version(build), *share));
        let route = |queue: &TaskQueueName| Route {
            deployment: self.name.clone(),
            current: current.clone().filter(|current| self.gets(&current.build_id, queue)),
            ramping: ramping.clone().filter(|(ramping, _)| self.gets(&ramping.build_id, queue)),
            served_by: self
                .versions
                .iter()
                .filter(|(_, version)| version.task_queues.contains(queue))
                .map(|(build, _)| build.clone())
                .collect(),
        };
        self.task_queues().into_iter().map(|queue| (queue.clone(), route(queue))).collect()
    }

    /// Whether a build that is current or ramping gets what is put into a queue. Not if it does not serve the queue, and neither did a build
    /// that was current: then only workers that are not in use yet have announced it, and those without a version keep it. A build that no
    /// worker has announced gets all.
    fn gets(&self, build_id: &BuildId, queue: &TaskQueueName) -> bool {
        let serves = |version: &Version| version.task_queues.contains(queue);
        self.versions.get(build_id).is_none_or(|version| version.task_queues.is_empty() || serves(version))
            || self.versions.values().any(|version| version.last_current_at.is_some() && serves(version))
    }

    /// As a message, without what only the runs and the connected workers know.
    pub(crate) fn to_message(&self, revision: i64) -> v1::Deployment {
        let mut versions: Vec<(&BuildId, &Version)> = self.versions.iter().collect();
        versions.sort_by_key(|(_, version)| std::cmp::Reverse(version.first_seen_at));
        let instant = |at: Option<Timestamp>| at.map(convert::timestamp_to_proto);
        let words = |build: Option<&BuildId>| build.map(ToString::to_string).unwrap_or_default();
        v1::Deployment {
            name: self.name.to_string(),
            current_build_id: words(self.current.as_ref()),
            ramping_build_id: words(self.ramping.as_ref().map(|(build, _)| build)),
            ramping_percentage: percentage(self.ramping.as_ref().map_or(0, |(_, share)| *share)),
            revision,
            task_queues: self.task_queues().into_iter().map(ToString::to_string).collect(),
            versions: versions
                .into_iter()
                .map(|(build, version)| v1::DeploymentVersion {
                    build_id: build.to_string(),
                    task_queues: version.task_queues.iter().map(ToString::to_string).collect(),
                    first_seen_time: instant(Some(version.first_seen_at)),
                    last_current_time: instant(version.last_current_at),
                    last_ramping_time: instant(version.last_ramping_at),
                    left_time: instant(version.left_at),
                    ..Default::default()
                })
                .collect(),
            create_time: instant(Some(self.created_at)),
            routing_change_time: instant(self.changed.as_ref().map(|(at, _)| *at)),
            routing_change_identity: self.changed.as_ref().map(|(_, identity)| identity.clone()).unwrap_or_default(),
        }
    }

    /// As it is stored.
    pub(crate) fn encode(&self) -> Bytes {
        // It follows from the versions' queues.
        v1::Deployment { task_queues: Vec::new(), ..self.to_message(0) }.encode_to_vec().into()
    }

    /// As it was stored.
    pub(crate) fn decode(stored: &Bytes) -> Result<Self, String> {
        let message = v1::Deployment::decode(stored.clone()).map_err(|error| error.to_string())?;
        Self::of_message(message).map_err(|error| error.to_string())
    }

    fn of_message(message: v1::Deployment) -> Result<Self, ConvertError> {
        let optional = |text: &str| (!text.is_empty()).then(|| BuildId::from_trusted(text));
        let instant = |field: &str, at: Option<prost_types::Timestamp>| {
            at.map(|at| convert::timestamp_from_proto(field, at)).transpose()
        };
        let mut versions = BTreeMap::new();
        for version in message.versions {
            let known = Version {
                task_queues: version.task_queues.iter().map(TaskQueueName::from_trusted).collect(),
                first_seen_at: instant("first_seen_time", version.first_seen_time)?.unwrap_or(Timestamp::EPOCH),
                last_current_at: instant("last_current_time", version.last_current_time)?,
                last_ramping_at: instant("last_ramping_time", version.last_ramping_time)?,
                left_at: instant("left_time", version.left_time)?,
            };
            versions.insert(BuildId::from_trusted(&version.build_id), known);
        }
        let changed_at = instant("routing_change_time", message.routing_change_time)?;
        Ok(Self {
            name: DeploymentName::from_trusted(&message.name),
            created_at: instant("create_time", message.create_time)?.unwrap_or(Timestamp::EPOCH),
            versions,
            current: optional(&message.current_build_id),
            ramping: optional(&message.ramping_build_id)
                .map(|build| (build, share_of(message.ramping_percentage).unwrap_or(0))),
            changed: changed_at.map(|at| (at, message.routing_change_identity)),
        })
    }
}

/// How many of [`SHARE_OF_ALL`] a percentage is; `None` if it is not from 0 to 100.
pub(crate) fn share_of(percentage: f32) -> Option<u16> {
    if !(0.0..=100.0).contains(&percentage) {
        return None;
    }
    let share = (f64::from(percentage) * f64::from(SHARE_OF_ALL) / 100.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to SHARE_OF_ALL")]
    Some(share as u16)
}

/// The percentage that a share is.
pub(crate) fn percentage(share: u16) -> f32 {
    f32::from(share) * 100.0 / f32::from(SHARE_OF_ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(name: &str) -> BuildId {
        BuildId::from_trusted(name)
    }

    fn queues(names: &[&str]) -> Vec<TaskQueueName> {
        names.iter().map(TaskQueueName::from_trusted).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// Builds 1 and 2, of which 2 serves one queue less.
    fn deployment() -> Deployment {
        let mut deployment = Deployment::new(DeploymentName::from_trusted("shop"), at(1));
        deployment.announce(&build("1"), &queues(&["orders", "bills"]), at(1)).unwrap();
        deployment.announce(&build("2"), &queues(&["orders"]), at(2)).unwrap();
        deployment
    }

    fn set(deployment: &mut Deployment, change: Change, second: i64) -> Result<bool, String> {
        deployment.change(change, Accepts::default(), "desk", at(second)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_deployment_is_read_back_as_it_was_written() {
        let mut full = deployment();
        set(&mut full, Change::Current(Some(build("1"))), 3).unwrap();
        let accepts = Accepts { missing_queues: true, unknown: true };
        full.change(Change::Ramping(Some((build("2"), 1_234))), accepts, "desk", at(4)).unwrap();
        full.change(Change::Current(Some(build("3"))), accepts, "desk", at(5)).unwrap();
        assert_eq!(Deployment::decode(&full.encode()), Ok(full));
        assert_eq!(Deployment::decode(&deployment().encode()), Ok(deployment()));
    }

    #[test]
    fn a_build_that_is_current_or_ramping_no_more_has_left() {
        let mut it = deployment();
        it.announce(&build("2"), &queues(&["bills"]), at(3)).unwrap();
        let left = |it: &Deployment, name: &str| it.versions[&build(name)].left_at;
        assert_eq!(set(&mut it, Change::Current(Some(build("1"))), 4), Ok(true));
        assert_eq!(set(&mut it, Change::Current(Some(build("1"))), 5), Ok(false), "it is so already");
        assert_eq!(it.versions[&build("1")].last_current_at, Some(at(4)));
        assert_eq!(set(&mut it, Change::Ramping(Some((build("2"), 100))), 6), Ok(true));
        assert_eq!(set(&mut it, Change::Ramping(Some((build("2"), 200))), 7), Ok(true));
        assert_eq!(it.versions[&build("2")].last_ramping_at, Some(at(6)), "it ramps since then");
        assert_eq!(set(&mut it, Change::Current(Some(build("2"))), 8), Ok(true));
        assert_eq!(it.ramping, None, "what is current ramps no longer");
        assert_eq!((left(&it, "1"), left(&it, "2")), (Some(at(8)), None));
        assert_eq!(set(&mut it, Change::Current(Some(build("1"))), 9), Ok(true));
        assert_eq!((left(&it, "1"), left(&it, "2")), (None, Some(at(9))));
        assert_eq!(set(&mut it, Change::Current(None), 10), Ok(true));
        assert_eq!((left(&it, "1"), it.changed), (Some(at(10)), Some((at(10), "desk".to_owned()))));
    }

    #[test]
    fn a_build_that_could_leave_tasks_waiting_is_refused_unless_that_is_accepted() {
        let mut it = deployment();
        set(&mut it, Change::Current(Some(build("1"))), 3).unwrap();
        let before = it.clone();
        let refused = set(&mut it, Change::Current(Some(build("2"))), 4).unwrap_err();
        assert!(refused.contains("does not serve task queue \"bills\""), "{refused}");
        let refused = set(&mut it, Change::Ramping(Some((build("9"), 1))), 4).unwrap_err();
        assert!(
            refused.contains("no worker has announced build \"9\" of deployment \"shop\", which has \"2\", \"1\":"),
            "{refused}"
        );
        let refused = set(&mut it, Change::Ramping(Some((build("1"), 1))), 4).unwrap_err();
        assert!(refused.contains("is the current one"), "{refused}");
        assert_eq!(it, before, "what is refused changes nothing");
        let accepts = Accepts { missing_queues: true, unknown: false };
        assert!(it.change(Change::Current(Some(build("2"))), accepts, "desk", at(4)).unwrap());
        let accepts = Accepts { missing_queues: false, unknown: true };
        assert!(it.change(Change::Ramping(Some((build("9"), 1))), accepts, "desk", at(4)).unwrap());
    }

    #[test]
    fn versions_and_their_queues_are_bounded() {
        let mut it = deployment();
        for n in 3..=limits::VERSIONS_MAX {
            it.announce(&build(&n.to_string()), &queues(&["orders"]), at(3)).unwrap();
        }
        let refused = it.clone().announce(&build("more"), &queues(&["orders"]), at(4)).unwrap_err().to_string();
        assert!(refused.contains("has 100 versions, which is the limit"), "{refused}");
        it.announce(&build("2"), &queues(&["more"]), at(4)).unwrap();
        let long: Vec<String> = (0..2_000).map(|n| format!("{n:0>1000}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let refused = it.announce(&build("2"), &queues(&long), at(4)).unwrap_err().to_string();
        assert!(refused.contains("the limit is 1048576 bytes"), "{refused}");
    }

    #[test]
    fn a_percentage_is_a_share_in_steps_of_a_hundredth() {
        assert_eq!([0.0, 0.01, 33.33, 100.0].map(share_of), [Some(0), Some(1), Some(3_333), Some(10_000)]);
        assert_eq!([-0.01, 100.01, f32::NAN, f32::INFINITY].map(share_of), [None; 4]);
        for share in 0..=SHARE_OF_ALL {
            assert_eq!(share_of(percentage(share)), Some(share));
        }
    }

    #[test]
    fn each_queue_has_the_route_of_its_deployment_and_those_who_serve_it() {
        let mut it = deployment();
        set(&mut it, Change::Current(Some(build("1"))), 3).unwrap();
        let routes = it.routes();
        let served: Vec<(&str, Vec<&str>)> = routes
            .iter()
            .map(|(queue, route)| (queue.as_str(), route.served_by.iter().map(BuildId::as_str).collect()))
            .collect();
        assert_eq!(served, [("bills", vec!["1"]), ("orders", vec!["1", "2"])]);
        assert!(routes.iter().all(|(_, route)| route.current.as_ref().unwrap().build_id == build("1")));
    }

    #[test]
    fn a_queue_that_only_a_build_out_of_use_has_announced_stays_with_workers_without_a_version() {
        let mut it = deployment();
        set(&mut it, Change::Current(Some(build("1"))), 3).unwrap();
        it.announce(&build("3"), &queues(&["orders", "bills", "refunds"]), at(4)).unwrap();
        let refunds = |it: &Deployment| {
            let routes = it.routes();
            let (_, route) = routes.iter().find(|(queue, _)| queue.as_str() == "refunds").unwrap();
            let current = route.current.as_ref().map(|current| current.build_id.to_string());
            (current, route.ramping.as_ref().map(|(ramping, _)| ramping.build_id.to_string()))
        };
        assert_eq!(refunds(&it), (None, None), "build 1 does not serve it");
        set(&mut it, Change::Ramping(Some((build("3"), 500))), 5).unwrap();
        assert_eq!(refunds(&it), (None, Some("3".to_owned())));
        set(&mut it, Change::Current(Some(build("3"))), 6).unwrap();
        assert_eq!(refunds(&it), (Some("3".to_owned()), None));
        assert!(set(&mut it, Change::Current(Some(build("1"))), 7).is_err());
        let accepts = Accepts { missing_queues: true, unknown: false };
        it.change(Change::Current(Some(build("1"))), accepts, "desk", at(7)).unwrap();
        assert_eq!(refunds(&it), (Some("1".to_owned()), None), "that its tasks wait was accepted");
    }
}
