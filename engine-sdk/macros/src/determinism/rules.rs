//! Which paths break replay, why, and what to use instead.

/// How a path is recognized.
enum Pattern {
    /// By its last segments.
    Ends(&'static [&'static str]),
    /// By its first segments.
    Begins(&'static [&'static str]),
}

use Pattern::{Begins, Ends};

/// A call that gives something else when the workflow is replayed.
pub(super) struct Rule {
    pattern: Pattern,
    /// What it does to a replay.
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
}

pub(super) const CLOCK: &str = "reads the machine's clock, which tells another time when the workflow is replayed";
const TIMER: &str = "waits in this process, which the run outlives";
const TASK: &str = "runs code that a replay does not see, in an order that differs each time";
const THREAD: &str = "depends on this process and its threads, which a replay does not have";
const CHANCE: &str = "gives another value each time that the workflow is replayed";
const CHOICE: &str = "chooses by chance among branches that are ready";
const OUTSIDE: &str = "looks at this process or machine, which may be another one when the workflow is replayed";
const WORLD: &str = "touches the world once more each time that the workflow is replayed";

const NOW: &str = "ctx.now()";
const SLEEP: &str = "ctx.sleep(..) or ctx.timeout(..)";
const JOIN: &str = "join!, join_all(..) or an activity";
const RANDOM: &str = "ctx.random_u64(), ctx.random_range(..) or ctx.random_f64()";
const UUID: &str = "ctx.uuid()";
const SELECT: &str = "engine_sdk's select!";
const INPUT: &str = "an argument of the workflow, or ctx.step(..)";
const ACTIVITY: &str = "an activity, or ctx.step(..)";

const fn rule(pattern: Pattern, why: &'static str, instead: &'static str) -> Rule {
    Rule { pattern, why, instead }
}

const RULES: &[Rule] = &[
    rule(Begins(&["tokio", "time"]), TIMER, SLEEP),
    rule(Ends(&["SystemTime", "now"]), CLOCK, NOW),
    rule(Ends(&["Instant", "now"]), CLOCK, NOW),
    rule(Ends(&["Utc", "now"]), CLOCK, NOW),
    rule(Ends(&["Local", "now"]), CLOCK, NOW),
    rule(Ends(&["OffsetDateTime", "now_utc"]), CLOCK, NOW),
    rule(Ends(&["OffsetDateTime", "now_local"]), CLOCK, NOW),
    rule(Ends(&["jiff", "Timestamp", "now"]), CLOCK, NOW),
    rule(Ends(&["Zoned", "now"]), CLOCK, NOW),
    rule(Begins(&["tokio", "spawn"]), TASK, JOIN),
    rule(Begins(&["tokio", "task"]), TASK, JOIN),
    rule(Begins(&["tokio", "runtime"]), TASK, JOIN),
    rule(Begins(&["tokio", "select"]), CHOICE, SELECT),
    rule(Begins(&["futures", "select"]), CHOICE, SELECT),
    rule(Begins(&["tokio", "fs"]), WORLD, ACTIVITY),
    rule(Begins(&["tokio", "net"]), WORLD, ACTIVITY),
    rule(Begins(&["tokio", "process"]), WORLD, ACTIVITY),
    rule(Begins(&["tokio", "signal"]), OUTSIDE, "a #[signal] of the workflow"),
    // From `use tokio::time;`.
    rule(Begins(&["time", "sleep"]), TIMER, SLEEP),
    rule(Begins(&["time", "sleep_until"]), TIMER, SLEEP),
    rule(Begins(&["time", "timeout"]), TIMER, SLEEP),
    rule(Begins(&["time", "timeout_at"]), TIMER, SLEEP),
    rule(Begins(&["time", "interval"]), TIMER, SLEEP),
    rule(Ends(&["rand", "random"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "random_iter"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "random_range"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "random_bool"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "random_ratio"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "fill"]), CHANCE, RANDOM),
    rule(Ends(&["rand", "rng"]), CHANCE, RANDOM),
    rule(Ends(&["thread_rng"]), CHANCE, RANDOM),
    rule(Ends(&["ThreadRng", "default"]), CHANCE, RANDOM),
    rule(Ends(&["OsRng"]), CHANCE, RANDOM),
    rule(Ends(&["SysRng"]), CHANCE, RANDOM),
    rule(Ends(&["from_os_rng"]), CHANCE, "a seed of ctx.random_u64()"),
    rule(Ends(&["from_entropy"]), CHANCE, "a seed of ctx.random_u64()"),
    rule(Ends(&["getrandom", "fill"]), CHANCE, RANDOM),
    rule(Ends(&["getrandom", "getrandom"]), CHANCE, RANDOM),
    rule(Begins(&["fastrand"]), CHANCE, RANDOM),
    rule(Ends(&["Uuid", "new_v4"]), CHANCE, UUID),
    rule(Ends(&["Uuid", "now_v1"]), CHANCE, UUID),
    rule(Ends(&["Uuid", "now_v6"]), CHANCE, UUID),
    rule(Ends(&["Uuid", "now_v7"]), CHANCE, UUID),
    rule(Begins(&["std", "thread", "sleep"]), TIMER, SLEEP),
    rule(Begins(&["std", "thread", "spawn"]), TASK, JOIN),
    rule(Begins(&["std", "thread"]), THREAD, JOIN),
    // From `use std::thread;`.
    rule(Begins(&["thread", "sleep"]), TIMER, SLEEP),
    rule(Begins(&["thread", "spawn"]), TASK, JOIN),
    rule(Begins(&["thread", "scope"]), TASK, JOIN),
    rule(Begins(&["thread", "Builder"]), TASK, JOIN),
    rule(Begins(&["thread", "park"]), TIMER, SLEEP),
    rule(Begins(&["thread", "current"]), THREAD, JOIN),
    rule(Begins(&["std", "env"]), OUTSIDE, INPUT),
    // From `use std::env;`.
    rule(Begins(&["env", "var"]), OUTSIDE, INPUT),
    rule(Begins(&["env", "var_os"]), OUTSIDE, INPUT),
    rule(Begins(&["env", "vars"]), OUTSIDE, INPUT),
    rule(Begins(&["env", "args"]), OUTSIDE, INPUT),
    rule(Begins(&["env", "current_dir"]), OUTSIDE, INPUT),
    rule(Begins(&["std", "process"]), WORLD, ACTIVITY),
    rule(Begins(&["std", "fs"]), WORLD, ACTIVITY),
    rule(Begins(&["std", "net", "TcpStream"]), WORLD, ACTIVITY),
    rule(Begins(&["std", "net", "TcpListener"]), WORLD, ACTIVITY),
    rule(Begins(&["std", "net", "UdpSocket"]), WORLD, ACTIVITY),
    rule(Begins(&["std", "net", "ToSocketAddrs"]), WORLD, ACTIVITY),
];

/// What is harmless in those places: `tokio::time::Duration`, `fastrand::Rng::with_seed(ctx.random_u64())`.
const HARMLESS: &[&str] = &["Duration", "with_seed"];

/// The rule that this path breaks.
pub(super) fn broken_by(path: &[String]) -> Option<&'static Rule> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path.iter().any(|segment| HARMLESS.contains(segment)) {
        return None;
    }
    RULES.iter().find(|rule| match rule.pattern {
        Ends(segments) => path.ends_with(segments),
        Begins(segments) => path.starts_with(segments),
    })
}
