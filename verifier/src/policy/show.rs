//! A policy in sentences, for people who have to agree to it.

use core::fmt::Write as _;

use super::{
    Accept, AnchorKind, Demand, EvidenceFreshness, Policy, Presence, SigningKeyName, SnpPolicy,
    UnknownBits, list,
};

/// Writes the policy in sentences, one a line.
pub(super) fn show(policy: &Policy) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail; were it to, half a policy would be worse than none.
    if write_policy(&mut out, policy).is_err() {
        out.clear();
    }
    out
}

fn write_policy(out: &mut String, policy: &Policy) -> core::fmt::Result {
    let Policy {
        id,
        version,
        purpose,
        freshness,
        max_age,
        binding,
        models,
        configs,
        anchors,
        sev_snp,
        not_yet,
    } = policy;
    writeln!(out, "Policy {}, version {version}, for {purpose}.", id.name)?;
    writeln!(out, "Its digest is sha256:{}.", id.digest)?;
    match anchors.kind() {
        AnchorKind::Production => writeln!(out, "It trusts the vendors' own roots.")?,
        AnchorKind::Untrusted => {
            let names = list(anchors.sev_snp().iter().map(super::Ark::id));
            writeln!(out, "It trusts roots of its own, not the vendors': {names}.")?;
        }
    }
    match freshness {
        EvidenceFreshness::Challenged => writeln!(out, "Evidence must answer a challenge.")?,
        EvidenceFreshness::Cached => writeln!(out, "Evidence may be made before the question.")?,
    }
    writeln!(out, "An acceptance is used for at most {} seconds.", max_age.as_secs())?;
    match binding {
        Presence::Required => writeln!(out, "Evidence must bind keys, model and configuration.")?,
        Presence::IfPresent => {
            writeln!(out, "Evidence that binds nothing is accepted, with a warning.")?;
        }
    }
    if models.is_empty() {
        writeln!(out, "No model is accepted.")?;
    }
    for (name, digest) in models {
        writeln!(out, "The model {name} must have the manifest sha256:{digest}.")?;
    }
    writeln!(out, "Accepted configurations: {configs}.")?;
    match sev_snp {
        None => writeln!(out, "SEV-SNP is refused.")?,
        Some(snp) => write_snp(out, snp)?,
    }
    for section in not_yet {
        writeln!(
            out,
            "There is a section for {section}, which is not appraised yet: its evidence is refused."
        )?;
    }
    Ok(())
}

fn write_snp(out: &mut String, snp: &SnpPolicy) -> core::fmt::Result {
    writeln!(out, "SEV-SNP is accepted on: {}.", list(&snp.products))?;
    writeln!(out, "  Launch measurements: {}.", snp.measurements)?;
    match snp.revocation {
        Presence::Required => writeln!(out, "  A current revocation list is required.")?,
        Presence::IfPresent => writeln!(out, "  A revocation list is checked where there is one.")?,
    }
    let keys = list(snp.signing_keys.iter().map(|key| match key {
        SigningKeyName::Vcek => "the chip's own (VCEK)",
        SigningKeyName::Vlek => "a cloud provider's (VLEK)",
    }));
    writeln!(out, "  Signing keys: {keys}.")?;
    if snp.signing_keys.contains(&SigningKeyName::Vlek) {
        writeln!(out, "  Cloud providers: {}.", list(&snp.csp_ids))?;
    }
    writeln!(out, "  Privilege levels (VMPL): {}.", list(&snp.vmpl))?;
    writeln!(out, "  Chips: {}.", snp.chips)?;
    for product in &snp.products {
        match snp.min_tcb.get(product) {
            Some(min) => writeln!(out, "  {product}'s firmware is at least: {min}.")?,
            None => writeln!(out, "  {product}'s firmware may be of any version.")?,
        }
    }
    demand(out, "Firmware that can be rolled back", snp.provisional_firmware)?;
    write_bits(out, snp)?;
    for (name, accept) in [("Id keys", &snp.id_keys), ("Author keys", &snp.author_keys)] {
        if *accept != Accept::Any {
            writeln!(out, "  {name}: {accept}.")?;
        }
    }
    if snp.host_data != Accept::Any {
        writeln!(out, "  Host data: {}.", snp.host_data)?;
    }
    for (name, accept) in [("Family ids", &snp.family_ids), ("Image ids", &snp.image_ids)] {
        if *accept != Accept::Any {
            writeln!(out, "  {name}: {accept}.")?;
        }
    }
    if snp.guest_svn_min > 0 {
        writeln!(out, "  The guest's security version is at least {}.", snp.guest_svn_min)?;
    }
    Ok(())
}

fn write_bits(out: &mut String, snp: &SnpPolicy) -> core::fmt::Result {
    let (guest, platform) = (&snp.guest_policy, &snp.platform);
    for (what, wanted) in [
        ("A guest that can be debugged", guest.debug),
        ("A guest that can be migrated", guest.migration),
        ("A migration agent", snp.migration_agent),
        ("Multithreading, by the guest's policy", guest.smt),
        ("One socket only, by the guest's policy", guest.single_socket),
        ("CXL devices, by the guest's policy", guest.cxl),
        ("AES-256-XTS, by the guest's policy", guest.aes_256_xts),
        ("Power readings off, by the guest's policy", guest.rapl_disabled),
        ("Ciphertext hiding, by the guest's policy", guest.ciphertext_hiding),
        ("Page swapping off, by the guest's policy", guest.page_swap_disabled),
        ("The platform's check for aliased memory", platform.alias_check),
        ("The platform's multithreading", platform.smt),
        ("The platform's transparent encryption", platform.tsme),
        ("The platform's error correction", platform.ecc),
        ("The platform's power readings off", platform.rapl_disabled),
        ("The platform's ciphertext hiding", platform.ciphertext_hiding),
        ("The platform's trusted I/O", platform.tio),
        ("Mitigations unchanged since launch", snp.mitigations.unchanged),
    ] {
        demand(out, what, wanted)?;
    }
    if snp.mitigations.required != 0 {
        writeln!(out, "  Mitigations {:#x} are required.", snp.mitigations.required)?;
    }
    let (major, minor) = guest.abi_min;
    writeln!(out, "  The guest's policy wants a firmware ABI of at least {major}.{minor}.")?;
    for (what, bits) in
        [("guest's policy", guest.unknown_bits), ("platform's information", platform.unknown_bits)]
    {
        match bits {
            UnknownBits::Tolerated => writeln!(out, "  Unknown bits in the {what} are tolerated.")?,
            UnknownBits::Refused => writeln!(out, "  Unknown bits in the {what} are refused.")?,
        }
    }
    Ok(())
}

fn demand(out: &mut String, what: &str, wanted: Demand) -> core::fmt::Result {
    writeln!(out, "  {what}: {wanted}.")
}
