//! A policy in sentences, for people who have to agree to it.

use core::fmt::Write as _;

use attestation::Sha256;

use crate::anchors::{NVIDIA_NAME, intel};

use super::{AnchorKind, Ark, Demand, EvidenceFreshness, Policy, Presence, TrustAnchors, list};

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
        min_version,
        purpose,
        freshness,
        max_age,
        binding,
        models,
        configs,
        anchors,
        sev_snp,
        tdx,
        azure,
        nvidia_gpu,
        nvidia_switch,
    } = policy;
    writeln!(out, "Policy {}, version {}, for {purpose}.", id.name, id.version)?;
    writeln!(out, "Its digest is sha256:{}.", id.digest)?;
    if *min_version > 0 {
        writeln!(out, "Who has read it refuses versions of it below {min_version} from then on.")?;
    }
    match anchors.kind() {
        AnchorKind::Production => writeln!(out, "It trusts the vendors' own roots.")?,
        AnchorKind::Untrusted => {
            let vendors = roots(&TrustAnchors::production());
            let own = roots(anchors).into_iter().filter(|root| !vendors.contains(root));
            writeln!(out, "It trusts roots of its own, not the vendors': {}.", list(own))?;
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
        Some(snp) => snp.show(out)?,
    }
    match tdx {
        None => writeln!(out, "TDX is refused.")?,
        Some(tdx) => tdx.show(out)?,
    }
    if let Some(azure) = azure {
        azure.show(out)?;
    }
    match nvidia_gpu {
        None => writeln!(out, "NVIDIA GPUs are refused.")?,
        Some(gpu) => gpu.show(out)?,
    }
    match nvidia_switch {
        None => writeln!(out, "NVIDIA switches are refused.")?,
        Some(switch) => switch.show(out)?,
    }
    Ok(())
}

/// The roots of all platforms, by name and digest.
fn roots(anchors: &TrustAnchors) -> Vec<String> {
    let of_amd = anchors.sev_snp().iter().map(Ark::id);
    let of_intel = anchors.tdx().all().iter().map(intel::Root::id);
    let of_nvidia = anchors.nvidia().map(|der| format!("{NVIDIA_NAME} {}", Sha256::of(der)));
    of_amd.chain(of_intel).chain(of_nvidia).collect()
}

/// What is wanted of one bit.
pub(super) fn demand(out: &mut String, what: &str, wanted: Demand) -> core::fmt::Result {
    writeln!(out, "  {what}: {wanted}.")
}
