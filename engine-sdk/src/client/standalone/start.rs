//! How a standalone activity is started.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use engine_core::payload::Payload;
use engine_core::retry::RetryPolicy;
use engine_proto::convert::{
    activity_timeouts_to_proto, duration_to_proto, payloads_to_proto, retry_policy_to_proto, run_id as parse_run_id,
    search_value_to_proto,
};
use engine_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::outcome::outcome;
use super::{ActivityHandle, StandaloneFailure};
use crate::client::handle::RESULT_WAIT;
use crate::client::start::{conflict_to_proto, reuse_to_proto};
use crate::client::start_many::{Answers, Starts, start_many};
use crate::client::{
    Client, ClientError, IdConflictPolicy, IdReusePolicy, new_request_id, payload_to_proto, until_answered,
};
use crate::data::{self, DataError};
use crate::definition::{Activity, ActivityOptions};
use crate::search::SearchChange;
use crate::workflow::activity_timeouts;

/// A start of a standalone activity: settings, then [`ActivityStart::start`] or [`ActivityStart::run`]. Made by
/// [`Client::activity`]. Settings begin as the activity's attribute says.
///
/// `I` is the activity's input: `()` without arguments, the argument if there is one, a tuple if there are several. `T` is what
/// it returns.
#[must_use = "nothing is started before `.start(input).await` or `.run(input).await`"]
pub struct ActivityStart<I, T> {
    client: Client,
    activity_type: String,
    encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    activity_id: Option<String>,
    options: ActivityOptions,
    id_reuse_policy: IdReusePolicy,
    id_conflict_policy: IdConflictPolicy,
    request_id: Option<String>,
    /// The error of a value that could not be encoded waits here for the start.
    memo: Vec<(String, Result<Payload, DataError>)>,
    search: Vec<SearchChange>,
    summary: String,
    details: String,
    start_delay: Option<Duration>,
    output: PhantomData<fn() -> T>,
}

impl Client {
    /// Begins a start of `activity` by itself, without a workflow: `client.activity(resize).id("cat.png").run(path).await?`.
    ///
    /// It is durable, retried, listed and described like an activity of a workflow, and may be canceled and run again.
    pub fn activity<A: Activity>(&self, activity: A) -> ActivityStart<A::Input, A::Output> {
        ActivityStart::new(self.clone(), A::NAME.to_owned(), activity.options(), A::encode_input)
    }

    /// Begins a start of an activity that this program does not have the code of. Its input is one JSON value for each argument;
    /// `T` is what it returns, [`serde_json::Value`] if that is not known.
    pub fn activity_named<T>(&self, activity_type: impl Into<String>) -> ActivityStart<Vec<serde_json::Value>, T> {
        ActivityStart::new(self.clone(), activity_type.into(), ActivityOptions::default(), |arguments| {
            arguments.iter().map(data::encode).collect()
        })
    }
}

impl<I, T> ActivityStart<I, T> {
    fn new(
        client: Client,
        activity_type: String,
        options: ActivityOptions,
        encode: fn(&I) -> Result<Vec<Payload>, DataError>,
    ) -> Self {
        Self {
            client,
            activity_type,
            encode,
            activity_id: None,
            options,
            id_reuse_policy: IdReusePolicy::default(),
            id_conflict_policy: IdConflictPolicy::default(),
            request_id: None,
            memo: Vec::new(),
            search: Vec::new(),
            summary: String::new(),
            details: String::new(),
            start_delay: None,
            output: PhantomData,
        }
    }

    /// Your key for it: at most one run of it is open at a time. A random UUID unless set here. 1 to 1000 bytes. Workflows have ids of
    /// their own: one of the same id is no conflict.
    pub fn id(mut self, activity_id: impl Into<String>) -> Self {
        self.activity_id = Some(activity_id.into());
        self
    }

