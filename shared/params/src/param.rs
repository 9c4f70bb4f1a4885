//! Parameters: named ranges of flat buffers.
use crate::buffer::{Buffer, Read, Write};
use crate::element::{Element, Real};
use crate::shard::{Init, Shard};
use crate::with_float;
use candle_core::{DType, Device, Error, Result, Tensor, bail};
use memory::{Family, device};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The parameters of one stretch of the model, side by side.
pub struct Flat {
    /// What the model computes with.
    pub values: Arc<Buffer>,
    /// The *main* gradients: summed over the micro-batches of a step, in the
    /// accumulation type of the values.
    pub grads: Arc<Buffer>,
    /// What lies in the buffers, in this order, without gaps; there may be padding
    /// behind the last.
    pub params: Vec<Param>,
}

impl Flat {
    /// Draws the initial values from `seed` on `threads` threads.
    ///
    /// # Errors
    /// They are in use.
    pub fn draw(&self, seed: u64, threads: usize) -> Result<()> {
        let dtype = self.values.dtype();
        for param in &self.params {
            with_float!(dtype, T => param.fill::<T>(seed, threads))?;
        }
        Ok(())
    }
    /// The elements at the end that are of no parameter.
    pub fn padding(&self) -> Range<usize> {
        let used = self.params.iter().map(|param| param.shard().elements()).sum();
        used..self.values.len()
    }
}

/// A parameter. Clones are handles on the same one.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

struct Inner {
    shard: Shard,
    init: Init,
    place: OnceLock<Place>,
    /// No gradient has arrived in this step: the next one overwrites what is there,
    /// which has no meaning.
    fresh: AtomicBool,
}

struct Place {
    values: Arc<Buffer>,
    grads: Arc<Buffer>,
    range: Range<usize>,
}

impl Param {
    /// What this rank holds of it.
    pub fn shard(&self) -> &Shard {
        &self.0.shard
    }
    /// Its Hugging Face name.
    pub fn name(&self) -> &str {
        &self.0.shard.name
    }
    /// The type of its values.
    ///
    /// # Errors
    /// It has not been built.
    pub fn dtype(&self) -> Result<DType> {
        Ok(self.place()?.values.dtype())
    }
    /// Its range of the flat buffers.
    ///
    /// # Errors
    /// It has not been built.
    pub fn range(&self) -> Result<Range<usize>> {
        Ok(self.place()?.range.clone())
    }
    fn place(&self) -> Result<&Place> {
        let missing = || Error::Msg(format!("{} has not been built", self.name()));
        self.0.place.get().ok_or_else(missing)
    }
    fn named(&self, error: Error) -> Error {
        error.context(self.name().to_string())
    }

    /// Its values, `[shard.shape]` row-major.
    ///
    /// # Errors
    /// `T` is not their type, or they are being written.
    pub fn values<T: Element>(&self) -> Result<Read<T>> {
        values(std::slice::from_ref(self))
    }
    /// Its values, to be overwritten.
    ///
    /// # Errors
    /// `T` is not their type, or they are in use.
    pub fn values_mut<T: Element>(&self) -> Result<Write<T>> {
        let place = self.place()?;
        place.values.write(place.range.clone()).map_err(|e| self.named(e))
    }
    /// Has `f` write all its values, which hold anything before.
    ///
    /// # Errors
    /// `T` is not their type, they are in use, or those of `f`.
    pub fn set<T: Element, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut [T]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut values = self.values_mut::<T>()?;
        if device::of(values.as_ptr()).is_none() {
            return f(&mut values);
        }
        let mut here = vec![T::default(); values.len()];
        f(&mut here)?;
        // SAFETY: both have as many elements.
        unsafe { device::copy(values.as_mut_ptr(), here.as_ptr(), here.len()) }
            .map_err(|error| self.named(Error::msg(error)).into())
    }
    /// Its main gradient.
    ///
    /// # Errors
    /// No gradient has arrived in this step, `A` is not its type, or it is being
    /// written.
    pub fn grad<A: Real>(&self) -> Result<Read<A>> {
        self.check_gradient()?;
        let place = self.place()?;
        place.grads.read(place.range.clone()).map_err(|e| self.named(e))
    }
    /// Says that no gradient has arrived yet.
    pub fn begin_step(&self) {
        self.0.fresh.store(true, Ordering::Relaxed);
    }
    /// # Errors
    /// No gradient has arrived in this step.
    pub fn check_gradient(&self) -> Result<()> {
        if self.0.fresh.load(Ordering::Relaxed) {
            bail!(
                "{} received no gradient: between it and the loss some operation is \
                 not one of `ops`, which alone are recorded",
                self.name()
            )
        }
        Ok(())
    }
    /// A copy of its values.
    ///
    /// # Errors
    /// They are being written.
    pub fn to_tensor(&self) -> Result<Tensor> {
        with_float!(self.dtype()?, T => {
            let shape = &self.shard().shape[..];
            Tensor::from_slice(&self.values::<T>()?.here()?, shape, &Device::Cpu)
        })
    }
    /// A copy of its main gradient.
    ///
    /// # Errors
    /// No gradient has arrived in this step, or it is being written.
    pub fn grad_tensor(&self) -> Result<Tensor> {
        with_float!(self.place()?.grads.dtype(), T => {
            type A = <T as Element>::Acc;
            let shape = &self.shard().shape[..];
            Tensor::from_slice(&self.grad::<A>()?.here()?, shape, &Device::Cpu)
        })
    }
}

