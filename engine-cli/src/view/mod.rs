//! How values look: tables and sentences for people, JSON for programs.
//!
//! | file | noun |
//! |---|---|
//! | `activity` | standalone activities: lists and descriptions |
//! | `text` | short, harmless lines; sizes |
//! | `time` | instants and durations |
//! | `payload` | payloads, in both directions |
//! | `failure` | failures and their chains of causes |
//! | `schedule` | schedules: lists and descriptions |
//! | `search` | search attributes |
//! | `words` | what an event says, in words |
//! | `json` | events and failures as JSON, the form of `docs/history-json.md` |
//! | `run` | runs: lists and descriptions |
//! | `version` | versions of workers, and how a run follows them |
//! | `table` | columns |

pub(crate) mod activity;
pub(crate) mod batch;
pub(crate) mod failure;
pub(crate) mod json;
pub(crate) mod payload;
mod peer;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod search;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
mod version;
pub(crate) mod words;
