//! What the compiler says to wrong programs. After a deliberate change of the texts: `TRYBUILD=overwrite cargo test`.

#[test]
fn compile_errors_are_sentences() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
