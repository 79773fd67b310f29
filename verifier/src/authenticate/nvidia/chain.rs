//! The chain: the key that the device made at boot, the chip's own, the line that provisioned the chip,
//! the generation, and a root that is an anchor byte for byte.
//!
//! | role | common name | on |
//! |---|---|---|
//! | signing key | `GH100 A01 GSP FMC LF`, `LS_10 A01 FSP FMC LF` | this boot |
//! | chip | `GH100 A01 GSP BROM` | this chip |
//! | provisioner | `NVIDIA GH100 Provisioner ICA 1` | |
//! | identity | `NVIDIA GH100 Identity`, of a switch too | |
//! | root | `NVIDIA Device Identity CA` | |

use attestation::Sha256;
use attestation::gpu::{Architecture, Pdi};

use super::fwid::{self, NoFwid};
use super::{Ends, Fact, Identity, Inputs};
use crate::anchors::NVIDIA_NAME;
use crate::authenticate::validity;
use crate::finding::{Code, Finding};
use crate::x509::{Algorithm, Certificate, Key};

/// The five certificates, the signing key's first.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    leaf: Certificate<'a>,
    /// Chip, provisioner, identity and root.
    above: [Certificate<'a>; 4],
    /// Of the leaf, and of those above it.
    digest: Sha256,
    digests_above: [Sha256; 4],
}

impl<'a> Chain<'a> {
    /// The signing key's.
    pub(super) const fn leaf(&self) -> &Certificate<'a> {
        &self.leaf
    }

    /// Those above it, the chip's first.
    pub(super) const fn above(&self) -> &[Certificate<'a>; 4] {
        &self.above
    }

    /// Of each of [`above`](Self::above).
    pub(super) const fn digests_above(&self) -> &[Sha256] {
        &self.digests_above
    }

    fn of(certificates: Vec<(Certificate<'a>, Sha256)>) -> Option<Self> {
        let (certificates, digests): (Vec<_>, Vec<_>) = certificates.into_iter().unzip();
        let [leaf, chip, provisioner, identity, root] = certificates.try_into().ok()?;
        let [digest, digests_above @ ..]: [Sha256; 5] = digests.try_into().ok()?;
        Some(Self { leaf, above: [chip, provisioner, identity, root], digest, digests_above })
    }

    /// The certificate at a place, if it is the same there.
    fn same(&self, place: usize, der: &[u8]) -> Option<(Certificate<'a>, Sha256)> {
        let (certificate, digest) = match place.checked_sub(1) {
            None => (&self.leaf, &self.digest),
            Some(place) => (self.above.get(place)?, self.digests_above.get(place)?),
        };
        (certificate.der == der).then(|| (certificate.clone(), *digest))
    }

    /// Whether those above the chip's are the same.
    pub(super) fn shares_authorities(&self, other: &Self) -> bool {
        self.digests_above.get(1..) == other.digests_above.get(1..)
    }
}

fn digested(certificate: Certificate<'_>) -> (Certificate<'_>, Sha256) {
    let digest = Sha256::of(certificate.der);
    (certificate, digest)
}

/// Names of the roles above the signing key's.
pub(super) const ROLES: [&str; 4] = ["chip", "provisioner", "identity", "root"];

/// Puts the chain together: what the evidence carries, in its order, or, for a report alone, what was
/// given beside it. What the chain of the device before has in the same place is not read again.
pub(super) fn resolve<'a>(
    inputs: Inputs<'a>,
    before: Option<&Chain<'a>>,
    findings: &mut Vec<Finding>,
) -> Option<Chain<'a>> {
    if inputs.evidence.chain.is_empty() {
        return climb(inputs, findings);
    }
    let mut certificates = Vec::new();
    for (place, der) in inputs.evidence.chain.iter().enumerate() {
        if let Some(same) = before.and_then(|before| before.same(place, der)) {
            certificates.push(same);
            continue;
        }
        match Certificate::parse(der) {
            Ok(certificate) => certificates.push(digested(certificate)),
            Err(malformed) => {
                findings.push(Finding::malformed(&malformed));
                return None;
            }
        }
    }
    let count = certificates.len();
    let chain = Chain::of(certificates);
    if chain.is_none() {
        findings.push(
            Finding::reject(Code::DeviceChainInvalid, "the chain is not of five certificates")
                .expected(5)
                .actual(count),
        );
    }
    chain
}

