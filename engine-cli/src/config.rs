//! A server's settings: defaults, then the file, then the environment, then flags; the later wins.
//!
//! `docs/engine.toml` documents each key of the file; flags and environment variables have the same names.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use engine_server::NodeOptions;
use engine_server::store::postgres::PostgresOptions;
use serde::{Deserialize, Deserializer};

use crate::error::{CliError, Exit};

/// Where a server listens unless told otherwise: only this machine reaches it, because there is no authentication.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:7400";

/// A database URL, which may hold a password: it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// For the store that connects.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(hidden)")
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url.trim().to_owned())
    }
}

/// Which database.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DatabaseArgs {
    /// A TOML file of settings; docs/engine.toml shows all of them.
    #[arg(long, env = "ENGINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The database: postgres://user:password@host:port/database, sqlite://file. Others on the machine can read a flag; prefer the
    /// environment or a file for a URL with a password.
    #[arg(long, env = "ENGINE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<DatabaseUrl>,
    /// A file that holds the database URL and nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "database_url")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// Most connections to Postgres. Default: 16.
    #[arg(long, env = "ENGINE_MAX_CONNECTIONS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,
    /// How long one statement may take. Default: 10s.
    #[arg(long, env = "ENGINE_STATEMENT_TIMEOUT", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) statement_timeout: Option<Duration>,
    /// What to log: a level, or directives as in "info,engine_server=debug". Default: info.
    #[arg(long, env = "ENGINE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// How the server behaves.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeArgs {
    /// Where to listen. Default: 127.0.0.1:7400. There is no authentication yet: open it to a trusted network only.
    #[arg(long, env = "ENGINE_LISTEN", value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// This server's name, unique among those on the database and the same after a restart. Default: host name and listening address.
    #[arg(long, env = "ENGINE_NODE", value_name = "TEXT")]
    pub(crate) node: Option<String>,
    /// How many writers commit side by side. Default: one for each core, at most 4.
    #[arg(long, env = "ENGINE_LANES", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) lanes: Option<u16>,
    /// How long other servers leave this one's shards alone after it was last heard of. Default: 10s.
    #[arg(long, env = "ENGINE_LEASE", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) lease: Option<Duration>,
    /// How long, after a restart, tasks wait for the workers that had them. Default: 5s.
    #[arg(long, env = "ENGINE_RECOVERY_GRACE", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) recovery_grace: Option<Duration>,
    /// How long activities wait for their worker when its stream broke, unless the worker asked otherwise. Default: 2s.
    #[arg(long, env = "ENGINE_ACTIVITY_GRACE", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) activity_grace: Option<Duration>,
    /// Memory for open runs, for each lane, in MiB. Default: 64.
    #[arg(long, env = "ENGINE_CACHE_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cache_mib: Option<u32>,
    /// How long an idle run stays in memory. Default: 10s.
    #[arg(long, env = "ENGINE_PARK_AFTER", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) park_after: Option<Duration>,
    /// Run on a database that can lose what it acknowledged (such as Postgres with fsync=off). For experiments only.
    #[arg(long, env = "ENGINE_ALLOW_UNSAFE_DATABASE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_unsafe_database: Option<bool>,
}

/// The settings file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    database_url: Option<Hidden>,
    database_url_file: Option<PathBuf>,
    max_connections: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    statement_timeout: Option<Duration>,
    log: Option<String>,
    listen: Option<SocketAddr>,
    node: Option<String>,
    lanes: Option<u16>,
    #[serde(default, deserialize_with = "duration")]
    lease: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    recovery_grace: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    activity_grace: Option<Duration>,
    cache_mib: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    park_after: Option<Duration>,
    allow_unsafe_database: Option<bool>,
}

/// A text of the file that is not to be printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = humantime::parse_duration(&text);
    parsed.map(Some).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is not a duration like \"10s\" or \"1m 30s\": {error}"))
    })
}

impl File {
    /// Reads the file, if there is one to read.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::usage(format!("cannot read the settings file {}: {error}", path.display())))?;
        Self::parse(&text)
            .map_err(|problem| CliError::usage(format!("the settings file {} is wrong: {problem}", path.display())))
    }

    /// The problem is told without quoting the file, which may hold a password.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("{place}{}", error.message())
        })
    }
}

/// Which database, and how to use it.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseSettings {
    pub(crate) url: DatabaseUrl,
    pub(crate) postgres: PostgresOptions,
    pub(crate) log: String,
}

