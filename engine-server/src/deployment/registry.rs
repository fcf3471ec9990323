//! The deployments that this server knows, and the routes that follow from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_core::event::WorkerVersion;
use engine_core::filter::{Attribute, Column, Comparison, Condition, Filter, Value};
use engine_core::ids::{BuildId, DeploymentName, SearchAttributeName, TaskQueueName};
use engine_core::search::{BUILD_ID, DEPLOYMENT, SearchType, VERSIONING_BEHAVIOR};
use engine_core::version::VersioningBehavior;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::state::Deployment;
use crate::limits;
use crate::node::NodeContext;
use crate::queue::Routes;
use crate::rpc::history::detached;
use crate::session::Outbound;
use crate::shard::request::ServerError;
use crate::store::{DeploymentKey, DeploymentRow, NamespaceId, Store, StoreError};

/// A deployment as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) revision: i64,
    pub(crate) deployment: Deployment,
}

/// What becomes of a deployment's row.
pub(crate) enum Write {
    /// It stays.
    Nothing,
    /// It is replaced.
    Put(Deployment),
    /// It goes.
    Delete,
}

type Table = BTreeMap<DeploymentKey, Arc<Known>>;

/// The deployments, as this server knows them.
#[derive(Debug, Default)]
pub(crate) struct Deployments {
    known: RwLock<Table>,
    /// Held from reading the store until the routes are in place, so that an older reading never takes the place of a newer one.
    changing: tokio::sync::Mutex<()>,
    /// How many readings of all of them have begun, and the last of these that succeeded.
    begun: AtomicU64,
    read: AtomicU64,
    /// There are some from here on: they must be read again every while.
    some: Notify,
}

impl Deployments {
    /// Those of the store; their routes are for the caller to put in place ([`put_routes`]).
    pub(crate) async fn load(store: &Arc<dyn Store>) -> Result<Self, StoreError> {
        let known = RwLock::new(table(store.deployments().await?)?);
        Ok(Self { known, ..Self::default() })
    }

    /// Whether there are none, so that nothing need be read again.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.read().is_empty()
    }

    /// The deployments of a namespace, by name.
    pub(crate) fn of_namespace(&self, namespace: NamespaceId) -> Vec<Arc<Known>> {
        let known = self.known.read();
        known.iter().filter(|(key, _)| key.namespace == namespace).map(|(_, known)| Arc::clone(known)).collect()
    }

    pub(crate) fn get(&self, key: &DeploymentKey) -> Option<Arc<Known>> {
        self.known.read().get(key).cloned()
    }

    /// Whether workers of a version have announced that they serve these queues.
    fn serves(&self, namespace: NamespaceId, version: &WorkerVersion, queues: &[TaskQueueName]) -> bool {
        let known = self.get(&key_of(namespace, &version.deployment));
        known.is_some_and(|known| known.deployment.serves(&version.build_id, queues))
    }
}

/// Names a deployment.
pub(crate) fn key_of(namespace: NamespaceId, name: &DeploymentName) -> DeploymentKey {
    DeploymentKey { namespace, name: name.as_str().to_owned() }
}

fn table(rows: Vec<DeploymentRow>) -> Result<Table, StoreError> {
    rows.into_iter().map(|row| Ok((row.key.clone(), Arc::new(known(row)?)))).collect()
}

fn known(row: DeploymentRow) -> Result<Known, StoreError> {
    let deployment = Deployment::decode(&row.deployment)
        .map_err(|problem| StoreError::Corrupt(format!("deployment {:?}: {problem}", row.key.name)))?;
    Ok(Known { revision: row.revision, deployment })
}

/// Reads all of them again.
pub(crate) async fn refresh(context: &Arc<NodeContext>) -> Result<(), ServerError> {
    let Deployments { begun, read, .. } = &context.deployments;
    let asked = begun.load(Ordering::SeqCst);
    let _one = context.deployments.changing.lock().await;
    // One reading is enough for all who asked for it before it began.
    if read.load(Ordering::SeqCst) > asked {
        return Ok(());
    }
    let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
    let store = Arc::clone(&context.store);
    let table = detached(async move { table(store.deployments().await?) }).await?;
    *context.deployments.known.write() = table;
    put_routes(context);
    read.store(number, Ordering::SeqCst);
    Ok(())
}

/// Lets the task queues follow what is known; what waits is matched anew where that changes something.
///
/// If two deployments have announced the same queue, because their workers connected to two servers at the same moment, it belongs to
/// the one that was there first.
pub(crate) fn put_routes(context: &NodeContext) {
    let _busy = context.options.clock.busy();
    let mut routes = Routes::default();
    {
        let known = context.deployments.known.read();
        if !known.is_empty() {
            context.deployments.some.notify_one();
        }
        let mut deployments: Vec<_> = known.iter().collect();
        deployments.sort_by_key(|(key, known)| (known.deployment.created_at, &key.name));
        for (key, known) in deployments {
            for (queue, route) in known.deployment.routes() {
                routes.entry((key.namespace, Arc::from(queue.as_str()))).or_insert_with(|| Arc::new(route));
            }
        }
    }
    let pushes = {
        let mut queues = context.queues.lock();
        let pushes = queues.set_routes(routes, context.now());
        if queues.next_due().is_some() {
            context.sticky_waiting.notify_one();
        }
        pushes
    };
    pushes.into_iter().for_each(|push| context.deliver(push));
}

