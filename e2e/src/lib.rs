//! End-to-end tests with real processes, and the checker that says whether what they left behind is right.
//!
//! | module | noun |
//! |---|---|
//! | [`checker`] | the rules of histories, effects and promises, written without any code of the engine |
//! | [`ledger`] | the file in which activities record their effects |
//!
//! The tests are in `tests/`; the programs that they run and kill are in `src/bin/`.

pub mod checker;
pub mod ledger;
