//! Write durable workflows as ordinary async functions.

pub mod data;
pub mod error;
