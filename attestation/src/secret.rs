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

impl Secret<Vec<u8>> {
    /// Makes room for `additional` more bytes. A vector that grows by itself gives its old memory
    /// back as it is; here that is zeroised first.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.0.len().saturating_add(additional);
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity().saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
    }

    /// Appends `bytes`, leaving no copy behind in memory that was outgrown.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

impl Secret<String> {
    /// Appends `text`, leaving no copy behind in memory that was outgrown.
    pub fn append(&mut self, text: &str) {
        let needed = self.0.len().saturating_add(text.len());
        if needed > self.0.capacity() {
            let room = needed.max(self.0.capacity().saturating_mul(2));
            let mut larger = String::with_capacity(room);
            larger.push_str(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.push_str(text);
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
    fn growing_keeps_the_content() {
        let mut buffer = Secret::new(Vec::new());
        for len in 0..100_u8 {
            buffer.append(&vec![len; usize::from(len)]);
        }
        let expected: Vec<u8> = (0..100_u8).flat_map(|len| vec![len; usize::from(len)]).collect();
        assert_eq!(*buffer.expose(), expected);
        buffer.reserve(10_000);
        assert!(buffer.expose().capacity() >= expected.len().saturating_add(10_000));
        assert_eq!(*buffer.expose(), expected);
    }

    #[test]
    fn growing_keeps_the_text() {
        let mut text = Secret::new(String::new());
        let expected = "prompt ü".repeat(50);
        for _ in 0..50 {
            text.append("prompt ü");
        }
        assert_eq!(*text.expose(), expected);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(String::from("canary"))), "Secret(..)");
    }
}
