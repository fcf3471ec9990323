//! What a started workflow is: what `engine workflow start` and `engine schedule create` say in the same words.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use engine_proto::{convert, v1};

use crate::args::InputArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::namespace;
use crate::view::{payload, search};

/// What to start, and how it may run.
#[derive(Debug, Args)]
pub(crate) struct WorkflowOptions {
    /// The name under which workers have the code.
    #[arg(long = "type", short = 't', value_name = "NAME")]
    pub(crate) workflow_type: String,
    /// Where workers look for it.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) queue: String,
    /// Arguments.
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// How long it may take with all its retries, such as 2h or "1day 30m". Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) execution_timeout: Option<Duration>,
    /// How long one run may take. Default: no limit.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) run_timeout: Option<Duration>,
    /// How long one workflow task may take. Default: 10s, at most 2m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) task_timeout: Option<Duration>,
    /// Run it again if it fails, at most so many times in all; 0 is without end. Default: once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_attempts: Option<u32>,
    /// With --max-attempts: the pause before the second try; each further pause is twice as long. Default: 1s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "max_attempts")]
    pub(crate) retry_interval: Option<Duration>,
    /// With --max-attempts: no pause is longer. Default: 100 times the first.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "max_attempts")]
    pub(crate) retry_interval_max: Option<Duration>,
    /// Its code begins so long after the start; signals do not hasten it.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) start_delay: Option<Duration>,
    /// One line about it, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) summary: String,
    /// More about it, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) details: String,
    /// A fact for people, kept with the run: --memo 'ticket="A-7"'. The value is JSON.
    #[arg(long, value_name = "KEY=JSON")]
    pub(crate) memo: Vec<String>,
    /// What it is listed by: --search-attribute Total=42. Its type is the registered one; words of a list stand between commas.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) search_attribute: Vec<String>,
    /// Which workers it goes to.
    #[command(flatten)]
    pub(crate) versioning: VersioningArgs,
}

/// Which workers a run goes to, whatever its code says.
#[derive(Debug, Args)]
pub(crate) struct VersioningArgs {
    /// Those of one build, which it stays with. The deployment's name ends at the first colon.
    #[arg(long, value_name = "DEPLOYMENT:BUILD")]
    pub(crate) pin: Option<String>,
    /// Those that new runs go to, at each of its workflow tasks.
    #[arg(long, conflicts_with = "pin")]
    pub(crate) auto_upgrade: bool,
}

impl VersioningArgs {
    /// `None`: as its code says.
    pub(crate) fn read(&self) -> Result<Option<v1::VersioningOverride>, CliError> {
        let Some(words) = &self.pin else {
            let follows =
                v1::VersioningOverride { behavior: v1::VersioningBehavior::AutoUpgrade.into(), version: None };
            return Ok(self.auto_upgrade.then_some(follows));
        };
        let (deployment_name, build_id) = words
            .split_once(':')
            .ok_or_else(|| CliError::usage(format!("--pin {words:?} is not of the form DEPLOYMENT:BUILD")))?;
        Ok(Some(v1::VersioningOverride {
            behavior: v1::VersioningBehavior::Pinned.into(),
            version: Some(v1::WorkerVersion {
                deployment_name: deployment_name.to_owned(),
                build_id: build_id.to_owned(),
            }),
        }))
    }
}

/// Names and values of search attributes, whose types only the namespace knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<(String, String)>);

impl WorkflowOptions {
    /// The request as far as the options say it, and the attributes that [`Attributes::read`] adds once there is a connection.
    pub(crate) fn request(self) -> Result<(v1::StartWorkflowRequest, Attributes), CliError> {
        let attributes = split(&self.search_attribute)?;
        let duration = |duration: Option<Duration>| duration.map(convert::duration_to_proto);
        let request = v1::StartWorkflowRequest {
            workflow_type: self.workflow_type,
            task_queue: self.queue,
            input: payload::read_inputs(&self.input)?,
            execution_timeout: duration(self.execution_timeout),
            run_timeout: duration(self.run_timeout),
            task_timeout: duration(self.task_timeout),
            retry_policy: self.max_attempts.map(|maximum_attempts| v1::RetryPolicy {
                maximum_attempts,
                initial_interval: duration(self.retry_interval),
                maximum_interval: duration(self.retry_interval_max),
                ..v1::RetryPolicy::default()
            }),
            start_delay: duration(self.start_delay),
            summary: self.summary,
            details: self.details,
            memo: memo(&self.memo)?,
            versioning_override: self.versioning.read()?,
            ..v1::StartWorkflowRequest::default()
        };
        Ok((request, attributes))
    }
}

impl Attributes {
    /// The attributes with the types that the connection's namespace has registered. Asks the server only if there are any.
    pub(crate) async fn read(self, client: &mut Client) -> Result<BTreeMap<String, v1::SearchValue>, CliError> {
        if self.0.is_empty() {
            return Ok(BTreeMap::new());
        }
        let namespace = client.namespace.clone();
        self.typed(&namespace::describe(client, namespace).await?)
    }

    fn typed(self, namespace: &v1::Namespace) -> Result<BTreeMap<String, v1::SearchValue>, CliError> {
        let typed = |(name, value): (String, String)| {
            let wrong = |problem: String| CliError::usage(format!("--search-attribute {name}={value}: {problem}"));
            let known = || namespace.search_attributes.keys().cloned().collect::<Vec<_>>().join(", ");
            let search_type = namespace
                .search_attributes
                .get(&name)
                .and_then(|number| convert::search_type_from_proto("search_attributes", *number).ok())
                .ok_or_else(|| {
                    wrong(format!("namespace {:?} has no such search attribute; it has: {}", namespace.name, known()))
                })?;
            let value = search::read(&value, search_type).map_err(wrong)?;
            Ok((name, convert::search_value_to_proto(&value)))
        };
        self.0.into_iter().map(typed).collect()
    }
}

