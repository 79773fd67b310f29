use attestation::snp::{Product, TcbVersion};
use attestation::{Endorsements, ReportData};

use crate::certificate::Validity;
use crate::error::SimError;
use crate::pki::{ChipId, Pki, PkiOptions, Vek};
use crate::report::{ReportBuilder, healthy_tcb};

/// A host with one guest: signs whatever report data the guest hands in.
#[derive(Debug)]
pub struct SimulatedPlatform {
    /// Every report starts from this one.
    pub template: ReportBuilder,
    /// The key that signs.
    pub vek: Vek,
    /// What comes with each report.
    pub endorsements: Endorsements,
}

impl SimulatedPlatform {
    /// A well-kept host of `product` whose guest has this launch measurement, with the keys that
    /// all tests share. The revocation list is number 1.
    pub fn shared(
        product: Product,
        validity: Validity,
        measurement: [u8; 48],
    ) -> Result<(Pki, Self), SimError> {
        let pki = Pki::shared(PkiOptions { product, validity })?;
        let platform = Self::new(&pki, healthy_tcb(product), measurement, 1)?;
        Ok((pki, platform))
    }

    /// A host of the PKI's product at this TCB, with a VCEK of its own.
    pub fn new(
        pki: &Pki,
        tcb: TcbVersion,
        measurement: [u8; 48],
        crl_number: u64,
    ) -> Result<Self, SimError> {
        let product = pki.options().product;
        let chip = ChipId::of(product, 1);
        let vek = pki.issue_vcek(tcb, &chip)?;
        let endorsements = pki.endorse_vcek(&vek.certificate, crl_number)?;
        let mut template = ReportBuilder::new(product, newest_version(product)).tcb(tcb);
        template.measurement = measurement;
        template.chip_id = chip.0;
        Ok(Self { template, vek, endorsements })
    }

    /// A genuine report over `report_data`.
    pub fn report(&self, report_data: &ReportData) -> Result<Vec<u8>, SimError> {
        self.template.clone().report_data(report_data).sign(&self.vek.key)
    }
}

/// The structure version that current firmware of `product` writes.
pub const fn newest_version(product: Product) -> u32 {
    match product {
        Product::Milan | Product::Genoa => 3,
        Product::Turin => 5,
    }
}
