//! Event logs as data (TCG PC Client Platform Firmware Profile §10.2; the layout is [`attestation::eventlog`]'s).

use attestation::eventlog::{EventKind, EventLog, Register};
use attestation::{Malformed, Sha384};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Where it was measured to.
    pub register: Register,
    /// Its type.
    pub kind: EventKind,
    /// What is extended.
    pub digest: Sha384,
    /// What the log says of it.
    pub data: Vec<u8>,
}

impl LoggedEvent {
    /// An event whose digest is that of its data.
    pub fn of(register: Register, kind: EventKind, data: &[u8]) -> Self {
        Self { register, kind, digest: Sha384::of(data), data: data.to_vec() }
    }
}

/// A log, event by event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLogRecipe {
    /// The events, in order.
    pub events: Vec<LoggedEvent>,
    /// How long the area is; what the log leaves of it is filled up.
    pub area: usize,
}

impl EventLogRecipe {
    /// What a guest logs that boots one kernel by itself.
    pub fn boot(guest: &[u8]) -> Self {
        let event = LoggedEvent::of;
        let separator = |register| event(register, EventKind::SEPARATOR, &[0; 4]);
        Self {
            events: vec![
                event(Register::Rtmr0, EventKind(0x8000_000a), b"simulated firmware"),
                separator(Register::Rtmr0),
                event(Register::Rtmr1, EventKind::EFI_BOOT_SERVICES_APPLICATION, guest),
                event(
                    Register::Rtmr1,
                    EventKind::EFI_ACTION,
                    b"Exit Boot Services Returned with Success",
                ),
                separator(Register::Rtmr1),
                event(Register::Rtmr2, EventKind::IPL, b"quiet"),
            ],
            area: 4096,
        }
    }

    /// The log's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut spec = b"Spec ID Event03\0".to_vec();
        spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        spec.extend(1_u32.to_le_bytes());
        spec.extend(SHA_384.to_le_bytes());
        spec.extend([48, 0, 0]);
        let mut out = Vec::new();
        out.extend(1_u32.to_le_bytes());
        out.extend(EventKind::NO_ACTION.0.to_le_bytes());
        out.extend([0; 20]);
        out.extend(length(&spec));
        out.extend(spec);
        for LoggedEvent { register, kind, digest, data } in &self.events {
            let register: u32 = match register {
                Register::Mrtd => 0,
                Register::Rtmr0 => 1,
                Register::Rtmr1 => 2,
                Register::Rtmr2 => 3,
                Register::Rtmr3 => 4,
            };
            out.extend(register.to_le_bytes());
            out.extend(kind.0.to_le_bytes());
            out.extend(1_u32.to_le_bytes());
            out.extend(SHA_384.to_le_bytes());
            out.extend(digest.as_bytes());
            out.extend(length(data));
            out.extend(data);
        }
        out.resize(out.len().max(self.area), 0xff);
        out
    }

    /// What the registers hold after it.
    pub fn registers(&self) -> Result<[[u8; 48]; 4], Malformed> {
        let bytes = self.encode();
        Ok(EventLog::parse(&bytes)?.replay().map(|register| register.0))
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// `TPM_ALG_SHA384`.
const SHA_384: u16 = 0x000c;