/// What `--search-attribute` said.
pub(crate) fn split(words: &[String]) -> Result<Attributes, CliError> {
    let attribute = |word: &String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--search-attribute {word:?} is not of the form NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(attribute).collect::<Result<_, _>>().map(Attributes)
}

/// What `--memo` said.
pub(crate) fn memo(words: &[String]) -> Result<BTreeMap<String, v1::Payload>, CliError> {
    let fact = |word: &String| {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--memo {word:?} is not of the form KEY=JSON")))?;
        Ok((key.to_owned(), payload::json_payload(value, &format!("the value of --memo {key}"))?))
    };
    words.iter().map(fact).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: WorkflowOptions,
    }

    fn parse(words: &[&str]) -> WorkflowOptions {
        let line = ["engine", "--type", "checkout", "--queue", "orders"];
        Line::try_parse_from(line.iter().chain(words)).unwrap().options
    }

    fn request(words: &[&str]) -> v1::StartWorkflowRequest {
        parse(words).request().unwrap().0
    }

    #[test]
    fn what_is_not_said_is_left_to_the_server() {
        let said = v1::StartWorkflowRequest {
            workflow_type: "checkout".into(),
            task_queue: "orders".into(),
            ..v1::StartWorkflowRequest::default()
        };
        assert_eq!(request(&[]), said);
    }

    #[test]
    fn options_reach_the_request() {
        let words =
            ["-i", "{\"cents\":1}", "--max-attempts", "3", "--retry-interval", "5s", "--retry-interval-max", "1m"];
        let tried = request(&words);
        assert_eq!(tried.input[0].data, "{\"cents\":1}");
        let policy = tried.retry_policy.unwrap();
        assert_eq!(policy.maximum_attempts, 3);
        assert_eq!(policy.initial_interval.unwrap().seconds, 5);
        assert_eq!(policy.maximum_interval.unwrap().seconds, 60);
        let words =
            ["--execution-timeout", "1h", "--run-timeout", "90s", "--task-timeout", "20s", "--start-delay", "5m"];
        let timed = request(&words);
        let times = [timed.execution_timeout, timed.run_timeout, timed.task_timeout, timed.start_delay];
        assert_eq!(times.map(|time| time.unwrap().seconds), [3600, 90, 20, 300]);
        let told = request(&["--summary", "Ada's order", "--details", "two\nlines", "--memo", "ticket=\"A=7\""]);
        assert_eq!((told.summary.as_str(), told.details.as_str()), ("Ada's order", "two\nlines"));
        assert_eq!(told.memo["ticket"].data, "\"A=7\"");
    }

    #[test]
    fn pauses_between_tries_need_tries() {
        let words = ["engine", "--type", "t", "--queue", "q", "--retry-interval", "5s"];
        assert!(Line::try_parse_from(words).unwrap_err().to_string().contains("--max-attempts"));
    }

    #[test]
    fn a_search_attribute_has_the_type_that_is_registered() {
        let types = [("Total", v1::SearchAttributeType::Int), ("Tags", v1::SearchAttributeType::KeywordList)];
        let namespace = v1::Namespace {
            name: "shop".into(),
            search_attributes: types.map(|(name, kind)| (name.to_owned(), kind.into())).into(),
            ..Default::default()
        };
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            split(&words)?.typed(&namespace)
        };
        let values = read(&["Total=-7", "Tags=new, vip"]).unwrap();
        assert_eq!(values["Total"].value, Some(v1::search_value::Value::Int(-7)));
        let words = v1::KeywordList { words: vec!["new".into(), "vip".into()] };
        assert_eq!(values["Tags"].value, Some(v1::search_value::Value::KeywordList(words)));
        for (wrong, expected) in [
            ("Total", "is not of the form NAME=VALUE"),
            ("Total=many", "is no integer"),
            ("Sum=1", "namespace \"shop\" has no such search attribute; it has: Tags, Total"),
        ] {
            let CliError::Told(told) = read(&[wrong]).unwrap_err() else { panic!("it says something") };
            assert!(told.message.contains(expected), "{}", told.message);
        }
    }

    #[test]
    fn a_run_is_pinned_to_a_build_or_follows_the_routing() {
        assert_eq!(request(&[]).versioning_override, None);
        let pinned = request(&["--pin", "shop:sha256:77"]).versioning_override.unwrap();
        let version = v1::WorkerVersion { deployment_name: "shop".into(), build_id: "sha256:77".into() };
        assert_eq!((pinned.behavior(), pinned.version), (v1::VersioningBehavior::Pinned, Some(version)));
        let follows = request(&["--auto-upgrade"]).versioning_override.unwrap();
        assert_eq!((follows.behavior(), follows.version), (v1::VersioningBehavior::AutoUpgrade, None));
        let CliError::Told(told) = parse(&["--pin", "shop"]).request().unwrap_err() else {
            panic!("it says something")
        };
        assert_eq!(told.message, "--pin \"shop\" is not of the form DEPLOYMENT:BUILD");
    }

    #[test]
    fn a_memo_must_be_key_and_json() {
        assert!(parse(&["--memo", "ticket"]).request().is_err());
        assert!(parse(&["--memo", "ticket=A-7"]).request().is_err());
    }
}