    /// Where workers look for it; the attribute's or else the client's default queue unless set here.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.task_queue = Some(queue.into());
        self
    }

    /// Longest time from a worker's start to the end of that attempt; 10 minutes if neither this nor
    /// [`ActivityStart::schedule_to_close`] is set.
    pub fn start_to_close(mut self, timeout: Duration) -> Self {
        self.options.start_to_close = Some(timeout);
        self
    }

    /// Longest time from the start to the end of the last attempt.
    pub fn schedule_to_close(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_close = Some(timeout);
        self
    }

    /// Longest time that an attempt waits for a worker; schedule-to-close unless set. One that no worker takes in time is not tried
    /// again.
    pub fn schedule_to_start(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_start = Some(timeout);
        self
    }

    /// Longest time from one heartbeat to the next.
    pub fn heartbeat(mut self, timeout: Duration) -> Self {
        self.options.heartbeat = Some(timeout);
        self
    }

    /// How attempts follow each other: without end unless the policy says otherwise.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Most attempts, counting the first; zero means no limit. The rest of the retry policy stays.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options.retry.get_or_insert_default().maximum_attempts = attempts;
        self
    }

    /// The first attempt waits this long. No timeout counts before.
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.start_delay = Some(delay);
        self
    }

    /// What to do when the id has a run that has ended.
    pub fn id_reuse_policy(mut self, policy: IdReusePolicy) -> Self {
        self.id_reuse_policy = policy;
        self
    }

    /// What to do when the id has an open run.
    pub fn id_conflict_policy(mut self, policy: IdConflictPolicy) -> Self {
        self.id_conflict_policy = policy;
        self
    }

    /// Makes the start safe to repeat across processes: a second start with the same key, while the run that the first one started is
    /// the latest, returns that run. Repeats by this client are safe without it.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// What it is listed by: names and types that are registered in the namespace. See [`crate::search::SearchKey`].
    pub fn search_attributes(mut self, attributes: impl IntoIterator<Item = SearchChange>) -> Self {
        self.search.extend(attributes);
        self
    }

    /// Adds a fact for people, shown with the activity and not indexed.
    pub fn memo<V: Serialize + ?Sized>(mut self, key: impl Into<String>, value: &V) -> Self {
        self.memo.push((key.into(), data::encode(value)));
        self
    }

    /// One line about it, for people. At most 400 bytes.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// More about it, for people. At most 20,000 bytes.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Starts it. After `Ok` the start is durable and the activity is listed; it runs as soon as a worker serves its queue.
    pub async fn start(self, input: I) -> Result<ActivityHandle<T>, ClientError> {
        self.start_and_wait(input, None).await.map(|(handle, _)| handle)
    }

    /// Starts it and waits for what it returns, in one call if that takes less than 20 s. See [`ActivityHandle::result`].
    pub async fn run(self, input: I) -> Result<T, StandaloneFailure>
    where
        T: DeserializeOwned,
    {
        let (handle, answer) = self.start_and_wait(input, Some(RESULT_WAIT)).await?;
        match answer.and_then(outcome) {
            Some(outcome) => outcome,
            None => handle.result().await,
        }
    }

    async fn start_and_wait(
        self,
        input: I,
        wait: Option<Duration>,
    ) -> Result<(ActivityHandle<T>, Option<v1::ActivityOutcome>), ClientError> {
        let (client, activity_id, template) = self.template()?;
        let activity_id = activity_id.unwrap_or_else(|| Uuid::now_v7().to_string());
        let request = template.request(activity_id.clone(), &input)?;
        let service = client.transport().activities();
        let mut patience = client.patience();
        patience.answer_within += wait.unwrap_or_default();
        let answer = until_answered(patience, |attempt| {
            let mut service = service.clone();
            let mut request = request.clone();
            // A connection that broke while the activity was open says nothing of the start: the next try asks for that alone.
            request.wait = wait.filter(|_| attempt == 1).map(duration_to_proto);
            async move { service.start_activity(request).await }
        });
        let mut response = answer.await?;
        let outcome = response.outcome.take();
        Ok((handle(&client, activity_id, &response)?, outcome))
    }

    /// Starts many activities with these settings, each with an id and an input of its own: far cheaper than one by one.
    ///
    /// The outcomes come in the order of the starts. Each start is decided by itself: one that is refused keeps no other from
    /// starting. What an `Ok` stands for is durable. As many starts as fit go in one request; requests, or single starts in them, that
    /// find the engine away or too busy are made again as for [`ActivityStart::start`]. An [`ActivityStart::request_id`] is that
    /// of every start; an [`ActivityStart::id`] means nothing here.
    pub async fn start_many<K: Into<String>>(
        self,
        starts: impl IntoIterator<Item = (K, I)>,
    ) -> Vec<Result<ActivityHandle<T>, ClientError>> {
        let starts = starts.into_iter().map(|(activity_id, input)| (activity_id.into(), input));
        let (client, template) = match self.template() {
            Ok((client, _, template)) => (client, template),
            Err(error) => {
                let problem = error.to_string();
                let refused = |_| Err(ClientError::InvalidArgument { field: "memo".into(), message: problem.clone() });
                return starts.map(refused).collect();
            }
        };
        let requests = starts.map(|(id, input)| template.request(id, &input).map_err(ClientError::from));
        let outcomes = start_many::<Activities>(&client, requests).await;
        outcomes.into_iter().map(|outcome| outcome.and_then(|(id, started)| handle(&client, id, &started))).collect()
    }

    /// What the starts of one call have in common, and the id if one was set.
    fn template(self) -> Result<(Client, Option<String>, Template<I>), DataError> {
        let settings = self.client.settings();
        let mut memo = BTreeMap::new();
        for (key, value) in self.memo {
            memo.insert(key, payload_to_proto(&value?));
        }
        // The server says what is wrong with a name.
        let search = self.search.into_iter();
        let search_attributes =
            search.filter_map(|change| Some((change.name, search_value_to_proto(&change.value?)))).collect();
        let request = v1::StartActivityRequest {
            namespace: self.client.namespace_text(),
            activity_id: String::new(),
            activity_type: self.activity_type,
            timeouts: Some(activity_timeouts_to_proto(&activity_timeouts(&self.options))),
            retry_policy: self.options.retry.as_ref().map(retry_policy_to_proto),
            task_queue: self.options.task_queue.unwrap_or_else(|| settings.queue.clone()),
            input: Vec::new(),
            id_reuse_policy: reuse_to_proto(self.id_reuse_policy).into(),
            id_conflict_policy: conflict_to_proto(self.id_conflict_policy).into(),
            request_id: self.request_id.unwrap_or_default(),
            identity: settings.identity.clone(),
            memo,
            search_attributes,
            summary: self.summary,
            details: self.details,
            start_delay: self.start_delay.map(duration_to_proto),
            wait: None,
        };
        Ok((self.client, self.activity_id, Template { request, encode: self.encode }))
    }
}

