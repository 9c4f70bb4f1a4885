//! Every rank holds all parameters: the same ones.
use anyhow::{Result, ensure};
use comm::Group;
use params::{Element, Params, Real, with_float};

/// Checks that the parameters of all ranks of `group` are equal, bit for bit.
///
/// They are if all ranks drew them from the same seed, or read the same files; nothing
/// would make them equal later, since every rank adds the same updates.
///
/// # Errors
/// They are not: names two that differ.
pub fn check_equal(params: &Params, group: &Group) -> Result<()> {
    // FNV-1a, of 64 bits at a time: the same wherever it was compiled.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for flat in &params.flats {
        with_float!(flat.values.dtype(), T => {
            let values = flat.values.read::<T>(0..flat.values.len())?;
            for value in values.here()?.iter() {
                let bits = value.widen().f64().to_bits();
                hash = (hash ^ bits).wrapping_mul(0x0000_0100_0000_01b3);
            }
            anyhow::Ok(())
        })?;
    }
    let mut all = vec![0; group.size()];
    group.all_gather("parameters equal", &[hash as i64], &mut all)?;
    let odd = all.iter().position(|hash| *hash != all[0]);
    ensure!(
        odd.is_none(),
        "ranks {} and {} hold different parameters: give all ranks the same --seed, \
         and the same files under --model",
        group.members()[0],
        group.members()[odd.unwrap_or(0)]
    );
    Ok(())
}
