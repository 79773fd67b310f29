//! The section `[azure]`: what may be written, what it means, and what is said of it.
//!
//! The hardware below is judged by the sections `[sev-snp]` and `[tdx]`.

use core::fmt::{self, Write as _};
use std::collections::{BTreeMap, BTreeSet};

use attestation::Sha256;
use attestation::azure::PCRS;
use serde::Deserialize;

use super::file::{AnyOr, Demand, Presence};
use super::lint::{Problem, is_empty};
use super::read::Reader;
use super::show::demand;
use super::{Accept, Policy, list};

/// What is acceptable of Azure's paravisor and its TPM.
#[derive(Clone, Debug)]
pub(crate) struct AzurePolicy {
    pub(crate) tpm_quote: Presence,
    pub(crate) secure_boot: Demand,
    pub(crate) tpm: Demand,
    pub(crate) tpm_persisted: Demand,
    pub(crate) console: Demand,
    pub(crate) vms: Accept<String>,
    /// Registers by number, each with the values that it may have.
    pub(crate) pcrs: BTreeMap<u32, BTreeSet<Sha256>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AzureFile {
    tpm_quote: Presence,
    secure_boot: Demand,
    tpm: Demand,
    tpm_persisted: Demand,
    console: Demand,
    vms: AnyOr<String>,
    pcrs: BTreeMap<String, Vec<String>>,
}

impl Default for AzureFile {
    fn default() -> Self {
        Self {
            tpm_quote: Presence::Required,
            secure_boot: Demand::Required,
            tpm: Demand::Required,
            tpm_persisted: Demand::Allowed,
            console: Demand::Allowed,
            vms: AnyOr::Any,
            pcrs: BTreeMap::new(),
        }
    }
}

impl Reader {
    /// What a section means.
    pub(super) fn azure(&mut self, file: AzureFile) -> AzurePolicy {
        let AzureFile { tpm_quote, secure_boot, tpm, tpm_persisted, console, vms, pcrs } = file;
        AzurePolicy {
            tpm_quote,
            secure_boot,
            tpm,
            tpm_persisted,
            console,
            vms: self.accept("azure.vms", vms, |name| Ok(name.to_owned())),
            pcrs: self.pcrs(pcrs),
        }
    }

    fn pcrs(&mut self, written: BTreeMap<String, Vec<String>>) -> BTreeMap<u32, BTreeSet<Sha256>> {
        let mut pcrs = BTreeMap::new();
        for (name, values) in written {
            let key = format!("azure.pcrs.{name}");
            let number = name.parse().ok().filter(|number| {
                usize::try_from(*number).is_ok_and(|number| number < PCRS)
                    && u32::to_string(number) == name
            });
            let Some(number) = number else {
                self.problem(&key, "is no number from 0 to 23");
                continue;
            };
            if let Accept::Only(values) = self.accept(&key, AnyOr::List(values), str::parse) {
                pcrs.insert(number, values);
            }
        }
        pcrs
    }
}

impl AzurePolicy {
    /// Where the section asks for less than it could.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        let without = self.tpm_quote == Presence::IfPresent;
        note(without, "azure.tpm_quote", "does without a quote of the virtual TPM");
        note(self.pcrs.is_empty(), "azure.pcrs", "accepts whatever was booted");
        let required = |demand: Demand| demand == Demand::Required;
        note(
            !required(self.secure_boot),
            "azure.secure_boot",
            "accepts a boot that nobody verified",
        );
        note(!required(self.tpm), "azure.tpm", "accepts a machine without a virtual TPM");
    }

    /// What its author should look at.
    pub(super) fn lint(&self, policy: &Policy, problems: &mut Vec<Problem>) {
        if policy.sev_snp.is_none() && policy.tdx.is_none() {
            let message = "is of machines on hardware that the policy has no section for";
            problems.push(Problem::error("azure", message));
        }
        if is_empty(&self.vms) {
            problems.push(Problem::error("azure.vms", "is empty: no machine is accepted"));
        }
        for (number, values) in &self.pcrs {
            if values.is_empty() {
                let key = format!("azure.pcrs.{number}");
                problems.push(Problem::error(&key, "is empty: no value is accepted"));
            }
        }
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "Machines on Azure are accepted, on the hardware above.")?;
        match self.tpm_quote {
            Presence::Required => writeln!(out, "  A quote of the virtual TPM is required.")?,
            Presence::IfPresent => {
                writeln!(out, "  A quote of the virtual TPM is checked where there is one.")?;
            }
        }
        for (what, wanted) in [
            ("Secure boot", self.secure_boot),
            ("A virtual TPM", self.tpm),
            ("State of the virtual TPM that outlives the machine", self.tpm_persisted),
            ("A serial console", self.console),
        ] {
            demand(out, what, wanted)?;
        }
        writeln!(out, "  Machines: {}.", self.vms)?;
        if self.pcrs.is_empty() {
            writeln!(out, "  Whatever was booted is accepted.")?;
        }
        for (number, values) in &self.pcrs {
            writeln!(out, "  PCR {number}: {}.", list(values))?;
        }
        Ok(())
    }
}
