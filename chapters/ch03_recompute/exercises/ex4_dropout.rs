//! # Find the bug: dropout in a segment
//!
//! Dropout (Srivastava et al. 2014) sets each element to zero with probability $p$ and
//! multiplies the others by $1 / (1 - p)$, so that the mean stays. Which elements, the
//! *mask*, is drawn anew by each layer in each step. Backward needs the mask that
//! forward had. Instead of keeping masks, this dropout numbers them: an element is
//! dropped or not as a hash of the seed, the mask's number and the element's place
//! says, and so backward makes the same mask again from its number.
//!
//! `forward` is a residual stream through a few layers, each a segment. With
//! `Keep::All` its gradients are right to the last digit. With `Keep::Ends` the
//! output of the first step is the same to the last bit, no error is reported, and the
//! gradients are wrong.
//!
//! It is wrong in one place. Afterwards, too, each layer and each step has a mask of
//! its own.
//!
//! ## Hint
//!
//! Read what `segment` asks of its `body`. Then take two layers and write down the
//! number of each mask that is drawn: in forward, layer by layer, and in backward, in
//! the order in which it comes by the layers. Which numbers should it be? And which
//! masks does the second step start with? What is to be the same in both runs of the
//! body must be decided outside of it.
use candle_core::{Device, Result, Tensor};
use ch03_recompute::segment::{Keep, segment};
use params::Param;
use std::cell::Cell;
use std::rc::Rc;

/// Draws masks, and applies them.
pub struct Dropout {
    /// The part of the elements that is dropped.
    p: f64,
    seed: u64,
    /// Masks drawn so far.
    drawn: Cell<u64>,
}

impl Dropout {
    /// Drops the part `p` of the elements, below 1, as `seed` decides.
    pub fn new(p: f64, seed: u64) -> Dropout {
        Dropout { p, seed, drawn: Cell::new(0) }
    }
    /// The number of the next mask.
    fn draw(&self) -> u64 {
        self.drawn.replace(self.drawn.get() + 1)
    }
    /// `x`, in f64, with some of its elements dropped.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (p, seed, mask) = (self.p, self.seed, self.draw());
        let times_mask = move |x: &Tensor| {
            let mut elements = x.flatten_all()?.to_vec1::<f64>()?;
            for (place, element) in elements.iter_mut().enumerate() {
                let dropped = uniform(seed, mask, place) < p;
                *element *= if dropped { 0.0 } else { 1.0 / (1.0 - p) };
            }
            Tensor::from_vec(elements, x.shape(), &Device::Cpu)
        };
        let out = times_mask(x)?;
        // An element's gradient is dropped with it; nothing has to be kept for that.
        ops::note("dropout", &out, &[x], move |dy| Ok(vec![times_mask(&dy)?]));
        Ok(out)
    }
}

/// A number in `[0, 1)`, for each seed, mask and place another.
fn uniform(seed: u64, mask: u64, place: usize) -> f64 {
    // SplitMix64 (Steele et al. 2014).
    let mix = |x: u64| {
        let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    (mix(mix(mix(seed) ^ mask) ^ place as u64) >> 11) as f64 / (1u64 << 53) as f64
}

/// `x [.., hidden]` through layers with one matrix each, `[2 hidden, hidden]`: gate and
/// up. What comes out of the gate is thinned by `dropout` and added to the stream; all
/// in f64.
///
/// # Errors
/// Shapes do not fit.
pub fn forward(
    x: &Tensor,
    layers: &[Param],
    dropout: &Rc<Dropout>,
    keep: Keep,
) -> Result<Tensor> {
    let mut x = x.clone();
    for weight in layers {
        let (weight, dropout) = (weight.clone(), dropout.clone());
        x = segment(&x, keep, move |x| {
            let gate_up = ops::linear(x, std::slice::from_ref(&weight), &[])?;
            let y = ops::swiglu(&gate_up)?;
            ops::add(x, &dropout.apply(&y)?)
        })?;
    }
    Ok(x)
}