/// Follows a report's signing key up through the certificates that were given. Of two that would do, the
/// one that signed counts.
fn climb<'a>(inputs: Inputs<'a>, findings: &mut Vec<Finding>) -> Option<Chain<'a>> {
    let missing = |role: &str, found: usize| {
        let message = format!("no certificate of the {role} was given");
        Finding::reject(Code::DeviceCertificateMissing, message).expected(5).actual(found)
    };
    let mut leaves = inputs.pool.iter().filter(|c| c.subject_cn().ends_with(LEAF));
    let first = leaves.next();
    let leaf = match (first, leaves.next()) {
        (Some(first), Some(second)) => {
            let mut all = [first, second].into_iter().chain(leaves);
            all.find(|leaf| super::report::is_signed_by(inputs, leaf)).or(Some(first))
        }
        (first, _) => first,
    };
    let Some(leaf) = leaf else {
        findings.push(missing("signing key", 0));
        return None;
    };
    let mut chain = vec![leaf];
    for role in ROLES {
        let below = chain.last().copied()?;
        let issuers = || inputs.pool.iter().chain(inputs.anchors).filter(|c| below.names_issuer(c));
        let mut two = issuers().take(2);
        let issuer = match (two.next(), two.next()) {
            (Some(_), Some(_)) => {
                let signs = |c: &&Certificate<'_>| {
                    inputs.signatures.try_once(|| below.is_signed_by(c.key()))
                };
                issuers().find(signs).or_else(|| issuers().next())
            }
            (only, _) => only,
        };
        let Some(issuer) = issuer else {
            findings.push(missing(role, chain.len()));
            return None;
        };
        chain.push(issuer);
    }
    Chain::of(chain.into_iter().cloned().map(digested).collect())
}

/// What [`verify`] found.
pub(super) struct Verified {
    /// Who the device is, where the names say so.
    pub(super) identity: Option<Identity>,
    /// Whether the certificates above the chip's are good, without a finding.
    pub(super) authorities_hold: bool,
}

/// Checks the chain from its root down. Certificates above the chip's that are known to hold are not
/// looked up again.
pub(super) fn verify(
    chain: &Chain<'_>,
    inputs: Inputs<'_>,
    authorities_hold: bool,
    ends: &mut Ends,
    findings: &mut Vec<Finding>,
) -> Verified {
    let Chain { leaf, above: [chip, provisioner, identity, root], digest, digests_above } = chain;
    let [of_chip, of_provisioner, of_identity, of_root] = digests_above;
    let is_anchored = inputs.anchors.iter().any(|anchor| anchor.der == root.der);
    if !is_anchored {
        findings.push(
            Finding::reject(
                Code::RootNotTrusted,
                "the chain ends in a root that is no anchor of the policy for NVIDIA",
            )
            .actual(root.subject_cn()),
        );
    }
    let names = names(chain, findings);
    let mut hangs = is_anchored;
    let before = findings.len();
    for (role, what, certificate, issuer) in [
        ("root", "root certificate", (root, of_root), root),
        ("identity", "identity certificate", (identity, of_identity), root),
        ("provisioner", "provisioner certificate", (provisioner, of_provisioner), identity),
    ] {
        hangs &= authorities_hold || link(role, certificate, issuer, hangs, inputs, findings);
        dates(what, certificate.0, inputs, ends, findings);
    }
    let authorities_hold = hangs && findings.len() == before;
    for (role, what, certificate, issuer) in [
        ("chip", "chip certificate", (chip, of_chip), provisioner),
        ("signing key", "signing key certificate", (leaf, digest), chip),
    ] {
        hangs &= link(role, certificate, issuer, hangs, inputs, findings);
        dates(what, certificate.0, inputs, ends, findings);
    }
    Verified { identity: names.map(|names| identify(names, chain, findings)), authorities_hold }
}

fn dates(
    what: &'static str,
    certificate: &Certificate<'_>,
    inputs: Inputs<'_>,
    ends: &mut Ends,
    findings: &mut Vec<Finding>,
) {
    let end = validity::dates(certificate, what, inputs.context.now, findings);
    ends.push((what.into(), end));
}

/// Who the device is by its certificates.
fn identify(names: Named, chain: &Chain<'_>, findings: &mut Vec<Finding>) -> Identity {
    let Chain { leaf, above: [chip, ..], .. } = chain;
    let fwid = match fwid::read(leaf, chip) {
        Ok(fwid) => {
            if fwid.is_open {
                findings.push(Finding::reject(
                    Code::DeviceDebug,
                    "the certificate says that the firmware is not secure, in recovery, or can be debugged",
                ));
            }
            Some(fwid.digest)
        }
        Err(NoFwid::Missing) => {
            let message = "the signing key's certificate says nothing of the firmware";
            findings.push(Finding::reject(Code::CertificateExtensionMissing, message));
            None
        }
        Err(NoFwid::Malformed) => {
            let message =
                "the signing key's certificate has a digest of the firmware in no known form";
            findings.push(Finding::reject(Code::CertificateExtensionMalformed, message));
            None
        }
    };
    Identity {
        chip: names.chip,
        architecture: names.architecture,
        model: chip.subject_cn().to_owned(),
        ueid: hex::encode(leaf.serial()),
        serial: hex::encode(chip.serial()),
        pdi: pdi(chip.serial()),
        fwid,
    }
}

