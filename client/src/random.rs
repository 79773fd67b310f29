//! Randomness from the operating system; without it nothing is sent.

use crate::error::Error;

/// Fresh random octets.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| Error::Bug("the system gives no randomness"))?;
    Ok(out)
}

/// A number below `bound`, each as likely as the next.
pub(crate) fn below(bound: usize) -> Result<usize, Error> {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    let rest = u64::MAX.checked_rem(bound).ok_or(Error::Bug("a draw from nothing"))?;
    // Draws from the incomplete last stretch would favour small numbers.
    let limit = u64::MAX.saturating_sub(rest);
    loop {
        let draw = u64::from_le_bytes(bytes()?);
        if draw < limit {
            let below = draw.checked_rem(bound).unwrap_or(0);
            return usize::try_from(below).map_err(|_| Error::Bug("a draw over its bound"));
        }
    }
}

/// Draws `count` of `items` at random, in random order; all of them where there are fewer.
pub(crate) fn draw<T>(mut items: Vec<T>, count: usize) -> Result<Vec<T>, Error> {
    let mut drawn = Vec::with_capacity(count.min(items.len()));
    while drawn.len() < count && !items.is_empty() {
        let at = below(items.len())?;
        drawn.push(items.swap_remove(at));
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_distinct_and_reach_everyone() {
        let mut seen = [0_u32; 10];
        for _ in 0..500 {
            let mut drawn = draw((0..10).collect(), 4).unwrap();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 4);
            for each in drawn {
                seen[each] = seen[each].saturating_add(1);
            }
        }
        // Each has 200 expected draws with a deviation of 11; 100 is nine deviations away.
        assert!(seen.iter().all(|count| (100..300).contains(count)), "{seen:?}");
        assert_eq!(draw(vec![1, 2], 4).unwrap().len(), 2);
        assert!(below(0).is_err());
    }
}
