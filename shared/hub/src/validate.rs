//! Whether a configuration is one that can exist: sizes that fit each other, formulas
//! that stay finite, switches that the family has.

use anyhow::{Result, bail, ensure};

use crate::config::{Family, ModelConfig};
use crate::rope::{Rope, Scaling};

impl ModelConfig {
    /// Checks that the sizes fit each other and that the family has what is asked for.
    ///
    /// # Errors
    /// The first field that does not fit, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, size) in sizes {
            ensure!(size > 0, "{name} is 0; at least 1 is expected");
            ensure!(
                size <= i32::MAX as usize,
                "{name} is {size}; less than 2^31 is expected"
            );
        }
        let (heads, kv) = (self.num_attention_heads, self.num_key_value_heads);
        ensure!(
            heads.is_multiple_of(kv),
            "num_attention_heads is {heads}, no multiple of num_key_value_heads, {kv}: \
             each key/value head serves the same number of query heads"
        );
        ensure!(
            self.head_dim.is_multiple_of(2),
            "head_dim is {}; an even number is expected, for RoPE turns pairs",
            self.head_dim
        );
        ensure!(
            self.family != Family::Llama || self.hidden_size.is_multiple_of(heads),
            "hidden_size is {}, no multiple of num_attention_heads, {heads}: \
             transformers refuses such a Llama",
            self.hidden_size
        );
        let layers = self.num_hidden_layers;
        ensure!(
            layers <= 100_000,
            "num_hidden_layers is {layers}; is the file damaged? At most 100000 is \
             expected"
        );
        ensure!(
            self.count() < 1 << 60,
            "the sizes multiply to {} parameters; is the file damaged? Fewer than 2^60 \
             are expected",
            self.count()
        );
        positive("rms_norm_eps", self.rms_norm_eps)?;
        ensure!(
            (0.0..=1.0).contains(&self.initializer_range),
            "initializer_range is {}; a number from 0 to 1 is expected",
            self.initializer_range
        );
        self.rope.validate()?;
        self.family_has_it()
    }

    /// What `config.json` can express for the family is what transformers can load.
    fn family_has_it(&self) -> Result<()> {
        let Self { family, qkv_bias, o_bias, mlp_bias, qk_norm, .. } = *self;
        let fits = match family {
            Family::Llama => qkv_bias == o_bias && !qk_norm,
            Family::Qwen2 => qkv_bias && !o_bias && !mlp_bias && !qk_norm,
            Family::Qwen3 => qkv_bias == o_bias && !mlp_bias && qk_norm,
        };
        ensure!(
            fits,
            "{family:?} with qkv_bias {qkv_bias}, o_bias {o_bias}, mlp_bias \
             {mlp_bias}, qk_norm {qk_norm} exists nowhere: Llama has one switch for \
             all attention biases and no QK-norm; Qwen2 biases on q, k, v alone; Qwen3 \
             QK-norm and no MLP biases"
        );
        Ok(())
    }
}

impl Rope {
    /// Checks that the formulas stay finite.
    pub(crate) fn validate(&self) -> Result<()> {
        let theta = self.theta;
        ensure!(
            theta > 1.0 && theta.is_finite(),
            "rope_theta is {theta}; more than 1 is expected"
        );
        let original = match self.scaling {
            Scaling::None => return Ok(()),
            Scaling::Linear { factor } => return positive("rope factor", factor),
            Scaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                positive("rope factor", factor)?;
                positive("low_freq_factor", low)?;
                positive("high_freq_factor", high)?;
                if low >= high {
                    bail!(
                        "low_freq_factor is {low} and high_freq_factor {high}; the \
                         former must be the smaller"
                    );
                }
                original
            }
            Scaling::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast: fast,
                beta_slow: slow,
                attention_factor,
                ..
            } => {
                positive("rope factor", factor)?;
                positive("beta_slow", slow)?;
                positive("beta_fast", fast)?;
                ensure!(
                    fast >= slow,
                    "beta_fast is {fast} and beta_slow {slow}; the latter must not be \
                     the larger"
                );
                positive("attention_factor", attention_factor.unwrap_or(1.0))?;
                original
            }
        };
        ensure!(
            original != Some(0),
            "original_max_position_embeddings is 0; at least 1 is expected"
        );
        Ok(())
    }
}

fn positive(name: &str, value: f64) -> Result<()> {
    ensure!(
        value > 0.0 && value.is_finite(),
        "{name} is {value}; a number above 0 is expected"
    );
    Ok(())
}
