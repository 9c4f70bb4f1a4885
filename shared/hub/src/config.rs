//! A model's architecture, in Hugging Face's names.

use anyhow::{Result, bail, ensure};

use crate::rope::{Rope, Scaling};

/// The families of decoders that can be trained here. They differ in biases, in the
/// normalization of queries and keys, and in defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3: no biases unless asked for.
    Llama,
    /// Qwen 2 and 2.5: biases on q, k and v.
    Qwen2,
    /// Qwen 3: RMSNorm over each head of q and k, a `head_dim` of its own.
    Qwen3,
}

impl Family {
    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    /// The class in transformers, `architectures` in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// The architecture: everything that changes the maths of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which family's code transformers would run.
    pub family: Family,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP between its two projections.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; query heads share them in equal groups.
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` unless stated.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// How positions enter attention.
    pub rope: Rope,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// A bias on the output projection of attention.
    pub o_bias: bool,
    /// Biases on the three projections of the MLP.
    pub mlp_bias: bool,
    /// RMSNorm over each head of q and k before RoPE.
    pub qk_norm: bool,
    /// Whether the head is the embedding; `lm_head.weight` is then in no file.
    pub tie_word_embeddings: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The longest context the model is meant for, in tokens.
    pub max_position_embeddings: usize,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The token that ends a text: the first, where the file lists several.
    pub eos_token_id: Option<u32>,
    /// Token ids that only matter for saving them back.
    pub extra_tokens: ExtraTokens,
}

/// Token ids that training does not need and a saved folder should not lose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraTokens {
    /// `eos_token_id` after its first, where it is a list.
    pub more_eos: Vec<u32>,
    /// `pad_token_id`.
    pub pad: Option<u32>,
}

/// A tensor's Hugging Face name and global shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// As in `model.safetensors`.
    pub name: String,
    /// Rows first: a linear's weight is `[out, in]`.
    pub shape: Vec<usize>,
}

impl ModelConfig {
    /// What transformers 5.23 takes for every field that `config.json` leaves out.
    pub fn defaults(family: Family) -> Self {
        let llama = family == Family::Llama;
        Self {
            family,
            vocab_size: if llama { 32_000 } else { 151_936 },
            hidden_size: 4096,
            intermediate_size: if llama { 11_008 } else { 22_016 },
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope: Rope::new(10_000.0),
            qkv_bias: family == Family::Qwen2,
            o_bias: false,
            mlp_bias: false,
            qk_norm: family == Family::Qwen3,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            max_position_embeddings: if llama { 2048 } else { 32_768 },
            bos_token_id: llama.then_some(1),
            eos_token_id: llama.then_some(2),
            extra_tokens: ExtraTokens::default(),
        }
    }

    /// The tensors outside the blocks, embedding first; no head if it is tied.
    pub fn outer_tensors(&self) -> Vec<TensorSpec> {
        let (vocab, hidden) = (self.vocab_size, self.hidden_size);
        let mut tensors = vec![
            spec("model.embed_tokens.weight", &[vocab, hidden]),
            spec("model.norm.weight", &[hidden]),
        ];
        if !self.tie_word_embeddings {
            tensors.push(spec("lm_head.weight", &[vocab, hidden]));
        }
        tensors
    }

    /// The tensors of one block, in the order of its forward pass.
    pub fn layer_tensors(&self, layer: usize) -> Vec<TensorSpec> {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let q = self.num_attention_heads * self.head_dim;
        let kv = self.num_key_value_heads * self.head_dim;
        let mut tensors = vec![];
        let mut add = |name: &str, shape: &[usize], bias: bool| {
            let name = format!("model.layers.{layer}.{name}");
            tensors.push(spec(&format!("{name}.weight"), shape));
            if bias {
                tensors.push(spec(&format!("{name}.bias"), &shape[..1]));
            }
        };
        add("input_layernorm", &[hidden], false);
        add("self_attn.q_proj", &[q, hidden], self.qkv_bias);
        add("self_attn.k_proj", &[kv, hidden], self.qkv_bias);
        add("self_attn.v_proj", &[kv, hidden], self.qkv_bias);
        if self.qk_norm {
            add("self_attn.q_norm", &[self.head_dim], false);
            add("self_attn.k_norm", &[self.head_dim], false);
        }
        add("self_attn.o_proj", &[hidden, q], self.o_bias);
        add("post_attention_layernorm", &[hidden], false);
        add("mlp.gate_proj", &[mlp, hidden], self.mlp_bias);
        add("mlp.up_proj", &[mlp, hidden], self.mlp_bias);
        add("mlp.down_proj", &[hidden, mlp], self.mlp_bias);
        tensors
    }

    /// Every tensor of the model, as its weight files name them: the embedding, the
    /// blocks, the final norm, the head.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut outer = self.outer_tensors().into_iter();
        let mut tensors: Vec<TensorSpec> = outer.by_ref().take(1).collect();
        tensors.extend((0..self.num_hidden_layers).flat_map(|i| self.layer_tensors(i)));
        tensors.extend(outer);
        tensors
    }

    /// How many numbers are trained; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        u64::try_from(self.count()).unwrap_or(u64::MAX)
    }

    /// In u128, where no product of valid sizes overflows.
    fn count(&self) -> u128 {
        let count = |tensors: Vec<TensorSpec>| -> u128 {
            let size =
                |t: &TensorSpec| t.shape.iter().map(|&n| n as u128).product::<u128>();
            tensors.iter().map(size).sum()
        };
        count(self.outer_tensors())
            + self.num_hidden_layers as u128 * count(self.layer_tensors(0))
    }

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
            "hidden_size is {}, no multiple of num_attention_heads, {heads}: transformers \
             refuses such a Llama",
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
            "{family:?} with qkv_bias {qkv_bias}, o_bias {o_bias}, mlp_bias {mlp_bias}, \
             qk_norm {qk_norm} exists nowhere: Llama has one switch for all attention \
             biases and no QK-norm; Qwen2 biases on q, k, v alone; Qwen3 QK-norm and no \
             MLP biases"
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
                    "beta_fast is {fast} and beta_slow {slow}; the latter must not be the \
                     larger"
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

fn spec(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_string(), shape: shape.to_vec() }
}
