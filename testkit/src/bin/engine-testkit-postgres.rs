//! Starts a Postgres cluster, prints its URL, and stops it when its standard input closes.
//!
//! For a test run of many processes that are to share one cluster: give them the URL in `ENGINE_TEST_DATABASE_URL`.

use std::io::Write;

use engine_testkit::postgres::PostgresCluster;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = PostgresCluster::start().await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", cluster.url())?;
    stdout.flush()?;
    // Nothing else happens here, so blocking the thread blocks nobody.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
