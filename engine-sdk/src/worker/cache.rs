//! Runs that a worker keeps in memory between their workflow tasks, so that only new events have to be sent and replayed.

use std::collections::{BTreeMap, HashMap};

/// A value in the cache, with what the server has to know of it.
#[derive(Debug)]
pub(super) struct Cached<R> {
    pub(super) run: R,
    /// The last event that the code has seen.
    pub(super) last_event_id: u64,
    /// What it is taken to cost, in bytes.
    pub(super) bytes: usize,
}

/// Least recently used runs go first, when there are too many or they are too large.
#[derive(Debug)]
pub(super) struct RunCache<R> {
    runs: HashMap<String, (u64, Cached<R>)>,
    /// Run ids by their last use.
    by_use: BTreeMap<u64, String>,
    clock: u64,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl<R> RunCache<R> {
    /// At most `count_max` runs of `bytes_max` bytes together. Zero of either: none.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { runs: HashMap::new(), by_use: BTreeMap::new(), clock: 0, bytes: 0, count_max, bytes_max }
    }

    /// Takes a run out, to work on it.
    pub(super) fn take(&mut self, run_id: &str) -> Option<Cached<R>> {
        let (used, cached) = self.runs.remove(run_id)?;
        self.by_use.remove(&used);
        self.bytes -= cached.bytes;
        Some(cached)
    }

    /// Puts a run in. Returns those that had to go, which may be this one.
    pub(super) fn put(&mut self, run_id: String, cached: Cached<R>) -> Vec<(String, Cached<R>)> {
        let mut gone: Vec<_> = self.take(&run_id).map(|older| (run_id.clone(), older)).into_iter().collect();
        self.clock += 1;
        self.bytes += cached.bytes;
        self.by_use.insert(self.clock, run_id.clone());
        self.runs.insert(run_id, (self.clock, cached));
        while self.runs.len() > self.count_max || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            let (_, cached) = self.runs.remove(&oldest).expect("each run is in both maps");
            self.bytes -= cached.bytes;
            gone.push((oldest, cached));
        }
        gone
    }

    /// Whether a run of this size would stay.
    pub(super) fn would_keep(&self, bytes: usize) -> bool {
        self.count_max > 0 && bytes <= self.bytes_max
    }

    /// Each run with the last event that it has seen.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.runs.iter().map(|(run_id, (_, cached))| (run_id.as_str(), cached.last_event_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &'static str, bytes: usize) -> (String, Cached<&'static str>) {
        (name.to_owned(), Cached { run: name, last_event_id: 3, bytes })
    }

    fn put(cache: &mut RunCache<&'static str>, name: &'static str, bytes: usize) -> Vec<&'static str> {
        let (run_id, cached) = run(name, bytes);
        cache.put(run_id, cached).into_iter().map(|(_, gone)| gone.run).collect()
    }

    #[test]
    fn the_least_recently_used_run_goes_first() {
        let mut cache = RunCache::new(2, 1000);
        assert!(put(&mut cache, "a", 1).is_empty());
        assert!(put(&mut cache, "b", 1).is_empty());
        let (a, cached) = ("a".to_owned(), cache.take("a").unwrap());
        assert!(cache.put(a, cached).is_empty());
        assert_eq!(put(&mut cache, "c", 1), ["b"]);
        assert!(cache.take("b").is_none());
        assert_eq!(cache.iter().count(), 2);
    }

    #[test]
    fn large_runs_make_room_by_size_and_one_that_is_too_large_does_not_stay() {
        let mut cache = RunCache::new(10, 100);
        put(&mut cache, "a", 40);
        put(&mut cache, "b", 40);
        assert_eq!(put(&mut cache, "c", 50), ["a"]);
        assert!(!cache.would_keep(101));
        assert_eq!(put(&mut cache, "d", 101), ["b", "c", "d"]);
        assert_eq!(cache.bytes, 0);
        assert!(!RunCache::<&str>::new(0, 100).would_keep(1));
    }

    #[test]
    fn a_run_that_is_put_twice_is_there_once() {
        let mut cache = RunCache::new(10, 100);
        put(&mut cache, "a", 40);
        assert_eq!(put(&mut cache, "a", 50), ["a"]);
        assert_eq!(cache.bytes, 50);
        assert_eq!(cache.iter().collect::<Vec<_>>(), [("a", 3)]);
    }
}
