//! What ranks that see other data need not all hold (Rajbhandari et al. 2020, *ZeRO*).
//!
//! Each has a part of every flat buffer, which it alone updates. Stage 1 cuts the
//! optimizer's states so, stage 2 the gradients too, and stage 3 the parameters: these
//! are gathered for each stretch of the model when it comes to work, and freed after.
use anyhow::Context;
use candle_core::Result;
use comm::{Group, Mesh};
use memory::Family;
use params::{Buffer, Flat, Params, with_float};
use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The flat buffers, and who has what of them.
pub struct Zero {
    /// 0 to 3.
    pub stage: usize,
    group: Group,
    flats: Vec<Kept>,
}

/// A flat buffer, and what this rank keeps of it.
struct Kept {
    values: Arc<Buffer>,
    grads: Arc<Buffer>,
    /// From stage 3 on, this rank's part of the values: of the whole there is memory
    /// only while it is needed.
    own_values: Option<Arc<Buffer>>,
    /// From stage 2 on, this rank's part of the summed gradients.
    own_grads: Option<Arc<Buffer>>,
    whole: RefCell<Whole>,
}

/// Whether all values are here.
enum Whole {
    Away,
    /// They are being gathered; how to wait for it.
    Coming(Box<dyn FnOnce() -> comm::Result<()>>),
    Here,
}

impl Zero {
    /// Of parameters that were built for it: their flat buffers divide among the ranks.
    /// `fill` is called with those of one flat buffer at a time, to fill them; from
    /// stage 3 on they are freed then, but for this rank's part.
    ///
    /// # Errors
    /// Those of `fill`, or a buffer does not divide.
    pub fn new(
        stage: usize,
        params: Params,
        mesh: &Mesh,
        mut fill: impl FnMut(&Params) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Zero, Params)> {
        let group = mesh.data().clone();
        let mut zero = Zero { stage, group, flats: vec![] };
        let mut flats = vec![];
        for flat in params.flats {
            // Gathered and compared with the rest, though it is of no parameter.
            with_float!(flat.values.dtype(), T => {
                ops::zero(&mut flat.values.write::<T>(flat.padding())?)
            })?;
            let one = Params { flats: vec![flat] };
            fill(&one)?;
            for flat in one.flats {
                zero.flats.push(zero.keep(&flat)?);
                flats.push(flat);
            }
        }
        Ok((zero, Params { flats }))
    }
    /// The elements of a flat buffer of `len` that are this rank's.
    fn own(&self, len: usize) -> Range<usize> {
        let each = len / self.group.size();
        self.group.rank() * each..(self.group.rank() + 1) * each
    }
    fn keep(&self, flat: &Flat) -> anyhow::Result<Kept> {
        let (len, n) = (flat.values.len(), self.group.size());
        anyhow::ensure!(
            self.stage == 0 || len.is_multiple_of(n),
            "a flat buffer of {len} elements does not divide among {n} ranks"
        );
        let own = self.own(len);
        let zeros =
            |buffer: &Buffer, family| Buffer::zeros(buffer.dtype(), own.len(), family);
        let own_grads = (self.stage >= 2)
            .then(|| zeros(&flat.grads, Family::Gradients))
            .transpose()?;
        let mut whole = Whole::Here;
        let mut own_values = None;
        with_float!(flat.values.dtype(), T => {
            if self.stage >= 3 {
                let kept = zeros(&flat.values, Family::Parameters)?;
                let all = flat.values.read::<T>(own.clone())?;
                ops::copy(&all, &mut kept.write::<T>(0..own.len())?)?;
                drop(all);
                flat.values.release()?;
                (own_values, whole) = (Some(kept), Whole::Away);
            }
            Result::Ok(())
        })?;
        let (values, grads) = (flat.values.clone(), flat.grads.clone());
        let whole = RefCell::new(whole);
        Ok(Kept { values, grads, own_values, own_grads, whole })
    }

    /// Of a flat buffer, what this rank updates: all of it in stage 0.
    pub fn updated_here(&self, flat: usize) -> Range<usize> {
        let len = self.flats[flat].values.len();
        if self.stage == 0 { 0..len } else { self.own(len) }
    }
    /// Where the values of `range` of a flat buffer are to be updated: a buffer, and a
    /// range of it.
    pub fn values(
        &self,
        flat: usize,
        range: Range<usize>,
    ) -> (&Arc<Buffer>, Range<usize>) {
        let kept = &self.flats[flat];
        match &kept.own_values {
            Some(own) => (own, self.shift(flat, range)),
            None => (&kept.values, range),
        }
    }
    /// Where the summed gradients of `range` are.
    pub fn grads(
        &self,
        flat: usize,
        range: Range<usize>,
    ) -> (&Arc<Buffer>, Range<usize>) {
        let kept = &self.flats[flat];
        match &kept.own_grads {
            Some(own) => (own, self.shift(flat, range)),
            None => (&kept.grads, range),
        }
    }
    /// Counted from where this rank's part begins.
    pub fn shift(&self, flat: usize, range: Range<usize>) -> Range<usize> {
        let start = self.updated_here(flat).start;
        range.start - start..range.end - start
    }

