//! Where each member of a report starts; the simulated platform writes by the same table.

/// VERSION, u32.
pub const VERSION: usize = 0x000;
/// `GUEST_SVN`, u32.
pub const GUEST_SVN: usize = 0x004;
/// POLICY, u64.
pub const POLICY: usize = 0x008;
/// `FAMILY_ID`, 16 bytes.
pub const FAMILY_ID: usize = 0x010;
/// `IMAGE_ID`, 16 bytes.
pub const IMAGE_ID: usize = 0x020;
/// VMPL, u32.
pub const VMPL: usize = 0x030;
/// `SIGNATURE_ALGO`, u32.
pub const SIGNATURE_ALGO: usize = 0x034;
/// `CURRENT_TCB`, 8 bytes.
pub const CURRENT_TCB: usize = 0x038;
/// `PLATFORM_INFO`, u64.
pub const PLATFORM_INFO: usize = 0x040;
/// `AUTHOR_KEY_EN`, `MASK_CHIP_KEY`, `SIGNING_KEY`, u32.
pub const KEY_INFO: usize = 0x048;
/// `REPORT_DATA`, 64 bytes.
pub const REPORT_DATA: usize = 0x050;
/// MEASUREMENT, 48 bytes.
pub const MEASUREMENT: usize = 0x090;
/// `HOST_DATA`, 32 bytes.
pub const HOST_DATA: usize = 0x0c0;
/// `ID_KEY_DIGEST`, 48 bytes.
pub const ID_KEY_DIGEST: usize = 0x0e0;
/// `AUTHOR_KEY_DIGEST`, 48 bytes.
pub const AUTHOR_KEY_DIGEST: usize = 0x110;
/// `REPORT_ID`, 32 bytes.
pub const REPORT_ID: usize = 0x140;
/// `REPORT_ID_MA`, 32 bytes.
pub const REPORT_ID_MA: usize = 0x160;
/// `REPORTED_TCB`, 8 bytes.
pub const REPORTED_TCB: usize = 0x180;
/// CPUID family, model and stepping, one byte each (version 3 on).
pub const CPUID: usize = 0x188;
/// `CHIP_ID`, 64 bytes.
pub const CHIP_ID: usize = 0x1a0;
/// `COMMITTED_TCB`, 8 bytes.
pub const COMMITTED_TCB: usize = 0x1e0;
/// Current firmware build, minor, major.
pub const CURRENT_FIRMWARE: usize = 0x1e8;
/// Committed firmware build, minor, major.
pub const COMMITTED_FIRMWARE: usize = 0x1ec;
/// `LAUNCH_TCB`, 8 bytes.
pub const LAUNCH_TCB: usize = 0x1f0;
/// `LAUNCH_MIT_VECTOR`, u64 (version 5 on).
pub const LAUNCH_MITIGATIONS: usize = 0x1f8;
/// `CURRENT_MIT_VECTOR`, u64 (version 5 on).
pub const CURRENT_MITIGATIONS: usize = 0x200;
/// R of the signature, 72 bytes little-endian.
pub const SIGNATURE_R: usize = 0x2a0;
/// S of the signature, 72 bytes little-endian.
pub const SIGNATURE_S: usize = 0x2e8;
/// The rest of the signature, which must be zero.
pub const SIGNATURE_REST: usize = 0x330;
