//! A model's architecture, in Hugging Face's names.

use crate::rope::Rope;

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

impl TensorSpec {
    /// How many numbers it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
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
    pub(crate) fn count(&self) -> u128 {
        let count = |tensors: Vec<TensorSpec>| -> u128 {
            let size =
                |t: &TensorSpec| t.shape.iter().map(|&n| n as u128).product::<u128>();
            tensors.iter().map(size).sum()
        };
        count(self.outer_tensors())
            + self.num_hidden_layers as u128 * count(self.layer_tensors(0))
    }
}

fn spec(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_string(), shape: shape.to_vec() }
}
