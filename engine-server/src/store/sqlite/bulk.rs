//! Statements for many rows at a time.
//!
//! Each statement is a message to the connection's thread and back, which costs more than inserting a small row. So rows
//! go in groups; and in groups of few sizes, so that few statements have to be prepared and all of them stay prepared. With
//! powers of two no more than one group of each size but the largest is needed.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

/// Sizes of the groups, largest first.
const GROUPS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// How many statements a connection keeps prepared: more than all kinds of bulk statements in all sizes, and the others.
pub(super) const STATEMENTS_KEPT: usize = 256;

/// A query with its values.
pub(super) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// A statement that takes any number of rows: `head`, then `row` for each of them, then `tail`.
pub(super) struct Bulk {
    pub(super) head: &'static str,
    pub(super) row: &'static str,
    pub(super) separator: &'static str,
    pub(super) tail: &'static str,
}

impl Bulk {
    /// Runs it for all `rows`, whose values `bind` adds. Gives the number of rows affected.
    pub(super) async fn execute<'r, T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &'r [T],
        bind: impl Fn(Query<'static>, &'r T) -> Query<'static> + Send + Sync,
    ) -> Result<u64, sqlx::Error> {
        let mut affected = 0;
        for group in groups(rows) {
            let query = sqlx::query(AssertSqlSafe(self.text(group.len())));
            affected += group.iter().fold(query, &bind).execute(&mut *connection).await?.rows_affected();
        }
        Ok(affected)
    }

    /// The statement for a number of rows.
    pub(super) fn text(&self, rows: usize) -> String {
        format!("{} {} {}", self.head, vec![self.row; rows].join(self.separator), self.tail)
    }
}

/// Cuts rows into groups of the few sizes.
pub(super) fn groups<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = GROUPS.into_iter().find(|size| *size <= rows.len())?;
        let (group, rest) = rows.split_at(size);
        rows = rest;
        Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_groups_of_few_sizes_and_none_is_lost() {
        let rows: Vec<_> = (0..150).collect();
        let sizes: Vec<_> = groups(&rows).map(<[_]>::len).collect();
        assert_eq!(sizes, [64, 64, 16, 4, 2]);
        assert_eq!(groups(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        assert_eq!(groups::<i32>(&[]).count(), 0);
    }

    #[test]
    fn a_statement_has_a_place_for_each_value() {
        let bulk = Bulk { head: "INSERT INTO t VALUES", row: "(?, ?)", separator: ",", tail: "ON CONFLICT DO NOTHING" };
        assert_eq!(bulk.text(2), "INSERT INTO t VALUES (?, ?),(?, ?) ON CONFLICT DO NOTHING");
    }
}
