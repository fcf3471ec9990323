//! What `#[engine_sdk::test]` calls.

use std::fmt::Debug;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;

use super::TestEngine;

/// How long the engine has to tell its histories.
const TELL_WITHIN: Duration = Duration::from_secs(10);

/// What a test returns.
pub trait TestOutcome {
    /// Whether the test failed.
    fn is_failure(&self) -> bool;
}

impl TestOutcome for () {
    fn is_failure(&self) -> bool {
        false
    }
}

impl<E: Debug> TestOutcome for Result<(), E> {
    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

/// Runs a test with an engine of its own on a runtime of its own, with one thread. If the test fails, the histories of all its runs are
/// printed. `timeout` is of the machine's time.
///
/// # Panics
/// As the test does; if it takes longer than `timeout`; if workflow code went wrong and the test did not ask for it
/// ([`TestEngine::take_problems`]); if a run cannot be replayed.
pub fn run<F, R>(name: &str, timeout: Duration, test: impl FnOnce(TestEngine) -> F) -> R
where
    F: Future<Output = R>,
    R: TestOutcome,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let env = TestEngine::new().await;
        let body = AssertUnwindSafe(tokio::time::timeout(timeout, test(env.clone()))).catch_unwind();
        let ended = body.await;
        let verdict = match ended {
            Err(panic) => Err(Failed::Panic(panic)),
            Ok(Err(_)) => {
                let why = env.obstacle().unwrap_or_else(|| "time passes".to_owned());
                Err(Failed::Sentence(format!("the test {name} did not end within {timeout:?}; its engine says: {why}")))
            }
            Ok(Ok(outcome)) if outcome.is_failure() => Ok(outcome),
            Ok(Ok(outcome)) => check(&env).await.map(|()| outcome).map_err(Failed::Sentence),
        };
        let is_failure = verdict.as_ref().map_or(true, TestOutcome::is_failure);
        if is_failure {
            // Read by people whose test failed, next to the panic's own message.
            let told = tokio::time::timeout(TELL_WITHIN, env.timeline()).await;
            let told = told.unwrap_or_else(|_| "the engine does not tell its histories".to_owned());
            let problems = env.take_problems().join("\n");
            eprintln!("---- {name}: what happened ----\n{told}{problems}");
        }
        match verdict {
            Ok(outcome) => outcome,
            Err(Failed::Panic(panic)) => resume_unwind(panic),
            Err(Failed::Sentence(why)) => panic!("{why}"),
        }
    })
}

enum Failed {
    Panic(Box<dyn std::any::Any + Send>),
    Sentence(String),
}

/// What a test that passed must leave behind: code that went right, and runs that can be replayed.
async fn check(env: &TestEngine) -> Result<(), String> {
    let problems = env.take_problems();
    if !problems.is_empty() {
        let problems = problems.join("\n");
        return Err(format!("workflow code went wrong (if the test expects it: `env.take_problems()`):\n{problems}"));
    }
    env.check_replay().await.map_err(|problems| format!("the code does not follow its own history:\n{problems}"))
}
