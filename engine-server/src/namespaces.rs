//! Namespaces: what is known of each, kept in memory. Read from the store at the start, again when a name or an attribute is not
//! known, and before each round of [`crate::housekeeping`], because other servers change them too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::event::CloseStatus;
use engine_core::search::{SearchAttributes, SearchTypes, check_registered};
use engine_core::time::Timestamp;
use engine_proto::convert;
use engine_proto::v1;
use parking_lot::RwLock;
use prost::Message;

use crate::shard::request::ServerError;
use crate::store::{NamespaceId, NamespaceRow, Store, StoreError};

/// A namespace.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    /// Counts its updates.
    pub(crate) version: i64,
    pub(crate) settings: Settings,
}

/// What is known of a namespace beyond its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) description: String,
    pub(crate) owner: String,
    pub(crate) retention: Retention,
    pub(crate) search_types: SearchTypes,
    pub(crate) created_at: Option<Timestamp>,
    /// Calls that name it are answered as if it were gone; its runs are being deleted.
    pub(crate) deleting: bool,
}

/// How long closed runs are kept. Zero: for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) default: Duration,
    pub(crate) completed: Option<Duration>,
    pub(crate) failed: Option<Duration>,
    pub(crate) canceled: Option<Duration>,
    pub(crate) terminated: Option<Duration>,
    pub(crate) timed_out: Option<Duration>,
    pub(crate) continued_as_new: Option<Duration>,
}

impl Retention {
    /// How long a run that closed like this is kept; `None`: for ever.
    pub(crate) fn of(&self, status: CloseStatus) -> Option<Duration> {
        let own = match status {
            CloseStatus::Completed => self.completed,
            CloseStatus::Failed => self.failed,
            CloseStatus::Canceled => self.canceled,
            CloseStatus::Terminated => self.terminated,
            CloseStatus::TimedOut => self.timed_out,
            CloseStatus::ContinuedAsNew => self.continued_as_new,
        };
        Some(own.unwrap_or(self.default)).filter(|kept| !kept.is_zero())
    }

    /// Whether any run is deleted at all.
    pub(crate) fn deletes(&self) -> bool {
        self.shortest().is_some()
    }

    /// The shortest time for which any run is kept; `None`: all are kept for ever.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        let own = [self.completed, self.failed, self.canceled, self.terminated, self.timed_out, self.continued_as_new];
        own.into_iter().map(|own| own.unwrap_or(self.default)).filter(|kept| !kept.is_zero()).min()
    }
}

impl Settings {
    /// As they are stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.to_message(String::new()).encode_to_vec()
    }

    fn to_message(&self, name: String) -> v1::Namespace {
        let types = self.search_types.iter();
        v1::Namespace {
            name,
            description: self.description.clone(),
            owner: self.owner.clone(),
            retention: Some(retention_to_proto(&self.retention)),
            search_attributes: types
                .map(|(name, kind)| (name.to_string(), convert::search_type_to_proto(*kind).into()))
                .collect(),
            create_time: self.created_at.map(convert::timestamp_to_proto),
            deleting: self.deleting,
        }
    }

    fn decode(stored: &Bytes) -> Result<Self, String> {
        let message = v1::Namespace::decode(stored.clone()).map_err(|error| error.to_string())?;
        let mut search_types = SearchTypes::new();
        for (name, number) in message.search_attributes {
            let kind =
                convert::search_type_from_proto("search_attributes", number).map_err(|error| error.to_string())?;
            search_types.insert(engine_core::ids::SearchAttributeName::from_trusted(name), kind);
        }
        let created_at = message.create_time.map(|at| convert::timestamp_from_proto("create_time", at)).transpose();
        Ok(Self {
            description: message.description,
            owner: message.owner,
            retention: retention_from_proto(message.retention.unwrap_or_default())
                .map_err(|error| error.to_string())?,
            search_types,
            created_at: created_at.map_err(|error| error.to_string())?,
            deleting: message.deleting,
        })
    }
}

impl Namespace {
    fn of_row(row: NamespaceRow) -> Result<Self, StoreError> {
        let settings = Settings::decode(&row.settings)
            .map_err(|problem| StoreError::Corrupt(format!("the settings of namespace {:?}: {problem}", row.name)))?;
        Ok(Self { id: row.id, name: row.name, version: row.version, settings })
    }

    /// As a message.
    pub(crate) fn to_proto(&self) -> v1::Namespace {
        self.settings.to_message(self.name.clone())
    }
}

/// Retention as a message.
fn retention_to_proto(retention: &Retention) -> v1::Retention {
    let message = |kept: Option<Duration>| kept.map(convert::duration_to_proto);
    v1::Retention {
        default: Some(convert::duration_to_proto(retention.default)),
        completed: message(retention.completed),
        failed: message(retention.failed),
        canceled: message(retention.canceled),
        terminated: message(retention.terminated),
        timed_out: message(retention.timed_out),
        continued_as_new: message(retention.continued_as_new),
    }
}

