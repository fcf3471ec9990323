//! Write durable workflows as ordinary async functions.
