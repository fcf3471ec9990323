//! The test support itself: a cluster keeps what it acknowledged over SIGKILL, and dies with whoever started it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use engine_testkit::postgres::{PostgresCluster, fresh_database, shared_cluster};
use engine_testkit::process::Process;
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn an_acknowledged_row_survives_the_kill_of_the_server() {
    let cluster = PostgresCluster::start().await.unwrap();
    let url = fresh_database(&cluster.url()).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t AS SELECT 7 AS x").execute(&mut connection).await.unwrap();

    cluster.kill9().await.unwrap();
    assert_eq!(cluster.postmaster(), None);
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut connection).await.is_err(), "its backends are gone too");
    cluster.restart().await.unwrap();

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let x: i32 = sqlx::query_scalar("SELECT x FROM t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(x, 7);
}

#[tokio::test]
async fn databases_of_the_shared_cluster_are_separate() {
    let cluster = shared_cluster().await.unwrap();
    let (one, two) = (fresh_database(cluster.url()).await.unwrap(), fresh_database(cluster.url()).await.unwrap());
    assert_ne!(one, two);
    let mut connection = PgConnection::connect(&one).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x int)").execute(&mut connection).await.unwrap();
    let mut connection = PgConnection::connect(&two).await.unwrap();
    assert!(sqlx::raw_sql("SELECT * FROM t").execute(&mut connection).await.is_err());
}

/// The program prints its URL as its first line.
fn read_url(child: &mut std::process::Child) -> String {
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    url.trim().to_owned()
}

fn accepts_connections(url: &str) -> bool {
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
    std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).is_ok()
}

#[test]
fn a_cluster_dies_with_the_process_that_started_it_even_if_that_is_killed() {
    let program = env!("CARGO_BIN_EXE_engine-testkit-postgres");
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let url = read_url(&mut child);
    assert!(accepts_connections(&url));
    child.kill().unwrap();
    child.wait().unwrap();
    // Another process does the cleaning, so there is nothing to be notified by.
    let deadline = Instant::now() + Duration::from_secs(20);
    while accepts_connections(&url) {
        assert!(Instant::now() < deadline, "the server outlived its owner");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_line_is_found_whether_printed_before_or_after_the_wait() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo one; echo two >&2; echo three; exec sleep 1000"]);
    let mut process = Process::spawn("a shell", command).unwrap();
    let patience = Duration::from_secs(20);
    assert_eq!(process.wait_for_line(patience, |line| line.starts_with("th")).await.unwrap(), "three");
    assert_eq!(process.wait_for_line(patience, |line| line == "one").await.unwrap(), "one");
    assert_eq!(process.wait_for_line(patience, |line| line == "two").await.unwrap(), "two");
    process.kill9().await.unwrap();
    let error = process.wait_for_line(patience, |line| line == "four").await.unwrap_err().to_string();
    assert!(error.contains("a shell ended its output"), "{error}");
    assert!(error.contains("three"), "{error}");
}
