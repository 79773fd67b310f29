//! A signer of our own, whose manifests are accepted; then one thing is wrong with them.
#![expect(clippy::arithmetic_side_effects, reason = "of tests: days and indices")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
};
use time::OffsetDateTime;

use super::*;
use crate::canonical::canonical;
use crate::xml::Document;

/// A moment at which everything is good.
const NOW: u64 = 1_795_000_000;
const DAY: u64 = 86_400;

/// What a certificate is made from.
struct Recipe {
    name: &'static str,
    /// Whose name it gives as its issuer's; `None`: the next one's.
    issuer: Option<&'static str>,
    ca: IsCa,
    usages: Vec<KeyUsagePurpose>,
    from: u64,
    until: u64,
    critical: bool,
    p256: bool,
    /// Signed by a key that is not the next one's.
    forged: bool,
}

/// Signer, authority, root.
fn recipes() -> [Recipe; 3] {
    let recipe = |name, ca, usages| Recipe {
        name,
        issuer: None,
        ca,
        usages,
        from: NOW - DAY,
        until: NOW + DAY,
        critical: false,
        p256: false,
        forged: false,
    };
    let issues = || vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    [
        recipe("Signer", IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]),
        recipe("Authority", IsCa::Ca(BasicConstraints::Constrained(0)), issues()),
        recipe("Root", IsCa::Ca(BasicConstraints::Unconstrained), issues()),
    ]
}

struct Mill {
    chain: Vec<Vec<u8>>,
    key: KeyPair,
}

impl Mill {
    fn new(recipes: &[Recipe]) -> Self {
        let key = |recipe: &Recipe| {
            let algorithm =
                if recipe.p256 { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ECDSA_P384_SHA384 };
            KeyPair::generate_for(algorithm).unwrap()
        };
        let mut keys: Vec<_> = recipes.iter().map(key).collect();
        let chain = recipes.iter().enumerate().map(|(index, recipe)| {
            let next = (index + 1).min(recipes.len() - 1);
            let issuer = params(recipe.issuer.unwrap_or(recipes[next].name));
            let stranger = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
            let signing = if recipe.forged { &stranger } else { &keys[next] };
            let mut params = params(recipe.name);
            params.is_ca = recipe.ca;
            params.key_usages = recipe.usages.clone();
            params.not_before = moment(recipe.from);
            params.not_after = moment(recipe.until);
            if recipe.critical {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            }
            let issuer = Issuer::from_params(&issuer, signing);
            params.signed_by(&keys[index], &issuer).unwrap().der().to_vec()
        });
        let chain = chain.collect();
        Self { chain, key: keys.swap_remove(0) }
    }

    fn root(&self) -> &[u8] {
        self.chain.last().unwrap()
    }

    /// A document with its signature in the place of `@`.
    fn sign(&self, document: &str) -> String {
        self.sign_as(document, SIGNATURE)
    }

    /// The same with a signature of another form.
    fn sign_as(&self, document: &str, signature: &str) -> String {
        let certificates: Vec<_> = self
            .chain
            .iter()
            .map(|der| {
                format!("<ds:X509Certificate>{}\n</ds:X509Certificate>", STANDARD.encode(der))
            })
            .collect();
        let text =
            document.replace('@', &signature.replace("CERTIFICATES", &certificates.concat()));
        let parsed = Document::parse(text.as_bytes()).unwrap();
        let named = |name: &str| parsed.all().find(|(_, it)| it.local == name).map(|(id, _)| id);
        let digest = Sha384::of(&canonical(&parsed, parsed.root(), named("Signature")));
        let text = text.replace("DIGEST", &STANDARD.encode(digest.as_bytes()));
        let parsed = Document::parse(text.as_bytes()).unwrap();
        let Some(signed_info) = named("SignedInfo") else { return text };
        let signed = canonical(&parsed, signed_info, None);
        let key = self.key.serialize_der();
        let value = match EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key) {
            Ok(key) => key.sign(&SystemRandom::new(), &signed).unwrap().as_ref().to_vec(),
            Err(_) => vec![0; 96],
        };
        text.replace("VALUE", &STANDARD.encode(value))
    }

    fn import(&self, text: &str) -> Result<Rim, Refused> {
        import_under(self.root(), text.as_bytes(), UnixTime::from_secs(NOW))
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn moment(secs: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(secs).unwrap()).unwrap()
}

