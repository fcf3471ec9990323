//! Empty: the micro-benchmarks are in `benches/micro`. Cargo wants a package to have a library or a program.
