//! Namespaces: created, changed, read and deleted. A client of any namespace may do so.

use std::time::Duration;

use engine_core::event::CloseStatus;
use engine_core::ids::SearchAttributeName;
use engine_core::search::{SearchType, SearchTypes};
use engine_core::time::Timestamp;
use engine_proto::convert::{
    ConvertError, duration_to_proto, optional_duration_from_proto, required, search_type_from_proto,
    search_type_to_proto, timestamp_from_proto,
};
use engine_proto::v1;

use super::{Client, ClientError, until_answered};
use crate::search::SearchKey;

/// How long closed runs are kept, counted from when they closed: for ever, unless something is said of their outcome or of all.
///
/// `Retention::of(days(7)).closed_as(CloseStatus::Failed, days(90))` keeps failed runs for 90 days and others for a week. A time is zero, for ever,
/// or from a minute to a hundred years. Runs are deleted with their histories in small steps, so some stay a little longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    default: Duration,
    completed: Option<Duration>,
    failed: Option<Duration>,
    canceled: Option<Duration>,
    terminated: Option<Duration>,
    timed_out: Option<Duration>,
    continued_as_new: Option<Duration>,
}

impl Retention {
    /// Keeps all runs for ever.
    pub fn forever() -> Self {
        Self::default()
    }

    /// Keeps all closed runs for so long.
    pub fn of(kept: Duration) -> Self {
        Self { default: kept, ..Self::default() }
    }

    /// Keeps runs that closed like this for so long; zero: for ever.
    #[must_use]
    pub fn closed_as(mut self, status: CloseStatus, kept: Duration) -> Self {
        *self.own(status) = Some(kept);
        self
    }

    fn own(&mut self, status: CloseStatus) -> &mut Option<Duration> {
        match status {
            CloseStatus::Completed => &mut self.completed,
            CloseStatus::Failed => &mut self.failed,
            CloseStatus::Canceled => &mut self.canceled,
            CloseStatus::Terminated => &mut self.terminated,
            CloseStatus::TimedOut => &mut self.timed_out,
            CloseStatus::ContinuedAsNew => &mut self.continued_as_new,
        }
    }

    /// How long a run that closed like this is kept; `None`: for ever.
    pub fn kept(mut self, status: CloseStatus) -> Option<Duration> {
        let default = self.default;
        Some(self.own(status).unwrap_or(default)).filter(|kept| !kept.is_zero())
    }
}

/// What is known of a namespace.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NamespaceDescription {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whose it is.
    pub owner: String,
    /// How long its closed runs are kept.
    pub retention: Retention,
    /// By what its runs can be listed, beyond what every run has.
    pub search_attributes: SearchTypes,
    /// When it was created; `None` if that was not recorded, as for the namespace `default`.
    pub created_at: Option<Timestamp>,
    /// Whether it is being deleted: only lists of namespaces show it then.
    pub deleting: bool,
}

/// The namespaces of the client's engine. Made by [`Client::namespaces`].
///
/// ```no_run
/// # use engine_sdk::prelude::*;
/// # use engine_sdk::client::{ClientError, Retention};
/// # use engine_sdk::search::SearchKey;
/// # async fn doc(client: Client) -> Result<(), ClientError> {
/// const CENTS: SearchKey<i64> = SearchKey::int("Cents");
///
/// client.namespaces().create("sales").retention(Retention::of(days(30))).search_attribute(CENTS).send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Namespaces {
    client: Client,
}

impl Client {
    /// The namespaces of the engine; not only this client's own.
    pub fn namespaces(&self) -> Namespaces {
        Namespaces { client: self.clone() }
    }
}

impl Namespaces {
    /// Begins a new namespace. After a lost answer, a repeat is told that it exists ([`ClientError::AlreadyStarted`]).
    pub fn create(&self, name: impl Into<String>) -> NamespaceChange {
        NamespaceChange::new(self.client.clone(), name.into(), true)
    }

    /// Begins a change of a namespace: what is not said stays. All of it takes effect, or none.
    pub fn update(&self, name: impl Into<String>) -> NamespaceChange {
        NamespaceChange::new(self.client.clone(), name.into(), false)
    }

    /// What is known of a namespace.
    pub async fn describe(&self, name: impl Into<String>) -> Result<NamespaceDescription, ClientError> {
        let request = v1::DescribeNamespaceRequest { namespace: name.into() };
        let service = self.client.transport().namespaces();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_namespace(request).await }
        });
        described(answer.await?.namespace)
    }

    /// All namespaces, by name; those that are being deleted too.
    pub async fn list(&self) -> Result<Vec<NamespaceDescription>, ClientError> {
        let service = self.client.transport().namespaces();
        let answer = until_answered(self.client.patience(), |_| {
            let mut service = service.clone();
            async move { service.list_namespaces(v1::ListNamespacesRequest {}).await }
        });
        answer.await?.namespaces.into_iter().map(|namespace| described(Some(namespace))).collect()
    }

    /// Deletes a namespace with its runs. It is gone for callers when this returns; its runs go in small steps after that, and
    /// its name is free once they are gone. Refused while runs are open.
    pub async fn delete(&self, name: impl Into<String>) -> Result<(), ClientError> {
        self.end(name.into(), false).await
    }

    /// As [`delete`](Self::delete), but terminates runs that are open.
    pub async fn terminate_and_delete(&self, name: impl Into<String>) -> Result<(), ClientError> {
        self.end(name.into(), true).await
    }

    async fn end(&self, namespace: String, terminate_open_runs: bool) -> Result<(), ClientError> {
        let request = v1::DeleteNamespaceRequest { namespace, terminate_open_runs };
        let service = self.client.transport().namespaces();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.delete_namespace(request).await }
        });
        answer.await.map(drop)
    }
}