/// The values of parameters that lie side by side in one buffer, as one slice: matrices
/// with as many columns are one matrix there, with the rows of all.
///
/// # Errors
/// They do not lie side by side, `T` is not their type, or they are being written.
pub fn values<T: Element>(params: &[Param]) -> Result<Read<T>> {
    let (first, range) = side_by_side(params)?;
    first.place()?.values.read(range).map_err(|e| first.named(e))
}

/// Adds to the main gradients of parameters that lie side by side in one buffer.
///
/// `add` receives the gradients as one slice, and whether to overwrite it (`true` for
/// the first gradient of a step) or to add to it.
///
/// # Errors
/// They do not lie side by side, `A` is not the type of the gradients, or these are in
/// use.
pub fn accumulate<A: Real>(
    params: &[Param],
    add: impl FnOnce(&mut [A], bool),
) -> Result<()> {
    let (first, range) = side_by_side(params)?;
    let grads = &first.place()?.grads;
    let mut grads = grads.write::<A>(range.clone()).map_err(|e| first.named(e))?;
    let fresh: Vec<bool> =
        params.iter().map(|p| p.0.fresh.swap(false, Ordering::Relaxed)).collect();
    let all = fresh.iter().all(|fresh| *fresh);
    if !all {
        for (param, _) in params.iter().zip(fresh).filter(|(_, fresh)| *fresh) {
            let own = param.range()?;
            let own = own.start - range.start..own.end - range.start;
            let (start, n) = (grads[own.clone()].as_mut_ptr(), own.len());
            // SAFETY: it is the part of this parameter.
            unsafe { device::zero(start, n) }.map_err(Error::msg)?;
        }
    }
    add(&mut grads, all);
    Ok(())
}

fn side_by_side(params: &[Param]) -> Result<(&Param, Range<usize>)> {
    let Some((first, rest)) = params.split_first() else { bail!("no parameters") };
    let place = first.place()?;
    let mut range = place.range.clone();
    for param in rest {
        let next = param.place()?;
        if !Arc::ptr_eq(&place.values, &next.values) || next.range.start != range.end {
            bail!("{} and {} do not lie side by side", first.name(), param.name())
        }
        range.end = next.range.end;
    }
    Ok((first, range))
}

/// Collects the parameters of a model as it is built, then allocates and draws them.
pub struct ParamBuilder {
    seed: u64,
    dtype: DType,
    flats: Vec<Vec<Param>>,
    /// What the lengths of flat buffers are multiples of.
    multiple: usize,
}

