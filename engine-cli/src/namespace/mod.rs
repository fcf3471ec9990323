//! `engine namespace`: retention, search attributes, and what else is known of namespaces.
//!
//! | file | noun |
//! |---|---|
//! | `mod` | the verbs |
//! | `args` | their command line |
//! | `view` | how a namespace looks |

mod args;
mod view;

use engine_core::event::CloseStatus;
use engine_proto::v1;
use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};

pub(crate) use args::NamespaceArgs;
use args::{AttributeVerb, NamespaceVerb, Settings};

/// Asks the server for what the arguments say and prints the answer.
pub(crate) async fn run(arguments: NamespaceArgs, output: &mut Output) -> Result<Exit, CliError> {
    let connection = &arguments.connection;
    match arguments.verb {
        NamespaceVerb::Create { name, settings } => {
            let request = v1::CreateNamespaceRequest {
                namespace: name,
                description: settings.description.clone().unwrap_or_default(),
                owner: settings.owner.clone().unwrap_or_default(),
                retention: retention(&settings)?,
                search_attributes: attributes(&settings.search_attribute)?,
            };
            let mut client = Client::connect(connection).await?;
            let response = client.namespaces.create_namespace(client::request(request)).await;
            let created = response.map_err(|status| client.error(&status))?.into_inner().namespace.unwrap_or_default();
            show(&created, Some("created"), output)
        }
        NamespaceVerb::Update { name, settings } => {
            let request = v1::UpdateNamespaceRequest {
                namespace: name,
                description: settings.description.clone(),
                owner: settings.owner.clone(),
                retention: retention(&settings)?,
                add_search_attributes: attributes(&settings.search_attribute)?,
                remove_search_attributes: Vec::new(),
            };
            let mut client = Client::connect(connection).await?;
            let changed = change(&mut client, request).await?;
            show(&changed, Some("changed"), output)
        }
        NamespaceVerb::Describe { name } => {
            let mut client = Client::connect(connection).await?;
            let namespace = describe(&mut client, name).await?;
            show(&namespace, None, output)
        }
        NamespaceVerb::List => {
            let mut client = Client::connect(connection).await?;
            let response = client.namespaces.list_namespaces(client::request(v1::ListNamespacesRequest {})).await;
            let all = response.map_err(|status| client.error(&status))?.into_inner().namespaces;
            match output.format() {
                Format::Json => output.json(&all.iter().map(view::value).collect::<Vec<Value>>())?,
                Format::Text => output.line(&view::list(&all, output.width()))?,
            }
            Ok(Exit::Done)
        }
        NamespaceVerb::Delete { name, terminate_open_runs } => {
            let mut client = Client::connect(connection).await?;
            let request = v1::DeleteNamespaceRequest { namespace: name.clone(), terminate_open_runs };
            let response = client.namespaces.delete_namespace(client::request(request)).await;
            response.map_err(|status| client.error(&status))?;
            match output.format() {
                Format::Json => output.json(&json!({ "name": name }))?,
                Format::Text => output.line(&format!("deleted namespace {name}; its runs are being deleted"))?,
            }
            Ok(Exit::Done)
        }
        NamespaceVerb::SearchAttributes { verb } => {
            let mut request =
                v1::UpdateNamespaceRequest { namespace: connection.namespace.clone(), ..Default::default() };
            match &verb {
                AttributeVerb::List => {}
                AttributeVerb::Add { attributes: words } => request.add_search_attributes = attributes(words)?,
                AttributeVerb::Remove { names } => request.remove_search_attributes.clone_from(names),
            }
            let mut client = Client::connect(connection).await?;
            let namespace = match verb {
                AttributeVerb::List => describe(&mut client, connection.namespace.clone()).await?,
                AttributeVerb::Add { .. } | AttributeVerb::Remove { .. } => change(&mut client, request).await?,
            };
            match output.format() {
                Format::Json => output.json(&view::attributes_value(&namespace))?,
                Format::Text => output.line(&view::attributes(&namespace, output.width()))?,
            }
            Ok(Exit::Done)
        }
    }
}

async fn change(client: &mut Client, request: v1::UpdateNamespaceRequest) -> Result<v1::Namespace, CliError> {
    let response = client.namespaces.update_namespace(client::request(request)).await;
    Ok(response.map_err(|status| client.error(&status))?.into_inner().namespace.unwrap_or_default())
}

