//! Tells a test of each effect when it happens, so that it can kill at a point of progress instead of after a time.
//!
//! Workers connect to the test's socket and send a byte for each line that they append to the ledger.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The test's end.
#[derive(Debug)]
pub struct Progress {
    path: PathBuf,
    count: watch::Receiver<u64>,
    _readers: JoinSet<()>,
}

impl Progress {
    /// Listens at `path`.
    pub fn listen(path: PathBuf) -> anyhow::Result<Progress> {
        let listener = UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        let (sender, count) = watch::channel(0);
        let mut readers = JoinSet::new();
        readers.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                streams.spawn(async move {
                    let mut bytes = [0; 256];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        sender.send_modify(|count| *count += read as u64);
                    }
                });
            }
        });
        Ok(Progress { path, count, _readers: readers })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many effects there were so far.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits until there were `count` effects.
    pub async fn reach(&self, count: u64) {
        let mut watched = self.count.clone();
        watched.wait_for(|reached| *reached >= count).await.expect("the readers live as long as this does");
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Reporter {
    stream: UnixStream,
}

impl Reporter {
    /// Connects to the test.
    pub fn connect(path: &Path) -> anyhow::Result<Reporter> {
        let stream = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        Ok(Reporter { stream })
    }

    /// Tells of one effect.
    pub fn report(&self) -> anyhow::Result<()> {
        (&self.stream).write_all(&[1]).context("tell the test of an effect")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_of_several_workers_add_up() {
        let directory = tempfile::tempdir().unwrap();
        let progress = Progress::listen(directory.path().join("progress")).unwrap();
        let one = Reporter::connect(progress.path()).unwrap();
        one.report().unwrap();
        drop(one);
        let two = Reporter::connect(progress.path()).unwrap();
        two.report().unwrap();
        two.report().unwrap();
        progress.reach(3).await;
        assert_eq!(progress.count(), 3);
    }
}
