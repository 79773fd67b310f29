use core::fmt;

use zeroize::Zeroize;

/// A value that must never be printed, logged, serialized or cloned by accident.
///
/// It is zeroised when dropped. `expose` is the word to grep for.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The only way to read the value.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The only way to change the value in place.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(String::from("canary"))), "Secret(..)");
    }
}
