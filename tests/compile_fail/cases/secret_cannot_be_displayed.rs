//! A secret has no text.
fn main() {
    let secret = attestation::Secret::new(String::from("prompt"));
    println!("{secret}");
}
