//! A vendor of our own: the authorities' keys, the chain of a product, and the keys of its chips.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, fs, process, thread};

use attestation::bytes::Reader;
use attestation::snp::{Product, TcbVersion};
use attestation::{Endorsements, Malformed, Secret, UnixTime};

use crate::certificate::{CertificateRecipe, Validity};
use crate::crl::CrlRecipe;
use crate::error::SimError;
use crate::keys::{EcKey, RsaKey};

/// The three RSA-4096 keys of a vendor. They name no product, so one set serves several chains.
#[derive(Debug)]
pub struct AuthorityKeys {
    /// The root's key.
    pub ark: RsaKey,
    /// The key that issues VCEKs.
    pub ask: RsaKey,
    /// The key that issues VLEKs.
    pub asvk: RsaKey,
}

impl AuthorityKeys {
    /// New keys; takes seconds.
    pub fn generate() -> Result<Self, SimError> {
        thread::scope(|scope| {
            let ark = scope.spawn(RsaKey::generate);
            let ask = scope.spawn(RsaKey::generate);
            let vlek_issuer = RsaKey::generate();
            let failed = |_| SimError::Crypto("RSA key generation");
            Ok(Self {
                ark: ark.join().map_err(failed)??,
                ask: ask.join().map_err(failed)??,
                asvk: vlek_issuer?,
            })
        })
    }

    /// One set for all tests: kept beside the test programs, so that only the first run waits for it.
    pub fn shared() -> Result<Arc<Self>, SimError> {
        static SHARED: OnceLock<Arc<AuthorityKeys>> = OnceLock::new();
        if let Some(keys) = SHARED.get() {
            return Ok(Arc::clone(keys));
        }
        let program = env::current_exe().map_err(SimError::file("the program's own path"))?;
        let folder = program.parent().unwrap_or_else(|| Path::new("."));
        let keys = Arc::new(Self::cached(&folder.join("veritee-sim-test-keys.bin"))?);
        Ok(Arc::clone(SHARED.get_or_init(|| keys)))
    }

    /// The keys in the file, or new ones that are written there. For tests: the file guards nothing.
    pub fn cached(file: &Path) -> Result<Self, SimError> {
        if let Some(keys) = fs::read(file).ok().and_then(|bytes| Self::decode(&bytes).ok()) {
            return Ok(keys);
        }
        let keys = Self::generate()?;
        // Programs that start together each write a set of their own; whichever is renamed last stays.
        let draft = file.with_extension(process::id().to_string());
        let written = fs::write(&draft, keys.encode()?.expose());
        written.and_then(|()| fs::rename(&draft, file)).map_err(SimError::file(file))?;
        Ok(keys)
    }

    /// The three keys in PKCS#8, each behind its 16-bit length.
    pub fn encode(&self) -> Result<Secret<Vec<u8>>, SimError> {
        let mut out = Secret::new(Vec::new());
        for key in [&self.ark, &self.ask, &self.asvk] {
            let key = key.to_pkcs8()?;
            let len = u16::try_from(key.expose().len())
                .map_err(|_| SimError::Crypto("writing an RSA key"))?;
            out.append(&len.to_be_bytes());
            out.append(key.expose());
        }
        Ok(out)
    }

    /// Reads what [`encode`](Self::encode) writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SimError> {
        let [ark, ask, vlek_issuer] = Reader::read_all("authority keys", bytes, |r| {
            Ok::<_, Malformed>([r.lv16(4096)?, r.lv16(4096)?, r.lv16(4096)?])
        })
        .map_err(|_| SimError::Crypto("reading the authority keys"))?;
        Ok(Self {
            ark: RsaKey::from_pkcs8(ark)?,
            ask: RsaKey::from_pkcs8(ask)?,
            asvk: RsaKey::from_pkcs8(vlek_issuer)?,
        })
    }
}

/// What a PKI is made for.
#[derive(Debug, Clone, Copy)]
pub struct PkiOptions {
    /// The product line.
    pub product: Product,
    /// Validity of every certificate.
    pub validity: Validity,
}

