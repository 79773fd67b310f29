//! Who and what: product, signer, chip, measurement, privilege level, and what was given at launch.

use attestation::snp::Product;

use crate::authenticate::snp::{Claims, Signer};
use crate::finding::{Code, Finding};
use crate::policy::{Accept, Demand, SigningKeyName, SnpPolicy, list};

/// Milan's chip secrets can be extracted by software (`BadFuse`), so it is accepted by name alone,
/// and never without a word.
pub(super) fn product(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    if !snp.products.contains(&claims.product) {
        findings.push(
            Finding::reject(
                Code::ProductNotAllowed,
                format!("the product {} is not allowed", claims.product),
            )
            .expected(list(&snp.products))
            .actual(claims.product),
        );
    } else if claims.product == Product::Milan {
        findings.push(Finding::warn(
            Code::ProductNotAllowed,
            "the policy names Milan, whose chip secrets can be extracted by software (BadFuse)",
        ));
    }
}

pub(super) fn signer(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let (name, spelt) = match &claims.signer {
        Signer::Vcek => (SigningKeyName::Vcek, "VCEK"),
        Signer::Vlek { .. } => (SigningKeyName::Vlek, "VLEK"),
    };
    if !snp.signing_keys.contains(&name) {
        let allowed = snp.signing_keys.iter().map(|key| match key {
            SigningKeyName::Vcek => "VCEK",
            SigningKeyName::Vlek => "VLEK",
        });
        findings.push(
            Finding::reject(
                Code::SigningKeyNotAllowed,
                format!("a report signed by a {spelt} is not allowed"),
            )
            .expected(list(allowed))
            .actual(spelt),
        );
    }
    if let Signer::Vlek { csp_id } = &claims.signer
        && !snp.csp_ids.contains(csp_id)
    {
        findings.push(
            Finding::reject(
                Code::CspNotAllowed,
                "the VLEK is of a cloud provider that is not allowed",
            )
            .expected(list(&snp.csp_ids))
            .actual(csp_id),
        );
    }
}

pub(super) fn chip(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let chip = claims.report.chip_id();
    if !snp.chips.admits(&chip) {
        findings.push(
            Finding::reject(Code::ChipNotAllowed, "the chip is not on the policy's list")
                .expected(&snp.chips)
                .actual(chip),
        );
    }
}

pub(super) fn measurement(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let measurement = claims.report.measurement();
    if snp.measurements == Accept::Any {
        findings.push(
            Finding::warn(
                Code::MeasurementNotAllowed,
                "the policy accepts any measurement: nothing is known of what runs",
            )
            .actual(measurement),
        );
    } else if !snp.measurements.admits(&measurement) {
        findings.push(
            Finding::reject(
                Code::MeasurementNotAllowed,
                "the launch measurement is none of the policy's",
            )
            .expected(&snp.measurements)
            .actual(measurement),
        );
    }
}

pub(super) fn vmpl(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let vmpl = claims.report.vmpl();
    if !snp.vmpl.contains(&vmpl) {
        findings.push(
            Finding::reject(
                Code::VmplNotAllowed,
                format!("the report was requested at VMPL {vmpl}, which is not allowed"),
            )
            .expected(list(&snp.vmpl))
            .actual(vmpl),
        );
    }
}

/// What host and owner gave at launch, and the migration agent.
pub(super) fn launch(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let report = &claims.report;
    let mut wrong = |code, what: &str, expected: String, actual: String| {
        findings.push(
            Finding::reject(code, format!("{what} is none of the policy's"))
                .expected(expected)
                .actual(actual),
        );
    };
    if !snp.host_data.admits(&report.host_data()) {
        wrong(
            Code::HostDataNotAllowed,
            "HOST_DATA",
            snp.host_data.to_string(),
            report.host_data().to_string(),
        );
    }
    if !snp.family_ids.admits(&report.family_id()) {
        wrong(
            Code::FamilyIdNotAllowed,
            "FAMILY_ID",
            snp.family_ids.to_string(),
            report.family_id().to_string(),
        );
    }
    if !snp.image_ids.admits(&report.image_id()) {
        wrong(
            Code::ImageIdNotAllowed,
            "IMAGE_ID",
            snp.image_ids.to_string(),
            report.image_id().to_string(),
        );
    }
    if report.guest_svn() < snp.guest_svn_min {
        findings.push(
            Finding::reject(Code::GuestSvnBelowMinimum, "GUEST_SVN is below the policy's minimum")
                .expected(format!("at least {}", snp.guest_svn_min))
                .actual(report.guest_svn()),
        );
    }
    migration_agent(claims, snp, findings);
}

/// `REPORT_ID_MA` is all ones where there is no migration agent (ABI §7.3).
fn migration_agent(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let agent = claims.report.report_id_ma();
    let present = agent.0 != [0xff; 32];
    match (snp.migration_agent, present) {
        (Demand::Refused, true) => findings.push(
            Finding::reject(Code::MigrationAgent, "the guest is tied to a migration agent")
                .actual(agent),
        ),
        (Demand::Required, false) => findings.push(Finding::reject(
            Code::MigrationAgent,
            "the guest is tied to no migration agent, and the policy wants one",
        )),
        (Demand::Allowed | Demand::Required, true) => findings.push(
            Finding::warn(
                Code::MigrationAgent,
                "the policy accepts a guest that is tied to a migration agent",
            )
            .actual(agent),
        ),
        (Demand::Allowed | Demand::Refused, false) => {}
    }
}

/// The keys behind the guest's id block, where it has one.
pub(super) fn keys(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let report = &claims.report;
    let id_key = report.id_key_digest();
    if !snp.id_keys.admits(&id_key) {
        findings.push(
            Finding::reject(Code::IdKeyNotAllowed, "the id block's key is none of the policy's")
                .expected(&snp.id_keys)
                .actual(id_key),
        );
    }
    let author_key = report.author_key_digest();
    let claimed = report.key_info().author_key_en();
    if claimed && author_key.is_zero() {
        findings.push(Finding::reject(
            Code::AuthorKeyNotAllowed,
            "the report says that there is an author key, and has no digest of it",
        ));
    }
    // Without the flag the digest means nothing, whatever it holds.
    let admitted = match &snp.author_keys {
        Accept::Any => true,
        Accept::Only(keys) => claimed && keys.contains(&author_key),
    };
    if !admitted {
        findings.push(
            Finding::reject(Code::AuthorKeyNotAllowed, "the author key is none of the policy's")
                .expected(&snp.author_keys)
                .actual(if claimed { author_key.to_string() } else { "no author key".to_owned() }),
        );
    }
}
