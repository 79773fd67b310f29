//! Derivations: what both ends export from the request's HPKE context, and the response's key.
//!
//! ```text
//! secret   = Export("message/bhttp chunked response", n)           n = max(Nn, Nk)
//! blind_x  = Export("veritee receipt req|res|par v1", 32)
//! prk      = HKDF-Extract(salt = enc ‖ response_nonce, secret)
//! key      = HKDF-Expand(prk, "key", Nk);  iv = HKDF-Expand(prk, "nonce", Nn)
//! nonce(i) = iv XOR i
//! ```
//! (`docs/protocol.md` §5.7, §5.8; RFC 9458 §4.4.)

use core::fmt;

use attestation::digest::Mac;
use attestation::{Secret, Sha256, labels};
use ring::hkdf;

use crate::suite::{ENC_LEN, IV_LEN, KEY_LEN_MAX, Suite};

/// The three secrets that open the commitments of a receipt, one each (`docs/protocol.md` §5.8).
#[derive(Debug)]
pub struct Blinds {
    /// Opens `req_mac`.
    pub request: Secret<[u8; 32]>,
    /// Opens `res_mac`.
    pub response: Secret<[u8; 32]>,
    /// Opens `par_mac`.
    pub parameters: Secret<[u8; 32]>,
}

impl Blinds {
    /// `req_mac`: commits to the octets of a request before its padding.
    pub fn request_mac(&self, message: &[u8]) -> Sha256 {
        mac(&self.request, message)
    }

    /// `par_mac`: commits to the deterministic CBOR of the sampling parameters.
    pub fn parameters_mac(&self, parameters: &[u8]) -> Sha256 {
        mac(&self.parameters, parameters)
    }
}

/// All that is exported from a request's HPKE context.
#[derive(Debug)]
pub struct Exports {
    pub(crate) response: Secret<[u8; KEY_LEN_MAX]>,
    pub(crate) blinds: Blinds,
}

impl Exports {
    /// Exports with `export(label, out)`, which is HPKE's `Context.Export` (RFC 9180 §5.3).
    ///
    /// # Errors
    /// Whatever `export` says.
    pub fn derive<E>(
        suite: Suite,
        export: impl Fn(&[u8], &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let blind = |label| {
            let mut blind = Secret::new([0; 32]);
            export(label, blind.expose_mut())?;
            Ok(blind)
        };
        let mut response = Secret::new([0; KEY_LEN_MAX]);
        let len = suite.response_nonce_len();
        export(labels::OHTTP_RESPONSE, response.expose_mut().get_mut(..len).unwrap_or_default())?;
        let blinds = Blinds {
            request: blind(labels::BLIND_REQUEST)?,
            response: blind(labels::BLIND_RESPONSE)?,
            parameters: blind(labels::BLIND_PARAMETERS)?,
        };
        Ok(Self { response, blinds })
    }
}

/// The AEAD key and nonce base of one response.
pub(crate) struct ResponseKey {
    pub(crate) key: Secret<[u8; KEY_LEN_MAX]>,
    pub(crate) iv: Secret<[u8; IV_LEN]>,
}

impl ResponseKey {
    /// Derives them; nothing if `nonce` has not the length that the suite asks for.
    pub(crate) fn derive(
        suite: Suite,
        enc: &[u8; ENC_LEN],
        nonce: &[u8],
        secret: &Secret<[u8; KEY_LEN_MAX]>,
    ) -> Option<Self> {
        if nonce.len() != suite.response_nonce_len() {
            return None;
        }
        let salt = [enc.as_slice(), nonce].concat();
        let secret = secret.expose().get(..suite.response_nonce_len())?;
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(secret);
        let (mut key, mut iv) = (Secret::new([0; KEY_LEN_MAX]), Secret::new([0; IV_LEN]));
        expand(&prk, labels::OHTTP_KEY, key.expose_mut().get_mut(..suite.key_len())?)?;
        expand(&prk, labels::OHTTP_NONCE, iv.expose_mut())?;
        Some(Self { key, iv })
    }
}

impl fmt::Debug for ResponseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseKey(..)")
    }
}

fn mac(blind: &Secret<[u8; 32]>, message: &[u8]) -> Sha256 {
    let mut mac = Mac::new(blind);
    mac.update(message);
    mac.finish()
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(prk: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    prk.expand(&[label], Len(out.len())).and_then(|okm| okm.fill(out)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schedule once more, from HMAC alone (RFC 5869): the test shares no code with it.
    fn by_hand(salt: &[u8], secret: &[u8], label: &[u8], len: usize) -> Vec<u8> {
        let hmac = |key: &[u8], data: &[&[u8]]| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            ring::hmac::sign(&key, &data.concat()).as_ref().to_vec()
        };
        let prk = hmac(salt, &[secret]);
        hmac(&prk, &[label, &[1]])[..len].to_vec()
    }

    #[test]
    fn response_keys_follow_rfc_9458() {
        let (enc, mut secret) = ([0x20; ENC_LEN], [0; 32]);
        secret[..].copy_from_slice(&(0..32).collect::<Vec<u8>>());
        for (suite, len) in [(Suite::XWingAes256Gcm, 32), (Suite::XWingAes128Gcm, 16)] {
            let nonce = vec![0x40; len];
            let derived = ResponseKey::derive(suite, &enc, &nonce, &Secret::new(secret)).unwrap();
            let salt = [enc.as_slice(), &nonce].concat();
            assert_eq!(derived.key.expose()[..len], by_hand(&salt, &secret[..len], b"key", len));
            assert_eq!(derived.iv.expose()[..], by_hand(&salt, &secret[..len], b"nonce", 12));
        }
    }

    #[test]
    fn a_nonce_of_another_suite_is_refused() {
        for (suite, len) in [(Suite::XWingAes256Gcm, 16), (Suite::XWingAes128Gcm, 32)] {
            let nonce = vec![0; len];
            assert!(
                ResponseKey::derive(suite, &[0; ENC_LEN], &nonce, &Secret::new([0; 32])).is_none()
            );
        }
    }

    #[test]
    fn each_secret_has_a_label_of_its_own() {
        let seen = std::cell::RefCell::new(Vec::new());
        let record = |label: &[u8], out: &mut [u8]| {
            seen.borrow_mut().push((String::from_utf8_lossy(label).into_owned(), out.len()));
            Ok::<(), ()>(())
        };
        Exports::derive(Suite::XWingAes128Gcm, record).unwrap();
        let expected = [
            ("message/bhttp chunked response", 16),
            ("veritee receipt req v1", 32),
            ("veritee receipt res v1", 32),
            ("veritee receipt par v1", 32),
        ];
        assert_eq!(*seen.borrow(), expected.map(|(label, len)| (label.to_owned(), len)));
    }
}
