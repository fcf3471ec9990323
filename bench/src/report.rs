//! What is printed: one line of JSON, or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::load::Outcome;
use crate::meter::{Cpu, Memory};

/// The JSON line. What could not be measured is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) workload: String,
    pub(crate) store: String,
    /// Calls under way at a time; with a rate, the most that were.
    pub(crate) in_flight: u64,
    /// Workflows that completed with the right result (W4: starts; W5: signals).
    pub(crate) completed: u64,
    pub(crate) workflows_per_s: f64,
    pub(crate) steps_per_s: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    pub(crate) errors: u64,
    pub(crate) cpu_us_per_workflow: Cpu,
    pub(crate) rss_mib: Memory,
    /// Of all that was measured, not of one workflow; likewise rows and bytes.
    pub(crate) commits: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes_written: Option<u64>,
    /// Figures that only this workload has. Left out where there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extra: BTreeMap<String, f64>,
}

impl Line {
    pub(crate) fn new(workload: &str, store: &str, outcome: &Outcome) -> Self {
        let mut latencies = outcome.latencies.clone();
        latencies.sort_unstable();
        let percentile = |share: f64| percentile(&latencies, share).map(|micros| round(micros as f64 / 1000.0));
        let seconds = outcome.elapsed.as_secs_f64().max(f64::EPSILON);
        let per_second = outcome.completed as f64 / seconds;
        let memory = outcome.memory;
        Self {
            workload: workload.to_owned(),
            store: store.to_owned(),
            in_flight: outcome.in_flight,
            completed: outcome.completed,
            workflows_per_s: round(per_second),
            steps_per_s: outcome.steps_each.map(|steps| round(per_second * steps as f64)),
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            max_ms: percentile(1.0),
            errors: outcome.errors,
            cpu_us_per_workflow: outcome.usage.cpu.per(outcome.completed),
            rss_mib: Memory { server: memory.server.map(round), worker: memory.worker.map(round) },
            commits: outcome.usage.commits,
            rows: outcome.usage.rows,
            bytes_written: outcome.usage.bytes_written,
            extra: outcome.extra.iter().map(|(name, figure)| ((*name).to_owned(), round(*figure))).collect(),
        }
    }

    /// Of each figure the median by itself; errors are added up, as one is too many.
    pub(crate) fn median(lines: &[Line]) -> Result<Self> {
        let values: Vec<Value> = lines.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let mut line: Line = serde_json::from_value(median(&values.iter().collect::<Vec<_>>()))?;
        line.errors = lines.iter().map(|line| line.errors).sum();
        Ok(line)
    }

    /// A figure by its path, as `p50_ms` or `extra.first_s`.
    pub(crate) fn figure(&self, path: &str) -> Result<f64> {
        let value = serde_json::to_value(self)?;
        let found = value.pointer(&format!("/{}", path.replace('.', "/")));
        found.and_then(Value::as_f64).with_context(|| format!("the line of {} has no figure {path:?}", self.workload))
    }
}

/// The value that a share of the sorted ones is not above: the nearest rank.
fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// To three digits behind the point: nothing here is measured better.
fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

fn median(values: &[&Value]) -> Value {
    match values.first() {
        Some(Value::Object(first)) => {
            let of = |key: &String| median(&values.iter().filter_map(|value| value.get(key)).collect::<Vec<_>>());
            Value::Object(first.keys().map(|key| (key.clone(), of(key))).collect())
        }
        Some(Value::Number(_)) => {
            let mut numbers: Vec<&Number> = values.iter().filter_map(|value| value.as_number()).collect();
            numbers.sort_by(|a, b| f64::total_cmp(&as_f64(a), &as_f64(b)));
            // Of an even number the upper of the two in the middle, so that whole numbers stay whole.
            Value::Number(numbers[numbers.len() / 2].clone())
        }
        Some(other) => (*other).clone(),
        None => Value::Null,
    }
}

fn as_f64(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::MAX)
}

