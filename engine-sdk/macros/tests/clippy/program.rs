//! Each call that `docs/clippy.toml` is to find, where `#[workflow]` cannot: in functions, behind imports.

use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime};

use tokio::time::{Duration, interval, sleep, sleep_until, timeout};

pub fn clocks(began: Instant, started: SystemTime) -> (Instant, SystemTime, tokio::time::Instant, Duration) {
    let _ = started.elapsed();
    (Instant::now(), SystemTime::now(), tokio::time::Instant::now(), began.elapsed())
}

pub async fn waits(pause: Duration) {
    std::thread::sleep(pause);
    sleep(pause).await;
    sleep_until(tokio::time::Instant::now() + pause).await;
    let _ = timeout(pause, interval(pause).tick()).await;
}

pub async fn tasks() {
    let _ = std::thread::spawn(|| {});
    let _ = tokio::spawn(async {}).await;
    let _ = tokio::task::spawn_blocking(|| {}).await;
    tokio::task::yield_now().await;
    tokio::select! {
        () = std::future::ready(()) => {}
        () = std::future::pending() => {}
    }
}

pub fn outside() -> std::io::Result<usize> {
    let variables = std::env::vars().count() + usize::from(std::env::var("HOME").is_ok());
    std::fs::write("a", std::fs::read("b")?)?;
    Ok(std::fs::read_to_string("c")?.len() + variables)
}

pub fn chance() -> (u64, u64, u64, uuid::Uuid, uuid::Uuid) {
    use rand::RngExt as _;
    (rand::random(), rand::random_range(1..7), rand::rng().random(), uuid::Uuid::new_v4(), uuid::Uuid::now_v7())
}

pub fn hashes(mut map: HashMap<u8, u8>, mut set: HashSet<u8>) -> usize {
    let mut seen = 0;
    for (key, value) in &map {
        seen += usize::from(*key) + usize::from(*value);
    }
    map.iter_mut().for_each(|(_, value)| *value += 1);
    map.values_mut().for_each(|value| *value += 1);
    seen += map.iter().count() + map.keys().count() + map.values().count() + set.iter().count();
    seen += map.clone().into_keys().count() + map.clone().into_values().count();
    seen + map.drain().count() + set.drain().count()
}