/// Retention from a message; whether it is within its limits is for the service to say.
pub(crate) fn retention_from_proto(message: v1::Retention) -> Result<Retention, convert::ConvertError> {
    let duration = convert::optional_duration_from_proto;
    Ok(Retention {
        default: duration("retention.default", message.default)?.unwrap_or_default(),
        completed: duration("retention.completed", message.completed)?,
        failed: duration("retention.failed", message.failed)?,
        canceled: duration("retention.canceled", message.canceled)?,
        terminated: duration("retention.terminated", message.terminated)?,
        timed_out: duration("retention.timed_out", message.timed_out)?,
        continued_as_new: duration("retention.continued_as_new", message.continued_as_new)?,
    })
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<String, Arc<Namespace>>,
    by_id: HashMap<NamespaceId, Arc<Namespace>>,
}

/// The namespaces, as this server knows them.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    known: RwLock<Known>,
}

impl Namespaces {
    pub(crate) async fn load(store: &Arc<dyn Store>) -> Result<Self, StoreError> {
        let namespaces = Self::default();
        namespaces.refresh(store).await?;
        Ok(namespaces)
    }

    /// Reads all of them again.
    pub(crate) async fn refresh(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        // In a task of its own: a caller that goes away must not drop a database future half-way.
        let store = Arc::clone(store);
        let rows = tokio::spawn(async move { store.namespaces().await })
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))??;
        let mut known = Known::default();
        for row in rows {
            let namespace = Arc::new(Namespace::of_row(row)?);
            known.by_name.insert(namespace.name.clone(), Arc::clone(&namespace));
            known.by_id.insert(namespace.id, namespace);
        }
        *self.known.write() = known;
        Ok(())
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Namespace>> {
        self.known.read().by_name.values().cloned().collect()
    }

    /// The namespace of a number, that of its activities included, if it was there when they were last read.
    pub(crate) fn by_id(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.known.read().by_id.get(&id.home()).cloned()
    }

    fn by_name(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.read().by_name.get(name).filter(|namespace| !namespace.settings.deleting).cloned()
    }

    /// A namespace that is not being deleted; `field` is where the request names it.
    pub(crate) async fn get(
        &self,
        store: &Arc<dyn Store>,
        field: &str,
        name: &str,
    ) -> Result<Arc<Namespace>, ServerError> {
        engine_core::ids::Namespace::parse(name)
            .map_err(|e| ServerError::Invalid { field: field.to_owned(), problem: e.to_string() })?;
        if let Some(namespace) = self.by_name(name) {
            return Ok(namespace);
        }
        self.refresh(store).await.map_err(|e| ServerError::unavailable(e.to_string()))?;
        self.by_name(name).ok_or_else(|| ServerError::NotFound { kind: "namespace", name: name.to_owned() })
    }

    /// The number of a namespace; `field` is where the request names it.
    pub(crate) async fn id(&self, store: &Arc<dyn Store>, field: &str, name: &str) -> Result<NamespaceId, ServerError> {
        Ok(self.get(store, field, name).await?.id)
    }

    /// Whether runs of the namespace may have these search attributes. The outer error: nobody can say now.
    pub(crate) async fn check_attributes(
        &self,
        store: &Arc<dyn Store>,
        id: NamespaceId,
        attributes: &SearchAttributes,
    ) -> Result<Result<(), String>, ServerError> {
        if attributes.is_empty() {
            return Ok(Ok(()));
        }
        let check = || {
            let none = SearchTypes::new();
            let namespace = self.by_id(id);
            let known = namespace.as_ref().map_or(&none, |namespace| &namespace.settings.search_types);
            attributes.iter().try_for_each(|(name, value)| check_registered(name, value, known))
        };
        if check().is_ok() {
            return Ok(Ok(()));
        }
        // Another server may have registered it.
        self.refresh(store).await.map_err(|e| ServerError::unavailable(e.to_string()))?;
        Ok(check())
    }
}

#[cfg(test)]
mod tests {
    use engine_core::ids::SearchAttributeName;
    use engine_core::search::SearchType;

    use super::*;

    #[test]
    fn settings_are_read_back_as_they_were_written() {
        let types = SearchType::ALL.into_iter().map(|kind| (SearchAttributeName::from_trusted(kind.name()), kind));
        let settings = Settings {
            description: "orders".into(),
            owner: "desk 3".into(),
            retention: Retention {
                default: Duration::from_secs(3600),
                failed: Some(Duration::ZERO),
                timed_out: Some(Duration::from_secs(60)),
                ..Retention::default()
            },
            search_types: types.collect(),
            created_at: Some(Timestamp::from_micros(1_795_305_600_000_001)),
            deleting: true,
        };
        assert_eq!(Settings::decode(&settings.encode().into()), Ok(settings));
        assert_eq!(Settings::decode(&Bytes::new()), Ok(Settings::default()), "what a migration leaves");
    }

    #[test]
    fn an_outcome_is_kept_as_long_as_is_said_of_it_or_else_by_default() {
        let hour = Duration::from_secs(3600);
        let retention = Retention {
            default: hour,
            failed: Some(Duration::ZERO),
            timed_out: Some(2 * hour),
            ..Retention::default()
        };
        assert_eq!(retention.of(CloseStatus::Completed), Some(hour));
        assert_eq!(retention.of(CloseStatus::Failed), None);
        assert_eq!(retention.of(CloseStatus::TimedOut), Some(2 * hour));
        assert_eq!(retention.shortest(), Some(hour));
        assert_eq!(Retention::default().of(CloseStatus::Completed), None);
        assert!(!Retention::default().deletes());
    }
}
