//! Rotary position embedding: from the settings to inverse frequencies.
//!
//! Pair i of a head's dimensions turns by `position · inverse_frequency[i]`. The
//! scalings stretch slow pairs so that a model sees longer contexts than it was trained
//! on. All formulas follow `modeling_rope_utils.py` of transformers 5.23, in f64.

use std::f64::consts::PI;

/// How positions turn into angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the geometric series of frequencies, `rope_theta`.
    pub theta: f64,
    /// What stretches it, `rope_scaling`.
    pub scaling: Scaling,
}

/// `rope_type` and its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// `default`: θ^(−2i/d).
    None,
    /// `linear`: every frequency divided (kaiokendev; Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `llama3`: long waves divided, short ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than the original context over this are divided.
        low_freq_factor: f64,
        /// Waves shorter than the original context over this are kept.
        high_freq_factor: f64,
        /// Tokens of the context before; `max_position_embeddings` if absent.
        original_max_position_embeddings: Option<usize>,
    },
    /// `yarn`: as llama3, with the ramp over dimensions, and cos and sin scaled (Peng
    /// et al. 2023, §3).
    Yarn {
        /// The divisor of slow dimensions.
        factor: f64,
        /// Tokens of the context before; `max_position_embeddings` if absent.
        original_max_position_embeddings: Option<usize>,
        /// Dimensions that turn more often than this in the original context are kept.
        beta_fast: f64,
        /// Dimensions that turn less often than this are divided.
        beta_slow: f64,
        /// What cos and sin are multiplied by; computed if absent.
        attention_factor: Option<f64>,
        /// Weight of ln(factor) in the numerator of the computed attention factor.
        mscale: Option<f64>,
        /// The same in its denominator; both or neither count.
        mscale_all_dim: Option<f64>,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
}

impl Rope {
    /// Unscaled, of this base.
    pub fn new(theta: f64) -> Self {
        Self { theta, scaling: Scaling::None }
    }

    /// The inverse frequencies, `head_dim / 2` of them, in radians per token, fastest
    /// first; and the factor by which cos and sin are multiplied, 1 except for YaRN.
    ///
    /// Pair i is dimensions i and i + head_dim/2 (transformers' `rotate_half`).
    pub fn frequencies(
        &self,
        head_dim: usize,
        max_position_embeddings: usize,
    ) -> (Vec<f64>, f64) {
        let dim = head_dim as f64;
        let plain = |i: usize| 1.0 / self.theta.powf(2.0 * i as f64 / dim);
        let plain: Vec<f64> = (0..head_dim / 2).map(plain).collect();
        let context = |original: Option<usize>| {
            original.unwrap_or(max_position_embeddings) as f64
        };
        match self.scaling {
            Scaling::None => (plain, 1.0),
            Scaling::Linear { factor } => {
                (plain.into_iter().map(|f| f / factor).collect(), 1.0)
            }
            Scaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                let context = context(original);
                let scale = |f: f64| {
                    let wavelength = 2.0 * PI / f;
                    if wavelength < context / high {
                        f
                    } else if wavelength > context / low {
                        f / factor
                    } else {
                        let keep = (context / wavelength - low) / (high - low);
                        (1.0 - keep) * f / factor + keep * f
                    }
                };
                (plain.into_iter().map(scale).collect(), 1.0)
            }
            Scaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast,
                beta_slow,
                attention_factor,
                mscale,
                mscale_all_dim,
                truncate,
            } => {
                // The dimension that makes this many turns within the original context.
                let turns = |n: f64| {
                    let ratio = context(original) / (n * 2.0 * PI);
                    dim * ratio.ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (turns(beta_fast), turns(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let low = low.max(0.0);
                let mut high = high.min(dim - 1.0);
                if low == high {
                    high += 0.001; // as transformers: no division by zero
                }
                let scale = |(i, f): (usize, f64)| {
                    let divide = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    f / factor * divide + f * (1.0 - divide)
                };
                let scaled = plain.into_iter().enumerate().map(scale).collect();
                let computed = yarn_attention_factor(factor, mscale, mscale_all_dim);
                (scaled, attention_factor.unwrap_or(computed))
            }
        }
    }
}

/// 0.1 ln(factor) + 1 (YaRN, eq. 22), or DeepSeek's ratio of two such terms.
fn yarn_attention_factor(
    factor: f64,
    mscale: Option<f64>,
    all_dim: Option<f64>,
) -> f64 {
    let term = |weight: f64| {
        if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
    };
    match (mscale, all_dim) {
        (Some(mscale), Some(all_dim)) if mscale != 0.0 && all_dim != 0.0 => {
            term(mscale) / term(all_dim)
        }
        _ => term(1.0),
    }
}
