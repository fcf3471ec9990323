//! Write durable workflows as ordinary async functions.

pub mod activity;
pub mod data;
pub mod error;
