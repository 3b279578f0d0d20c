//! Random numbers.

/// xoroshiro64** 1.0 by David Blackman and Sebastiano Vigna (2018, public domain,
/// <https://prng.di.unimi.it/xoroshiro64starstar.c>): 64 bits of state, 32-bit operations only, period
/// 2^64 - 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Xoroshiro64 {
    state: [u32; 2],
}

impl Xoroshiro64 {
    /// The state is the first output of SplitMix64 for `seed`, low word first; 1 where that is 0.
    pub const fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z == 0 {
            z = 1;
        }
        Xoroshiro64 { state: [z as u32, (z >> 32) as u32] }
    }

    /// 32 random bits.
    pub fn next(&mut self) -> u32 {
        let [a, b] = self.state;
        let out = a.wrapping_mul(0x9e37_79bb).rotate_left(5).wrapping_mul(5);
        let b = b ^ a;
        self.state = [a.rotate_left(26) ^ b ^ (b << 9), b.rotate_left(13)];
        out
    }

    /// A number below `bound`: the high word of the product with 32 random bits; 0 for a bound of 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outputs_are_those_of_the_published_generator() {
        let mut random = Xoroshiro64 { state: [1, 2] };
        let want = [
            3_802_928_447,
            813_792_938,
            1_618_621_494,
            2_955_957_307,
            3_252_880_261,
            1_129_983_909,
            2_539_651_700,
            1_327_610_908,
            1_757_650_787,
            2_763_843_748,
        ];
        assert_eq!(want.map(|_| random.next()), want);
    }

    #[test]
    fn seeds_spread() {
        // the first output of SplitMix64 for the seed 0 (Vigna's splitmix64.c)
        assert_eq!(Xoroshiro64::new(0).state, [0x7b1d_cdaf, 0xe220_a839]);
        assert_eq!(Xoroshiro64::new(0u64.wrapping_sub(0x9e37_79b9_7f4a_7c15)).state, [1, 0]);
    }

    #[test]
    fn below_stays_below() {
        let mut random = Xoroshiro64::new(7);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
        assert!((0..1000).all(|_| random.below(10) < 10));
    }
}
