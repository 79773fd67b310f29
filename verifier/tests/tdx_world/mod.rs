//! An accepting TDX case as data, so that a test changes one thing and looks at what that does.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

use attestation::tdx::Form;
use attestation::{Endorsements, Evidence, UnixTime, Unverified};
use verifier::{
    AttestationResult, ChainCache, Code, Expectation, Policy, Refused, Report, Severity, Verdict,
    appraise, appraise_with,
};

pub(crate) use crate::outcome::{codes, report};

pub(crate) mod pki;
pub(crate) mod platform;

use platform::Tdx;

/// The moment of every appraisal.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);
/// A second.
pub(crate) const SECOND: core::time::Duration = core::time::Duration::from_secs(1);

/// Everything that goes into one appraisal.
pub(crate) struct World {
    pub(crate) tdx: Tdx,
    pub(crate) policy: toml::Table,
    /// What is given; without it, what the platform's vendor would hand out.
    pub(crate) given: Option<Endorsements>,
    /// The root that the policy names; without it, the platform's.
    pub(crate) anchor: Option<Vec<u8>>,
    pub(crate) now: UnixTime,
}

impl World {
    pub(crate) fn new(form: Form) -> Self {
        let tdx = Tdx::new(form, NOW).unwrap();
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &tdx.quote.report.rtmr;
        let registers = format!(
            "rtmr0 = [\"{rtmr0}\"]\nrtmr1 = [\"{rtmr1}\"]\nrtmr2 = [\"{rtmr2}\"]\nrtmr3 = [\"{rtmr3}\"]\n"
        );
        let policy = format!(
            r#"
            schema = 1
            name = "tdx-test"
            version = 1
            purpose = "evaluation"
            freshness = {{ evidence = "cached", max_age = "1h", binding = "if-present" }}
            anchors = {{ tdx = ["root.der"] }}
            [tdx]
            mr_td = ["{}"]
            {registers}
            "#,
            tdx.quote.report.mr_td
        );
        let policy = toml::from_str(&policy).unwrap();
        Self { tdx, policy, given: None, anchor: None, now: NOW }
    }

    /// Sets a key of the policy's section.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        let section = self.policy["tdx"].as_table_mut().unwrap();
        section.insert(key.to_owned(), value.into());
    }

    /// Sets a key of a table in the policy's section.
    pub(crate) fn set_in(&mut self, table: &str, key: &str, value: impl Into<toml::Value>) {
        let section = self.policy["tdx"].as_table_mut().unwrap();
        let table = section.entry(table).or_insert_with(|| toml::Table::new().into());
        table.as_table_mut().unwrap().insert(key.to_owned(), value.into());
    }

    /// What the vendor says, in the pool.
    pub(crate) fn endorsements(&self) -> Endorsements {
        self.given.clone().unwrap_or_else(|| self.tdx.endorsements().unwrap())
    }

    pub(crate) fn case(&self) -> Case {
        let anchor = self.anchor.clone().unwrap_or_else(|| self.tdx.root_der().unwrap());
        let text = toml::to_string(&self.policy).unwrap();
        Case {
            policy: Policy::parse(&text, &|_| Ok(anchor.clone())).unwrap(),
            evidence: Unverified::new(Evidence::from_wire(self.tdx.quote().unwrap())),
            endorsements: Unverified::new(self.endorsements()),
            now: self.now,
        }
    }

    /// The verdict, the same whether what was endorsed was verified before or not.
    pub(crate) fn judge(&self) -> Result<AttestationResult, Refused> {
        self.case().judge()
    }

    /// The codes that refuse, each once, in their order; nothing with an acceptance.
    pub(crate) fn refusals(&self) -> Vec<Code> {
        let outcome = self.judge();
        let found = codes(report(&outcome), Severity::Reject);
        assert_eq!(found.is_empty(), outcome.is_ok());
        found
    }

    /// The codes that warn, of an acceptance.
    pub(crate) fn warnings(&self) -> Vec<Code> {
        let outcome = self.judge();
        assert_eq!(report(&outcome).verdict, Verdict::Accepted, "{:#?}", report(&outcome).findings);
        let mut found = codes(report(&outcome), Severity::Warn);
        // Every policy of these tests has roots of its own and binds nothing.
        found.retain(|code| ![Code::UntrustedAnchors, Code::BindingNotChecked].contains(code));
        found
    }
}

/// Evidence with all that it takes to judge it.
pub(crate) struct Case {
    pub(crate) policy: Policy,
    pub(crate) evidence: Unverified<Evidence>,
    pub(crate) endorsements: Unverified<Endorsements>,
    pub(crate) now: UnixTime,
}

impl Case {
    pub(crate) fn judge(&self) -> Result<AttestationResult, Refused> {
        let Self { policy, evidence, endorsements, now } = self;
        let expectation = Expectation::cached();
        let cold = appraise(policy, evidence, endorsements, &expectation, *now);
        let chains = ChainCache::default();
        for _ in 0..2 {
            let warm = appraise_with(&chains, policy, evidence, endorsements, &expectation, *now);
            assert_eq!(format!("{warm:?}"), format!("{cold:?}"), "a cache changed the outcome");
        }
        cold
    }

    pub(crate) fn warm(&self, chains: &ChainCache) -> Result<AttestationResult, Refused> {
        let Self { policy, evidence, endorsements, now } = self;
        appraise_with(chains, policy, evidence, endorsements, &Expectation::cached(), *now)
    }
}
