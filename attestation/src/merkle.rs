//! Merkle trees over a batch of challenges (RFC 9162 §2.1 with SHA-256; `docs/protocol.md` §5.2).

use crate::digest::Sha256;
use crate::keys::Challenge;

/// Most challenges that one report answers (`docs/protocol.md` §5.2).
pub const LEAVES_MAX: usize = 1024;

/// The root over `challenges`; of none it is the hash of the empty string.
pub fn root(challenges: &[Challenge]) -> Sha256 {
    match challenges {
        [] => Sha256::of(&[]),
        [only] => leaf(only),
        _ => {
            let (left, right) = challenges.split_at(split(challenges.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The audit path of the challenge at `index`, nearest sibling first; empty if there is none.
pub fn path(challenges: &[Challenge], index: usize) -> Vec<Sha256> {
    let mut path = Vec::new();
    let mut rest = challenges;
    let mut at = index;
    while rest.len() > 1 && at < rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if let Some(in_right) = at.checked_sub(left.len()) {
            path.push(root(left));
            (rest, at) = (right, in_right);
        } else {
            path.push(root(right));
            rest = left;
        }
    }
    path.reverse();
    path
}

/// The root, and the audit path of every challenge, with each hash computed once.
pub fn root_and_paths(challenges: &[Challenge]) -> (Sha256, Vec<Vec<Sha256>>) {
    let mut paths = vec![Vec::new(); challenges.len()];
    let root = walk(challenges, &mut paths);
    (root, paths)
}

/// Whether `path` leads from `challenge`, at `index` of `size`, to `root` (RFC 9162 §2.1.3.2).
pub fn verify(
    root: &Sha256,
    challenge: &Challenge,
    index: u16,
    size: u16,
    path: &[Sha256],
) -> bool {
    if index >= size || usize::from(size) > LEAVES_MAX {
        return false;
    }
    let mut at = index;
    let mut last = size.saturating_sub(1);
    let mut hash = leaf(challenge);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash.ct_eq(root)
}

fn walk(challenges: &[Challenge], paths: &mut [Vec<Sha256>]) -> Sha256 {
    match challenges {
        [] | [_] => root(challenges),
        _ => {
            let middle = split(challenges.len());
            let (left, right) = challenges.split_at(middle);
            let (left_paths, right_paths) = paths.split_at_mut(middle.min(paths.len()));
            let (left, right) = (walk(left, left_paths), walk(right, right_paths));
            // Deeper siblings were pushed before, so the nearest comes first.
            for path in left_paths {
                path.push(right);
            }
            for path in right_paths {
                path.push(left);
            }
            node(&left, &right)
        }
    }
}

fn leaf(challenge: &Challenge) -> Sha256 {
    Sha256::of_parts(&[&[0], &challenge.0])
}

fn node(left: &Sha256, right: &Sha256) -> Sha256 {
    Sha256::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The largest power of two below `len`, which is at least 2.
const fn split(len: usize) -> usize {
    len.next_power_of_two() >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenges(count: u8) -> Vec<Challenge> {
        (0..count).map(|n| Challenge([n; 32])).collect()
    }

    #[test]
    fn every_path_leads_to_the_root_and_no_other_does() {
        for count in 1..=17 {
            let batch = challenges(count);
            let size = u16::from(count);
            let top = root(&batch);
            for (index, challenge) in (0..).zip(&batch) {
                let path = path(&batch, usize::from(index));
                assert!(verify(&top, challenge, index, size, &path), "{index} of {count}");
                assert!(!verify(&top, &Challenge([99; 32]), index, size, &path));
                assert!(!verify(&top, challenge, size, size, &path));
                assert!(!verify(&top, challenge, index, size, &[path.clone(), vec![top]].concat()));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!verify(&top, challenge, index, size, shorter));
                }
            }
        }
    }

    #[test]
    fn all_paths_at_once_are_those_one_by_one() {
        for count in 0..=17 {
            let batch = challenges(count);
            let (top, paths) = root_and_paths(&batch);
            assert_eq!(top, root(&batch));
            let one_by_one: Vec<_> = (0..batch.len()).map(|index| path(&batch, index)).collect();
            assert_eq!(paths, one_by_one, "{count}");
        }
    }

    /// The numbers come from RFC 9162 §2.1 and another language's hashes.
    #[test]
    fn roots_are_those_of_rfc_9162() {
        for (count, expected) in [
            (1, "7f9c9e31ac8256ca2f258583df262dbc7d6f68f2a03043d5c99a4ae5a7396ce9"),
            (2, "28fb81e496897e0ce886f08602392e9239b65c659041e5202163e58ad898f444"),
            (3, "ba8d94b7fbcecae7b81c4c80574fe24734a6917bf9c1ecd66ff3e0c34ead4620"),
            (7, "7318881c41fce3c1de3640df8e8c110c93f43f686b74204a9d1ad5b8c71c2047"),
        ] {
            assert_eq!(root(&challenges(count)).to_string(), expected, "{count}");
        }
    }

    #[test]
    fn batch_is_bounded() {
        assert!(!verify(&root(&challenges(1)), &Challenge([0; 32]), 0, 1025, &[]));
        assert!(path(&challenges(3), 3).len() <= 2);
    }

    #[test]
    fn root_matches_rfc_9162_shape() {
        let batch = challenges(3);
        let left = node(&leaf(&batch[0]), &leaf(&batch[1]));
        assert_eq!(root(&batch), node(&left, &leaf(&batch[2])));
    }
}
