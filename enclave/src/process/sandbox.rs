//! What the engine's process gives up before it reads a byte of anybody's.
//!
//! | means | takes away |
//! |---|---|
//! | resource limits | cores, and files that grow |
//! | landlock | every path, TCP, and signals and sockets beyond this process, where the kernel has it |
//! | seccomp | every system call that computing, waiting, and the two open descriptors do not need |
//!
//! Seccomp alone suffices and must succeed; landlock is a second lock on the same doors. A call that
//! is not allowed fails with `EPERM`.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, Scope};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Whether the kernel promised that no memory of the process goes to a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Locked(pub(super) bool);

/// Gives everything up. The calling thread must be the process's only one: those that it starts
/// later inherit what it is denied.
///
/// # Errors
/// The kernel lacks a means, so the process must not go on.
pub(super) fn enter() -> io::Result<Locked> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    setrlimit(Resource::Fsize, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let locked = lock_memory();
    let abi = ABI::V6;
    // What a kernel lacks of this, seccomp denies all the same.
    let denied = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    denied.map_err(io::Error::other)?;
    for filter in filters().map_err(io::Error::other)? {
        apply_filter(&filter).map_err(io::Error::other)?;
    }
    Ok(locked)
}

/// Only where there is no limit: under one, what is locked today is what cannot be had tomorrow.
fn lock_memory() -> Locked {
    let unlimited = Rlimit { current: None, maximum: None };
    let free = setrlimit(Resource::Memlock, unlimited).is_ok()
        || getrlimit(Resource::Memlock).current.is_none();
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    Locked(free && mlockall(all).is_ok())
}

/// Two: a call that both allow is allowed, and of two answers the stricter one counts (seccomp(2)).
fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let denied = SeccompAction::Errno(EPERM);
    let allowed = SeccompFilter::new(rules()?, denied, SeccompAction::Allow, ARCH)?;
    // The C library starts threads by this call, whose flags no filter can see, or by the older one
    // where there is no such call.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(ENOSYS);
    let older = SeccompFilter::new(newer, SeccompAction::Allow, absent, ARCH)?;
    // The stricter one last: it forbids putting on another.
    Ok([older.try_into()?, allowed.try_into()?])
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FREE.iter().chain(FREE_HERE).map(|call| (*call, Vec::new())).collect();
    // Threads, and no process.
    let threads = u64::try_from(libc::CLONE_THREAD | libc::CLONE_VM).unwrap_or(u64::MAX);
    rules.insert(libc::SYS_clone, vec![masked(0, threads, threads)?]);
    // Memory, and no code.
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or(u64::MAX);
    rules.insert(libc::SYS_mmap, vec![masked(2, executable, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![masked(2, executable, 0)?]);
    // Threads have names.
    let name = u64::try_from(libc::PR_SET_NAME).unwrap_or(u64::MAX);
    rules.insert(libc::SYS_prctl, vec![masked(0, u64::from(u32::MAX), name)?]);
    Ok(rules)
}

/// One rule: the bits of an argument that `mask` has are those of `value`.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let same = SeccompCmpOp::MaskedEq(mask);
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Qword, same, value)?])
}

/// What computing, waiting, and reading and writing what is open take.
const FREE: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3, // Answered by the second filter.
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The older forms of some that this architecture has besides.
#[cfg(target_arch = "x86_64")]
const FREE_HERE: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const FREE_HERE: &[i64] = &[libc::SYS_ppoll];

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
