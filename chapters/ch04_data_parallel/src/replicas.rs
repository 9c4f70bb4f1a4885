//! Every rank holds all parameters: the same ones.
use anyhow::{Result, ensure};
use comm::Group;
use params::{Element, Params, Real, with_float};
use std::hash::{DefaultHasher, Hasher};

/// Checks that the parameters of all ranks of `group` are equal, bit for bit.
///
/// They are if all ranks drew them from the same seed, or read the same files; nothing
/// would make them equal later, since every rank adds the same updates.
///
/// # Errors
/// They are not: names the ranks.
pub fn check_equal(params: &Params, group: &Group) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    for flat in &params.flats {
        with_float!(flat.values.dtype(), T => {
            for value in flat.values.read::<T>(0..flat.values.len())?.iter() {
                hasher.write_u64(value.widen().f64().to_bits());
            }
            anyhow::Ok(())
        })?;
    }
    let own = hasher.finish() as i64;
    let mut all = vec![0; group.size()];
    group.all_gather("parameters equal", &[own], &mut all)?;
    let odd = all.iter().position(|hash| *hash != all[0]);
    ensure!(
        odd.is_none(),
        "rank {} holds other parameters than rank {}: give all ranks the same --seed, \
         and the same files under --model",
        group.members()[odd.unwrap_or(0)],
        group.members()[0]
    );
    Ok(())
}