impl ParamBuilder {
    /// Parameters of type `dtype`, drawn from `seed`.
    pub fn new(seed: u64, dtype: DType) -> ParamBuilder {
        ParamBuilder { seed, dtype, flats: vec![vec![]], multiple: 1 }
    }
    /// Flat buffers are as long as a multiple of `n`, so that `n` ranks can divide
    /// them: zeros at the end fill them up.
    pub fn multiple_of(mut self, n: usize) -> ParamBuilder {
        self.multiple = n;
        self
    }
    /// A parameter that this rank holds all of.
    pub fn add(&mut self, name: &str, shape: &[usize], init: Init) -> Param {
        self.add_shard(Shard::whole(name, shape), init)
    }
    /// A parameter that this rank holds `shard` of.
    pub fn add_shard(&mut self, shard: Shard, init: Init) -> Param {
        let (place, fresh) = (OnceLock::new(), AtomicBool::new(true));
        let param = Param(Arc::new(Inner { shard, init, place, fresh }));
        if let Some(flat) = self.flats.last_mut() {
            flat.push(param.clone());
        }
        param
    }
    /// The number of flat buffers that hold something so far.
    pub fn flats(&self) -> usize {
        self.flats.iter().filter(|params| !params.is_empty()).count()
    }
    /// What is added from here on lies in flat buffers of its own.
    pub fn next_flat(&mut self) {
        self.flats.push(vec![]);
    }
    /// Allocates the buffers and draws the initial values on `threads` threads.
    ///
    /// # Errors
    /// The type is no float type, or two parameters share a name.
    pub fn build(self, threads: usize) -> Result<Params> {
        let seed = self.seed;
        let params = self.build_zeros()?;
        params.flats.iter().try_for_each(|flat| flat.draw(seed, threads))?;
        Ok(params)
    }
    /// Allocates the buffers, for values that come from elsewhere.
    ///
    /// # Errors
    /// The type is no float type, or two parameters share a name.
    pub fn build_zeros(self) -> Result<Params> {
        let dtype = self.dtype;
        self.build_on(|len| Buffer::zeros(dtype, len, Family::Parameters))
    }
    /// As [`ParamBuilder::build_zeros`], but the values take memory only when they are
    /// first written, and can give it back ([`Buffer::release`]).
    ///
    /// # Safety
    /// As for [`Buffer::without_memory`].
    ///
    /// # Errors
    /// As for [`ParamBuilder::build_zeros`].
    pub unsafe fn build_without_memory(self) -> Result<Params> {
        let dtype = self.dtype;
        // SAFETY: the caller's.
        let buffer =
            |len| unsafe { Buffer::without_memory(dtype, len, Family::Parameters) };
        self.build_on(buffer)
    }
    fn build_on(self, values: impl Fn(usize) -> Result<Arc<Buffer>>) -> Result<Params> {
        let mut names = std::collections::HashSet::new();
        for param in self.flats.iter().flatten() {
            if !names.insert(param.name().to_string()) {
                bail!("two parameters are named {}", param.name())
            }
        }
        let flats = self.flats.into_iter().filter(|params| !params.is_empty());
        let flats = flats.map(|params| {
            let len: usize = params.iter().map(|p| p.shard().elements()).sum();
            let len = len.next_multiple_of(self.multiple);
            let values = values(len)?;
            let acc = if self.dtype == DType::F64 { DType::F64 } else { DType::F32 };
            // SAFETY: `accumulate` has the first gradient of a step overwrite what is
            // there, and `grad` refuses to read before.
            let grads = unsafe { Buffer::without_memory(acc, len, Family::Gradients)? };
            let mut start = 0;
            for param in &params {
                let range = start..start + param.shard().elements();
                start = range.end;
                let (values, grads) = (values.clone(), grads.clone());
                let _ = param.0.place.set(Place { values, grads, range });
            }
            Ok(Flat { values, grads, params })
        });
        Ok(Params { flats: flats.collect::<Result<_>>()? })
    }
}

impl Param {
    /// Draws the initial values.
    fn fill<T: Element>(&self, seed: u64, threads: usize) -> Result<()> {
        let (shard, init) = (self.shard(), self.0.init);
        let draw_all = |values: &mut [T]| {
            let each = values.len().div_ceil(threads.max(1)).max(1 << 14);
            std::thread::scope(|scope| {
                for (i, part) in values.chunks_mut(each).enumerate() {
                    let mut draw = move || {
                        let range = i * each..i * each + part.len();
                        let drawn = init.draw(seed, shard, range);
                        for (value, x) in part.iter_mut().zip(drawn) {
                            *value = T::from_f64(x);
                        }
                    };
                    if i * each + each < shard.elements() {
                        scope.spawn(draw);
                    } else {
                        draw();
                    }
                }
            });
            Ok(())
        };
        self.set(draw_all)
    }
}

