//! Which measurements there are, with what other engines reached on a machine of this kind and what is to be reached here.
//!
//! The figures of the others: two cores shared by database, server, worker and load generator, fsync on, medians of three. Temporal is the
//! 1.32 dev server in memory (not durable) with its Rust SDK, Restate 1.7 with its Rust SDK, DBOS 5 in TypeScript on Postgres.

use Floor::{AtLeast, AtMost, Shown};
use Source::{CpuTotal, Path, Seconds};

use crate::report::Line;

/// One measurement.
#[derive(Debug)]
pub(super) struct Row {
    /// What follows `engine-bench run`.
    pub(super) command: &'static str,
    /// The same, small: to see that it works.
    pub(super) check: &'static str,
    /// Whether `--duration` and `--warm-up` mean something to it.
    pub(super) timed: bool,
    pub(super) figures: &'static [Figure],
}

/// One figure of a measurement.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) source: Source,
    /// Temporal, Restate, DBOS; `–` where there is none.
    pub(super) others: [&'static str; 3],
    pub(super) floor: Floor,
}

/// Where a figure is in the line.
#[derive(Debug)]
pub(super) enum Source {
    /// By its path.
    Path(&'static str),
    /// Milliseconds by their path, shown as seconds.
    Seconds(&'static str),
    /// Of all processes together.
    CpuTotal,
}

/// What is to be reached on Postgres.
#[derive(Debug, Clone, Copy)]
pub(super) enum Floor {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing is asked of it.
    Shown,
}

impl Figure {
    pub(super) fn of(&self, line: &Line) -> anyhow::Result<f64> {
        match self.source {
            Path(path) => line.figure(path),
            Seconds(path) => Ok(line.figure(path)? / 1000.0),
            CpuTotal => Ok(line.cpu_us_per_workflow.total() as f64),
        }
    }
}

impl Floor {
    pub(super) fn is_met(self, figure: f64) -> bool {
        match self {
            AtLeast(floor) => figure >= floor,
            AtMost(ceiling) => figure <= ceiling,
            Shown => true,
        }
    }
}

const fn figure(what: &'static str, source: Source, others: [&'static str; 3], floor: Floor) -> Figure {
    Figure { what, source, others, floor }
}

/// All of them, in the order in which they are run.
pub(super) const ROWS: &[Row] = &[
    Row {
        command: "w1 --in-flight 1",
        check: "w1 --in-flight 1 --count 5",
        timed: true,
        figures: &[figure("W1, 1 in flight: p50, ms", Path("p50_ms"), ["42", "6.5", "4.4"], AtMost(3.0))],
    },
    Row {
        command: "w1 --in-flight 100",
        check: "w1 --rate 40 --duration 500ms --warm-up 100ms",
        timed: true,
        figures: &[
            figure("W1, 100 in flight: a second", Path("workflows_per_s"), ["30", "916", "395"], AtLeast(3_500.0)),
            figure("W1, 100 in flight: p99, ms", Path("p99_ms"), ["8,113", "180", "338"], AtMost(60.0)),
        ],
    },
    Row {
        command: "w1 --in-flight 1000",
        check: "w1 --in-flight 20 --count 60",
        timed: true,
        figures: &[
            figure("W1, 1,000 in flight: a second", Path("workflows_per_s"), ["31", "1,629", "375"], AtLeast(5_000.0)),
            figure("W1, 1,000 in flight: CPU µs each", CpuTotal, ["56,800", "1,200", "4,430"], AtMost(400.0)),
        ],
    },
    Row {
        command: "w2 --in-flight 100",
        check: "w2 --in-flight 5 --count 10",
        timed: true,
        figures: &[
            figure("W2, 100 in flight: a second", Path("workflows_per_s"), ["10.9", "366", "62"], AtLeast(900.0)),
            figure("W2, 100 in flight: steps a second", Path("steps_per_s"), ["110", "3,660", "620"], AtLeast(9_000.0)),
        ],
    },
    Row {
        command: "w2 --in-flight 1",
        check: "w2 --in-flight 1 --count 2 --steps 3",
        timed: true,
        figures: &[figure("W2, 1 in flight: p50, ms", Path("p50_ms"), ["140", "12.9", "17.8"], AtMost(12.0))],
    },
    Row {
        command: "w3 --fan 100 --many 1",
        check: "w3 --fan 20 --count 2",
        timed: true,
        figures: &[figure("W3, 1 × 100 activities: s", Seconds("p50_ms"), ["0.37", "0.11", "0.27"], AtMost(0.03))],
    },
    Row {
        command: "w3 --fan 1000 --many 1",
        check: "w3 --fan 100 --count 1",
        timed: true,
        figures: &[figure("W3, 1 × 1,000 activities: s", Seconds("p50_ms"), ["2.99", "0.75", "1.69"], AtMost(0.15))],
    },
    Row {
        command: "w3 --fan 100 --many 10",
        check: "w3 --fan 10 --many 3 --count 1",
        timed: true,
        figures: &[figure("W3, 10 × 100 activities: s", Seconds("p50_ms"), ["2.98", "0.45", "1.88"], AtMost(0.15))],
    },
    Row {
        command: "w4 --in-flight 100",
        check: "w4 --in-flight 10 --count 50",
        timed: true,
        figures: &[figure(
            "W4, starts one by one: a second",
            Path("workflows_per_s"),
            ["153", "1,333–4,188", "1,260"],
            AtLeast(8_000.0),
        )],
    },
    Row {
        command: "w4 --batch 500 --in-flight 4",
        check: "w4 --batch 20 --in-flight 2 --count 3",
        timed: true,
        figures: &[figure(
            "W4, starts by the batch: a second",
            Path("workflows_per_s"),
            ["–", "–", "–"],
            AtLeast(25_000.0),
        )],
    },
    Row {
        command: "w5 --in-flight 32",
        check: "w5 --in-flight 8 --signals 200",
        timed: false,
        figures: &[
            figure(
                "W5, signals to one run: accepted a second",
                Path("extra.accepted_per_s"),
                ["857", "4,642", "1,880"],
                AtLeast(8_000.0),
            ),
            figure(
                "W5, signals to one run: counted a second",
                Path("extra.counted_per_s"),
                ["848", "380", "124"],
                AtLeast(8_000.0),
            ),
        ],
    },
    Row {
        command: "w6 --sleepers 2000 --sleep 1s",
        check: "w6 --sleepers 50 --sleep 100ms",
        timed: false,
        figures: &[
            figure("W6, 2,000 sleep 1 s: all done in s", Path("extra.total_s"), ["68", "1.9", "6.4"], AtMost(1.3)),
            figure("W6, lateness: p50, ms", Path("p50_ms"), ["458", "5.9", "590"], AtMost(5.0)),
            figure("W6, lateness: p99, ms", Path("p99_ms"), ["6,457", "23", "810"], AtMost(20.0)),
        ],
    },
    Row {
        command: "w7 --open 10000",
        check: "w7 --open 50 --park-after 500ms --parked-after 1s --idle 500ms",
        timed: false,
        figures: &[
            figure("W7, server at rest: MiB", Path("extra.server_at_rest_mib"), ["126", "258", "–"], AtMost(40.0)),
            figure("W7, 10,000 open: MiB", Path("extra.server_open_mib"), ["774", "561", "–"], AtMost(60.0)),
            figure(
                "W7, 10,000 open, idle: CPU %",
                Path("extra.idle_server_cpu_percent"),
                ["–", "5.6", "5.6"],
                AtMost(0.3),
            ),
        ],
    },
    Row {
        command: "w8",
        check: "w8 --workflows 60 --steps 3 --in-flight 6 --activity-grace 500ms",
        timed: false,
        figures: &[
            figure(
                "W8, worker killed: first done after s",
                Path("extra.first_after_kill_s"),
                ["0.45", "0.03", "4.3"],
                AtMost(3.0),
            ),
            figure(
                "W8, worker killed: last done after s",
                Path("extra.last_after_kill_s"),
                ["14", "0.93", "4.4"],
                AtMost(3.0),
            ),
        ],
    },
    Row {
        command: "w8 --activity-grace 0s",
        check: "w8 --workflows 60 --steps 3 --in-flight 6 --activity-grace 0s",
        timed: false,
        figures: &[figure(
            "W8, grace 0: last done after s",
            Path("extra.last_after_kill_s"),
            ["–", "–", "–"],
            AtMost(0.9),
        )],
    },
    Row {
        command: "w9 --workflows 10000 --tasks 20000",
        check: "w9 --workflows 40 --tasks 200 --in-flight 20",
        timed: false,
        figures: &[
            figure(
                "W9, workflows of 3 steps: submitted a second",
                Path("extra.workflows_submitted_per_s"),
                NOBODY,
                AtLeast(6_000.0),
            ),
            figure("W9, submitted and completed: a second", Path("extra.workflows_completed_per_s"), NOBODY, Shown),
            figure("W9, tasks that may fail: completed a second", Path("extra.tasks_completed_per_s"), NOBODY, Shown),
        ],
    },
    Row {
        command: "w10 --events 1000",
        check: "w10 --events 60 --workers 1",
        timed: false,
        figures: &[figure("W10, cold worker, 1,000 events: ms", Path("extra.first_command_ms"), NOBODY, Shown)],
    },
    Row {
        command: "w10 --events 10000",
        check: "w10 --events 30 --workers 1",
        timed: false,
        figures: &[figure("W10, cold worker, 10,000 events: ms", Path("extra.first_command_ms"), NOBODY, Shown)],
    },
    Row {
        command: "w10 --events 50000 --workers 1",
        check: "w10 --events 20 --workers 1",
        timed: false,
        figures: &[figure("W10, cold worker, 50,000 events: ms", Path("extra.first_command_ms"), NOBODY, Shown)],
    },
    Row {
        command: "w11-steps --steps 20000",
        check: "w11-steps --steps 100",
        timed: false,
        figures: &[
            figure("W11, 20,000 steps, the last beside the first: CPU", Path("extra.cpu_share"), NOBODY, AtMost(1.2)),
            figure("W11, 20,000 steps, the last beside the first: time", Path("extra.time_share"), NOBODY, AtMost(1.2)),
        ],
    },
    Row {
        command: "startup",
        check: "startup --rounds 2",
        timed: false,
        figures: &[figure(
            "start-up to first accepted start: ms",
            Path("p50_ms"),
            ["280", "1,091", "–"],
            AtMost(150.0),
        )],
    },
];

/// Measurements that need Postgres.
pub(super) const POSTGRES_ROWS: &[Row] = &[
    Row {
        command: "w11 --history-rows 500000 --open 20000",
        check: "w11 --history-rows 400 --open 20 --count 20 --park-after 500ms",
        timed: true,
        figures: &[
            figure("W11, W1 with a long history, beside before", Path("extra.history_share"), NOBODY, AtLeast(0.9)),
            figure("W11, W1 with many parked runs, beside before", Path("extra.open_share"), NOBODY, AtLeast(0.9)),
        ],
    },
    Row {
        command: "w12 --hold 30s",
        check: "w12 --count 20",
        timed: true,
        figures: &[figure(
            "W12, W1 beside an old transaction, beside before",
            Path("extra.pinned_share"),
            NOBODY,
            AtLeast(0.85),
        )],
    },
];

/// The others were not measured on this.
const NOBODY: [&str; 3] = ["–", "–", "–"];
