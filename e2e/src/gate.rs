//! Where an activity waits until a test lets it pass: the test knows that it is in hand, and decides how long.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The test's end.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    listener: UnixListener,
}

/// An activity that waits.
#[derive(Debug)]
pub struct Waiting {
    stream: UnixStream,
}

impl Gate {
    /// Opens a gate at `path`.
    pub fn open(path: PathBuf) -> anyhow::Result<Gate> {
        let listener = UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        Ok(Gate { path, listener })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until an activity has come.
    pub async fn arrival(&self) -> anyhow::Result<Waiting> {
        Ok(Waiting { stream: self.listener.accept().await.context("accept an activity at the gate")?.0 })
    }
}

impl Waiting {
    /// Lets it pass.
    pub async fn let_pass(mut self) -> anyhow::Result<()> {
        self.stream.write_all(&[1]).await.context("let an activity pass")
    }
}

/// Comes to the gate at `path` and waits to be let pass. The test's end is an error.
pub async fn wait_at(path: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(path).await.with_context(|| format!("come to the gate {}", path.display()))?;
    let mut byte = [0];
    let read = stream.read(&mut byte).await.context("wait at the gate")?;
    ensure!(read == 1, "the gate was closed");
    Ok(())
}
