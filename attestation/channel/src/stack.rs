//! What ciphers leave behind.
//!
//! AES on wide registers works through a request a kilobyte at a time, on the stack, and its code wipes none of
//! it: plaintext would lie below the stack's top until something else happens to be called as deep.

use core::hint::black_box;

use zeroize::Zeroize as _;

/// Calls `work`, then wipes what it left on this thread's stack.
///
/// What `work` keeps in the caller's own frame stays: it has to be a call of its own, which this is.
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = called(work);
    wipe();
    done
}

#[inline(never)]
fn called<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Takes the same octets of the stack, and leaves zeros there.
#[inline(never)]
fn wipe() {
    let mut octets = [0_u8; DEPTH];
    octets.zeroize();
    black_box(&octets);
}

/// Octets that a cipher takes at most: some 4 KiB, with room.
const DEPTH: usize = 12 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a mark 2 KiB deep, and says where.
    fn leave() -> usize {
        let mut octets = [0_u8; 2048];
        octets.fill(0xa7);
        black_box(&mut octets).as_ptr().addr()
    }

    /// How many lines of 64 octets of the mark are there.
    #[inline(never)]
    fn left(at: usize) -> usize {
        use std::os::unix::fs::FileExt as _;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut octets = vec![0; 2048];
        memory.read_exact_at(&mut octets, u64::try_from(at).unwrap()).unwrap();
        octets.chunks(64).filter(|line| line.iter().all(|octet| *octet == 0xa7)).count()
    }

    #[test]
    fn what_a_call_left_is_gone() {
        let at = called(leave);
        assert!(left(at) > 2, "nothing was left, so nothing can be wiped");
        let at = wiped(leave);
        assert_eq!(left(at), 0);
    }
}
