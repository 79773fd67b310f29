//! Manifests of NVIDIA's form, under a root of our own and under NVIDIA's.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
};

use ::rim::{Component, Rim, import, import_under};
use attestation::{Sha256, Sha384, UnixTime};
use sim::nvidia::{DeviceRecipe, NvidiaPki, base64};

/// Whatever a file is, what is read is what was signed: of a manifest that is accepted, all others of its id say the same.
pub fn rim(bytes: &[u8]) {
    for root in [Some(&world().root), None] {
        let read = match root {
            Some(root) => import_under(root, bytes, NOW),
            None => import(bytes, NOW),
        };
        match read {
            Ok(rim) => {
                assert_eq!(rim.digest, Sha256::of(bytes));
                assert!(!rim.measurements.is_empty());
                if let Ok(values) = rim.reference_values(NAME) {
                    assert_eq!(values.measurements.len(), rim.measurements.len());
                }
                // White space in a tag, for one, is no part of what was signed, and yet of the file.
                let rim = Rim { digest: Sha256::of(&[]), ..rim };
                let mut seen = SEEN.lock().expect("nobody panics while holding it");
                let first = seen.entry(rim.tag_id.clone()).or_insert_with(|| rim.clone());
                assert_eq!(*first, rim, "nobody signed this");
            }
            Err(refused) => assert!(!refused.reasons().is_empty() && refused.reasons().len() < 64),
        }
    }
}

/// The accepted: by id. The first one is what it was before anybody changed it, for seeds come first.
static SEEN: Mutex<BTreeMap<String, Rim>> = Mutex::new(BTreeMap::new());

/// Whether a seed is accepted, for what a manifest of this component is.
pub fn is_manifest(bytes: &[u8], component: Component) -> bool {
    import_under(&world().root, bytes, NOW).is_ok_and(|rim| rim.component == component)
}

/// Inputs to start from.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let driver = [("edition", "GPU"), ("product", "GH100")];
    let switch = [("edition", "SWITCH"), ("product", "LS10")];
    vec![world().sign("550.144.03", driver, "8aa5"), world().sign("96.10.55.00.01", switch, "8aa6")]
}

/// Who signs.
struct World {
    root: Vec<u8>,
    signer: Vec<u8>,
    device: DeviceRecipe,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let pki = NvidiaPki::shared().expect("the test PKI is made");
        let device = DeviceRecipe::hopper(&pki, 0).expect("a device is made");
        // A signing key's certificate, directly under the root.
        let [mut signer, .., root] = device.chain.clone();
        signer.issuer = root.subject;
        let signer = signer.sign(&pki.root).expect("it is signed");
        World { root: pki.root().to_vec(), signer, device }
    })
}

impl World {
    /// A manifest that is written as canonical form would write it, so that its text is what is signed.
    fn sign(&self, version: &str, [edition, product]: [(&str, &str); 2], tag: &str) -> Vec<u8> {
        let resource = |(index, active): (u8, &str)| {
            let [first, second] = [index, !index].map(|octet| hex::encode([octet; 48]));
            format!(
                "<Resource active=\"{active}\" alternatives=\"2\" index=\"{index}\" name=\"Measurement_{index}\" \
                 size=\"48\" type=\"Measurement\" n:Hash0=\"{first}\" n:Hash1=\"{second}\"></Resource>"
            )
        };
        let resources = [(7, "True"), (8, "False"), (9, "True")].map(resource).concat();
        let head = format!(
            "<SoftwareIdentity {SPACES} corpus=\"false\" name=\"{0}\" patch=\"false\" supplemental=\"false\" \
             tagId=\"{tag}\" tagVersion=\"0\" version=\"1.0\">\n  <Entity name=\"NVIDIA Corporation\" \
             role=\"tagCreator\"></Entity>\n  <Meta colloquialVersion=\"{version}\" {1}=\"{2}\" {3}=\"{0}\"></Meta>\n  \
             <Payload>{resources}</Payload>\n",
            product.1, edition.0, edition.1, product.0,
        );
        let tail = "</SoftwareIdentity>";
        let digest = base64(Sha384::of(&[head.as_bytes(), tail.as_bytes()].concat()).as_bytes());
        let info = |names: &str| {
            format!(
                "<ds:SignedInfo{names}><ds:CanonicalizationMethod Algorithm=\"{C14N}\"></ds:CanonicalizationMethod>\
                 <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod>\
                 <ds:Reference URI=\"\"><ds:Transforms>\
                 <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
                 <ds:Transform Algorithm=\"{C14N}\"></ds:Transform></ds:Transforms>\
                 <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>\
                 <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
            )
        };
        // The names in scope are written with the part that is signed, by prefix.
        let (default, own) = SPACES.split_at(SPACES.find(" xmlns:n").expect("it is there"));
        let signed = info(&format!(" {default} {DS}{own}"));
        let value = self.device.key.sign(signed.as_bytes()).expect("it signs");
        let [leaf, root] = [&self.signer, &self.root].map(|der| base64(der));
        format!(
            "{head}<ds:Signature {DS}>{}<ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>\
             <ds:X509Certificate>{leaf}</ds:X509Certificate><ds:X509Certificate>{root}\n</ds:X509Certificate>\
             </ds:X509Data></ds:KeyInfo></ds:Signature>{tail}",
            info(""),
            base64(&value),
        )
        .into_bytes()
    }
}

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// An id that fits the seeds' VBIOS.
const NAME: &str = "NV_SWITCH_BIOS_5612_0002_890_9610550001";
const SPACES: &str = "xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
    xmlns:n=\"http://www.w3.org/2001/04/xmlenc#sha384\"";
const DS: &str = "xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"";
const C14N: &str = "http://www.w3.org/2006/12/xml-c14n11";
