//! Randomness as a function: no state to save, so any row can be found from its number.

/// A random 64-bit number for (`seed`, `stream`, `counter`).
///
/// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", OOPSLA 2014), applied once per argument. `stream` keeps uses of
/// one seed apart.
pub(crate) fn random(seed: u64, stream: u64, counter: u64) -> u64 {
    mix(mix(mix(seed).wrapping_add(stream)).wrapping_add(counter))
}

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number in `0..bound` for (`seed`, `stream`, `counter`); 0 if `bound` is 0.
///
/// Multiply and keep the high half; the bias is at most `bound / 2^64`.
pub(crate) fn random_below(seed: u64, stream: u64, counter: u64, bound: u64) -> u64 {
    let wide = u128::from(random(seed, stream, counter)) * u128::from(bound);
    (wide >> 64) as u64
}

const ROUNDS: u64 = 6;

/// Where `index` goes in the seeded permutation `key` of `0..len` (`index < len`).
///
/// A Feistel network permutes the smallest square of a power of two that holds `len`;
/// a result outside `0..len` is sent through again until it falls inside (*cycle
/// walking*: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). That is
/// a bijection of `0..len` in constant memory, with fewer than four passes expected.
pub(crate) fn permute(index: u64, len: u64, key: u64) -> u64 {
    debug_assert!(index < len);
    if len < 2 {
        return index;
    }
    let bits = u64::BITS - (len - 1).leading_zeros();
    let half = bits.div_ceil(2);
    let mask = (1u64 << half) - 1;

    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..ROUNDS {
            let mixed = left ^ (random(key, round, right) & mask);
            (left, right) = (right, mixed);
        }
        value = (left << half) | right;
        if value < len {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_a_bijection_for_every_small_length() {
        for len in (1..70).chain([127, 128, 129, 1000, 4097]) {
            for key in [0, 1, u64::MAX] {
                let mut seen = vec![false; len as usize];
                for index in 0..len {
                    let to = permute(index, len, key) as usize;
                    assert!(!seen[to], "len {len}, key {key}: {to} hit twice");
                    seen[to] = true;
                }
            }
        }
    }

    #[test]
    fn permutation_of_a_huge_domain_stays_inside() {
        for len in [u64::MAX, 1 << 63, (1 << 62) + 3] {
            for index in [0, 1, len / 2, len - 1] {
                assert!(permute(index, len, 7) < len);
            }
        }
    }

    #[test]
    fn every_place_is_about_equally_likely() {
        // Where 0 of 10 goes under 10 000 keys: each place 1000 ± 5 deviations of 30.
        let mut hits = [0u32; 10];
        for key in 0..10_000 {
            hits[permute(0, 10, key) as usize] += 1;
        }
        assert!(hits.iter().all(|&n| (850..1150).contains(&n)), "{hits:?}");
    }

    #[test]
    fn keys_give_different_orders() {
        let order = |key| (0..100).map(|i| permute(i, 100, key)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn random_below_covers_its_range_evenly() {
        let mut hits = [0u32; 7];
        for counter in 0..7000 {
            hits[random_below(3, 1, counter, 7) as usize] += 1;
        }
        assert!(hits.iter().all(|&n| (850..1150).contains(&n)), "{hits:?}");
        assert_eq!(random_below(3, 1, 0, 0), 0);
    }
}
