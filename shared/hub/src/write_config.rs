//! Writing `config.json`.

use serde_json::{Map, Value, json};

use crate::config::{Family, ModelConfig};
use crate::rope_json;

impl ModelConfig {
    /// A `config.json` that transformers 4 and 5 read alike. It does not state a dtype;
    /// [`crate::save`] adds that of the weights.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(&self.to_map()).unwrap_or_default();
        text + "\n"
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let eos: Vec<u32> = self
            .eos_token_id
            .iter()
            .chain(&self.extra_tokens.more_eos)
            .copied()
            .collect();
        let eos = if eos.len() > 1 { json!(eos) } else { json!(self.eos_token_id) };
        let mut config = Map::new();
        let mut set = |name: &str, value: Value| config.insert(name.to_string(), value);
        set("architectures", json!([self.family.architecture()]));
        set("model_type", json!(self.family.model_type()));
        set("vocab_size", json!(self.vocab_size));
        set("hidden_size", json!(self.hidden_size));
        set("intermediate_size", json!(self.intermediate_size));
        set("num_hidden_layers", json!(self.num_hidden_layers));
        set("num_attention_heads", json!(self.num_attention_heads));
        set("num_key_value_heads", json!(self.num_key_value_heads));
        set("hidden_act", json!("silu"));
        set("rms_norm_eps", json!(self.rms_norm_eps));
        set("tie_word_embeddings", json!(self.tie_word_embeddings));
        set("initializer_range", json!(self.initializer_range));
        set("max_position_embeddings", json!(self.max_position_embeddings));
        set("attention_dropout", json!(0.0));
        set("bos_token_id", json!(self.bos_token_id));
        set("eos_token_id", eos);
        set("pad_token_id", json!(self.extra_tokens.pad));
        set("use_cache", json!(true));
        // Qwen2's class has no such field and derives it; an attribute overrides that.
        let derived = self.num_attention_heads * self.head_dim == self.hidden_size;
        if self.family != Family::Qwen2 || !derived {
            set("head_dim", json!(self.head_dim));
        }
        if self.family != Family::Qwen2 {
            set("attention_bias", json!(self.qkv_bias));
        }
        match self.family {
            Family::Llama => {
                set("mlp_bias", json!(self.mlp_bias));
            }
            Family::Qwen2 | Family::Qwen3 => {
                set("use_sliding_window", json!(false));
            }
        }
        rope_json::write(&self.rope, &mut config);
        config
    }
}