/// What is known of a namespace.
pub(crate) async fn describe(client: &mut Client, namespace: String) -> Result<v1::Namespace, CliError> {
    let request = v1::DescribeNamespaceRequest { namespace };
    let response = client.namespaces.describe_namespace(client::request(request)).await;
    Ok(response.map_err(|status| client.error(&status))?.into_inner().namespace.unwrap_or_default())
}

fn show(namespace: &v1::Namespace, done: Option<&str>, output: &mut Output) -> Result<Exit, CliError> {
    match (output.format(), done) {
        (Format::Json, _) => output.json(&view::value(namespace))?,
        (Format::Text, Some(done)) => output.line(&format!("{done} namespace {}", namespace.name))?,
        (Format::Text, None) => output.line(&view::describe(namespace))?,
    }
    Ok(Exit::Done)
}

/// `None` if nothing is said of it.
fn retention(settings: &Settings) -> Result<Option<v1::Retention>, CliError> {
    if settings.retention.is_none() && settings.retention_of.is_empty() {
        return Ok(None);
    }
    let mut retention = v1::Retention { default: settings.retention.map(args::Kept::to_proto), ..Default::default() };
    for word in &settings.retention_of {
        let wrong = || CliError::usage(format!("--retention-of {word:?} is not of the form OUTCOME=DURATION"));
        let (outcome, kept) = word.split_once('=').ok_or_else(wrong)?;
        let kept: args::Kept =
            kept.parse().map_err(|problem| CliError::usage(format!("--retention-of {word}: {problem}")))?;
        let status = view::OUTCOMES.into_iter().find(|(name, _)| *name == outcome).map(|(_, status)| status);
        let field = match status {
            Some(CloseStatus::Completed) => &mut retention.completed,
            Some(CloseStatus::Failed) => &mut retention.failed,
            Some(CloseStatus::Canceled) => &mut retention.canceled,
            Some(CloseStatus::Terminated) => &mut retention.terminated,
            Some(CloseStatus::TimedOut) => &mut retention.timed_out,
            Some(CloseStatus::ContinuedAsNew) => &mut retention.continued_as_new,
            None => {
                let known = view::OUTCOMES.map(|(name, _)| name).join(", ");
                return Err(CliError::usage(format!(
                    "--retention-of {word}: {outcome:?} is no outcome; there are {known}"
                )));
            }
        };
        *field = Some(kept.to_proto());
    }
    Ok(Some(retention))
}

fn attributes(words: &[String]) -> Result<std::collections::BTreeMap<String, i32>, CliError> {
    let attribute = |word: &String| {
        let (name, kind) =
            word.split_once('=').ok_or_else(|| CliError::usage(format!("{word:?} is not of the form NAME=TYPE")))?;
        let kind = engine_core::search::SearchType::parse(kind).ok_or_else(|| {
            let known = engine_core::search::SearchType::ALL.map(engine_core::search::SearchType::name).join(", ");
            CliError::usage(format!("{word}: {kind:?} is no type; there are {known}"))
        })?;
        Ok((name.to_owned(), engine_proto::convert::search_type_to_proto(kind).into()))
    };
    words.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> Settings {
        Settings { retention_of: words.iter().map(|word| (*word).to_owned()).collect(), ..Settings::default() }
    }

    fn said<T: std::fmt::Debug>(result: Result<T, CliError>) -> String {
        match result.unwrap_err() {
            CliError::Told(told) => told.message,
            CliError::OutputClosed => panic!("it says something"),
        }
    }

    #[test]
    fn retention_is_said_of_all_runs_or_of_an_outcome() {
        assert_eq!(retention(&settings(&[])).unwrap(), None);
        let all =
            Settings { retention: Some("7days".parse().unwrap()), ..settings(&["failed=90days", "timed-out=forever"]) };
        let retention = retention(&all).unwrap().unwrap();
        let days = |days: i64| Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
        assert_eq!((retention.default, retention.failed, retention.timed_out), (days(7), days(90), days(0)));
        assert_eq!(retention.completed, None);
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_what_can() {
        assert!(
            said(retention(&settings(&["lost=7days"]))).contains("\"lost\" is no outcome; there are completed, failed")
        );
        assert!(said(retention(&settings(&["failed"]))).contains("OUTCOME=DURATION"));
        assert!(
            said(attributes(&["Total=number".into()]))
                .contains("\"number\" is no type; there are Keyword, KeywordList")
        );
        assert_eq!(attributes(&["Total=int".into()]).unwrap()["Total"], v1::SearchAttributeType::Int as i32);
    }
}
