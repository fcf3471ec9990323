//! `NamespaceService`: checks requests and changes rows. Each change is made to the version that was looked at, and made again with a
//! new look if another one came between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::filter::parse_count;
use engine_core::ids::Namespace as Name;
use engine_core::limits::SEARCH_TYPES_MAX;
use engine_core::search::{SearchTypes, check_new_name};
use engine_proto::convert;
use engine_proto::v1::{self, namespace_service_server::NamespaceService};
use tonic::{Request as Call, Response, Status};

use crate::limits;
use crate::namespaces::{Namespace, Retention, Settings, retention_from_proto};
use crate::node::NodeContext;
use crate::rpc::status::to_status;
use crate::rpc::{history, validate};
use crate::shard::request::ServerError;
use crate::store::{DEFAULT_NAMESPACE, NamespaceId, StoreError};

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct NamespaceCalls {
    pub(crate) context: Arc<NodeContext>,
}

/// How often a change is made again because another one came between.
const UPDATE_TRIES: u32 = 10;

#[tonic::async_trait]
impl NamespaceService for NamespaceCalls {
    async fn create_namespace(
        &self,
        call: Call<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        let namespace = self.create(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::CreateNamespaceResponse { namespace: Some(namespace.to_proto()) }))
    }

    async fn describe_namespace(
        &self,
        call: Call<v1::DescribeNamespaceRequest>,
    ) -> Result<Response<v1::DescribeNamespaceResponse>, Status> {
        let namespace = self.latest(&call.into_inner().namespace).await.map_err(to_status)?;
        Ok(Response::new(v1::DescribeNamespaceResponse { namespace: Some(namespace.to_proto()) }))
    }

    async fn list_namespaces(
        &self,
        _: Call<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        self.context.namespaces.refresh(&self.context.store).await.map_err(|error| to_status(error.into()))?;
        let namespaces = self.context.namespaces.all().iter().map(|namespace| namespace.to_proto()).collect();
        Ok(Response::new(v1::ListNamespacesResponse { namespaces }))
    }

    async fn update_namespace(
        &self,
        call: Call<v1::UpdateNamespaceRequest>,
    ) -> Result<Response<v1::UpdateNamespaceResponse>, Status> {
        let request = call.into_inner();
        let change = |settings: &mut Settings| apply(&request, settings);
        let namespace = self.change(&request.namespace, change).await.map_err(to_status)?;
        Ok(Response::new(v1::UpdateNamespaceResponse { namespace: Some(namespace.to_proto()) }))
    }

    async fn delete_namespace(
        &self,
        call: Call<v1::DeleteNamespaceRequest>,
    ) -> Result<Response<v1::DeleteNamespaceResponse>, Status> {
        self.delete(call.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::DeleteNamespaceResponse {}))
    }
}

impl NamespaceCalls {
    async fn create(&self, request: v1::CreateNamespaceRequest) -> Result<Arc<Namespace>, ServerError> {
        let name = convert::required_id("namespace", &request.namespace, Name::parse)?;
        let mut settings = Settings { created_at: Some(self.context.now()), ..Settings::default() };
        let rest = v1::UpdateNamespaceRequest {
            namespace: request.namespace,
            description: Some(request.description),
            owner: Some(request.owner),
            retention: request.retention,
            add_search_attributes: request.search_attributes,
            remove_search_attributes: Vec::new(),
        };
        apply(&rest, &mut settings).map_err(of_creation)?;
        self.context.namespaces.refresh(&self.context.store).await?;
        if self.context.namespaces.all().len() >= limits::NAMESPACES_MAX {
            let message = format!("there are {} namespaces, which is the limit", limits::NAMESPACES_MAX);
            return Err(ServerError::Exhausted { message, retry_after: Duration::from_secs(60) });
        }
        let (store, stored) = (Arc::clone(&self.context.store), settings.encode());
        let wanted = name.as_str().to_owned();
        let created = history::detached(async move {
            Ok(match store.create_namespace(&wanted, &stored).await {
                Err(StoreError::NamespaceExists(_)) => None,
                created => Some(created?),
            })
        });
        if created.await?.is_none() {
            return Err(ServerError::Exists { kind: "namespace", name: name.as_str().to_owned() });
        }
        self.latest(name.as_str()).await
    }

