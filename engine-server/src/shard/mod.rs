//! Shards: who writes a run, in what order, and what leaves when.
//!
//! | file | noun |
//! |---|---|
//! | `request` | what reaches a shard, what it answers |
//! | `shards` | the pure state machine of a lane's shards |
//! | `run` | a run in memory |
//! | `gather` | the batch being gathered, and what waits for it |
//! | `handout` | tasks on their way to workers and back |
//! | `queries` | queries that wait for a run to see what they may ask about |
//! | `updates` | who waits for updates |
//! | `messages` | messages to other workflows on their way |
//! | `load`, `progress` | from rows back to a run |
//! | `lane` | the driver: the only place that commits |

pub(crate) mod gather;
pub(crate) mod handout;
pub(crate) mod lane;
pub(crate) mod load;
pub(crate) mod messages;
pub(crate) mod progress;
pub(crate) mod queries;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod shards;
pub(crate) mod updates;

pub(crate) use shards::ShardOptions;

use crate::store::{NamespaceId, ShardId};

/// The shard of a workflow id: FNV-1a over namespace and id, modulo the number of shards. It is what the store was bootstrapped
/// with, so it must never change.
pub fn shard_of(namespace: NamespaceId, workflow_id: &str, shards: u32) -> ShardId {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in namespace.0.to_be_bytes().iter().chain(workflow_id.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV are weak for short inputs.
    ShardId(i32::try_from(engine_core::ids::mix(hash) % u64::from(shards.max(1))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_an_id_never_changes() {
        let shard = |id: &str| shard_of(NamespaceId(1), id, 64).0;
        assert_eq!([shard("order-1"), shard("order-2"), shard("")], [23, 63, 19]);
        let mut counts = [0; 64];
        for n in 0..64_000 {
            counts[usize::try_from(shard(&format!("order-{n}"))).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
