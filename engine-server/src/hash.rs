//! The hash map of the hot path.
//!
//! The standard library's hasher withstands any attacker and took 5 % of a loaded server's CPU. This one is seeded anew in each
//! process and is several times faster on the short keys here (workflow ids, run ids); who could see the server's timings so
//! finely as to learn the seed has better means to slow it down, and the tables are bounded.

/// A map with a fast hasher. Made by `HashMap::default()`.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with a fast hasher. Made by `HashSet::default()`.
pub(crate) type HashSet<T> = std::collections::HashSet<T, foldhash::fast::RandomState>;