/// The chain of one product, and the keys to issue more.
#[derive(Debug, Clone)]
pub struct Pki {
    keys: Arc<AuthorityKeys>,
    options: PkiOptions,
    ark: Vec<u8>,
    ask: Vec<u8>,
    asvk: Vec<u8>,
}

impl Pki {
    /// A PKI with new keys; takes seconds.
    pub fn generate(options: PkiOptions) -> Result<Self, SimError> {
        Self::new(Arc::new(AuthorityKeys::generate()?), options)
    }

    /// A PKI over the keys that all tests share.
    pub fn shared(options: PkiOptions) -> Result<Self, SimError> {
        Self::new(AuthorityKeys::shared()?, options)
    }

    /// A PKI over these keys.
    pub fn new(keys: Arc<AuthorityKeys>, options: PkiOptions) -> Result<Self, SimError> {
        let mut pki = Self { keys, options, ark: Vec::new(), ask: Vec::new(), asvk: Vec::new() };
        pki.ark = pki.sign_as_ark(&pki.ark_recipe()?)?;
        pki.ask = pki.sign_as_ark(&pki.ask_recipe()?)?;
        pki.asvk = pki.sign_as_ark(&pki.asvk_recipe()?)?;
        Ok(pki)
    }

    /// What it was made for.
    pub const fn options(&self) -> PkiOptions {
        self.options
    }

    /// The authorities' keys.
    pub fn keys(&self) -> &AuthorityKeys {
        &self.keys
    }

    /// The root certificate, DER.
    pub fn ark(&self) -> &[u8] {
        &self.ark
    }

    /// The certificate that issues VCEKs, DER.
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// The certificate that issues VLEKs, DER.
    pub fn asvk(&self) -> &[u8] {
        &self.asvk
    }

    /// The root's recipe.
    pub fn ark_recipe(&self) -> Result<CertificateRecipe, SimError> {
        let Self { keys, options: PkiOptions { product, validity }, .. } = self;
        Ok(CertificateRecipe::ark(*product, *validity, keys.ark.spki()?))
    }

    /// The recipe of the certificate that issues VCEKs.
    pub fn ask_recipe(&self) -> Result<CertificateRecipe, SimError> {
        let Self { keys, options: PkiOptions { product, validity }, .. } = self;
        Ok(CertificateRecipe::ask(*product, *validity, keys.ask.spki()?, &keys.ark.spki()?))
    }

    /// The recipe of the certificate that issues VLEKs.
    pub fn asvk_recipe(&self) -> Result<CertificateRecipe, SimError> {
        let Self { keys, options: PkiOptions { product, validity }, .. } = self;
        Ok(CertificateRecipe::asvk(*product, *validity, keys.asvk.spki()?, &keys.ark.spki()?))
    }

    /// The recipe of a VCEK for `key`.
    pub fn vcek_recipe(&self, key: &EcKey, tcb: TcbVersion, chip: &ChipId) -> CertificateRecipe {
        let PkiOptions { product, validity } = self.options;
        CertificateRecipe::vcek(product, validity, key.spki(), tcb, chip.hwid(product))
    }

    /// The recipe of a VLEK for `key`.
    pub fn vlek_recipe(&self, key: &EcKey, tcb: TcbVersion, csp_id: &str) -> CertificateRecipe {
        let PkiOptions { product, validity } = self.options;
        CertificateRecipe::vlek(product, validity, key.spki(), tcb, csp_id)
    }

    /// The recipe of the root's revocation list.
    pub fn crl_recipe(&self, number: u64) -> Result<CrlRecipe, SimError> {
        let PkiOptions { product, validity } = self.options;
        Ok(CrlRecipe::ark(
            product,
            validity.not_before,
            validity.not_after,
            number,
            &self.keys.ark.spki()?,
        ))
    }

    /// Signs a recipe with the root's key.
    pub fn sign_as_ark(&self, recipe: &CertificateRecipe) -> Result<Vec<u8>, SimError> {
        recipe.sign(&self.keys.ark)
    }

    /// Signs a recipe with the key that issues VCEKs.
    pub fn sign_as_ask(&self, recipe: &CertificateRecipe) -> Result<Vec<u8>, SimError> {
        recipe.sign(&self.keys.ask)
    }

