//! Models by name.
use anyhow::{Result, bail};
use hub::{Family, ModelConfig};

/// Layers, hidden size, heads, key/value heads, width of the MLP, tied, of each preset.
const PRESETS: [(&str, [usize; 5], bool); 6] = [
    ("nano", [4, 128, 4, 4, 344], true),
    ("tiny", [4, 256, 8, 4, 704], false),
    ("small", [12, 768, 12, 4, 2048], false),
    ("125m", [12, 768, 12, 12, 2048], false),
    ("350m", [24, 1024, 16, 16, 2816], false),
    ("1.3b", [24, 2048, 16, 16, 5632], false),
];

/// The presets' names, for a message.
pub fn preset_names() -> String {
    PRESETS.map(|preset| preset.0).join(", ")
}

/// Whether there is a preset of that name.
pub fn is_preset(name: &str) -> bool {
    PRESETS.iter().any(|preset| preset.0 == name)
}

/// The preset of that name, for a vocabulary whose documents end in token `end` and
/// sequences of up to `seq_len` tokens.
///
/// # Errors
/// There is none.
pub fn preset(
    name: &str,
    vocab_size: usize,
    end: u32,
    seq_len: usize,
) -> Result<ModelConfig> {
    let Some((_, sizes, tied)) = PRESETS.iter().find(|preset| preset.0 == name) else {
        bail!("no preset is named {name}: expected one of {}", preset_names())
    };
    let [layers, hidden, heads, kv_heads, mlp] = *sizes;
    Ok(ModelConfig {
        vocab_size,
        num_hidden_layers: layers,
        hidden_size: hidden,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim: hidden / heads,
        intermediate_size: mlp,
        tie_word_embeddings: *tied,
        rms_norm_eps: 1e-5,
        max_position_embeddings: seq_len.max(2048),
        bos_token_id: Some(end),
        eos_token_id: Some(end),
        ..ModelConfig::defaults(Family::Llama)
    })
}
