//! Chance that can be had again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::setting;

/// Numbers that are the same again for the same seed, which is printed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// With the seed in OUTPOST_SEED, or a new one.
    pub fn new() -> Self {
        let fresh = RandomState::new().build_hasher().finish();
        let seed = setting("OUTPOST_SEED", fresh >> 32);
        eprintln!("OUTPOST_SEED={seed}");
        // The generator stays at zero for ever.
        Self(seed | 1 << 63)
    }

    // xorshift64
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.throw() % end as u64).expect("less than a usize")
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.throw() & 1 << 40 != 0
    }

    /// At most `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.throw() >> 11) as f64 / (1u64 << 53) as f64)
    }
}
