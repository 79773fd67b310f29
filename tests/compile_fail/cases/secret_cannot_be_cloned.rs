//! A secret is not copied by accident.
fn main() {
    let secret = attestation::Secret::new(String::from("prompt"));
    let _ = secret.clone();
}