/// Reads the deployments again every while, if there are any: another server may have changed one. Ends when the node stops.
pub(crate) async fn keep(context: Arc<NodeContext>) {
    let stopping = context.stopping();
    loop {
        while context.deployments.is_empty() {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = context.deployments.some.notified() => {}
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(limits::DEPLOYMENTS_REFRESH) => {}
        }
        match refresh(&context).await {
            Ok(()) => forget_deleted(&context),
            Err(error) => tracing::warn!(%error, "could not read the deployments again"),
        }
    }
}

/// A worker whose version was deleted behind its back gets nothing: it announces itself again on its next stream.
fn forget_deleted(context: &NodeContext) {
    for session in context.sessions.all() {
        let Some(version) = session.version() else { continue };
        let known = context.deployments.get(&key_of(session.namespace, &version.deployment));
        if known.is_none_or(|known| !known.deployment.versions.contains_key(&version.build_id)) {
            session.send(Outbound::Reset("the worker's version was deleted: announce it again"));
        }
    }
}

/// Changes one deployment: `decide` says how, given what the store has, and is asked again if that changes meanwhile. When it returns the
/// change is durable and this server acts by it.
pub(crate) async fn change<T: Send + 'static>(
    context: &Arc<NodeContext>,
    key: DeploymentKey,
    decide: impl Fn(Option<&Known>) -> Result<(Write, T), ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let context = Arc::clone(context);
    // In a task of its own: a caller that goes away must not drop a database future half-way, nor a change without its routes.
    let changed = tokio::spawn(async move {
        let _one = context.deployments.changing.lock().await;
        loop {
            let before = context.store.deployment(&key).await?.map(known).transpose()?;
            let revision = before.as_ref().map_or(0, |known| known.revision);
            let (write, answer) = decide(before.as_ref())?;
            let (row, after) = match write {
                Write::Nothing => (None, before),
                Write::Put(deployment) => {
                    (Some(Some(deployment.encode())), Some(Known { revision: revision + 1, deployment }))
                }
                Write::Delete => (Some(None), None),
            };
            if let Some(row) = row
                && !context.store.write_deployment(&key, revision, row).await?
            {
                continue;
            }
            {
                let mut table = context.deployments.known.write();
                match after {
                    Some(known) => drop(table.insert(key.clone(), Arc::new(known))),
                    None => drop(table.remove(&key)),
                }
            }
            put_routes(&context);
            return Ok(answer);
        }
    });
    changed.await.map_err(|error| ServerError::unavailable(error.to_string()))?
}

/// A worker of this version connects that serves these queues: the version is known from here on, and the queues belong to its deployment.
/// Writes only if that is news.
pub(crate) async fn announce(
    context: &Arc<NodeContext>,
    namespace: NamespaceId,
    version: &WorkerVersion,
    queues: Vec<TaskQueueName>,
) -> Result<(), ServerError> {
    if context.deployments.serves(namespace, version, &queues) {
        return Ok(());
    }
    refresh(context).await?;
    let others = context.deployments.of_namespace(namespace);
    for other in others.iter().filter(|other| other.deployment.name != version.deployment) {
        if let Some(queue) = queues.iter().find(|queue| other.deployment.task_queues().contains(queue)) {
            return Err(ServerError::Refused(format!(
                "task queue {:?} belongs to deployment {:?}, and a queue belongs to one deployment: let workers of deployment {:?} serve \
                 another queue, or delete the versions of the other",
                queue.as_str(),
                other.deployment.name.as_str(),
                version.deployment.as_str()
            )));
        }
    }
    let key = key_of(namespace, &version.deployment);
    let own = context.deployments.get(&key);
    if own.is_none() {
        check_room(context, namespace)?;
    }
    let is_full = own.is_some_and(|own| {
        own.deployment.versions.len() >= limits::VERSIONS_MAX
            && !own.deployment.versions.contains_key(&version.build_id)
    });
    let pinned = match is_full {
        true => Some(open_runs(context, &key, Some(VersioningBehavior::Pinned)).await?),
        false => None,
    };
    let (version, now) = (version.clone(), context.now());
    change(context, key, move |before| {
        let mut deployment = match before {
            Some(before) => before.deployment.clone(),
            None => Deployment::new(version.deployment.clone(), now),
        };
        if let Some(pinned) = &pinned {
            make_room(&mut deployment, pinned);
        }
        if deployment.serves(&version.build_id, &queues) {
            return Ok((Write::Nothing, ()));
        }
        deployment.announce(&version.build_id, &queues, now)?;
        Ok((Write::Put(deployment), ()))
    })
    .await
}

/// Refuses another deployment if the namespace has as many as it may have.
pub(crate) fn check_room(context: &NodeContext, namespace: NamespaceId) -> Result<(), ServerError> {
    let limit = limits::DEPLOYMENTS_MAX;
    if context.deployments.of_namespace(namespace).len() < limit {
        return Ok(());
    }
    Err(ServerError::Refused(format!(
        "the namespace has {limit} deployments, which is the limit: delete the versions of one that is not used"
    )))
}

