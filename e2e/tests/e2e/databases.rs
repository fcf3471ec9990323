//! The databases that tests run on.

use engine_e2e::world::{Server, ServerSettings, World};
use engine_testkit::postgres::{fresh_database, shared_cluster};

/// Which kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    /// In a cluster that several tests share and none kills.
    Postgres,
}

impl Database {
    pub(crate) async fn url(self, world: &World) -> String {
        match self {
            Database::Sqlite => world.sqlite(),
            Database::Postgres => fresh_database(shared_cluster().await.unwrap().url()).await.unwrap(),
        }
    }

    /// A server on a database of its own.
    pub(crate) async fn server(self, world: &World) -> Server {
        Server::start(ServerSettings::new(&self.url(world).await, "one").unwrap()).await.unwrap()
    }
}