const SIGNATURE: &str = "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo>\
    <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"/>\
    <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"/>\
    <ds:Reference URI=\"\"><ds:Transforms>\
    <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>\
    <ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"/></ds:Transforms>\
    <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"/>\
    <ds:DigestValue>DIGEST</ds:DigestValue></ds:Reference></ds:SignedInfo>\
    <ds:SignatureValue>VALUE</ds:SignatureValue>\
    <ds:KeyInfo><ds:X509Data>CERTIFICATES</ds:X509Data></ds:KeyInfo></ds:Signature>";

fn digest(fill: &str) -> String {
    fill.repeat(48)
}

/// A driver's manifest of two measurements, of which one has two values and one is not active.
fn manifest() -> String {
    let (a, b, zero) = (digest("a1"), digest("b2"), digest("00"));
    format!(
        "<SoftwareIdentity xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
         xmlns:ns0=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
         xmlns:ns2=\"http://www.w3.org/2001/04/xmlenc#sha384\" corpus=\"false\" name=\"GH100\" \
         patch=\"false\" supplemental=\"false\" tagId=\"8aa5\" version=\"1.0\" tagVersion=\"0\">\n  \
         <ns0:Entity name=\"NVIDIA Corporation\" role=\"softwareCreator tagCreator\"/>\n  \
         <ns0:Meta colloquialVersion=\"550.144.03\" edition=\"GPU\" product=\"GH100\"/>\n  \
         <ns0:Payload>\n    \
         <ns0:Resource type=\"Measurement\" index=\"7\" active=\"True\" alternatives=\"2\" \
         ns2:Hash0=\"{a}\" ns2:Hash1=\"{b}\" name=\"Measurement_7\" size=\"48\"/>\n    \
         <ns0:Resource type=\"Measurement\" index=\"8\" active=\"False\" alternatives=\"1\" \
         ns2:Hash0=\"{zero}\" name=\"Measurement_8\" size=\"48\"/>\n  </ns0:Payload>\n@\
         </SoftwareIdentity>\n"
    )
}

fn codes(result: &Result<Rim, Refused>) -> Vec<&'static str> {
    match result {
        Ok(_) => Vec::new(),
        Err(refused) => refused.reasons().iter().map(|reason| reason.code.as_str()).collect(),
    }
}

