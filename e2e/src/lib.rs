//! End-to-end tests with real processes, and the checker that says whether what they left behind is right.
//!
//! | module | noun |
//! |---|---|
//! | [`checker`] | the rules of histories, effects and promises, written without any code of the engine |
//! | [`clerk`] | a client that repeats its requests until they are acknowledged, and notes what was promised |
//! | [`dice`] | chance that a seed repeats |
//! | [`gate`] | where an activity waits until a test lets it pass |
//! | [`ledger`] | the file in which activities record their effects |
//! | [`programs`] | the workflows and activities of the tests |
//! | [`progress`] | tells a test of each effect when it happens |
//! | [`world`] | server and worker processes, to be killed |
//!
//! The tests are in `tests/`; the programs that they run and kill are in `src/bin/`.

pub mod checker;
pub mod clerk;
pub mod dice;
pub mod gate;
pub mod ledger;
pub mod programs;
pub mod progress;
pub mod world;
