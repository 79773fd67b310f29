//! All arithmetic.
/// The value of a half-precision number.
pub(crate) fn half(bits: u16) -> f32 {
    let magnitude = f32::from_bits((u32::from(bits) & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    let magnitude = if bits & 0x7c00 == 0x7c00 { f32::from_bits(magnitude.to_bits() | 0x7f80_0000) } else { magnitude };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}