impl<I, T> fmt::Debug for ActivityStart<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityStart")
            .field("activity_type", &self.activity_type)
            .field("activity_id", &self.activity_id)
            .field("queue", &self.options.task_queue)
            .finish_non_exhaustive()
    }
}

/// A start without its id and input.
struct Template<I> {
    request: v1::StartActivityRequest,
    encode: fn(&I) -> Result<Vec<Payload>, DataError>,
}

impl<I> Template<I> {
    /// The request, with a request id that its repeats have too.
    fn request(&self, activity_id: String, input: &I) -> Result<v1::StartActivityRequest, DataError> {
        let mut request = self.request.clone();
        request.activity_id = activity_id;
        request.input = payloads_to_proto(&(self.encode)(input)?);
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        Ok(request)
    }
}

fn handle<T>(
    client: &Client,
    activity_id: String,
    started: &v1::StartActivityResponse,
) -> Result<ActivityHandle<T>, ClientError> {
    let run_id = parse_run_id("run_id", &started.run_id)?;
    let client = client.clone();
    Ok(ActivityHandle { client, activity_id, run_id: Some(run_id), is_new: started.started, output: PhantomData })
}

/// Starts of standalone activities, many in one call.
struct Activities;

impl Starts for Activities {
    type Request = v1::StartActivityRequest;
    type Started = v1::StartActivityResponse;

    fn id(start: &Self::Request) -> &str {
        &start.activity_id
    }

    async fn send(client: &Client, starts: Vec<Self::Request>) -> Result<Answers<Self::Started>, ClientError> {
        use v1::start_activity_outcome::Outcome;
        let request = v1::StartActivitiesRequest { starts };
        let service = client.transport().activities();
        let answer = until_answered(client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.start_activities(request).await }
        });
        let outcomes = answer.await?.outcomes.into_iter().map(|outcome| {
            outcome.outcome.map(|outcome| match outcome {
                Outcome::Started(started) => Ok(started),
                Outcome::Refused(refusal) => Err(refusal),
            })
        });
        Ok(outcomes.collect())
    }
}
