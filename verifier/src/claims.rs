//! What authentic hardware says of itself, as JSON for reports.

use core::fmt;
use core::ops::Deref;
use std::sync::{Arc, OnceLock};

use attestation::{BindingId, Sha256, Statement};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::authenticate::azure::AuthenticAzure;
use crate::authenticate::nvidia::AuthenticDevice;
use crate::authenticate::{Authentic, Claims};
use crate::bind::Bound;

mod azure;
mod nvidia;
mod snp;
mod tdx;

/// The claims of a [`Report`](crate::Report): a JSON object, empty unless something is authentic.
///
/// It is written when it is first looked at: whoever wants keys alone does not pay for it.
#[derive(Clone, Default)]
pub struct ClaimsSet(Arc<Written>);

#[derive(Default)]
struct Written {
    said: Said,
    map: OnceLock<Map<String, Value>>,
}

/// Who says something, and is authentic.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) cpu: Option<Authentic>,
    pub(crate) azure: Option<AuthenticAzure>,
    pub(crate) devices: Vec<AuthenticDevice>,
    pub(crate) binding: Option<Binding>,
}

impl From<Said> for ClaimsSet {
    fn from(said: Said) -> Self {
        Self(Arc::new(Written { said, map: OnceLock::new() }))
    }
}

impl Deref for ClaimsSet {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        self.0.map.get_or_init(|| self.0.said.to_json())
    }
}

impl PartialEq for ClaimsSet {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for ClaimsSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for ClaimsSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl Said {
    /// The CPU's claims by name; what else there is stands among them, each under its own.
    fn to_json(&self) -> Map<String, Value> {
        let mut map = match self.cpu.as_ref().map(Authentic::claims) {
            Some(Claims::Snp(claims)) => snp::to_json(claims),
            Some(Claims::Tdx(claims)) => tdx::to_json(claims),
            None => Map::new(),
        };
        if let Some(binding) = &self.binding {
            map.insert("binding".to_owned(), binding.to_json());
        }
        if let Some(azure) = &self.azure {
            map.insert("azure".to_owned(), azure::to_json(azure));
        }
        map.extend(nvidia::to_json(&self.devices));
        map
    }
}

/// What a bundle's statement binds to the hardware.
pub(crate) struct Binding {
    id: BindingId,
    statement: Statement,
    manifest: Sha256,
    models: Vec<String>,
}

impl Binding {
    pub(crate) fn of(bound: &Bound) -> Self {
        Self {
            id: bound.binding_id,
            statement: bound.statement.clone(),
            manifest: bound.manifest_digest,
            models: bound.manifest.names.clone(),
        }
    }

    fn to_json(&self) -> Value {
        let Self { id, statement, manifest, models } = self;
        json!({
            "binding_id": id.to_string(),
            "node_id": statement.node_id.to_string(),
            "not_before": statement.not_before,
            "not_after": statement.not_after,
            "ohttp_keys": statement.ohttp_keys,
            "receipt_key": statement.receipt_key,
            "tls_spki": statement.tls_spki,
            "config": statement.config,
            "manifest": manifest,
            "models": models,
        })
    }
}