#[test]
fn what_is_signed_comes_out() {
    let mill = Mill::new(&recipes());
    let text = mill.sign(&manifest());
    let rim = mill.import(&text).unwrap();
    assert_eq!(
        (rim.component, rim.chip.as_str(), rim.version.as_str(), rim.tag_id.as_str()),
        (Component::Driver, "GH100", "550.144.03", "8aa5")
    );
    let values = [digest("a1"), digest("b2")].map(|hex| hex.parse::<Sha384>().unwrap());
    assert_eq!(rim.measurements, BTreeMap::from([(7, values.to_vec())]));
    assert_eq!(rim.digest, Sha256::of(text.as_bytes()));
    assert_eq!(rim.signer.name, "Signer");
    let window = [NOW - DAY, NOW + DAY].map(UnixTime::from_secs);
    assert_eq!([rim.signer.not_before, rim.signer.not_after], window);
    // The same is nobody's under NVIDIA's root.
    let under_nvidias = import(text.as_bytes(), UnixTime::from_secs(NOW));
    assert_eq!(codes(&under_nvidias), ["rim-root-not-trusted"]);
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let mill = Mill::new(&recipes());
    let text = mill.sign(&manifest());
    for (what, from, to, expected) in [
        ("a value", digest("a1"), digest("a2"), "rim-digest-mismatch"),
        ("an index", "index=\"7\"".into(), "index=\"6\"".into(), "rim-digest-mismatch"),
        ("what counts", "\"False\"".into(), "\"True\"".into(), "rim-digest-mismatch"),
        ("the version", "550.144".into(), "550.143".into(), "rim-digest-mismatch"),
        ("white space", ">\n  <".into(), "> <".into(), "rim-digest-mismatch"),
        ("a prefix", "ns0".into(), "ns1".into(), "rim-digest-mismatch rim-signature-invalid"),
        (
            "what a prefix means",
            "xmlns:ns2=\"http".into(),
            "xmlns:ns2=\"xttp".into(),
            // In scope where the signature is, so it is part of what the signature is over.
            "rim-digest-mismatch rim-signature-invalid",
        ),
        (
            "order of elements",
            "<ns0:Payload>".into(),
            "<ns0:Entity/><ns0:Payload>".into(),
            "rim-digest-mismatch",
        ),
        ("the digest", "DigestValue>".into(), "DigestValue> ".into(), "rim-signature-invalid"),
    ] {
        let changed = text.replace(&from, &to);
        assert_ne!(changed, text, "{what}");
        assert_eq!(codes(&mill.import(&changed)).join(" "), expected, "{what}");
    }
    // What canonical form passes over was not changed.
    for (from, to) in [
        ("<ns0:Payload>", "<ns0:Payload   >"),
        ("product=\"GH100\"/>", "product='GH100'></ns0:Meta>"),
        ("edition=\"GPU\" product=\"GH100\"", "product=\"GH100\" edition=\"GPU\""),
        ("</SoftwareIdentity>\n", "</SoftwareIdentity>"),
        ("<ns0:Meta ", "<ns0:Meta xmlns:ns2=\"http://www.w3.org/2001/04/xmlenc#sha384\" "),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(mill.import(&changed).is_ok(), "{to}");
    }
}

/// The ways in which XML signatures have been wrapped (`McIntosh` and Austel 2005, and since): the
/// signature stays good for something, and something else is read.
#[test]
fn nothing_but_what_was_signed_is_read() {
    let mill = Mill::new(&recipes());
    let genuine = mill.sign(&manifest());
    let at = genuine.find("<ds:Signature ").unwrap();
    let end = genuine.find("</SoftwareIdentity>").unwrap();
    let (signature, bare) = (&genuine[at..end], [&genuine[..at], &genuine[end..]].concat());
    let evil = manifest().replace("a1", "ee");
    let with = |inside: &str| evil.replace('@', inside);
    let unique = signature.replace("<ds:Signature ", "<ds:Signature Id=\"s\" ");
    for (what, text, expected) in [
        ("no signature", with(""), "rim-signature-form"),
        ("another's signature", with(signature), "rim-digest-mismatch"),
        ("the original within", with(&genuine), "rim-signature-form"),
        (
            "the original within, as another element",
            with(&format!("<o>{genuine}</o>")),
            "rim-signature-form",
        ),
        (
            "the original in the signature",
            with(&signature.replace(
                "</ds:Signature>",
                &format!("<ds:Object>{bare}</ds:Object></ds:Signature>"),
            )),
            "rim-signature-form",
        ),
        (
            "the original among the certificates",
            with(&signature.replace("</ds:X509Data>", &format!("{bare}</ds:X509Data>"))),
            "rim-signature-form",
        ),
        (
            "more measurements in the signature",
            genuine.replace("</ds:Signature>", "<ds:Object/></ds:Signature>"),
            "rim-signature-form",
        ),
        (
            "a second signature",
            genuine.replace(signature, &signature.repeat(2)),
            "rim-signature-form",
        ),
        (
            "a second signature, in a measurement",
            genuine.replace("<ns0:Payload>", &format!("<ns0:Payload>{signature}")),
            "rim-signature-form",
        ),
        (
            "the signature deeper",
            bare.replace("<ns0:Payload>", &format!("<ns0:Payload>{signature}")),
            "rim-signature-form",
        ),
        (
            "the signature around",
            signature.replace("</ds:Signature>", &format!("{bare}</ds:Signature>")),
            "rim-signature-form",
        ),
        (
            "a signature of another namespace",
            genuine.replace("2000/09/xmldsig#\"", "2000/09/xmldsig\""),
            "rim-signature-form",
        ),
        ("a root beside", format!("{genuine}{}", with("")), "rim-malformed"),
        ("a root before", format!("{}{genuine}", with("")), "rim-malformed"),
        // A signature may have an id (it is left out of the digest) and is none the better for it.
        ("an id", genuine.replace(signature, &unique), ""),
    ] {
        assert_eq!(codes(&mill.import(&text)).join(" "), expected, "{what}");
    }
    // An id that is what the reference names, signed by the signer himself.
    let named = SIGNATURE.replace("URI=\"\"", "URI=\"#a\"");
    let text = mill.sign_as(&manifest().replace("tagId", "Id=\"a\" tagId"), &named);
    assert_eq!(codes(&mill.import(&text)), ["rim-signature-form"]);
}

