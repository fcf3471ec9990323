//! All workloads one after another, beside what other engines reached.
//!
//! Each is run by the command that the table's row names, in a process and a database of its own, so that any row can be measured again by
//! itself.

mod rows;

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use engine_testkit::postgres::{PostgresCluster, fresh_database, shared_cluster};
use rows::{Figure, Floor, POSTGRES_ROWS, ROWS, Row};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::arguments::{AllOptions, StoreKind};
use crate::report::Line;
use crate::store;

/// Runs them and prints the table, row by row.
pub(crate) async fn run(options: &AllOptions) -> Result<()> {
    if options.check {
        // First the store that has all of them, so that a name that none has is refused at once.
        for store in [StoreKind::Postgres, StoreKind::Sqlite, StoreKind::Memory] {
            let all = selected(&options.only, StoreKind::Postgres)?;
            let has = |row: &Row| available(store).any(|other| other.command == row.command);
            let rows: Vec<_> = all.into_iter().filter(|row| has(row)).collect();
            check(&Stage::open(store, true).await?, &rows).await?;
        }
        return Ok(());
    }
    let rows = selected(&options.only, options.store)?;
    let stage = Stage::open(options.store, false).await?;
    println!("{}\n", describe(options));
    println!("{}", table_head());
    for row in rows {
        let mut words = Vec::new();
        if row.timed {
            words.push(format!("--duration={}", humantime::format_duration(options.duration)));
            words.push(format!("--warm-up={}", humantime::format_duration(options.warm_up)));
        }
        // Each on a database of its own, which `--repeat` would not give.
        let mut lines = Vec::new();
        for _ in 0..options.repeat {
            lines.push(stage.measure(row.command, &words).await?);
        }
        let line = Line::median(&lines)?;
        for figure in row.figures {
            println!("{}", table_row(figure, figure.of(&line)?, options.store));
        }
        if options.lines {
            eprintln!("{}", serde_json::to_string(&line)?);
        }
    }
    Ok(())
}

/// Runs all small and says that they work, not how fast.
async fn check(stage: &Stage, rows: &[&Row]) -> Result<()> {
    for row in rows {
        let warm_up = (!row.check.contains("--warm-up")).then(|| "--warm-up=0s".to_owned());
        let line = stage.measure(row.check, warm_up.as_slice()).await?;
        for figure in row.figures {
            figure.of(&line).with_context(|| figure.what)?;
        }
        println!("{}: run {}: {} answers, all right", stage.store.name(), row.check, line.completed);
    }
    Ok(())
}

fn describe(options: &AllOptions) -> String {
    let mut text = match options.repeat {
        1 => format!("On {}, one measurement of each.", options.store.name()),
        repeat => format!("On {}, medians of {repeat}.", options.store.name()),
    };
    if options.store == StoreKind::Postgres {
        let settings = store::POSTGRES_SETTINGS.map(|(name, value)| format!("{name}={value}")).join(", ");
        text.push_str(&format!(" A throwaway cluster with {settings}, fsync=on, its WAL written once before."));
    }
    text
}

/// What can be measured on a store.
fn available(store: StoreKind) -> impl Iterator<Item = &'static Row> {
    let on_postgres: &[Row] = if store == StoreKind::Postgres { POSTGRES_ROWS } else { &[] };
    ROWS.iter().chain(on_postgres)
}

fn selected(only: &[String], store: StoreKind) -> Result<Vec<&'static Row>> {
    let wanted = |row: &&Row| {
        let name = row.command.split(' ').next();
        only.is_empty() || only.iter().any(|only| Some(only.as_str()) == name)
    };
    let rows: Vec<_> = available(store).filter(wanted).collect();
    let on = store.name();
    ensure!(!rows.is_empty(), "no workload on {on} is named {}; see `engine-bench run --help`", only.join(" or "));
    Ok(rows)
}

/// Where the workloads run: for Postgres one cluster, with a database for each.
struct Stage {
    store: StoreKind,
    cluster_url: Option<String>,
    _cluster: Option<PostgresCluster>,
}

impl Stage {
    /// On the tests' cluster if nothing is judged by its time.
    async fn open(store: StoreKind, tests: bool) -> Result<Self> {
        let mut stage = Self { store, cluster_url: None, _cluster: None };
        if store == StoreKind::Postgres && tests {
            stage.cluster_url = Some(shared_cluster().await?.url().to_owned());
        } else if store == StoreKind::Postgres {
            let cluster = store::start_postgres().await?;
            stage.cluster_url = Some(cluster.url());
            stage._cluster = Some(cluster);
        }
        Ok(stage)
    }

