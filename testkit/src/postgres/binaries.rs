//! Where the server's programs are, and which user may run them: Postgres refuses to run as root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{display, run_quietly};

/// Environment variable with the directory of `initdb`, `pg_ctl` and `postgres`.
const VARIABLE: &str = "ENGINE_TEST_PG_BIN";

/// Finds the programs: where the environment says, else Debian's newest major version, else on the path.
pub(super) fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let mut majors: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.parse().ok()?;
            let binaries = entry.path().join("bin");
            binaries.join("initdb").exists().then_some((major, binaries))
        })
        .collect();
    majors.sort();
    if let Some((_, binaries)) = majors.pop() {
        return Ok(binaries);
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .find(|directory| directory.join("initdb").exists())
        .with_context(|| format!("no Postgres server found: install one, or set {VARIABLE} to the directory of initdb"))
}

/// The user that the server runs as.
#[derive(Debug)]
pub(super) enum ServerUser {
    /// This process's.
    Own,
    /// Another, because this process is root.
    Other { name: String, uid: u32, gid: u32 },
}

impl ServerUser {
    pub(super) fn choose() -> anyhow::Result<ServerUser> {
        if id("-u", None)? != 0 {
            return Ok(ServerUser::Own);
        }
        let name = if id("-u", Some("postgres")).is_ok() { "postgres" } else { "nobody" };
        let (uid, gid) = (id("-u", Some(name))?, id("-g", Some(name))?);
        Ok(ServerUser::Other { name: name.to_owned(), uid, gid })
    }

    /// Gives a directory to the user.
    pub(super) fn own(&self, directory: &Path) -> anyhow::Result<()> {
        if let ServerUser::Other { uid, gid, .. } = self {
            std::os::unix::fs::chown(directory, Some(*uid), Some(*gid))
                .with_context(|| format!("give {} to the server's user", display(directory)))?;
        }
        Ok(())
    }

    /// A command that runs `program` as the user.
    pub(super) fn command(&self, program: &Path) -> Command {
        match self {
            ServerUser::Own => Command::new(program),
            ServerUser::Other { name, uid, gid } => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
                command.arg("--").arg(program).env("USER", name).env("HOME", "/nonexistent");
                command
            }
        }
    }
}

fn id(what: &str, user: Option<&str>) -> anyhow::Result<u32> {
    let arguments = [Some(OsString::from(what)), user.map(OsString::from)];
    let said = run_quietly(Command::new("id").args(arguments.iter().flatten()))?;
    said.trim().parse().context("`id` did not answer with a number")
}
