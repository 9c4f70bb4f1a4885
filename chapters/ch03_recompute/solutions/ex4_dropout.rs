//! # Find the bug: dropout in a segment
//!
//! The body counted: each run of it drew the number of a new mask, and backward runs it
//! again. With two layers forward drew the masks 0 and 1; backward, which comes by the
//! second layer first, computed that one again with mask 2, and the first with mask 3.
//! The output was that of one network and the gradients were those of another. The next
//! step started with mask 4 in place of 2, so that even its output was not that of the
//! same run without recomputation.
//!
//! Now the number is drawn outside, once in each step, and the body only uses it.
//! Setting the count back inside of the body would mend the gradients and break the
//! next step: backward ends with the first layer, and the count would be left there, so
//! that the next step drew masks which this one had already. PyTorch's and
//! Megatron-LM's random numbers come from a state that each draw moves on. So their
//! checkpoints put back, for the second run, the state that was before the first, and
//! afterwards the one they found (`preserve_rng_state` in `torch.utils.checkpoint`).
//! Where segments lie in segments, the number would have to be drawn outside of all of
//! them, or be made of what is known anyway: step, layer, micro-batch.
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
    /// `x`, in f64, with the elements dropped that the mask of this number drops.
    fn apply(&self, x: &Tensor, mask: u64) -> Result<Tensor> {
        let (p, seed) = (self.p, self.seed);
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
        // Outside of the body, which runs again in backward.
        let mask = dropout.draw();
        x = segment(&x, keep, move |x| {
            let gate_up = ops::linear(x, std::slice::from_ref(&weight), &[])?;
            let y = ops::swiglu(&gate_up)?;
            ops::add(x, &dropout.apply(&y, mask)?)
        })?;
    }
    Ok(x)
}
