//! The ways of `lockfile_audit`.

use std::path::PathBuf;

use engine_sdk::prelude::*;
use engine_sdk::testing::TestEngine;

use crate::audit::{Verdict, audit_lockfile, read_lockfile, verify_archive};
use crate::lockfile::Package;
use crate::programs::Program;

pub(crate) const PROGRAM: Program = Program {
    name: "lockfile_audit",
    code: |replayer| replayer.workflow(audit_lockfile),
    paths: &[
        ("audited", |env| {
            Box::pin(async move {
                five_packages(&env);
                env.mock(verify_archive, |package| match package.name.as_str() {
                    "package-1" => Ok(Verdict::Missing),
                    name => Ok(Verdict::Verified { archive: PathBuf::from(format!("{name}.crate")), bytes: 3 }),
                });
                env.run(audit_lockfile, (PathBuf::from("Cargo.lock"), 2)).await.unwrap();
            })
        }),
        ("canceled", |env| {
            Box::pin(async move {
                five_packages(&env);
                env.mock(verify_archive, |_| Ok(Verdict::Missing)).delay(hours(1));
                let audit = env.start(audit_lockfile, (PathBuf::from("Cargo.lock"), 2)).await.unwrap();
                env.settle().await;
                audit.cancel("enough").await.unwrap();
                assert!(matches!(audit.result().await, Err(WorkflowFailure::Canceled { .. })));
            })
        }),
        ("no-lockfile", |env| {
            Box::pin(async move {
                env.mock(read_lockfile, |_| Err(ActivityError::non_retryable("there is none")));
                let failed = env.run(audit_lockfile, (PathBuf::from("Cargo.lock"), 2)).await;
                assert!(matches!(failed, Err(WorkflowFailure::Failed(_))));
            })
        }),
    ],
};

/// The fifth comes from a path, and so has no checksum.
fn five_packages(env: &TestEngine) {
    env.mock(read_lockfile, |_| {
        let package = |number: u32| Package {
            name: format!("package-{number}"),
            version: "1.0.0".to_owned(),
            checksum: (number < 5).then(|| format!("{number:064}")),
        };
        Ok((1..=5).map(package).collect())
    });
}
