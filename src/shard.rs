//! A shard: one of several processes, on any machines, that do a job together. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest number of shards: that of an AWS Batch array.
const MOST: u32 = 10_000;

/// One of `count` shards. Written as `I/N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The place of the shard, from 0.
    pub index: u32,
    /// The number of shards.
    pub count: u32,
}

impl Shard {
    /// A shard, if there is such a one.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn new(index: u32, count: u32) -> Result<Self, String> {
        match count {
            0 => Err("there must be 1 shard or more".into()),
            _ if count > MOST => Err(format!("there can be at most {MOST} shards")),
            _ if index >= count => Err(format!(
                "there is no shard {index} of {count}: the first is 0, the last is {}",
                count - 1
            )),
            _ => Ok(Self { index, count }),
        }
    }

    /// The part of a number that falls to this shard. The parts of all shards add up to it.
    pub fn part_of(self, number: u64) -> u64 {
        let end = |shards: u64| u128::from(number) * u128::from(shards) / u128::from(self.count);
        let part = end(u64::from(self.index) + 1) - end(self.index.into());
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// True for the shard that does what is neither of a day nor of a space.
    pub fn is_first(self) -> bool {
        self.index == 0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            let number = |text: &str| text.trim().parse().ok();
            Some((number(index)?, number(count)?))
        });
        let (index, count) = numbers.ok_or("is not of the form I/N, for example 0/4")?;
        Self::new(index, count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shard_is_read_from_its_text() {
        assert_eq!("2/4".parse(), Shard::new(2, 4));
        assert_eq!(Shard::new(2, 4).map(|shard| shard.to_string()), Ok("2/4".into()));
        for wrong in ["", "2", "4/4", "0/0", "-1/3", "1/2/3", "a/b", "0/10001"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_of_all_shards_add_up_and_differ_by_one_at_most(number in 0_u64..100_000, count in 1_u32..50) {
            let parts: Vec<u64> =
                (0..count).map(|index| Shard { index, count }.part_of(number)).collect();
            prop_assert_eq!(parts.iter().sum::<u64>(), number);
            let (least, most) = (parts.iter().min().copied(), parts.iter().max().copied());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }
    }
}
