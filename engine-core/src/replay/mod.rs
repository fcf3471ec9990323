//! The worker's half of the rules.