#[test]
fn a_signature_has_one_form() {
    let mill = Mill::new(&recipes());
    let reference = {
        let from = SIGNATURE.find("<ds:Reference").unwrap();
        let end = SIGNATURE.find("</ds:SignedInfo>").unwrap();
        SIGNATURE[from..end].to_owned()
    };
    let enveloped =
        "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>";
    let c14n = "<ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"/>";
    let xpath = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"/>";
    let key_info = "<ds:KeyInfo><ds:X509Data>CERTIFICATES</ds:X509Data></ds:KeyInfo>";
    for (what, from, to) in [
        ("another canonicalization", "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"", "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11#WithComments\"".to_owned()),
        ("exclusive", "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"", "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"".to_owned()),
        ("a MAC", "ecdsa-sha384", "hmac-sha384".to_owned()),
        ("another curve's hash", "ecdsa-sha384", "ecdsa-sha256".to_owned()),
        ("another digest", "xmldsig-more#sha384", "xmldsig-more#sha224".to_owned()),
        ("parameters of an algorithm", "#ecdsa-sha384\"/>", "#ecdsa-sha384\"><ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>".to_owned()),
        ("an algorithm with more to say", "#ecdsa-sha384\"/>", "#ecdsa-sha384\" x=\"y\"/>".to_owned()),
        ("no reference", &reference, String::new()),
        ("two references", &reference, reference.repeat(2)),
        ("a part", "URI=\"\"", "URI=\"#x\"".to_owned()),
        ("a file", "URI=\"\"", "URI=\"file:///etc/passwd\"".to_owned()),
        ("a pointer to the whole", "URI=\"\"", "URI=\"#xpointer(/)\"".to_owned()),
        ("nothing said", " URI=\"\"", String::new()),
        ("a type", "URI=\"\"", "URI=\"\" Type=\"http://www.w3.org/2000/09/xmldsig#Object\"".to_owned()),
        ("no transforms", &format!("{enveloped}{c14n}"), String::new()),
        ("not enveloped", enveloped, String::new()),
        ("the other way round", &format!("{enveloped}{c14n}"), format!("{c14n}{enveloped}")),
        ("a filter", c14n, format!("{xpath}{c14n}")),
        ("a filter in its place", c14n, xpath.to_owned()),
        ("a bare key", key_info, "<ds:KeyInfo><ds:KeyValue/></ds:KeyInfo>".to_owned()),
        ("no key", key_info, String::new()),
        ("a key by name too", "<ds:X509Data>", "<ds:KeyName>x</ds:KeyName><ds:X509Data>".to_owned()),
        ("names beside certificates", "CERTIFICATES", "CERTIFICATES<ds:X509SubjectName>x</ds:X509SubjectName>".to_owned()),
        ("many certificates", "CERTIFICATES", "CERTIFICATES".repeat(3)),
        ("text", "<ds:KeyInfo>", "x<ds:KeyInfo>".to_owned()),
        ("another order", &format!("<ds:SignatureValue>VALUE</ds:SignatureValue>{key_info}"), format!("{key_info}<ds:SignatureValue>VALUE</ds:SignatureValue>")),
        ("a digest that is cut", ">DIGEST<", ">AAAA<".to_owned()),
        ("a digest that is none", ">DIGEST<", ">!<".to_owned()),
        ("a value that is cut", ">VALUE<", ">AAAA<".to_owned()),
    ] {
        let changed = SIGNATURE.replacen(from, &to, 1);
        assert_ne!(changed, SIGNATURE, "{what}");
        let text = mill.sign_as(&manifest(), &changed);
        assert_eq!(codes(&mill.import(&text)), ["rim-signature-form"], "{what}");
    }
}

#[test]
fn a_chain_is_right_in_every_part() {
    type Change = fn(&mut [Recipe; 3]);
    let cases: [(&str, Change, &str); 16] = [
        ("as it should be", |_| {}, ""),
        ("signer, not yet", |it| it[0].from = NOW + 1, "rim-certificate-not-yet-valid"),
        ("signer, just yet", |it| it[0].from = NOW, ""),
        ("signer, no more", |it| it[0].until = NOW - 1, "rim-certificate-expired"),
        ("signer, still", |it| it[0].until = NOW, ""),
        ("authority, not yet", |it| it[1].from = NOW + 1, "rim-certificate-not-yet-valid"),
        ("authority, no more", |it| it[1].until = NOW - 1, "rim-certificate-expired"),
        ("root, no more", |it| it[2].until = NOW - 1, "rim-certificate-expired"),
        ("forged signer", |it| it[0].forged = true, "rim-certificate-signature-invalid"),
        ("forged authority", |it| it[1].forged = true, "rim-certificate-signature-invalid"),
        ("another issuer", |it| it[0].issuer = Some("Other"), "rim-certificate-profile"),
        (
            "a signer that issues",
            |it| it[0].ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "rim-certificate-profile",
        ),
        (
            "a signer for other things",
            |it| it[0].usages = vec![KeyUsagePurpose::KeyAgreement],
            "rim-certificate-profile",
        ),
        ("no authority", |it| it[1].ca = IsCa::ExplicitNoCa, "rim-certificate-profile"),
        (
            "an authority for other things",
            |it| it[1].usages = vec![KeyUsagePurpose::CrlSign],
            "rim-certificate-profile",
        ),
        ("what is not understood", |it| it[1].critical = true, "rim-certificate-profile"),
    ];
    for (what, change, expected) in cases {
        let mut recipes = recipes();
        change(&mut recipes);
        let mill = Mill::new(&recipes);
        assert_eq!(codes(&mill.import(&mill.sign(&manifest()))).join(" "), expected, "{what}");
    }
    // The root may issue for no authority.
    let mut short = recipes();
    short[2].ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let mill = Mill::new(&short);
    assert_eq!(codes(&mill.import(&mill.sign(&manifest()))), ["rim-certificate-profile"]);
    // A signer of another curve has no key that could verify.
    let mut curve = recipes();
    curve[0].p256 = true;
    let mill = Mill::new(&curve);
    assert_eq!(codes(&mill.import(&mill.sign(&manifest()))), ["rim-certificate-profile"]);
}

#[test]
fn a_chain_ends_in_the_root_and_nowhere_else() {
    let mill = Mill::new(&recipes());
    let other = Mill::new(&recipes());
    let text = mill.sign(&manifest());
    let now = UnixTime::from_secs(NOW);
    assert!(import_under(mill.root(), text.as_bytes(), now).is_ok());
    let refused = import_under(other.root(), text.as_bytes(), now);
    assert_eq!(codes(&refused), ["rim-root-not-trusted"]);
    let with = |chain: Vec<Vec<u8>>| {
        let mill = Mill {
            chain,
            key: KeyPair::from_pkcs8_der_and_sign_algo(
                &mill.key.serialize_der().into(),
                &PKCS_ECDSA_P384_SHA384,
            )
            .unwrap(),
        };
        let text = mill.sign(&manifest());
        codes(&import_under(other.root(), text.as_bytes(), now)).join(" ")
    };
    let [signer, authority, root] = [0, 1, 2].map(|at| mill.chain[at].clone());
    // Another's root at the end: it did not issue what stands before it.
    let strange = with(vec![signer.clone(), authority.clone(), other.root().to_vec()]);
    assert_eq!(strange, "rim-certificate-signature-invalid");
    for (what, chain, expected) in [
        ("without its root", vec![signer.clone(), authority.clone()], "rim-root-not-trusted"),
        ("none", vec![], "rim-root-not-trusted"),
        (
            "a certificate that is cut",
            vec![signer[1..].to_vec(), authority, root.clone()],
            "rim-certificate-profile",
        ),
        (
            "more than a certificate",
            vec![[signer, vec![0]].concat(), root],
            "rim-certificate-profile",
        ),
    ] {
        assert_eq!(with(chain), expected, "{what}");
    }
}

#[test]
fn a_root_signs_no_manifest() {
    let mut lone = recipes();
    lone[2].ca = IsCa::ExplicitNoCa;
    lone[2].usages = vec![KeyUsagePurpose::DigitalSignature];
    let [_, _, root] = lone;
    let mill = Mill::new(&[root]);
    assert_eq!(codes(&mill.import(&mill.sign(&manifest()))), ["rim-root-not-trusted"]);
}

#[test]
fn a_manifest_says_one_thing_of_each_index() {
    let mill = Mill::new(&recipes());
    let resource = |index: &str| {
        format!(
            "<ns0:Resource type=\"Measurement\" index=\"{index}\" active=\"True\" alternatives=\"1\" \
                 ns2:Hash0=\"{}\" name=\"m\" size=\"48\"/></ns0:Payload>",
            digest("c3")
        )
    };
    let (payload, meta) = ("</ns0:Payload>", "<ns0:Meta ");
    for (what, from, to) in [
        ("an index twice", payload, resource("7")),
        ("an inactive index again", payload, resource("8")),
        ("an index that no report has", payload, resource("254")),
        ("an index written long", payload, resource("07")),
        ("an index with a sign", payload, resource("+9")),
        ("no index", "index=\"7\"", String::new()),
        ("another word", "\"True\"", "\"true\"".to_owned()),
        ("no alternative", "alternatives=\"2\"", "alternatives=\"0\"".to_owned()),
        ("an alternative too many", "alternatives=\"2\"", "alternatives=\"1\"".to_owned()),
        ("an alternative missing", "alternatives=\"2\"", "alternatives=\"3\"".to_owned()),
        ("hashes out of count", "ns2:Hash1", "ns2:Hash2".to_owned()),
        ("a hash of no namespace", "ns2:Hash1", "Hash1".to_owned()),
        ("a hash that is cut", "a1a1\"", "a1\"".to_owned()),
        ("another size", "size=\"48\"", "size=\"32\"".to_owned()),
        ("no name", "name=\"Measurement_7\"", String::new()),
        ("another type", "type=\"Measurement\"", "type=\"Other\"".to_owned()),
        ("more to say", "type=\"Measurement\"", "type=\"Measurement\" mask=\"ff\"".to_owned()),
        ("an element that is not known", payload, "<ns0:Directory/></ns0:Payload>".to_owned()),
        (
            "a measurement within",
            "size=\"48\"/>\n  </ns0:Payload>",
            "size=\"48\"><ns0:Resource/></ns0:Resource></ns0:Payload>".to_owned(),
        ),
        ("an element of the root's", payload, "</ns0:Payload><ns0:Evidence/>".to_owned()),
        ("an element of another's", payload, "</ns0:Payload><x xmlns=\"u\"/>".to_owned()),
        ("a measurement of the root's", payload, "</ns0:Payload><ns0:Resource/>".to_owned()),
        ("measurements twice", payload, "</ns0:Payload><ns0:Payload/>".to_owned()),
        ("a description twice", meta, "<ns0:Meta/><ns0:Meta ".to_owned()),
        ("no description", meta, "<ns0:Entity ".to_owned()),
        ("another's measurements", "<ns0:Payload>", "<ns0:Payload xmlns:ns0=\"u\">".to_owned()),
        (
            "another's root",
            "<SoftwareIdentity xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\"",
            "<SoftwareIdentity xmlns=\"u\"".to_owned(),
        ),
        ("a patch", "patch=\"false\"", "patch=\"true\"".to_owned()),
        ("a supplement", "supplemental=\"false\"", "supplemental=\"true\"".to_owned()),
        ("a corpus", "corpus=\"false\"", String::new()),
        ("no chip", "product=\"GH100\"", String::new()),
        ("a chip that is no word", "product=\"GH100\"", "product=\"GH 100\"".to_owned()),
        ("no version", "colloquialVersion=\"550.144.03\"", String::new()),
        ("a version that is none", "\"550.144.03\"", "\"newest\"".to_owned()),
        ("a part of a version that is empty", "\"550.144.03\"", "\"550..03\"".to_owned()),
        ("a driver of a switch", "edition=\"GPU\"", "edition=\"SWITCH\"".to_owned()),
        ("an edition that is not known", "edition=\"GPU\"", "edition=\"DPU\"".to_owned()),
        ("no id", "tagId=\"8aa5\"", String::new()),
        ("nothing active", "\"True\"", "\"False\"".to_owned()),
        ("text", payload, "x</ns0:Payload>".to_owned()),
    ] {
        let changed = manifest().replace(from, &to);
        assert_ne!(changed, manifest(), "{what}");
        let result = mill.import(&mill.sign(&changed));
        assert_eq!(codes(&result), ["rim-malformed"], "{what}");
        assert!(result.unwrap_err().is_malformed());
    }
    for (version, edition, component) in [
        ("96.00.5E.00.01", "GPU", Component::Vbios),
        ("96.10.55.00.01", "SWITCH", Component::Vbios),
        ("545.00", "GPU", Component::Driver),
    ] {
        let edition = format!("edition=\"{edition}\"");
        let changed =
            manifest().replace("550.144.03", version).replace("edition=\"GPU\"", &edition);
        assert_eq!(mill.import(&mill.sign(&changed)).unwrap().component, component);
    }
    let values = manifest().replace("b2", "a1");
    let rim = mill.import(&mill.sign(&values)).unwrap();
    assert_eq!(rim.measurements.get(&7).map(Vec::len), Some(1), "the same value twice is one");
}

/// Any octet of a manifest changed: never accepted with other content, and never a panic.
#[test]
fn no_change_of_an_octet_changes_what_is_read() {
    let mill = Mill::new(&recipes());
    let text = mill.sign(&manifest());
    let genuine = mill.import(&text).unwrap();
    let mut accepted = 0;
    for at in 0..text.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= flip;
            if let Ok(rim) = import_under(mill.root(), &changed, UnixTime::from_secs(NOW)) {
                assert_eq!(Rim { digest: genuine.digest, ..rim }, genuine, "octet {at} ^ {flip}");
                accepted += 1;
            }
        }
    }
    // White space between certificates, and the like.
    assert!(accepted < text.len() / 100, "{accepted} of {} accepted", text.len());
}
