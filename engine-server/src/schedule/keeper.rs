//! Wakes the schedules whose time has come: reads the rows that are due, never the others.

use std::sync::Arc;

use engine_core::time::Timestamp;

use crate::limits;
use crate::node::NodeContext;
use crate::store::{NamespaceId, ShardId, StoreError, WakePlace};

/// Runs until the node stops.
pub(crate) async fn keep(context: Arc<NodeContext>) {
    let schedules = &context.schedules;
    let stopping = context.stopping();
    let mut failures = 0;
    loop {
        let busy = schedules.keeper_busy();
        let chores = schedules.chores();
        let recovered = read(&context, &chores.recover, Place::First).await;
        let woken = match chores.next_wake {
            Some(_) => read(&context, &chores.owned, Place::AfterActive).await,
            None => Ok(()),
        };
        if let Err(error) = recovered.and(woken) {
            tracing::warn!(%error, "could not read the schedules that are due; trying again");
            schedules.recover_again(chores.recover);
            chores.next_wake.into_iter().for_each(|at| schedules.wake_by(at));
            let pause = limits::SCHEDULE_RETRY_INITIAL * 2_u32.pow(failures);
            failures = (failures + 1).min(6);
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause.min(limits::SCHEDULE_RETRY_MAX)) => continue,
            }
        }
        failures = 0;
        let sleep = schedules.clock.sleep_until(schedules.next_wake());
        drop(busy);
        tokio::select! {
            () = stopping.cancelled() => return,
            () = schedules.news.notified() => {}
            _busy = sleep => {}
        }
    }
}

/// Where to begin in the order of due rows.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// With the active ones, which a shard's last owner had in memory.
    First,
    /// Behind them: they are in memory.
    AfterActive,
}

/// Wakes what is due in `shards`, in pages, and notes when the next row is.
async fn read(context: &Arc<NodeContext>, shards: &[ShardId], place: Place) -> Result<(), StoreError> {
    if shards.is_empty() {
        return Ok(());
    }
    let mut after: WakePlace = match place {
        Place::First => (Timestamp::from_micros(i64::MIN), NamespaceId(0), String::new()),
        Place::AfterActive => (Timestamp::EPOCH, NamespaceId(i32::MAX), String::new()),
    };
    loop {
        let now = context.schedules.clock.now();
        let (rows, next) = context.store.due_schedules(shards, now, &after, limits::SCHEDULES_PER_READ).await?;
        for row in &rows {
            context.schedules.wake(context, &row.key);
        }
        match rows.into_iter().next_back() {
            Some(last) if next <= now => after = (last.wake_at, last.key.namespace, last.key.schedule_id),
            _ => {
                context.schedules.wake_by(next);
                return Ok(());
            }
        }
    }
}
