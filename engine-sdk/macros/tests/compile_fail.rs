//! What the compiler says to wrong programs. After a deliberate change of the texts: `TRYBUILD=overwrite cargo test`.
//!
//! Here and not in `engine-sdk`, because trybuild builds all dependencies once more: from here without the embedded engine.

#[test]
fn compile_errors_are_sentences() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