    /// This rank has updated its part of a flat buffer. The others' parts are on their
    /// way from here on, unless the whole is not kept.
    ///
    /// # Errors
    /// The values are in use, or another rank failed.
    pub fn updated(&self, flat: usize) -> Result<()> {
        if self.stage == 1 || self.stage == 2 {
            self.flats[flat].whole.replace(Whole::Away);
            self.fetch(&[flat])?;
        }
        Ok(())
    }
    /// Starts to gather what is not here.
    ///
    /// # Errors
    /// The values are in use, or another rank failed.
    pub fn fetch(&self, flats: &[usize]) -> Result<()> {
        for flat in flats {
            let kept = &self.flats[*flat];
            if !matches!(*kept.whole.borrow(), Whole::Away) {
                continue;
            }
            let len = kept.values.len();
            with_float!(kept.values.dtype(), T => {
                let mut values = kept.values.write::<T>(0..len)?;
                if let Some(own) = &kept.own_values {
                    let own = own.read::<T>(0..own.len())?;
                    ops::copy(&own, &mut values[self.own(len)])?;
                }
                let pending = self.group.start_all_gather("parameters", values)?;
                let wait = Box::new(move || pending.wait().map(drop));
                kept.whole.replace(Whole::Coming(wait));
                Result::Ok(())
            })?;
        }
        Ok(())
    }
    /// Has all values of these flat buffers here.
    ///
    /// # Errors
    /// As for [`Zero::fetch`].
    pub fn need(&self, flats: &[usize]) -> Result<()> {
        self.fetch(flats)?;
        for flat in flats {
            let whole = &self.flats[*flat].whole;
            // What does not come is not here.
            if let Whole::Coming(wait) = whole.replace(Whole::Away) {
                wait()?;
            }
            whole.replace(Whole::Here);
        }
        Ok(())
    }
    /// The values of these are not needed for now: in stage 3 they are freed.
    ///
    /// # Errors
    /// They are in use.
    pub fn free(&self, flats: &[usize]) -> Result<()> {
        if self.stage < 3 {
            return Ok(());
        }
        self.need_if_coming(flats)?;
        for flat in flats {
            let kept = &self.flats[*flat];
            if let Whole::Here = kept.whole.replace(Whole::Away) {
                kept.values.release()?;
            }
        }
        Ok(())
    }
    fn need_if_coming(&self, flats: &[usize]) -> Result<()> {
        let coming = |flat: &&usize| {
            matches!(*self.flats[**flat].whole.borrow(), Whole::Coming(_))
        };
        let flats: Vec<usize> = flats.iter().filter(coming).copied().collect();
        self.need(&flats)
    }
    /// Has all values here, for whoever reads the whole model.
    ///
    /// # Errors
    /// As for [`Zero::fetch`].
    pub fn need_all(&self) -> Result<()> {
        for flat in 0..self.flats.len() {
            self.need(&[flat])?;
        }
        Ok(())
    }
    /// Frees what [`Zero::need_all`] gathered.
    ///
    /// # Errors
    /// It is in use.
    pub fn free_all(&self) -> Result<()> {
        self.free(&(0..self.flats.len()).collect::<Vec<_>>())
    }
}

/// Bytes per parameter on each of `ranks` ranks, where one takes so many for its value,
/// its gradient, and the optimizer's states, a master weight included (Rajbhandari et
/// al. 2020, figure 1).
pub fn bytes_per_parameter(
    stage: usize,
    ranks: usize,
    [value, gradient, states]: [f64; 3],
) -> f64 {
    let share = |from: usize| if stage >= from { 1.0 / ranks as f64 } else { 1.0 };
    value * share(3) + gradient * share(2) + states * share(1)
}

/// A file for a rank's optimizer states, which is gone when the program ends.
///
/// # Errors
/// It cannot be made, or is there already.
pub fn states_file(path: &Path, rank: usize) -> anyhow::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{rank}"));
    let path = Path::new(&name);
    let cannot = || format!("--offload: cannot make the file {}", path.display());
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(cannot)?;
    // It stays until it is closed, and nobody else can open it.
    std::fs::remove_file(path).with_context(cannot)?;
    Ok(file)
}
