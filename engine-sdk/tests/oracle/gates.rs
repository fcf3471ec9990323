//! Places where activities and steps wait until the scenario lets them go on.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock, Mutex};

use tokio::sync::watch;

/// The gates of one scenario, by name.
#[derive(Default)]
pub(crate) struct Gates {
    gates: Mutex<BTreeMap<String, Arc<Gate>>>,
    /// How often the code was told to panic.
    pub(crate) panics: AtomicU32,
    /// How often the code came to a place where it is different the second time.
    pub(crate) passes: AtomicU32,
}

/// One gate: how many have reached it, and whether it is open.
pub(crate) struct Gate {
    reached: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

static SCENARIOS: LazyLock<Mutex<BTreeMap<String, Arc<Gates>>>> = LazyLock::new(Mutex::default);

impl Gates {
    /// Those of the scenario. Its name is that of its task queue, by which workflow code finds them.
    pub(crate) fn of(scenario: &str) -> Arc<Gates> {
        Arc::clone(SCENARIOS.lock().unwrap().entry(scenario.to_owned()).or_default())
    }

    pub(crate) fn named(&self, name: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap();
        let gate = || Arc::new(Gate { reached: watch::Sender::new(0), open: watch::Sender::new(false) });
        Arc::clone(gates.entry(name.to_owned()).or_insert_with(gate))
    }
}

impl Gate {
    /// Says that somebody is here.
    pub(crate) fn reach(&self) {
        self.reached.send_modify(|count| *count += 1);
    }

    /// Says that somebody is here and waits until the gate is open.
    pub(crate) async fn pass(&self) {
        self.reach();
        self.open.subscribe().wait_for(|is_open| *is_open).await.expect("the gate outlives its sender's borrow");
    }

    /// Waits until so many have reached the gate.
    pub(crate) async fn reached(&self, times: u64) {
        self.reached.subscribe().wait_for(|count| *count >= times).await.expect("the gate is there");
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}