    /// A namespace as the store has it now.
    async fn latest(&self, name: &str) -> Result<Arc<Namespace>, ServerError> {
        self.context.namespaces.refresh(&self.context.store).await?;
        self.context.namespaces.get(&self.context.store, "namespace", name).await
    }

    async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut Settings) -> Result<(), ServerError>,
    ) -> Result<Arc<Namespace>, ServerError> {
        for _ in 0..UPDATE_TRIES {
            let namespace = self.latest(name).await?;
            let mut settings = namespace.settings.clone();
            change(&mut settings)?;
            if settings == namespace.settings || self.write(namespace.id, namespace.version, &settings).await? {
                self.context.namespaces.refresh(&self.context.store).await?;
                let changed = self.context.namespaces.by_id(namespace.id);
                return changed.ok_or_else(|| ServerError::NotFound { kind: "namespace", name: name.to_owned() });
            }
        }
        Err(ServerError::unavailable(format!("namespace {name:?} is being changed by others all the time: try again")))
    }

    async fn write(&self, id: NamespaceId, version: i64, settings: &Settings) -> Result<bool, ServerError> {
        let (store, stored) = (Arc::clone(&self.context.store), settings.encode());
        history::detached(async move { store.update_namespace(id, version, &stored).await }).await
    }

    async fn delete(&self, request: v1::DeleteNamespaceRequest) -> Result<(), ServerError> {
        let name = request.namespace.as_str();
        if name == DEFAULT_NAMESPACE {
            let problem = "is \"default\", which every database has: it cannot be deleted".to_owned();
            return Err(ServerError::Invalid { field: "namespace".into(), problem });
        }
        let terminate = request.terminate_open_runs;
        // Looked at first, so that a refused deletion does not disturb anybody.
        let namespace = self.latest(name).await?;
        self.check_may_go(&namespace, terminate).await?;
        let marked = self.change(name, |settings| {
            settings.deleting = true;
            Ok(())
        });
        let marked = marked.await?;
        // And again now that none can begin here.
        if let Err(refusal) = self.check_may_go(&marked, terminate).await {
            let settings = Settings { deleting: false, ..marked.settings.clone() };
            self.write(marked.id, marked.version, &settings).await?;
            self.context.namespaces.refresh(&self.context.store).await?;
            return Err(refusal);
        }
        self.context.housekeeping_wanted.notify_one();
        Ok(())
    }

    /// Refuses if something of the namespace is still to do.
    async fn check_may_go(&self, namespace: &Namespace, terminate: bool) -> Result<(), ServerError> {
        let (store, id) = (Arc::clone(&self.context.store), namespace.id);
        let schedules = history::detached(async move { store.list_schedules(id, "", 1).await }).await?;
        if let Some(schedule) = schedules.first() {
            return Err(ServerError::Refused(format!(
                "namespace {:?} has schedules, {:?} among them, which would start workflows in it: delete them first",
                namespace.name, schedule.key.schedule_id
            )));
        }
        let store = Arc::clone(&self.context.store);
        let batches = history::detached(async move { store.list_batches(id, "", 1).await }).await?;
        if let Some(batch) = batches.first() {
            return Err(ServerError::Refused(format!(
                "namespace {:?} has batches, {:?} among them: delete them first",
                namespace.name, batch.key.batch_id
            )));
        }
        self.check_no_open_runs(namespace, terminate).await
    }

    async fn check_no_open_runs(&self, namespace: &Namespace, terminate: bool) -> Result<(), ServerError> {
        if terminate {
            return Ok(());
        }
        let open = parse_count("Status = 'Running'", &SearchTypes::new()).expect("a filter of ours");
        let (store, id) = (Arc::clone(&self.context.store), namespace.id);
        let counted = history::detached(async move {
            let mut both = store.count(id, &open).await?;
            both.extend(store.count(id.of_activities(), &open).await?);
            Ok(both)
        });
        match counted.await?.iter().map(|(_, count)| count).sum::<u64>() {
            0 => Ok(()),
            count => Err(ServerError::Refused(format!(
                "namespace {:?} has {count} open runs: wait for them, or delete it with terminate_open_runs",
                namespace.name
            ))),
        }
    }
}

