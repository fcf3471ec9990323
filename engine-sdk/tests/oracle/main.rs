//! Histories beside those of the reference: the same scenarios, carried out by our engine, must leave the same sequences of events
//! with the same references. What may differ is listed in `differences.rs` and explained in `docs/histories.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod differences;
mod facts;
mod gates;
mod program;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use differences::{DIFFERENCES, Sides};
use engine_sdk::prelude::*;
use facts::Fact;
use futures::{StreamExt, stream};
use serde_json::Value;
use stage::Stage;

/// How many scenarios are under way at once.
const AT_ONCE: usize = 8;
/// How long a scenario may take; the slowest waits for timeouts of six seconds.
const SCENARIO_MAX: Duration = seconds(90);

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

fn scenarios() -> Vec<Value> {
    let text = std::fs::read_to_string(directory().join("scenarios.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn name(scenario: &Value) -> &str {
    scenario["name"].as_str().unwrap()
}

/// What the reference recorded: the runs of each workflow id.
fn recorded(scenario: &str) -> BTreeMap<String, Vec<Vec<Fact>>> {
    let text = std::fs::read_to_string(directory().join(format!("fixtures/{scenario}.json"))).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let runs = |value: &Value| -> Vec<Vec<Fact>> {
        let facts = |run: &Value| run.as_array().unwrap().iter().map(Fact::recorded).collect();
        value.as_array().unwrap().iter().map(facts).collect()
    };
    fixture["histories"].as_object().unwrap().iter().map(|(id, value)| (id.clone(), runs(value))).collect()
}

/// Both histories beside each other, line by line: those they share, `-` of the reference, `+` of ours.
fn difference(theirs: &[Fact], ours: &[Fact]) -> Option<String> {
    let (left, right): (Vec<String>, Vec<String>) =
        (theirs.iter().map(Fact::to_string).collect(), ours.iter().map(Fact::to_string).collect());
    if left == right {
        return None;
    }
    // The longest sequence that both have, by the types of events.
    let mut longest = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, a) in theirs.iter().enumerate().rev() {
        for (j, b) in ours.iter().enumerate().rev() {
            let with = longest[i + 1][j + 1] + usize::from(a.kind == b.kind);
            longest[i][j] = with.max(longest[i + 1][j]).max(longest[i][j + 1]);
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < left.len() || j < right.len() {
        let paired = i < left.len() && j < right.len() && theirs[i].kind == ours[j].kind;
        if paired && longest[i][j] == longest[i + 1][j + 1] + 1 {
            if left[i] == right[j] {
                writeln!(text, "      {}", left[i]).unwrap();
            } else {
                writeln!(text, "    - {}\n    + {}", left[i], right[j]).unwrap();
            }
            (i, j) = (i + 1, j + 1);
        } else if j == right.len() || (i < left.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            writeln!(text, "    - {}", left[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "    + {}", right[j]).unwrap();
            j += 1;
        }
    }
    Some(text)
}

/// The outcome of one scenario: how it differs, if it does, and which of the allowed differences it has.
async fn compare(scenario: Value) -> (Option<String>, BTreeSet<&'static str>) {
    let name = name(&scenario).to_owned();
    let playing = tokio::spawn(async move { Stage::set(self::name(&scenario)).await.play(&scenario).await });
    let ours = match tokio::time::timeout(SCENARIO_MAX, playing).await {
        Ok(Ok(ours)) => ours,
        Ok(Err(panic)) => return (Some(format!("{name}: {panic}")), BTreeSet::new()),
        Err(_) => return (Some(format!("{name}: not over after {SCENARIO_MAX:?}")), BTreeSet::new()),
    };
    let mut theirs = recorded(&name);
    let (mut report, mut seen) = (String::new(), BTreeSet::new());
    for (id, runs) in ours {
        let recorded = theirs.remove(&id).unwrap_or_default();
        for index in 0..runs.len().max(recorded.len()) {
            let theirs = recorded.get(index).cloned().unwrap_or_default();
            let mut sides = Sides { theirs, ours: runs.get(index).cloned().unwrap_or_default() };
            for allowed in DIFFERENCES {
                let before = sides.clone();
                (allowed.apply)(&mut sides);
                if before != sides {
                    seen.insert(allowed.name);
                }
            }
            if let Some(text) = difference(&sides.theirs, &sides.ours) {
                write!(report, "{name}: run {} of {id:?}; - the reference, + ours\n{text}", index + 1).unwrap();
            }
        }
    }
    if !theirs.is_empty() {
        writeln!(report, "{name}: not played: {:?}", theirs.keys()).unwrap();
    }
    ((!report.is_empty()).then_some(report), seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_are_those_of_the_reference() {
    let only = std::env::var("ORACLE_ONLY").ok();
    let chosen: Vec<Value> =
        scenarios().into_iter().filter(|it| only.as_ref().is_none_or(|only| name(it) == only)).collect();
    assert!(!chosen.is_empty(), "no scenario is called {only:?}");
    let outcomes: Vec<_> = stream::iter(chosen).map(compare).buffer_unordered(AT_ONCE).collect().await;
    let mut reports: Vec<String> = outcomes.iter().filter_map(|(report, _)| report.clone()).collect();
    reports.sort();
    assert!(reports.is_empty(), "{} scenarios differ\n\n{}", reports.len(), reports.join("\n"));
    let seen: BTreeSet<_> = outcomes.into_iter().flat_map(|(_, seen)| seen).collect();
    let unused: Vec<_> = DIFFERENCES.iter().map(|it| it.name).filter(|name| !seen.contains(name)).collect();
    assert!(only.is_some() || unused.is_empty(), "no scenario shows these differences: {unused:?}");
}

#[test]
fn every_scenario_has_a_fixture_and_every_fixture_a_scenario() {
    let scenarios = scenarios();
    let names: BTreeSet<String> = scenarios.iter().map(|it| name(it).to_owned()).collect();
    assert_eq!(names.len(), scenarios.len(), "names are unique");
    let files = std::fs::read_dir(directory().join("fixtures")).unwrap();
    let recorded: BTreeSet<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, recorded, "run `make oracle` after a change of scenarios.json");
}