/// All parameters of this rank.
pub struct Params {
    /// In the order in which they were added.
    pub flats: Vec<Flat>,
}

impl Params {
    /// Every parameter, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.flats.iter().flat_map(|flat| &flat.params)
    }
    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.iter().find(|param| param.name() == name)
    }
    /// The number of elements this rank holds.
    pub fn elements(&self) -> usize {
        self.flats.iter().map(|flat| flat.values.len()).sum()
    }
    /// Starts a step: no gradient has arrived, and gradients take no memory until one
    /// does.
    ///
    /// # Errors
    /// A gradient is in use.
    pub fn begin_step(&self) -> Result<()> {
        self.iter().for_each(Param::begin_step);
        self.flats.iter().try_for_each(|flat| flat.grads.release())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(dtype: DType) -> Params {
        let mut builder = ParamBuilder::new(7, dtype);
        builder.add("a", &[3, 2], Init::Normal(1.0));
        builder.add("b", &[4, 2], Init::Normal(1.0));
        builder.next_flat();
        builder.add("c", &[5], Init::Ones);
        builder.build(2).unwrap()
    }

    #[test]
    fn parameters_lie_side_by_side_within_a_flat() {
        let params = build(DType::F32);
        assert_eq!((params.flats.len(), params.elements()), (2, 19));
        let all: Vec<Param> = params.iter().cloned().collect();
        let both = values::<f32>(&all[..2]).unwrap();
        assert_eq!(both[6..], all[1].values::<f32>().unwrap()[..]);
        assert!(values::<f32>(&all[1..]).is_err(), "b and c are in different flats");
        assert!(values::<f32>(&[all[1].clone(), all[0].clone()]).is_err());
        assert!(all[0].values::<f64>().is_err());
    }

    #[test]
    fn the_first_gradient_overwrites_and_the_next_adds() {
        let params = build(DType::F32);
        let all: Vec<Param> = params.iter().cloned().collect();
        let add = |params: &[Param], x: f32| {
            accumulate::<f32>(params, |grad, first| {
                grad.iter_mut().for_each(|g| *g = if first { x } else { *g + x })
            })
            .unwrap()
        };
        for _ in 0..2 {
            params.begin_step().unwrap();
            assert!(all[0].grad::<f32>().is_err(), "no gradient has arrived");
            add(&all[..1], 1.0);
            // a has one, b has none: only a's is kept.
            add(&all[..2], 2.0);
            add(&all[1..2], 4.0);
            assert_eq!(all[0].grad::<f32>().unwrap()[..], [3.0; 6]);
            assert_eq!(all[1].grad::<f32>().unwrap()[..], [6.0; 8]);
            let missing = all[2].check_gradient().unwrap_err().to_string();
            assert!(missing.contains("c received no gradient"), "{missing}");
        }
    }

    #[test]
    fn gradients_take_no_memory_until_one_arrives() {
        memory::set_rank(43);
        let live = || memory::account(43)[Family::Gradients].live;
        let params = build(DType::F32);
        let all: Vec<Param> = params.iter().cloned().collect();
        for _ in 0..2 {
            assert_eq!(live(), 0);
            accumulate::<f32>(&all[2..], |grad, _| grad.fill(1.0)).unwrap();
            assert!(live() >= 20, "c's, and not those of the other flat buffer");
            assert!(live() < 20 + 56);
            params.begin_step().unwrap();
        }
    }

    #[test]
    fn every_type_starts_from_the_same_values() {
        let wide = build(DType::F64).get("a").unwrap().to_tensor().unwrap();
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let narrow = build(dtype).get("a").unwrap().to_tensor().unwrap();
            let want = wide.to_dtype(dtype).unwrap().to_dtype(DType::F64).unwrap();
            let got = narrow.to_dtype(DType::F64).unwrap();
            let diff = (got - &want).unwrap().abs().unwrap();
            // f64 to bf16 may round twice on the way.
            let ulp =
                want.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            let worst = diff.max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(worst <= ulp / 128.0, "{dtype:?}: {worst}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut builder = ParamBuilder::new(0, DType::F32);
        builder.add("a", &[1], Init::Zeros);
        builder.add("a", &[2], Init::Zeros);
        assert!(builder.build(1).err().unwrap().to_string().contains("named a"));
    }
}
