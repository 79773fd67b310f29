//! What judging some evidence takes, as the evidence itself tells.
//!
//! Evidence is not believed here either: what it says decides what is asked for, and a wrong question
//! has no good answer.

use attestation::azure::{AzureEvidence, Hardware};
use attestation::endorsements::ITEMS_MAX;
use attestation::snp::{Product, SigningKey, SnpReport, TcbVersion};
use attestation::tdx::{Certification, TdxQuote};
use attestation::{Bundle, CpuEvidence, CpuPlatform, Endorsements, EvidenceKind, Malformed, gpu};

use crate::amd;
use crate::intel::{self, PckCa, Update};
use crate::item::{AmdKey, Item};

/// Items, and what could not be told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// What to obtain, each once.
    pub items: Vec<Item>,
    /// Sentences about what stays missing.
    pub notes: Vec<String>,
}

impl Needs {
    /// What `evidence` needs. Reports of version 2 do not say their product: `product` does, or the
    /// certificate of the signing key among those `given`.
    ///
    /// # Errors
    /// Evidence of no kind that is known, or that does not parse.
    pub fn of(
        evidence: &[u8],
        given: &Endorsements,
        product: Option<Product>,
        update: Update,
    ) -> Result<Self, Malformed> {
        let certified = || given.certificates().iter().find_map(|der| amd::product_of(der));
        let product = product.or_else(certified);
        let mut needs = Self::default();
        match EvidenceKind::detect(evidence)? {
            EvidenceKind::Bundle => {
                let Bundle { cpu0: CpuEvidence { platform, bytes }, accel, .. } =
                    Bundle::parse(evidence)?;
                match platform {
                    CpuPlatform::SevSnp => needs.snp(&bytes, product)?,
                    CpuPlatform::Tdx => needs.tdx(&bytes, update)?,
                }
                if let Some(accel) = accel {
                    needs.nvidia(&accel)?;
                }
            }
            EvidenceKind::SnpReport(report) => needs.snp(&report, product)?,
            EvidenceKind::TdxQuote(quote) => needs.tdx(&quote, update)?,
            EvidenceKind::NvidiaJson => needs.nvidia(evidence)?,
            EvidenceKind::AzureHcl(report) => {
                needs.azure(AzureEvidence::of_report(&report)?, product, update)?;
            }
            EvidenceKind::AzureJson => {
                needs.azure(AzureEvidence::parse_json(evidence)?, product, update)?;
            }
            EvidenceKind::NvidiaReport(_) => {
                needs.note("a report without its chain does not say whose status to ask for");
            }
            EvidenceKind::Foreign(_) | _ => {
                needs.note("the evidence is of a kind whose needs this version cannot tell");
            }
        }
        Ok(needs)
    }

    /// A product's chain and list.
    pub fn of_product(product: Product, key: AmdKey) -> Self {
        Self {
            items: vec![Item::AmdChain(product, key), Item::AmdCrl(product, key)],
            notes: Vec::new(),
        }
    }

    /// What every TDX quote of a platform family needs.
    pub fn of_family(fmspc: [u8; 6], update: Update) -> Self {
        let mut needs = Self::default();
        for ca in PckCa::ALL {
            needs.add(Item::IntelPckCrl(ca));
        }
        needs.intel(fmspc, update);
        needs
    }

    /// Adds what `other` has.
    pub fn extend(&mut self, other: Self) {
        for item in other.items {
            self.add(item);
        }
        self.notes.extend(other.notes);
    }

    fn snp(&mut self, report: &[u8], product: Option<Product>) -> Result<(), Malformed> {
        let report = SnpReport::parse(report)?;
        let Some(product) = report.product().or(product) else {
            self.note("the report does not say of which product it is: name it");
            return Ok(());
        };
        let key = match report.key_info().signing_key() {
            SigningKey::Vcek => AmdKey::Vcek,
            SigningKey::Vlek => AmdKey::Vlek,
            SigningKey::None | SigningKey::Reserved(_) => {
                self.note("no key of AMD's signed the report");
                return Ok(());
            }
        };
        match key {
            AmdKey::Vcek if report.chip_id().is_zero() => {
                self.note("the report hides its chip, so its VCEK cannot be asked for");
            }
            AmdKey::Vcek => match TcbVersion::from_raw(product, report.reported_tcb()) {
                Ok(tcb) => self.add(Item::vcek(product, report.chip_id().as_bytes(), tcb)),
                Err(_) => self.note("the report states no TCB of its product"),
            },
            AmdKey::Vlek => self.note("the VLEK certificate comes with the report, from the host"),
        }
        self.extend(Self::of_product(product, key));
        Ok(())
    }

    fn tdx(&mut self, quote: &[u8], update: Update) -> Result<(), Malformed> {
        let quote = TdxQuote::parse(quote)?;
        let Certification::PckChain(pem) = quote.certification else {
            self.note("the quote does not carry its PCK's chain");
            return Ok(());
        };
        let mut chain = Endorsements::new();
        // Some quoting services end the text with a zero.
        chain.add(pem.strip_suffix(&[0]).unwrap_or(pem))?;
        let [leaf, ..] = chain.certificates() else {
            self.note("the quote does not carry its PCK's chain");
            return Ok(());
        };
        let (ca, fmspc) = intel::pck(leaf)?;
        self.add(Item::IntelPckCrl(ca));
        self.intel(fmspc, update);
        Ok(())
    }

    fn azure(
        &mut self,
        evidence: AzureEvidence,
        product: Option<Product>,
        update: Update,
    ) -> Result<(), Malformed> {
        match (evidence.report.hardware, evidence.td_quote) {
            (Hardware::Snp(report), _) => self.snp(&report, product),
            (Hardware::Tdx(_), Some(quote)) => self.tdx(&quote, update),
            (Hardware::Tdx(_), None) => {
                self.note("a TDREPORT without a quote does not say what it needs");
                Ok(())
            }
        }
    }

    /// The status of every certificate between root and leaf. The leaf is made by the device itself at
    /// every start, and NVIDIA's responder does not know it.
    fn nvidia(&mut self, json: &[u8]) -> Result<(), Malformed> {
        for device in gpu::parse_devices(json)? {
            for pair in device.chain.windows(2).skip(1) {
                if let [certificate, issuer] = pair {
                    self.add(Item::NvidiaOcsp {
                        certificate: certificate.clone(),
                        issuer: issuer.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn intel(&mut self, fmspc: [u8; 6], update: Update) {
        self.add(Item::IntelRootCrl);
        self.add(Item::IntelTcbInfo { fmspc, update });
        self.add(Item::IntelQeIdentity { update });
    }

    /// Evidence is whoever's: it must not make us ask without end. No more than this fits into one pool.
    fn add(&mut self, item: Item) {
        const TOO_MANY: &str = "that is more than any machine needs: the rest is not asked for";
        if self.items.contains(&item) {
            return;
        }
        if self.items.len() < ITEMS_MAX {
            self.items.push(item);
        } else if self.notes.last().is_none_or(|note| note != TOO_MANY) {
            self.note(TOO_MANY);
        }
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
}