    /// Signs a recipe with the key that issues VLEKs.
    pub fn sign_as_asvk(&self, recipe: &CertificateRecipe) -> Result<Vec<u8>, SimError> {
        recipe.sign(&self.keys.asvk)
    }

    /// Signs a revocation list with the root's key.
    pub fn sign_crl(&self, recipe: &CrlRecipe) -> Result<Vec<u8>, SimError> {
        recipe.sign(&self.keys.ark)
    }

    /// A new VCEK of one chip at one TCB.
    pub fn issue_vcek(&self, tcb: TcbVersion, chip: &ChipId) -> Result<Vek, SimError> {
        let key = EcKey::generate()?;
        let certificate = self.sign_as_ask(&self.vcek_recipe(&key, tcb, chip))?;
        Ok(Vek { key, certificate })
    }

    /// A new VLEK of one provider at one TCB.
    pub fn issue_vlek(&self, tcb: TcbVersion, csp_id: &str) -> Result<Vek, SimError> {
        let key = EcKey::generate()?;
        let certificate = self.sign_as_asvk(&self.vlek_recipe(&key, tcb, csp_id))?;
        Ok(Vek { key, certificate })
    }

    /// The chain from a VCEK up, and a list that revokes nothing.
    pub fn endorse_vcek(&self, vek: &[u8], crl_number: u64) -> Result<Endorsements, SimError> {
        let crl = self.sign_crl(&self.crl_recipe(crl_number)?)?;
        bundle(&[vek, &self.ask, &self.ark], &[&crl])
    }

    /// The chain from a VLEK up, and a list that revokes nothing.
    pub fn endorse_vlek(&self, vek: &[u8], crl_number: u64) -> Result<Endorsements, SimError> {
        let crl = self.sign_crl(&self.crl_recipe(crl_number)?)?;
        bundle(&[vek, &self.asvk, &self.ark], &[&crl])
    }
}

/// Certificates and lists together.
pub fn bundle(certificates: &[&[u8]], crls: &[&[u8]]) -> Result<Endorsements, SimError> {
    let mut endorsements = Endorsements::new();
    let refused = |malformed: Malformed| SimError::Argument(malformed.to_string());
    certificates.iter().try_for_each(|der| endorsements.add_certificate(der)).map_err(refused)?;
    crls.iter().try_for_each(|der| endorsements.add_crl(der)).map_err(refused)?;
    Ok(endorsements)
}

/// A key that signs reports, with its certificate.
#[derive(Debug)]
pub struct Vek {
    /// The key.
    pub key: EcKey,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
}

/// What tells one chip from another, as reports carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChipId(pub [u8; 64]);

impl ChipId {
    /// A chip of `product` by a seed; Turin's ids end after eight bytes.
    pub fn of(product: Product, seed: u8) -> Self {
        let mut id = [0; 64];
        let len = hwid_len(product);
        for (byte, index) in id.iter_mut().zip(0_u8..).take(len) {
            *byte = seed.wrapping_add(index) ^ 0xa5;
        }
        Self(id)
    }

    /// The part that the VCEK's hardware id extension carries.
    pub fn hwid(&self, product: Product) -> &[u8] {
        self.0.get(..hwid_len(product)).unwrap_or(&self.0)
    }
}

const fn hwid_len(product: Product) -> usize {
    match product {
        Product::Milan | Product::Genoa => 64,
        Product::Turin => 8,
    }
}

/// Thirty days: nothing that this crate signs for `veritee-sim` lives longer.
pub const VALIDITY_SECS_MAX: u64 = 30 * 24 * 60 * 60;

/// The validity of `secs` seconds, at most thirty days, from one minute before `now` for clocks that differ.
pub fn validity_from(now: UnixTime, secs: u64) -> Validity {
    let not_before = now.saturating_sub(Duration::from_mins(1));
    let span = Duration::from_secs(secs.min(VALIDITY_SECS_MAX));
    Validity { not_before, not_after: not_before.saturating_add(span) }
}