/// Forgets the version that has been out of use for the longest, of those that no open run is pinned to.
fn make_room(deployment: &mut Deployment, pinned: &BTreeMap<String, u64>) {
    let unused = deployment
        .versions
        .iter()
        .filter(|(build, _)| !deployment.is_in_use(build) && pinned.get(build.as_str()).is_none_or(|runs| *runs == 0));
    let oldest = unused.min_by_key(|(_, version)| version.left_at.unwrap_or(version.first_seen_at));
    if let Some(build) = oldest.map(|(build, _)| build.clone()) {
        deployment.versions.remove(&build);
    }
}

/// How many open runs each build has, of those that follow versions like this, or in any way.
pub(crate) async fn open_runs(
    context: &NodeContext,
    key: &DeploymentKey,
    behavior: Option<VersioningBehavior>,
) -> Result<BTreeMap<String, u64>, ServerError> {
    let column = |name: &str| {
        let name = SearchAttributeName::from_trusted(name);
        Column::Attribute(Attribute { name, search_type: SearchType::Keyword })
    };
    let is = |column, text: &str| Condition::Compare(column, Comparison::Equal, Value::Text(text.to_owned()));
    let mut all = vec![
        Condition::Compare(Column::Status, Comparison::Equal, Value::Status(None)),
        is(column(DEPLOYMENT), &key.name),
    ];
    all.extend(behavior.map(|behavior| is(column(VERSIONING_BEHAVIOR), behavior.name())));
    let filter = Filter { condition: Some(Condition::All(all)), group_by: Some(column(BUILD_ID)), ..Filter::default() };
    let (store, namespace) = (Arc::clone(&context.store), key.namespace);
    let groups = detached(async move { store.count(namespace, &filter).await }).await?;
    Ok(groups.into_iter().collect())
}

/// Refuses a version that no worker has announced with this queue.
pub(crate) async fn check_serves(
    context: &Arc<NodeContext>,
    namespace: NamespaceId,
    version: &WorkerVersion,
    queue: &TaskQueueName,
) -> Result<(), ServerError> {
    let queues = std::slice::from_ref(queue);
    if context.deployments.serves(namespace, version, queues) {
        return Ok(());
    }
    // Another server may have heard of it.
    refresh(context).await?;
    let known = context.deployments.get(&key_of(namespace, &version.deployment));
    let Some(known) = known else {
        return Err(ServerError::Refused(format!(
            "no worker has announced deployment {:?}: start a worker of it first",
            version.deployment.as_str()
        )));
    };
    let Deployment { name, versions, .. } = &known.deployment;
    match versions.get(&version.build_id) {
        None => Err(known.deployment.unknown(&version.build_id)),
        Some(known) if known.task_queues.contains(queue) => Ok(()),
        Some(_) => Err(ServerError::Refused(format!(
            "build {:?} of deployment {:?} does not serve the run's task queue {:?}: let a worker of it serve the queue first",
            version.build_id.as_str(),
            name.as_str(),
            queue.as_str()
        ))),
    }
}

/// How many workers of a build are connected to this server.
pub(crate) fn workers_of(context: &NodeContext, key: &DeploymentKey) -> BTreeMap<BuildId, u32> {
    let mut workers = BTreeMap::new();
    for session in context.sessions.all() {
        if let Some(version) = session.version().filter(|_| session.namespace == key.namespace)
            && version.deployment.as_str() == key.name
        {
            *workers.entry(version.build_id.clone()).or_default() += 1;
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use engine_core::time::Timestamp;

    use super::*;
    use crate::deployment::state::{Accepts, Change};

    #[test]
    fn room_is_made_by_the_version_that_has_been_out_of_use_for_the_longest_and_is_drained() {
        let build = |number: i64| BuildId::from_trusted(number.to_string());
        let at = Timestamp::from_micros;
        let queue = [TaskQueueName::from_trusted("orders")];
        let mut full = Deployment::new(DeploymentName::from_trusted("shop"), at(0));
        for number in 1..=4 {
            full.announce(&build(number), &queue, at(number)).unwrap();
        }
        // Build 1 is current; 3 was, before it, and has left last.
        for number in [3, 1] {
            full.change(Change::Current(Some(build(number))), Accepts::default(), "desk", at(10 + number)).unwrap();
        }
        let after = |pinned: &[(&str, u64)]| {
            let pinned = pinned.iter().map(|(build, runs)| ((*build).to_owned(), *runs)).collect();
            let mut deployment = full.clone();
            make_room(&mut deployment, &pinned);
            deployment.versions.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(after(&[]), ["1", "3", "4"]);
        assert_eq!(after(&[("2", 1), ("4", 0)]), ["1", "2", "3"]);
        assert_eq!(after(&[("2", 1), ("4", 7)]), ["1", "2", "4"]);
        assert_eq!(after(&[("2", 1), ("3", 1), ("4", 1)]), ["1", "2", "3", "4"], "the current one stays");
    }
}
