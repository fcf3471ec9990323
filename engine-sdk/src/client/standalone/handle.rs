//! One standalone activity: [`ActivityHandle`].

use std::fmt;
use std::marker::PhantomData;

use engine_core::ids::{ActivityId, RunId};
use engine_proto::convert::{duration_to_proto, run_id as parse_run_id};
use engine_proto::v1;
use serde::de::DeserializeOwned;

use super::outcome::outcome;
use super::{ActivityDescription, StandaloneFailure};
use crate::client::handle::RESULT_WAIT;
use crate::client::{ANSWER_WITHIN, Client, ClientError, Patience, until_answered};
use crate::definition::Activity;

/// One standalone activity, which returns a `T`. Cheap to clone; holds nothing on the server.
///
/// A handle that a start returned names one run; one from [`Client::activity_handle`] the id's open run, or else its latest, whichever
/// that is when a method is called.
pub struct ActivityHandle<T> {
    pub(in crate::client) client: Client,
    pub(in crate::client) activity_id: String,
    pub(super) run_id: Option<RunId>,
    pub(super) is_new: bool,
    pub(super) output: PhantomData<fn() -> T>,
}

impl Client {
    /// The standalone activity with this id, whose code is `A`: `client.activity_handle::<resize>("cat.png")`. Asks the server nothing.
    pub fn activity_handle<A: Activity>(&self, activity_id: impl Into<String>) -> ActivityHandle<A::Output> {
        self.activity_handle_named(activity_id)
    }

    /// The standalone activity with this id, which returns a `T`. Asks the server nothing.
    pub fn activity_handle_named<T>(&self, activity_id: impl Into<String>) -> ActivityHandle<T> {
        let client = self.clone();
        ActivityHandle { client, activity_id: activity_id.into(), run_id: None, is_new: false, output: PhantomData }
    }
}

impl<T> ActivityHandle<T> {
    /// The same activity, but only this run.
    #[must_use]
    pub fn with_run_id(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// The activity's id.
    pub fn activity_id(&self) -> &str {
        &self.activity_id
    }

    /// The run that the handle names, if it names one.
    pub fn run_id(&self) -> Option<RunId> {
        self.run_id
    }

    /// Whether the start that returned the handle began the run; `false` if it was open already.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Waits until it ends, for what it returned. Goes on through restarts of the server, for
    /// [`ClientBuilder::result_retry_for`](crate::client::ClientBuilder::result_retry_for).
    pub async fn result(&self) -> Result<T, StandaloneFailure>
    where
        T: DeserializeOwned,
    {
        let request = v1::GetActivityResultRequest {
            namespace: self.client.namespace_text(),
            activity_id: self.checked_id()?,
            run_id: self.run_text(),
            wait: Some(duration_to_proto(RESULT_WAIT)),
        };
        let patience =
            Patience { retry_for: self.client.settings().result_retry_for, answer_within: RESULT_WAIT + ANSWER_WITHIN };
        let service = self.client.transport().activities();
        loop {
            let answer = until_answered(patience, |_| {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.get_activity_result(request).await }
            });
            if let Some(outcome) = outcome(answer.await?) {
                return outcome;
            }
        }
    }

    /// Tells where it stands: who runs it, which try this is and why the one before failed, or how it ended.
    pub async fn describe(&self) -> Result<ActivityDescription, ClientError> {
        let request = v1::DescribeActivityRequest {
            namespace: self.client.namespace_text(),
            activity_id: self.checked_id()?,
            run_id: self.run_text(),
        };
        let service = self.client.transport().activities();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_activity(request).await }
        });
        Ok(answer.await?.try_into()?)
    }

    /// Asks it to stop. One that no worker has ends at once; the code of one that runs is told, and decides. A second request, and one
    /// to an activity that has ended, succeed and change nothing.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = v1::CancelActivityRequest {
            namespace: self.client.namespace_text(),
            activity_id: self.checked_id()?,
            run_id: self.run_text(),
            reason: reason.into(),
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().activities();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.cancel_activity(request).await }
        });
        answer.await.map(|v1::CancelActivityResponse {}| ())
    }

    /// Ends it at once; a worker that runs it is told that nobody wants its result. After `Ok` that is durable. An activity that has
    /// ended is an error.
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        // Naming the run keeps a repeat from ending one that started meanwhile.
        let run_id = match self.run_id {
            Some(run_id) => run_id,
            None => self.describe().await?.summary.run_id,
        };
        let request = v1::TerminateActivityRequest {
            namespace: self.client.namespace_text(),
            activity_id: self.checked_id()?,
            run_id: run_id.to_string(),
            reason: reason.into(),
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().activities();
        let mut tries = 0;
        let answer = until_answered(self.client.patience(), |attempt| {
            tries = attempt;
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.terminate_activity(request).await }
        });
        match answer.await {
            Ok(v1::TerminateActivityResponse {}) => Ok(()),
            // The try before may have ended it; ended is what was asked for.
            Err(ClientError::NotFound { .. } | ClientError::Closed { .. }) if tries > 1 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Runs it once more, with what it was started with: for one that used up its attempts, or was stopped. The new run's handle is
    /// returned; from then on lists of what failed no longer show the old run, but for one that completed, which stays as it is.
    ///
    /// The activity must have ended, and the run be its latest. A repeat for the same run returns the run that the first one began.
    pub async fn run_again(&self) -> Result<ActivityHandle<T>, ClientError> {
        // Naming the run makes a repeat harmless.
        let run_id = match self.run_id {
            Some(run_id) => run_id,
            None => self.describe().await?.summary.run_id,
        };
        let request = v1::RunActivityAgainRequest {
            namespace: self.client.namespace_text(),
            activity_id: self.checked_id()?,
            run_id: run_id.to_string(),
            identity: self.client.identity().to_owned(),
        };
        let service = self.client.transport().activities();
        let answer = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.run_activity_again(request).await }
        });
        let run_id = parse_run_id("run_id", &answer.await?.run_id)?;
        Ok(ActivityHandle { run_id: Some(run_id), is_new: true, ..self.clone() })
    }

    fn checked_id(&self) -> Result<String, ClientError> {
        ActivityId::parse(&self.activity_id).map_err(|error| ClientError::invalid_id("activity_id", error))?;
        Ok(self.activity_id.clone())
    }

    fn run_text(&self) -> String {
        self.run_id.map(|run_id| run_id.to_string()).unwrap_or_default()
    }
}

impl<T> Clone for ActivityHandle<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            activity_id: self.activity_id.clone(),
            run_id: self.run_id,
            is_new: self.is_new,
            output: PhantomData,
        }
    }
}

impl<T> fmt::Debug for ActivityHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityHandle")
            .field("activity_id", &self.activity_id)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}
