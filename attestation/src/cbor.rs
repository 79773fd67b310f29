//! Deterministic CBOR (RFC 8949 §4.2.1), for the few structures that are signed or hashed.

use ciborium::value::{Integer, Value};

use crate::bytes::Malformed;

/// The longest CBOR item that is decoded: a receipt is under 500 bytes, a chain of metering less.
pub const LEN_MAX: usize = 4096;

/// An integer.
pub fn int(value: i64) -> Value {
    Value::Integer(Integer::from(value))
}

/// An unsigned integer.
pub fn uint(value: u64) -> Value {
    Value::Integer(Integer::from(value))
}

/// A byte string.
pub fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value.to_vec())
}

/// A text string.
pub fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// An array.
pub fn array<const N: usize>(items: [Value; N]) -> Value {
    Value::Array(items.into())
}

/// A map, its entries in the bytewise order of their encoded keys.
pub fn map(entries: impl IntoIterator<Item = (Value, Value)>) -> Value {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_cached_key(|(key, _)| encode(key));
    Value::Map(entries)
}

/// Encodes `value`; integers and lengths take their shortest form.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory cannot fail, and our values hold nothing that ciborium refuses.
    let written = ciborium::into_writer(value, &mut out);
    debug_assert!(written.is_ok(), "a Value is always encodable");
    out
}

/// Decodes exactly one deterministic item: anything that would encode differently is refused.
///
/// # Errors
/// Input over [`LEN_MAX`], no CBOR, trailing bytes, or an encoding that is not deterministic.
pub fn decode(what: &'static str, input: &[u8]) -> Result<Value, Malformed> {
    if input.len() > LEN_MAX {
        return Err(Malformed::TooLong { what, limit: LEN_MAX });
    }
    // Eight levels are more than any structure of ours has.
    let value: Value = ciborium::de::from_reader_with_recursion_limit(input, 8)
        .map_err(|_| Malformed::invalid(what, "is not CBOR"))?;
    if encode(&value) == input && sorted(&value) {
        Ok(value)
    } else {
        Err(Malformed::invalid(what, "is not deterministic CBOR"))
    }
}

/// Whether every map's keys are strictly ascending, so that none is given twice.
fn sorted(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            let keys: Vec<_> = entries.iter().map(|(key, _)| encode(key)).collect();
            keys.is_sorted_by(|a, b| a < b)
                && entries.iter().all(|(key, value)| sorted(key) && sorted(value))
        }
        Value::Array(items) => items.iter().all(sorted),
        Value::Tag(_, inner) => sorted(inner),
        Value::Integer(_)
        | Value::Bytes(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bool(_)
        | Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deterministic_encodings_decode() {
        let value = map([(int(2), text("b")), (int(1), bytes(b"a")), (int(-1), uint(500))]);
        let good = encode(&value);
        assert_eq!(hex::encode(&good), "a3014161026162201901f4");
        assert!(decode("x", &good).is_ok());
        for bad in [
            "a3026162014161201901f4",         // order
            "a2014161014161",                 // duplicate key
            "1800",                           // long form of 0
            "5f4161ff",                       // indefinite length
            "a3014161026162201901f400",       // trailing
            "a30141610261622019",             // truncated
            "818181818181818181818181818100", // too deep
        ] {
            assert!(decode("x", &hex::decode(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