/// Checks what a request changes, and changes it.
fn apply(request: &v1::UpdateNamespaceRequest, settings: &mut Settings) -> Result<(), ServerError> {
    if let Some(description) = &request.description {
        validate::people_text("description", description)?;
        settings.description.clone_from(description);
    }
    if let Some(owner) = &request.owner {
        validate::people_text("owner", owner)?;
        settings.owner.clone_from(owner);
    }
    if let Some(retention) = &request.retention {
        settings.retention = checked(retention_from_proto(*retention)?)?;
    }
    remove_attributes(&request.remove_search_attributes, &mut settings.search_types)?;
    add_attributes(&request.add_search_attributes, &mut settings.search_types)
}

fn checked(retention: Retention) -> Result<Retention, ServerError> {
    let fields = [
        ("default", Some(retention.default)),
        ("completed", retention.completed),
        ("failed", retention.failed),
        ("canceled", retention.canceled),
        ("terminated", retention.terminated),
        ("timed_out", retention.timed_out),
        ("continued_as_new", retention.continued_as_new),
    ];
    let allowed = limits::RETENTION_MIN..=limits::RETENTION_MAX;
    for (field, kept) in fields {
        let Some(kept) = kept.filter(|kept| !kept.is_zero() && !allowed.contains(kept)) else {
            continue;
        };
        let problem =
            format!("is {} s; it must be from 60 s to 100 years, or zero to keep runs for ever", kept.as_secs_f64());
        return Err(ServerError::Invalid { field: format!("retention.{field}"), problem });
    }
    Ok(retention)
}

fn remove_attributes(names: &[String], types: &mut SearchTypes) -> Result<(), ServerError> {
    for (index, name) in names.iter().enumerate() {
        let known = types.keys().find(|known| known.as_str() == name).cloned();
        let Some(known) = known else {
            let problem = format!("{name:?} is not registered; {}", registered(types));
            return Err(ServerError::Invalid { field: format!("remove_search_attributes[{index}]"), problem });
        };
        types.remove(&known);
    }
    Ok(())
}

/// Where an update names what it registers.
const ADD_ATTRIBUTES: &str = "add_search_attributes";

/// The field of a creation that stands for a field of the update that it is made of.
fn of_creation(error: ServerError) -> ServerError {
    match error {
        ServerError::Invalid { field, problem } => {
            ServerError::Invalid { field: field.replace(ADD_ATTRIBUTES, "search_attributes"), problem }
        }
        other => other,
    }
}

fn add_attributes(added: &BTreeMap<String, i32>, types: &mut SearchTypes) -> Result<(), ServerError> {
    let invalid = |problem: String| Err(ServerError::Invalid { field: ADD_ATTRIBUTES.into(), problem });
    for (name, number) in added {
        let kind = convert::search_type_from_proto(&format!("{ADD_ATTRIBUTES}[{name:?}]"), *number)?;
        let name = match check_new_name(name) {
            Ok(name) => name,
            Err(problem) => return invalid(problem),
        };
        match types.iter().find(|(known, _)| known.as_str().eq_ignore_ascii_case(name.as_str())) {
            Some((known, known_kind)) if *known == name && *known_kind == kind => {}
            Some((known, known_kind)) if *known == name => {
                return invalid(format!("{name} is registered as {known_kind}: remove it before it becomes {kind}"));
            }
            Some((known, _)) => {
                return invalid(format!("{name} and {known}, which is registered, differ in case alone"));
            }
            None => drop(types.insert(name, kind)),
        }
    }
    if types.len() > SEARCH_TYPES_MAX {
        return invalid(format!("would be {} in all; the limit is {SEARCH_TYPES_MAX}", types.len()));
    }
    Ok(())
}

fn registered(types: &SearchTypes) -> String {
    if types.is_empty() {
        return "the namespace has no search attributes".to_owned();
    }
    let names: Vec<&str> = types.keys().map(|name| name.as_str()).collect();
    format!("there are {}", names.join(", "))
}
