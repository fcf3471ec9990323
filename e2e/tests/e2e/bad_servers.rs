//! Servers that cannot start: each prints one sentence that names the remedy, ends with the documented exit code, and leaves the
//! server that is there alone.

use std::process::{Command, Output};

use engine_e2e::clerk::{Clerk, start_request};
use engine_e2e::world::{Server, ServerSettings, World, free_address, program};
use engine_testkit::postgres::{PostgresCluster, fresh_database, shared_cluster};
use serde_json::json;

use crate::databases::Database;

/// Runs `engine` to its end.
async fn engine(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("e2e-engine").unwrap());
    command.args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it gives up by itself").unwrap()
}

/// It ended with this code, after one sentence that says all of `words`.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "one sentence: {said}");
    assert!(lines[0].starts_with("error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} in {said}");
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn still_serves(server: &Server) {
    let clerk = Clerk::new([server.url()]).unwrap();
    clerk.client().start_workflow(start_request("still-there", "chain", &[json!(1)])).await.unwrap();
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let world = World::new().unwrap();
    let server = Database::Sqlite.server(&world).await;
    let address = server.settings.address.to_string();
    let other = world.path("other.db").display().to_string();
    for arguments in [
        vec!["dev", "--db", &other, "--listen", &address],
        vec!["serve", "--migrate", "--database-url", "memory:", "--listen", &address],
    ] {
        refused(&engine(&arguments).await, 8, &[&address, "--listen"]);
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn a_second_server_on_a_file_is_refused() {
    let world = World::new().unwrap();
    let server = Database::Sqlite.server(&world).await;
    let file = world.path("engine.db").display().to_string();
    refused(&engine(&["dev", "--db", &file, "--listen", "127.0.0.1:0"]).await, 8, &["engine.db"]);
    still_serves(&server).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let nowhere = free_address().unwrap();
    let url = format!("postgres://user:secret@{nowhere}/engine");
    let output = engine(&["serve", "--database-url", &url, "--listen", "127.0.0.1:0"]).await;
    refused(&output, 5, &[&nowhere.port().to_string()]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
    refused(&engine(&["serve", "--database-url", "mysql://x", "--listen", "127.0.0.1:0"]).await, 8, &["postgres://"]);
    refused(&engine(&["serve", "--listen", "127.0.0.1:0"]).await, 2, &["--database-url"]);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_with_what_to_do() {
    let url = fresh_database(shared_cluster().await.unwrap().url()).await.unwrap();
    let serve = ["serve", "--log", "warn", "--database-url", &url, "--listen", "127.0.0.1:0"];
    refused(&engine(&serve).await, 8, &["engine migrate"]);
    let migrated = engine(&["migrate", "--log", "warn", "--database-url", &url]).await;
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    assert!(
        engine(&["migrate", "--log", "warn", "--database-url", &url]).await.status.success(),
        "a repeat is harmless"
    );
}

#[tokio::test]
async fn postgres_that_may_lose_what_it_acknowledged_is_refused_unless_allowed() {
    let cluster = PostgresCluster::start_with(&[("fsync", "off")]).await.unwrap();
    let url = fresh_database(&cluster.url()).await.unwrap();
    let output =
        engine(&["serve", "--migrate", "--log", "warn", "--database-url", &url, "--listen", "127.0.0.1:0"]).await;
    refused(&output, 8, &["fsync", "--allow-unsafe-database"]);
    let settings = ServerSettings::new(&url, "unsafe").unwrap().flag("--allow-unsafe-database", "true");
    still_serves(&Server::start(settings).await.unwrap()).await;
}
