//! No document can claim to be verified.
fn needs_deserialize<T: serde::de::DeserializeOwned>() {}

fn main() {
    needs_deserialize::<verifier::Attested<String>>();
}