/// The line as a table.
pub(crate) fn for_people(line: &Line, repeats: usize) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| writeln!(text, "{name:<24} {value}").expect("a string takes all");
    let medians = if repeats > 1 { format!(", medians of {repeats}") } else { String::new() };
    row("workload", format!("{} on {}, {} in flight{medians}", line.workload, line.store, line.in_flight));
    row("completed", format!("{}, {} errors", line.completed, line.errors));
    row("per second", format!("{:.1}", line.workflows_per_s));
    if let Some(steps) = line.steps_per_s {
        row("steps per second", format!("{steps:.1}"));
    }
    if let (Some(p50), Some(p99), Some(max)) = (line.p50_ms, line.p99_ms, line.max_ms) {
        row("latency p50 p99 max", format!("{p50:.2} {p99:.2} {max:.2} ms"));
    }
    let cpu = line.cpu_us_per_workflow;
    let known = |figure: Option<u64>| figure.map_or("?".to_owned(), |figure| figure.to_string());
    let shares = [("server", cpu.server), ("worker", cpu.worker), ("client", cpu.client), ("database", cpu.database)];
    let shares = shares.map(|(name, time)| format!("{name} {}", known(time))).join(", ");
    row("CPU each", format!("{} µs: {shares}", cpu.total()));
    let each = |total: Option<u64>| {
        total.map_or("?".to_owned(), |total| format!("{:.2}", total as f64 / line.completed.max(1) as f64))
    };
    let written = [each(line.commits), each(line.rows), each(line.bytes_written)];
    row("commits, rows, bytes each", written.join(", "));
    let memory = |mib: Option<f64>| mib.map_or("?".to_owned(), |mib| format!("{mib:.1}"));
    row("memory", format!("server {}, worker {} MiB", memory(line.rss_mib.server), memory(line.rss_mib.worker)));
    for (name, figure) in &line.extra {
        row(name, format!("{figure}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(latencies: Vec<u64>) -> Outcome {
        let mut outcome = Outcome {
            completed: latencies.len() as u64,
            in_flight: 7,
            elapsed: Duration::from_secs(2),
            latencies,
            ..Outcome::default()
        };
        outcome.usage.cpu.server = Some(90_000);
        outcome.usage.rows = Some(24);
        outcome
    }

    #[test]
    fn a_percentile_is_a_latency_that_was_seen() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50));
        assert_eq!(percentile(&hundred, 0.99), Some(99));
        assert_eq!(percentile(&hundred, 1.0), Some(100));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[3, 9], 0.5), Some(3));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_line_has_the_documented_fields_and_no_others() {
        let line = Line::new("w1", "postgres", &outcome(vec![4_000, 1_000, 2_000, 3_000]).steps_each(10));
        let value = serde_json::to_value(&line).unwrap();
        let expected = serde_json::json!({
            "workload": "w1", "store": "postgres", "in_flight": 7, "completed": 4, "workflows_per_s": 2.0,
            "steps_per_s": 20.0, "p50_ms": 2.0, "p99_ms": 4.0, "max_ms": 4.0, "errors": 0,
            "cpu_us_per_workflow": { "server": 22_500, "worker": null, "client": null, "database": null },
            "rss_mib": { "server": null, "worker": null },
            "commits": null, "rows": 24, "bytes_written": null,
        });
        assert_eq!(value, expected);
        let with = Line::new("w6", "memory", &outcome(vec![1]).with("total_s", 1.25));
        assert_eq!(serde_json::to_value(&with).unwrap()["extra"], serde_json::json!({ "total_s": 1.25 }));
    }

    #[test]
    fn the_median_is_of_each_figure_and_errors_add_up() {
        let line = |completed: usize, errors: u64, rest: f64| {
            let mut outcome = outcome(vec![completed as u64 * 1_000; completed]).with("rest_s", rest);
            outcome.errors = errors;
            Line::new("w8", "sqlite", &outcome)
        };
        let median = Line::median(&[line(10, 0, 0.5), line(30, 2, 0.1), line(20, 1, 0.9)]).unwrap();
        assert_eq!(median.completed, 20);
        assert_eq!(median.p50_ms, Some(20.0));
        assert_eq!(median.extra["rest_s"], 0.5);
        assert_eq!(median.errors, 3);
        assert_eq!(median.workload, "w8");
        assert_eq!(median.steps_per_s, None);
    }

    #[test]
    fn people_see_what_is_unknown_as_such() {
        let text = for_people(&Line::new("w1", "memory", &outcome(vec![1_500])), 3);
        assert!(text.contains("w1 on memory, 7 in flight, medians of 3\n"), "{text}");
        assert!(text.contains("latency p50 p99 max      1.50 1.50 1.50 ms\n"), "{text}");
        assert!(text.contains("90000 µs: server 90000, worker ?, client ?, database ?\n"), "{text}");
    }
}