/// A namespace that is to be created or changed. Takes effect with [`send`](Self::send).
#[derive(Debug)]
#[must_use = "nothing happens until it is sent"]
pub struct NamespaceChange {
    client: Client,
    is_new: bool,
    request: v1::UpdateNamespaceRequest,
}

impl NamespaceChange {
    fn new(client: Client, namespace: String, is_new: bool) -> Self {
        let request = v1::UpdateNamespaceRequest { namespace, ..v1::UpdateNamespaceRequest::default() };
        Self { client, is_new, request }
    }

    /// What it is for, for people. At most 1000 bytes.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.request.description = Some(description.into());
        self
    }

    /// Whose it is, for people. At most 1000 bytes.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.request.owner = Some(owner.into());
        self
    }

    /// How long its closed runs are kept, in place of all that was said of that before. Counts for runs that are closed already, too.
    pub fn retention(mut self, retention: Retention) -> Self {
        let message = |kept: Option<Duration>| kept.map(duration_to_proto);
        self.request.retention = Some(v1::Retention {
            default: Some(duration_to_proto(retention.default)),
            completed: message(retention.completed),
            failed: message(retention.failed),
            canceled: message(retention.canceled),
            terminated: message(retention.terminated),
            timed_out: message(retention.timed_out),
            continued_as_new: message(retention.continued_as_new),
        });
        self
    }

    /// One more attribute by which its runs can be listed. One that is registered with this type stays as it is.
    pub fn search_attribute<T: ?Sized>(self, key: SearchKey<T>) -> Self {
        self.search_attribute_named(key.name(), key.search_type())
    }

    /// As [`search_attribute`](Self::search_attribute), for a name that is not known when the program is compiled.
    pub fn search_attribute_named(mut self, name: impl Into<String>, search_type: SearchType) -> Self {
        self.request.add_search_attributes.insert(name.into(), search_type_to_proto(search_type).into());
        self
    }

    /// Forgets an attribute: runs keep their values, but lists cannot name it and starts cannot set it. Of a new namespace: nothing.
    pub fn without_search_attribute(mut self, name: impl Into<String>) -> Self {
        self.request.remove_search_attributes.push(name.into());
        self
    }

    /// Creates or changes it. Returns it as it is then.
    pub async fn send(self) -> Result<NamespaceDescription, ClientError> {
        let Self { client, is_new, request } = self;
        let service = client.transport().namespaces();
        if !is_new {
            let answer = until_answered(client.patience(), |_| {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.update_namespace(request).await }
            });
            return described(answer.await?.namespace);
        }
        let request = v1::CreateNamespaceRequest {
            namespace: request.namespace,
            description: request.description.unwrap_or_default(),
            owner: request.owner.unwrap_or_default(),
            retention: request.retention,
            search_attributes: request.add_search_attributes,
        };
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.create_namespace(request).await }
        });
        described(answer.await?.namespace)
    }
}

fn described(message: Option<v1::Namespace>) -> Result<NamespaceDescription, ClientError> {
    let message = required("namespace", message)?;
    let attribute = |(name, number): (String, i32)| -> Result<_, ConvertError> {
        Ok((SearchAttributeName::from_trusted(name), search_type_from_proto("search_attributes", number)?))
    };
    let created_at = message.create_time.map(|at| timestamp_from_proto("create_time", at)).transpose()?;
    Ok(NamespaceDescription {
        name: message.name,
        description: message.description,
        owner: message.owner,
        retention: retention(message.retention.unwrap_or_default())?,
        search_attributes: message.search_attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
        created_at,
        deleting: message.deleting,
    })
}

fn retention(message: v1::Retention) -> Result<Retention, ConvertError> {
    let duration = optional_duration_from_proto;
    Ok(Retention {
        default: duration("default", message.default)?.unwrap_or_default(),
        completed: duration("completed", message.completed)?,
        failed: duration("failed", message.failed)?,
        canceled: duration("canceled", message.canceled)?,
        terminated: duration("terminated", message.terminated)?,
        timed_out: duration("timed_out", message.timed_out)?,
        continued_as_new: duration("continued_as_new", message.continued_as_new)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_kept_as_is_said_of_it_or_of_all() {
        let day = Duration::from_secs(24 * 3600);
        let retention =
            Retention::of(day).closed_as(CloseStatus::Failed, 9 * day).closed_as(CloseStatus::TimedOut, Duration::ZERO);
        assert_eq!(retention.kept(CloseStatus::Completed), Some(day));
        assert_eq!(retention.kept(CloseStatus::Failed), Some(9 * day));
        assert_eq!(retention.kept(CloseStatus::TimedOut), None);
        assert_eq!(Retention::forever().kept(CloseStatus::Completed), None);
    }
}
