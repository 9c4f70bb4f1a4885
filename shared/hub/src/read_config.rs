//! Reading `config.json`.
//!
//! Each field is taken out of the object as it is understood. What is left must be on
//! the list of those that do not change the maths ([`HARMLESS`]); anything else is
//! refused by name, since a model that is trained with a field ignored is another
//! model.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::config::{ExtraTokens, Family, ModelConfig};
use crate::fields::{Fields, short};
use crate::rope_json;

/// Fields that do not change what a causal language model computes in training: where
/// it comes from and how it is stored; how transformers runs it and what it hands back;
/// tokens; generation (transformers' `_get_default_generation_params`); other tasks.
const HARMLESS: &str = "
    _attn_implementation_autoset _commit_hash _name_or_path dtype is_llama_config
    name_or_path torch_dtype transformers.js_config transformers_version unsloth_fixed
    unsloth_version

    _attn_implementation attn_implementation chunk_size_feed_forward is_decoder
    output_attentions output_hidden_states return_dict tie_last_hidden_states
    torchscript use_bfloat16 use_cache

    begin_suppress_tokens cls_token_id decoder_start_token_id mask_token_id
    max_sequence_length model_max_length prefix sep_token_id tokenizer_class
    unk_token_id

    bad_words_ids diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id
    forced_eos_token_id length_penalty max_length min_length no_repeat_ngram_size
    num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values
    repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p
    typical_p

    finetuning_task id2label label2id num_labels problem_type task_specific_params";

/// Fields whose neutral value is accepted, with what any other would mean.
const NEUTRAL: &[(&str, f64, &str)] = &[
    ("attention_dropout", 0.0, "training here has no dropout"),
    ("attn_pdrop", 0.0, "training here has no dropout"),
    ("embd_pdrop", 0.0, "training here has no dropout"),
    ("hidden_dropout", 0.0, "training here has no dropout"),
    ("resid_pdrop", 0.0, "training here has no dropout"),
    ("pretraining_tp", 1.0, "split matrix products are not supported"),
    ("attention_multiplier", 1.0, "scaled attention scores are not supported"),
    ("embedding_multiplier", 1.0, "scaled embeddings are not supported"),
    ("logits_scaling", 1.0, "scaled logits are not supported"),
    ("residual_multiplier", 1.0, "scaled residuals are not supported"),
];

/// Fields of which any value is refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("attn_logit_softcapping", "soft-capped logits are not supported"),
    ("auto_map", "the folder brings model code of its own, which may compute anything"),
    ("final_logit_softcapping", "soft-capped logits are not supported"),
    ("moe_intermediate_size", "a mixture of experts is not supported"),
    ("n_routed_experts", "a mixture of experts is not supported"),
    ("num_experts", "a mixture of experts is not supported"),
    ("num_experts_per_tok", "a mixture of experts is not supported"),
    ("num_local_experts", "a mixture of experts is not supported"),
    ("per_layer_config", "layers that differ from each other are not supported"),
    (
        "quantization_config",
        "quantized weights are not supported: use the original model",
    ),
];

impl ModelConfig {
    /// Reads the text of a `config.json`, of transformers 4 or 5; `path` is for
    /// messages. A missing field gets the family's default in transformers 5.23.
    ///
    /// # Errors
    /// Broken JSON (line and column), another model type, sizes that do not fit, and
    /// every field that would change the maths and is not supported or not known.
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let mut fields = Fields::parse(text, path)?;
        let family = family(&mut fields)?;
        refuse_unsupported(&mut fields)?;

        let default = Self::defaults(family);
        let hidden_size = fields.size("hidden_size")?.unwrap_or(default.hidden_size);
        let num_hidden_layers =
            fields.size("num_hidden_layers")?.unwrap_or(default.num_hidden_layers);
        let heads =
            fields.size("num_attention_heads")?.unwrap_or(default.num_attention_heads);
        let max_position_embeddings = fields
            .size("max_position_embeddings")?
            .unwrap_or(default.max_position_embeddings);
        let rope = rope_json::read(&mut fields, max_position_embeddings)?;
        refuse_windows(&mut fields, family, num_hidden_layers)?;
        let (qkv_bias, o_bias, mlp_bias) = biases(&mut fields, family)?;
        let (bos_token_id, _) =
            tokens(&mut fields, "bos_token_id", default.bos_token_id)?;
        let (eos_token_id, more_eos) =
            tokens(&mut fields, "eos_token_id", default.eos_token_id)?;
        let (pad, _) = tokens(&mut fields, "pad_token_id", None)?;

        let config = Self {
            family,
            vocab_size: fields.size("vocab_size")?.unwrap_or(default.vocab_size),
            hidden_size,
            intermediate_size: fields
                .size("intermediate_size")?
                .unwrap_or(default.intermediate_size),
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads(&mut fields, family, heads)?,
            head_dim: head_dim(&mut fields, family, hidden_size, heads)?,
            rms_norm_eps: fields
                .number("rms_norm_eps")?
                .unwrap_or(default.rms_norm_eps),
            rope,
            qkv_bias,
            o_bias,
            mlp_bias,
            qk_norm: family == Family::Qwen3,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            initializer_range: fields
                .number("initializer_range")?
                .unwrap_or(default.initializer_range),
            max_position_embeddings,
            bos_token_id,
            eos_token_id,
            extra_tokens: ExtraTokens { more_eos, pad },
        };
        refuse_unknown(fields)?;
        config
            .validate()
            .with_context(|| format!("{} does not fit", path.display()))?;
        Ok(config)
    }
}

