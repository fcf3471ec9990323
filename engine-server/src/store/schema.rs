//! Versions of the databases' schemas: which migrations are wanting, and what to say if the versions differ.

use super::StoreError;

/// One step of a schema. Its number is its place in the list, counted from 1.
pub(super) struct Migration {
    /// For the log.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) statements: &'static str,
}

fn latest(migrations: &[Migration]) -> i32 {
    i32::try_from(migrations.len()).expect("migrations are counted by hand")
}

fn newer(applied: i32, latest: i32, description: &str) -> StoreError {
    StoreError::Unusable(format!(
        "this binary is older than the database: {description} has schema version {applied}, this binary knows versions \
         up to {latest}; use a newer `engine`"
    ))
}

/// The migrations after `applied`, with their numbers.
pub(super) fn pending<'a>(
    migrations: &'a [Migration],
    applied: i32,
    description: &str,
) -> Result<impl Iterator<Item = (i32, &'a Migration)> + use<'a>, StoreError> {
    let latest = latest(migrations);
    if applied > latest {
        return Err(newer(applied, latest, description));
    }
    let skip = usize::try_from(applied)
        .map_err(|_| StoreError::Corrupt(format!("{description} has schema version {applied}")))?;
    Ok((1..).zip(migrations).skip(skip))
}

/// Verifies that `applied` is the latest version.
pub(super) fn check(migrations: &[Migration], applied: i32, description: &str) -> Result<(), StoreError> {
    let latest = latest(migrations);
    if applied == latest {
        return Ok(());
    }
    if applied > latest {
        return Err(newer(applied, latest, description));
    }
    let state = match applied {
        0 => "has no schema of the engine yet".to_owned(),
        _ => format!("has schema version {applied}, and this binary needs version {latest}"),
    };
    Err(StoreError::Unusable(format!("{description} {state}: run `engine migrate`")))
}

/// What a store says when it is used before it was migrated.
pub(super) fn not_bootstrapped() -> StoreError {
    StoreError::Unusable("the database has no shards yet: run `engine migrate`".to_owned())
}