impl DatabaseSettings {
    /// Puts the layers together.
    pub(crate) fn resolve(arguments: &DatabaseArgs, file: &File) -> Result<Self, CliError> {
        let default = PostgresOptions::default();
        Ok(Self {
            url: database_url(arguments, file)?,
            postgres: PostgresOptions {
                max_connections: arguments.max_connections.or(file.max_connections).unwrap_or(default.max_connections),
                statement_timeout: arguments
                    .statement_timeout
                    .or(file.statement_timeout)
                    .unwrap_or(default.statement_timeout),
            },
            log: log(arguments.log.as_ref(), file, "info"),
        })
    }
}

/// What to log.
fn log(argument: Option<&String>, file: &File, default: &str) -> String {
    argument.or(file.log.as_ref()).cloned().unwrap_or_else(|| default.to_owned())
}

fn database_url(arguments: &DatabaseArgs, file: &File) -> Result<DatabaseUrl, CliError> {
    if let Some(url) = &arguments.database_url {
        return Ok(url.clone());
    }
    if let Some(path) = &arguments.database_url_file {
        return url_in(path);
    }
    match (&file.database_url, &file.database_url_file) {
        (Some(_), Some(_)) => {
            Err(CliError::usage("the settings file has both database_url and database_url_file; keep one"))
        }
        (Some(url), None) => Ok(url.0.clone().into()),
        (None, Some(path)) => url_in(path),
        (None, None) => Err(CliError::usage(
            "no database given: set --database-url, ENGINE_DATABASE_URL, or database_url in the settings file \
             (`engine dev` needs none)",
        )),
    }
}

fn url_in(path: &Path) -> Result<DatabaseUrl, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read the database URL from {}: {error}", path.display())))?;
    Ok(text.into())
}

/// How the server behaves.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    pub(crate) listen: SocketAddr,
    /// `None`: named after where it listens.
    pub(crate) name: Option<String>,
    pub(crate) allow_unsafe_database: bool,
    lanes: Option<u16>,
    lease: Option<Duration>,
    recovery_grace: Option<Duration>,
    activity_grace: Option<Duration>,
    cache_mib: Option<u32>,
    park_after: Option<Duration>,
}

