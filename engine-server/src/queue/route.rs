//! Where the tasks of a queue go that belongs to a deployment: to which version of its workers.
//!
//! | task                                                         | goes to                                       |
//! |--------------------------------------------------------------|-----------------------------------------------|
//! | of a run pinned to a version of the queue's deployment       | that version; an activity's only if it serves the queue |
//! | any other, if its workflow id lies in the ramping share      | the ramping version                           |
//! | any other                                                    | the current version, else workers without one |
//!
//! A pin to a version of another deployment says nothing of this queue. A queue that belongs to no deployment has no route: all its
//! tasks go to workers without a version.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_core::event::WorkerVersion;
use engine_core::ids::{BuildId, DeploymentName, mix};

use super::TaskKind;

/// The whole: a share of all workflow ids is a number of these.
pub const SHARE_OF_ALL: u16 = 10_000;

/// Where the tasks of one queue go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The deployment that the queue belongs to.
    pub deployment: DeploymentName,
    /// The version that gets what is not said to go elsewhere; `None`: workers without a version.
    pub current: Option<Arc<WorkerVersion>>,
    /// The version that gets a share of that, and how many of [`SHARE_OF_ALL`].
    pub ramping: Option<(Arc<WorkerVersion>, u16)>,
    /// The builds that serve the queue.
    pub served_by: BTreeSet<BuildId>,
}

impl Route {
    /// The version whose workers get a task; `None`: workers without a version.
    pub fn target(
        &self,
        kind: TaskKind,
        pin: Option<&Arc<WorkerVersion>>,
        workflow_id: &str,
    ) -> Option<Arc<WorkerVersion>> {
        if let Some(pin) = pin
            && pin.deployment == self.deployment
            && (kind == TaskKind::Workflow || self.served_by.contains(&pin.build_id))
        {
            return Some(Arc::clone(pin));
        }
        match &self.ramping {
            Some((version, share)) if place_of(workflow_id) < *share => Some(Arc::clone(version)),
            Some(_) | None => self.current.clone(),
        }
    }
}

/// The place of a workflow id among all: it is in every share that is larger. The same on each server and in each version of it.
fn place_of(workflow_id: &str) -> u16 {
    // FNV-1a; `mix` spreads what differs in the last bytes only.
    let hash = workflow_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    u16::try_from(mix(hash) % u64::from(SHARE_OF_ALL)).expect("less than the whole")
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskKind::{Activity, Workflow};

    fn version(deployment: &str, build: &str) -> Arc<WorkerVersion> {
        let (deployment, build_id) = (DeploymentName::from_trusted(deployment), BuildId::from_trusted(build));
        Arc::new(WorkerVersion { deployment, build_id })
    }

    fn route(current: Option<&str>, ramping: Option<(&str, u16)>) -> Route {
        Route {
            deployment: DeploymentName::from_trusted("shop"),
            current: current.map(|build| version("shop", build)),
            ramping: ramping.map(|(build, share)| (version("shop", build), share)),
            served_by: ["1", "2"].map(BuildId::from_trusted).into(),
        }
    }

    #[test]
    fn the_table_of_targets_holds() {
        let build = |target: Option<Arc<WorkerVersion>>| target.map(|version| version.build_id.to_string());
        let new = |route: &Route| build(route.target(Workflow, None, "w"));
        assert_eq!(new(&route(None, None)), None);
        assert_eq!(new(&route(Some("1"), None)), Some("1".to_owned()));
        assert_eq!(new(&route(Some("1"), Some(("2", 0)))), Some("1".to_owned()));
        assert_eq!(new(&route(Some("1"), Some(("2", SHARE_OF_ALL)))), Some("2".to_owned()));
        assert_eq!(new(&route(None, Some(("2", SHARE_OF_ALL)))), Some("2".to_owned()));

        let everything = route(Some("1"), Some(("2", SHARE_OF_ALL)));
        let pinned = |kind, pin: &Arc<WorkerVersion>| build(everything.target(kind, Some(pin), "w"));
        assert_eq!(pinned(Workflow, &version("shop", "1")), Some("1".to_owned()));
        assert_eq!(pinned(Activity, &version("shop", "1")), Some("1".to_owned()));
        assert_eq!(pinned(Workflow, &version("shop", "0")), Some("0".to_owned()), "it waits for a worker");
        assert_eq!(pinned(Activity, &version("shop", "0")), Some("2".to_owned()), "it does not serve the queue");
        assert_eq!(pinned(Workflow, &version("bank", "1")), Some("2".to_owned()), "a pin of another deployment");
    }

    #[test]
    fn a_share_gets_its_part_of_the_workflow_ids_and_a_larger_one_those_and_more() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("order-{n}")).collect();
        let ramped = |share: u16| -> BTreeSet<&str> {
            let route = route(Some("1"), Some(("2", share)));
            let is_ramped = |id: &&str| route.target(Workflow, None, id) == Some(version("shop", "2"));
            ids.iter().map(String::as_str).filter(is_ramped).collect()
        };
        let (tenth, half) = (ramped(1_000), ramped(5_000));
        assert!((1_800..2_200).contains(&tenth.len()), "{}", tenth.len());
        assert!((9_600..10_400).contains(&half.len()), "{}", half.len());
        assert!(tenth.is_subset(&half));
    }

    #[test]
    fn the_place_of_a_workflow_id_never_changes() {
        assert_eq!(["", "order-1", "order-2", "\u{e4}"].map(place_of), PLACES);
    }

    /// Runs change sides on an upgrade of the server if these do.
    const PLACES: [u16; 4] = [9008, 5051, 2613, 2666];
}
