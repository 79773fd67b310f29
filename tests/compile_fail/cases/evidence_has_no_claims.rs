//! Evidence shows nothing before it is authenticated.
fn main() {
    let evidence = attestation::Evidence::from_wire(vec![]);
    let _ = evidence.measurement();
}