impl NodeSettings {
    /// Puts the layers together.
    pub(crate) fn resolve(arguments: &NodeArgs, file: &File) -> Result<Self, CliError> {
        let settings = Self {
            listen: arguments
                .listen
                .or(file.listen)
                .unwrap_or_else(|| LISTEN_DEFAULT.parse().expect("the default is an address")),
            name: arguments.node.clone().or_else(|| file.node.clone()),
            allow_unsafe_database: arguments.allow_unsafe_database.or(file.allow_unsafe_database).unwrap_or(false),
            lanes: arguments.lanes.or(file.lanes),
            lease: arguments.lease.or(file.lease),
            recovery_grace: arguments.recovery_grace.or(file.recovery_grace),
            activity_grace: arguments.activity_grace.or(file.activity_grace),
            cache_mib: arguments.cache_mib.or(file.cache_mib),
            park_after: arguments.park_after.or(file.park_after),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), CliError> {
        if self.lanes == Some(0) {
            return Err(CliError::usage("lanes: must be at least 1"));
        }
        // Renewed several times a lease, over a database that may take a second to answer.
        if self.lease.is_some_and(|lease| lease < Duration::from_secs(2)) {
            return Err(CliError::usage(
                "lease: must be at least 2s, or a slow answer of the database costs the shards",
            ));
        }
        let longest = engine_server::limits::ACTIVITY_GRACE_MAX;
        if self.activity_grace.is_some_and(|grace| grace > longest) {
            let longest = humantime::format_duration(longest);
            return Err(CliError::usage(format!("activity_grace: must be at most {longest}")));
        }
        Ok(())
    }

    /// The node's options, under the name that it gets if none was given.
    pub(crate) fn node_options(&self, default_name: String) -> NodeOptions {
        let mut options = NodeOptions::new(self.name.clone().unwrap_or(default_name));
        options.lanes = self.lanes.map_or(options.lanes, usize::from);
        options.lease = self.lease.unwrap_or(options.lease);
        options.recovery_grace = self.recovery_grace.unwrap_or(options.recovery_grace);
        options.activity_grace = self.activity_grace.unwrap_or(options.activity_grace);
        options.cache_bytes = self.cache_mib.map_or(options.cache_bytes, |mib| mib as usize * 1024 * 1024);
        options.park_after = self.park_after.unwrap_or(options.park_after);
        options
    }
}

/// The error of a server that cannot run as it is asked to.
pub(crate) fn cannot_serve(message: impl Into<String>) -> CliError {
    CliError::new(Exit::CannotServe, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: CliError) -> String {
        match error {
            CliError::Told(told) => told.message,
            CliError::OutputClosed => panic!("it says something"),
        }
    }

    #[test]
    fn the_documented_file_is_read_and_shows_every_key_with_its_default() {
        let text = include_str!("../../docs/engine.toml");
        let file = File::parse(text).unwrap();
        let keys = [
            "database_url",
            "database_url_file",
            "max_connections",
            "statement_timeout",
            "log",
            "listen",
            "node",
            "lanes",
            "lease",
            "recovery_grace",
            "activity_grace",
            "cache_mib",
            "park_after",
            "allow_unsafe_database",
        ];
        for key in keys {
            assert!(text.contains(&format!("\n{key} = ")) || text.contains(&format!("\n# {key} = ")), "{key}");
        }
        let settings = NodeSettings::resolve(&NodeArgs::default(), &file).unwrap();
        let documented = settings.node_options("x".into());
        let default = NodeOptions::new("x");
        assert_eq!(settings.listen.to_string(), LISTEN_DEFAULT);
        assert_eq!(
            (
                documented.lease,
                documented.recovery_grace,
                documented.activity_grace,
                documented.cache_bytes,
                documented.park_after
            ),
            (default.lease, default.recovery_grace, default.activity_grace, default.cache_bytes, default.park_after)
        );
        let database = DatabaseSettings::resolve(&DatabaseArgs::default(), &file).unwrap();
        let postgres = PostgresOptions::default();
        assert_eq!(database.postgres.max_connections, postgres.max_connections);
        assert_eq!(database.postgres.statement_timeout, postgres.statement_timeout);
    }

    #[test]
    fn flags_and_environment_win_over_the_file_and_the_file_over_defaults() {
        let file =
            File::parse("listen = \"127.0.0.1:1\"\nlease = \"30s\"\ndatabase_url = \"postgres://file/x\"").unwrap();
        let arguments = NodeArgs { listen: Some("127.0.0.1:2".parse().unwrap()), ..NodeArgs::default() };
        let settings = NodeSettings::resolve(&arguments, &file).unwrap();
        assert_eq!(settings.listen.port(), 2, "from the flag");
        let options = settings.node_options("n".into());
        assert_eq!(options.lease, Duration::from_secs(30), "from the file");
        assert_eq!(options.park_after, NodeOptions::new("n").park_after, "the default");

        let flag =
            DatabaseArgs { database_url: Some("postgres://flag/x".to_owned().into()), ..DatabaseArgs::default() };
        assert_eq!(DatabaseSettings::resolve(&flag, &file).unwrap().url.expose(), "postgres://flag/x");
        let none = DatabaseArgs::default();
        assert_eq!(DatabaseSettings::resolve(&none, &file).unwrap().url.expose(), "postgres://file/x");
        assert!(
            message(DatabaseSettings::resolve(&none, &File::default()).unwrap_err()).starts_with("no database given")
        );
    }

    #[test]
    fn a_url_may_come_from_a_file_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("url");
        std::fs::write(&path, "postgres://u:secret@h/d\n").unwrap();
        let arguments = DatabaseArgs { database_url_file: Some(path), ..DatabaseArgs::default() };
        let settings = DatabaseSettings::resolve(&arguments, &File::default()).unwrap();
        assert_eq!(settings.url.expose(), "postgres://u:secret@h/d");
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
    }

    #[test]
    fn a_wrong_file_is_told_by_line_and_key_without_its_secrets() {
        let text = "database_url = \"postgres://u:secret@h/d\"\nlisten = \"127.0.0.1:1\"\nlanse = 3\n";
        let problem = File::parse(text).unwrap_err();
        assert!(problem.starts_with("line 3: unknown field `lanse`"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
        let problem = File::parse("lease = \"soon\"").unwrap_err();
        assert!(problem.contains("\"soon\" is not a duration like"), "{problem}");
        let file = File::parse("database_url = \"postgres://u:secret@h/d\"").unwrap();
        assert!(!format!("{file:?}").contains("secret"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let short = File::parse("lease = \"1s\"").unwrap();
        assert!(message(NodeSettings::resolve(&NodeArgs::default(), &short).unwrap_err()).starts_with("lease: "));
        let long = File::parse("activity_grace = \"11m\"").unwrap();
        let error = message(NodeSettings::resolve(&NodeArgs::default(), &long).unwrap_err());
        assert_eq!(error, "activity_grace: must be at most 10m");
    }
}