    /// Runs a command as it would be typed.
    async fn measure(&self, command: &str, more: &[String]) -> Result<Line> {
        let mut words: Vec<String> = ["run"].into_iter().chain(command.split(' ')).map(str::to_owned).collect();
        words.extend_from_slice(more);
        words.push("--json".to_owned());
        let Some(cluster) = &self.cluster_url else {
            words.push(format!("--store={}", self.store.name().to_lowercase()));
            return run_this_program(&words).await;
        };
        let database = fresh_database(cluster).await?;
        words.push(format!("--database-url={database}"));
        let line = run_this_program(&words).await;
        drop_database(cluster, &database).await?;
        line
    }
}

/// Runs this program with other arguments; returns the line that it prints. It fails if an answer was wrong.
async fn run_this_program(words: &[String]) -> Result<Line> {
    let mut command = tokio::process::Command::new(std::env::current_exe().context("find this program")?);
    // A database that the environment names is not the one to use.
    command.args(words).env_remove("ENGINE_BENCH_DATABASE_URL");
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.context("start a process")?;
    let typed = words.join(" ");
    ensure!(output.status.success(), "`engine-bench {typed}` failed ({}); what it said is above", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("understand what `engine-bench {typed}` printed"))
}

/// Frees the disk, and leaves the vacuum nothing to do beside the next workload.
async fn drop_database(cluster: &str, database: &str) -> Result<()> {
    let name = database.rsplit('/').next().unwrap_or_default();
    let mut connection = PgConnection::connect(cluster).await.context("connect to the cluster")?;
    let statement = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.context("drop a database")?;
    connection.close().await?;
    Ok(())
}

/// The table is Markdown.
fn table_head() -> String {
    let head = table_line(["", "here", "Temporal", "Restate", "DBOS", "to reach"]);
    let rule = head.chars().map(|character| if character == '|' { '|' } else { '-' }).collect::<String>();
    format!("{head}\n{rule}")
}

fn table_row(figure: &Figure, value: f64, store: StoreKind) -> String {
    let here = number(value);
    let floor = match figure.floor {
        // What is to be reached is said of Postgres.
        _ if store != StoreKind::Postgres => String::new(),
        Floor::AtLeast(floor) => format!("≥ {}", number(floor)),
        Floor::AtMost(ceiling) => format!("≤ {}", number(ceiling)),
        Floor::Shown => String::new(),
    };
    let missed = if floor.is_empty() || figure.floor.is_met(value) { "" } else { " missed" };
    let [temporal, restate, dbos] = figure.others;
    table_line([figure.what, &here, temporal, restate, dbos, &format!("{floor}{missed}")])
}

fn table_line([what, here, temporal, restate, dbos, floor]: [&str; 6]) -> String {
    format!("| {what:<42} | {here:>9} | {temporal:>8} | {restate:>11} | {dbos:>6} | {floor:<16} |")
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let (first, rest) = digits.split_at(digits.len() % 3);
            let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
            let first = (!first.is_empty()).then(|| first.to_owned());
            first.into_iter().chain(groups).collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Command};

    #[test]
    fn every_command_of_the_table_can_be_typed() {
        for row in available(StoreKind::Postgres) {
            for words in [row.command, row.check] {
                let line = format!("engine-bench run {words} --store memory --json");
                let parsed = Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string()).unwrap();
                assert!(matches!(parsed.command, Command::Run(_)), "{line}");
            }
        }
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(0.0276), "0.028");
        assert_eq!(number(2.96), "3.0");
        assert_eq!(number(95.04), "95.0");
        assert_eq!(number(900.0), "900");
        assert_eq!(number(25_000.4), "25,000");
        assert_eq!(number(1_234_567.0), "1,234,567");
    }

    #[test]
    fn a_row_says_what_was_missed_where_there_is_something_to_reach() {
        let row = |value, store| table_row(&ROWS[0].figures[0], value, store);
        assert!(
            row(2.0, StoreKind::Postgres)
                .ends_with("|       2.0 |       42 |         6.5 |    4.4 | ≤ 3.0            |")
        );
        assert!(row(3.5, StoreKind::Postgres).contains("≤ 3.0 missed"));
        assert!(!row(3.5, StoreKind::Sqlite).contains("missed"));
    }
}