/// `model_type`, with `architectures` not contradicting it.
fn family(fields: &mut Fields) -> Result<Family> {
    let supported = [Family::Llama, Family::Qwen2, Family::Qwen3];
    let Some(name) = fields.text("model_type")? else {
        bail!(
            "{}: model_type is missing; llama, qwen2 or qwen3 is expected: is this the \
             config.json of a model?",
            fields.at
        );
    };
    let Some(family) = supported.into_iter().find(|family| family.model_type() == name)
    else {
        bail!(
            "{}: model_type is {name:?}; llama, qwen2 and qwen3 are supported",
            fields.at
        )
    };
    let expected = family.architecture();
    for found in fields.texts("architectures")?.unwrap_or_default() {
        ensure!(
            found.eq_ignore_ascii_case(expected),
            "{}: architectures has {found:?}; of model_type {name}, {expected} is \
             supported",
            fields.at
        );
    }
    Ok(family)
}

/// Fields known to change the maths in ways that are not supported.
fn refuse_unsupported(fields: &mut Fields) -> Result<()> {
    for (name, reason) in REFUSED {
        if let Some(value) = fields.take(name) {
            bail!("{}: {name} is {}: {reason}", fields.at, short(&value));
        }
    }
    for (name, neutral, reason) in NEUTRAL {
        if let Some(value) = fields.number(name)?.filter(|value| value != neutral) {
            bail!("{}: {name} is {value}: {reason}, {neutral} is expected", fields.at);
        }
    }
    if let Some(act) = fields.text("hidden_act")?
        && !matches!(act.as_str(), "silu" | "swish")
    {
        bail!("{}: hidden_act is {act:?}; silu is supported", fields.at);
    }
    if fields.flag("is_encoder_decoder")? == Some(true) {
        bail!(
            "{}: is_encoder_decoder is true; a decoder alone is supported",
            fields.at
        );
    }
    Ok(())
}

/// Sliding windows that some layer would really use. transformers' Qwen looks at
/// `layer_types` if given, else at the other three; its Llama knows no windows, so that
/// a window there is somebody else's.
fn refuse_windows(fields: &mut Fields, family: Family, layers: usize) -> Result<()> {
    let types = fields.texts("layer_types")?;
    if let Some(types) = &types {
        ensure!(
            types.len() == layers,
            "{}: layer_types has {} entries, num_hidden_layers is {layers}",
            fields.at,
            types.len()
        );
        if let Some(at) = types.iter().position(|kind| kind != "full_attention") {
            bail!(
                "{}: layer_types has {:?} for layer {at}; full_attention is supported",
                fields.at,
                types[at]
            );
        }
    }
    let used = fields.flag("use_sliding_window")?;
    let first = fields.size("max_window_layers")?.unwrap_or(28);
    let null = fields.is_null("sliding_window");
    let window = fields.size("sliding_window")?;
    let reached = match family {
        Family::Llama => used != Some(false) && window.is_some(),
        _ => used == Some(true) && !null && types.is_none() && first < layers,
    };
    ensure!(
        !reached,
        "{}: a sliding window of {} tokens is used by some layer; full attention is \
         supported",
        fields.at,
        window.unwrap_or(4096)
    );
    Ok(())
}

/// (q, k and v; output projection; MLP).
fn biases(fields: &mut Fields, family: Family) -> Result<(bool, bool, bool)> {
    let attention = fields.flag("attention_bias")?;
    let mlp = fields.flag("mlp_bias")?.unwrap_or(false);
    ensure!(
        !mlp || family == Family::Llama,
        "{}: mlp_bias is true; only Llama has such biases",
        fields.at
    );
    if family == Family::Qwen2 {
        ensure!(
            attention != Some(false),
            "{}: attention_bias is false, but Qwen2 always has biases on q, k and v",
            fields.at
        );
        return Ok((true, false, false));
    }
    let attention = attention.unwrap_or(false);
    Ok((attention, attention, mlp))
}

/// Null means as many as query heads; so does a missing one for Llama, where Qwen has
/// 32.
fn kv_heads(fields: &mut Fields, family: Family, heads: usize) -> Result<usize> {
    let null = fields.is_null("num_key_value_heads");
    let default = if null || family == Family::Llama { heads } else { 32 };
    Ok(fields.size("num_key_value_heads")?.unwrap_or(default))
}

/// Missing or null: 128 for Qwen3, otherwise what the heads divide `hidden_size` into.
fn head_dim(
    fields: &mut Fields,
    family: Family,
    hidden_size: usize,
    heads: usize,
) -> Result<usize> {
    if let Some(head_dim) = fields.size("head_dim")? {
        return Ok(head_dim);
    }
    if family == Family::Qwen3 {
        return Ok(128);
    }
    ensure!(
        heads > 0 && hidden_size.is_multiple_of(heads),
        "{}: hidden_size is {hidden_size}, no multiple of num_attention_heads, \
         {heads}, and head_dim is not stated",
        fields.at
    );
    Ok(hidden_size / heads)
}

/// The first token id and the others. Null means none; a missing one, the default.
fn tokens(
    fields: &mut Fields,
    name: &str,
    default: Option<u32>,
) -> Result<(Option<u32>, Vec<u32>)> {
    let default = if fields.has(name) { None } else { default };
    let mut ids = fields.token_ids(name)?.into_iter();
    Ok((ids.next().or(default), ids.collect()))
}

/// What is left must be harmless, or say nothing: null, false, or empty.
fn refuse_unknown(fields: Fields) -> Result<()> {
    let at = fields.at.clone();
    for (name, value) in fields.rest() {
        let says_nothing = match &value {
            Value::Bool(on) => !on,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        ensure!(
            says_nothing || HARMLESS.split_whitespace().any(|known| known == name),
            "{at}: {name} is {}, a field that is not known here and may change the \
             maths; remove it if the model is a plain one without it",
            short(&value)
        );
    }
    Ok(())
}
