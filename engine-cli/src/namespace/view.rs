//! How a namespace looks, for people and for programs.

use std::time::Duration;

use engine_core::event::CloseStatus;
use engine_proto::{convert, v1};
use serde_json::{Map, Value, json};

use crate::view::{table, text, time};

/// How runs close, as the command line names it.
pub(super) const OUTCOMES: [(&str, CloseStatus); 6] = [
    ("completed", CloseStatus::Completed),
    ("failed", CloseStatus::Failed),
    ("canceled", CloseStatus::Canceled),
    ("terminated", CloseStatus::Terminated),
    ("timed-out", CloseStatus::TimedOut),
    ("continued-as-new", CloseStatus::ContinuedAsNew),
];

fn own(retention: &v1::Retention, status: CloseStatus) -> Option<Duration> {
    let message = match status {
        CloseStatus::Completed => retention.completed,
        CloseStatus::Failed => retention.failed,
        CloseStatus::Canceled => retention.canceled,
        CloseStatus::Terminated => retention.terminated,
        CloseStatus::TimedOut => retention.timed_out,
        CloseStatus::ContinuedAsNew => retention.continued_as_new,
    };
    duration(message)
}

fn duration(message: Option<prost_types::Duration>) -> Option<Duration> {
    convert::optional_duration_from_proto("retention", message).ok().flatten()
}

fn kept(duration: Duration) -> String {
    if duration.is_zero() { "forever".to_owned() } else { time::words(duration) }
}

fn retention(namespace: &v1::Namespace) -> String {
    let retention = namespace.retention.unwrap_or_default();
    let mut words = vec![kept(duration(retention.default).unwrap_or_default())];
    for (name, status) in OUTCOMES {
        if let Some(own) = own(&retention, status) {
            words.push(format!("{name} {}", kept(own)));
        }
    }
    words.join(", ")
}

fn types(namespace: &v1::Namespace) -> impl Iterator<Item = (&str, &'static str)> {
    let name = |number: &i32| {
        convert::search_type_from_proto("type", *number).map_or("?", engine_core::search::SearchType::name)
    };
    namespace.search_attributes.iter().map(move |(attribute, number)| (attribute.as_str(), name(number)))
}

/// All namespaces, as a table.
pub(super) fn list(namespaces: &[v1::Namespace], width: Option<u16>) -> String {
    let row = |namespace: &v1::Namespace| {
        let state = if namespace.deleting { " (being deleted)" } else { "" };
        vec![
            format!("{}{state}", namespace.name),
            retention(namespace),
            text::one_line(&namespace.owner, text::SHORT),
            text::one_line(&namespace.description, text::SHORT),
        ]
    };
    let columns = table::Columns {
        header: &["NAME", "CLOSED RUNS ARE KEPT", "OWNER", "DESCRIPTION"],
        right: &[],
        wrapping: &[1, 3],
    };
    table::table(columns, namespaces.iter().map(row).collect(), width)
}

/// One namespace, for people.
pub(super) fn describe(namespace: &v1::Namespace) -> String {
    let mut facts = vec![
        ("Namespace", namespace.name.clone()),
        ("Description", text::one_line(&namespace.description, text::SHORT)),
        ("Owner", text::one_line(&namespace.owner, text::SHORT)),
        ("Closed runs are kept", retention(namespace)),
    ];
    let created = namespace.create_time.and_then(|at| convert::timestamp_from_proto("create_time", at).ok());
    facts.extend(created.map(|at| ("Created", time::date_time(at))));
    facts.retain(|(_, value)| !value.is_empty());
    let attributes: Vec<String> = types(namespace).map(|(name, kind)| format!("{name} ({kind})")).collect();
    if !attributes.is_empty() {
        facts.push(("Search attributes", attributes.join(", ")));
    }
    table::facts(&facts)
}

/// Registered attributes, as a table.
pub(super) fn attributes(namespace: &v1::Namespace, width: Option<u16>) -> String {
    let rows: Vec<Vec<String>> = types(namespace).map(|(name, kind)| vec![name.to_owned(), kind.to_owned()]).collect();
    if rows.is_empty() {
        return format!("namespace {} has no search attributes", namespace.name);
    }
    table::table(table::Columns { header: &["NAME", "TYPE"], right: &[], wrapping: &[] }, rows, width)
}

/// Registered attributes by name, for programs.
pub(super) fn attributes_value(namespace: &v1::Namespace) -> Map<String, Value> {
    types(namespace).map(|(name, kind)| (name.to_owned(), json!(kind))).collect()
}

/// A namespace, for programs. Retention is in seconds, 0 for ever; of an outcome, null: as the default.
pub(super) fn value(namespace: &v1::Namespace) -> Value {
    let own_retention = namespace.retention.unwrap_or_default();
    let seconds = |kept: Option<Duration>| kept.map(|kept| kept.as_secs());
    let mut retention = Map::new();
    retention.insert("default".to_owned(), json!(seconds(duration(own_retention.default)).unwrap_or(0)));
    for (name, status) in OUTCOMES {
        retention.insert(name.replace('-', "_"), json!(seconds(own(&own_retention, status))));
    }
    let created = namespace.create_time.and_then(|at| convert::timestamp_from_proto("create_time", at).ok());
    json!({
        "name": namespace.name,
        "description": namespace.description,
        "owner": namespace.owner,
        "retention_seconds": retention,
        "search_attributes": attributes_value(namespace),
        "create_time": created.map(time::rfc3339),
        "deleting": namespace.deleting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_shown_with_what_it_keeps_and_knows() {
        let namespace = v1::Namespace {
            name: "sales".into(),
            owner: "desk 3".into(),
            retention: Some(v1::Retention {
                default: Some(prost_types::Duration { seconds: 604_800, nanos: 0 }),
                failed: Some(prost_types::Duration::default()),
                ..Default::default()
            }),
            search_attributes: [("Total".to_owned(), v1::SearchAttributeType::Int.into())].into(),
            ..Default::default()
        };
        assert_eq!(
            describe(&namespace),
            "Namespace             sales\nOwner                 desk 3\nClosed runs are kept  7days, failed forever\n\
             Search attributes     Total (Int)"
        );
        let value = value(&namespace);
        assert_eq!(value["retention_seconds"]["default"], 604_800);
        assert_eq!(
            (&value["retention_seconds"]["failed"], &value["retention_seconds"]["timed_out"]),
            (&json!(0), &Value::Null)
        );
        assert_eq!(value["search_attributes"]["Total"], "Int");
        assert_eq!(
            attributes(&v1::Namespace { name: "n".into(), ..Default::default() }, None),
            "namespace n has no search attributes"
        );
    }
}