/// What the names agree on.
struct Named {
    chip: String,
    architecture: Architecture,
}

/// Compares the common names with the roles, and with each other.
fn names(chain: &Chain<'_>, findings: &mut Vec<Finding>) -> Option<Named> {
    let Chain { leaf, above: [chip, provisioner, identity, root], .. } = chain;
    let parse = || {
        let model = leaf.subject_cn().strip_suffix(LEAF)?;
        let (name, rest) = model.split_once(' ')?;
        let (_stepping, engine) = rest.split_once(' ')?;
        let is_provisioner = provisioner
            .subject_cn()
            .strip_prefix("NVIDIA ")?
            .strip_prefix(name)?
            .strip_prefix(" Provisioner ICA ")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
        let generation =
            identity.subject_cn().strip_prefix("NVIDIA ")?.strip_suffix(" Identity")?;
        let fits = matches!(engine, "GSP" | "FSP")
            && chip.subject_cn().strip_suffix(" BROM") == Some(model)
            && is_provisioner
            && Architecture::of_chip(generation).is_some()
            && root.subject_cn() == NVIDIA_NAME;
        // A switch's name has a line that its reference values leave out.
        let chip = name.replace('_', "");
        let architecture = Architecture::of_chip(&chip)?;
        fits.then_some(Named { chip, architecture })
    };
    let named = parse();
    if named.is_none() {
        let all = [leaf, chip, provisioner, identity, root].map(Certificate::subject_cn);
        findings.push(
            Finding::reject(
                Code::DeviceChainInvalid,
                "the certificates' names are not those of a device's five roles, in their order",
            )
            .expected(
                "… FMC LF, … BROM, … Provisioner ICA …, … Identity, NVIDIA Device Identity CA",
            )
            .actual(all.join(", ")),
        );
    }
    named
}

/// Checks one certificate against its role and its issuer; yields whether that signed it. Of what does not hang from an
/// anchor nothing is remembered.
fn link(
    role: &str,
    (certificate, digest): (&Certificate<'_>, &Sha256),
    issuer: &Certificate<'_>,
    hangs: bool,
    inputs: Inputs<'_>,
    findings: &mut Vec<Finding>,
) -> bool {
    let is_leaf = role == "signing key";
    let fits_role = if is_leaf {
        certificate.may_sign() && !certificate.claims_ca()
    } else {
        certificate.is_ca()
    };
    let is_of_curve = matches!(certificate.key(), Key::P384(_));
    if !certificate.is_well_formed() || !fits_role || !is_of_curve {
        let message = format!("the {role} certificate is not of its role's profile");
        findings.push(Finding::reject(Code::CertificateProfile, message));
    }
    if !certificate.names_issuer(issuer) {
        findings.push(
            Finding::reject(
                Code::CertificateProfile,
                format!("the {role} certificate names another issuer than the next certificate"),
            )
            .expected(issuer.subject_cn())
            .actual(certificate.issuer_cn()),
        );
    }
    if certificate.algorithm() != Some(Algorithm::EcdsaP384) {
        findings.push(Finding::reject(
            Code::CertificateAlgorithm,
            format!("the {role} certificate is not signed with ECDSA and SHA-384"),
        ));
        return false;
    }
    let verify = || certificate.is_signed_by(issuer.key());
    let is_signed = match (issuer.key(), hangs) {
        (Key::P384(point), true) => {
            inputs.signatures.holds(Fact { signed: *digest, point: *point }, verify)
        }
        (Key::P384(_), false) => inputs.signatures.try_once(verify),
        _ => false,
    };
    if !is_signed {
        findings.push(Finding::reject(
            Code::CertificateSignatureInvalid,
            format!("the {role} certificate is not signed by {}", issuer.subject_cn()),
        ));
    }
    is_signed
}

/// The chip's serial number is one byte for the product, then its name in the fabric.
fn pdi(serial: &[u8]) -> Option<Pdi> {
    let (_product, pdi) = serial.split_first()?;
    pdi.try_into().ok().map(Pdi)
}

/// How the common names of signing keys end.
const LEAF: &str = " FMC LF";
