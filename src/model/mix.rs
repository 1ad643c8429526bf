//! Bits that depend on all of a number's bits.

/// Has every bit of the input change half of those of the output: the end of SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014). Nothing secret may hang on it.
pub const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The next state of SplitMix64, of which `mix` makes a random number.
pub const fn step(state: u64) -> u64 {
    state.wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut state = 0;
        let numbers = [(); 3].map(|()| {
            state = step(state);
            mix(state)
        });
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }
}
