//! What must not compile does not: the typestate proofs of `ARCHITECTURE.md`, "Invariants".

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
