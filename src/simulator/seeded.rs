//! Ids, numbers and shares that follow from a name, so that the same options give the same school. Pure.

use std::ops::RangeInclusive;

use fastrand::Rng;
use sha2::{Digest as _, Sha256};

/// 24 hex digits that follow from a name.
pub(super) fn hex_id(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()).get(..12).unwrap_or_default())
}

/// 64 bits that follow from a name.
pub(super) fn hash(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// True for a share (0 to 1) of all names.
pub(super) fn is_in_share(name: &str, share: f64) -> bool {
    (hash(name) >> 11) as f64 / (1_u64 << 53) as f64 <= share && share > 0.0
}

/// A number of the range; the start of an empty range.
pub(super) fn pick(rng: &mut Rng, range: &RangeInclusive<u32>) -> u32 {
    if range.is_empty() {
        *range.start()
    } else {
        rng.u32(range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_names_is_chosen_and_the_same_each_time() {
        let chosen = |share| {
            (0..1000)
                .filter(|n| is_in_share(&format!("name {n}"), share))
                .count()
        };
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 1000));
        assert!((200..300).contains(&chosen(0.25)));
        assert_eq!(chosen(0.25), chosen(0.25));
        assert_eq!(hex_id("a").len(), 24);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "the empty range is the case")]
    fn an_empty_range_gives_its_start() {
        assert_eq!(pick(&mut Rng::with_seed(1), &(5..=4)), 5);
        assert!((2..=3).contains(&pick(&mut Rng::with_seed(1), &(2..=3))));
    }
}
