//! The code against all open runs, before it takes work.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use parking_lot::Mutex;

use super::progress_bar::ProgressBar;
use super::{Worker, WorkerError};
use crate::client::ListFilter;
use crate::replay::CheckRuns;

/// The flag that has a program check instead of work.
const FLAG: &str = "--check-open-runs";

impl Worker {
    /// Replays all open runs of the workflow types that this worker has, in its client's namespace, with the code that it has; of all types, if it
    /// has code for any. Of a worker with a [deployment](Worker::deployment): but those that are pinned to another build, which it does not
    /// get. Starts nothing and changes nothing: for a new build, before it takes work.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// # async fn example(worker: Worker) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = worker.check_open_runs().sample(1000).await?;
    /// if !report.is_same() {
    ///     return Err(report.to_string().into());
    /// }
    /// worker.run().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the engine cannot be reached. A run that the code does not follow is in the report.
    pub fn check_open_runs(&self) -> CheckRuns {
        let filters = if self.registry.has_any_workflow() {
            vec![ListFilter::all().open()]
        } else {
            self.registry.workflow_types().map(|name| ListFilter::all().open().workflow_type(name)).collect()
        };
        let version = self.deployment.clone().map(|deployment| (deployment, self.build_id.clone()));
        CheckRuns::new(self.registry.replayer(), self.client.clone(), filters).of_version(version)
    }

    /// For `main`: like [`Worker::run`], unless the program was called with `--check-open-runs`. Then it checks instead
    /// ([`Worker::check_open_runs`]; at most N of each type with `--check-open-runs=N`), prints a table, with its progress on standard error if that
    /// is a terminal, and gives the exit code: 0 if the code follows all histories, 1 if not, 2 if they could not be read.
    ///
    /// ```no_run
    /// # use engine_sdk::prelude::*;
    /// # use std::process::ExitCode;
    /// # async fn example(worker: Worker) -> Result<ExitCode, Box<dyn std::error::Error>> {
    /// Ok(worker.shutdown_on_ctrl_c().run_or_check(std::env::args()).await?)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Like [`Worker::run`].
    pub async fn run_or_check(self, arguments: impl IntoIterator<Item = String>) -> Result<ExitCode, WorkerError> {
        let asked = arguments.into_iter().find_map(|argument| match argument.strip_prefix(FLAG)? {
            "" => Some(Ok(u64::MAX)),
            most => most.strip_prefix('=').map(|most| most.parse().map_err(|_| argument.clone())),
        });
        match asked {
            None => {
                self.run().await?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Ok(sample)) => Ok(self.check_and_print(sample).await),
            Some(Err(argument)) => {
                say(&format!("{argument:?}: {FLAG} takes a number of runs, such as {FLAG}=1000, or nothing"));
                Ok(ExitCode::from(2))
            }
        }
    }

    async fn check_and_print(&self, sample: u64) -> ExitCode {
        let check = self.check_open_runs().sample(sample);
        let bar = std::io::stderr().is_terminal().then(|| Arc::new(Mutex::new(ProgressBar::default())));
        let check = match bar.clone() {
            Some(bar) => check.progress(move |done, total| {
                // Drawn under the lock, so that an older line does not cover a newer one.
                let mut bar = bar.lock();
                if let Some(line) = bar.draw(done, total) {
                    draw(&line);
                }
            }),
            None => check,
        };
        let report = check.await;
        if let Some(bar) = bar {
            draw(bar.lock().clear());
        }
        match report {
            Ok(report) => {
                // A reader that went away does not change what was found.
                let _ = writeln!(std::io::stdout(), "{report}");
                if report.is_same() { ExitCode::SUCCESS } else { ExitCode::from(1) }
            }
            Err(error) => {
                say(&format!("cannot check the open runs: {error}"));
                ExitCode::from(2)
            }
        }
    }
}

/// Writes to the terminal. One that went away does not end the check.
fn draw(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
