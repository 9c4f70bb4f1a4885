//! `config.json`: what is understood, what is refused, what is written.

mod common;

use std::path::Path;

use common::{fixture, message, says, tiny};
use hub::{Family, Folder, ModelConfig, Rope, Scaling};
use serde_json::{Value, json};

/// What Meta published with Llama 2 7B (version 4.31).
const LLAMA_2_7B: &str = r#"{
  "_name_or_path": "meta-llama/Llama-2-7b-hf",
  "architectures": ["LlamaForCausalLM"],
  "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.02, "intermediate_size": 11008,
  "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32,
  "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false,
  "torch_dtype": "float16", "transformers_version": "4.31.0.dev0", "use_cache": true,
  "vocab_size": 32000 }"#;

/// Llama 3.1 8B Instruct: scaled RoPE, a list of end tokens.
const LLAMA_3_1_8B: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 128000,
  "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.02, "intermediate_size": 14336,
  "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
  "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
  "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": { "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_type": "llama3" },
  "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 128256 }"#;

/// Qwen2.5 0.5B: windows configured but switched off.
const QWEN_2_5_05B: &str = r#"{
  "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
  "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu",
  "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
  "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
  "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
  "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
  "use_sliding_window": false, "vocab_size": 151936 }"#;

/// Qwen3 0.6B: heads wider than their share.
const QWEN_3_06B: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
  "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
  "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
  "initializer_range": 0.02, "intermediate_size": 3072,
  "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
  "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
  "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 151936 }"#;

fn read(text: &str) -> anyhow::Result<ModelConfig> {
    ModelConfig::from_json(text, Path::new("a/config.json"))
}

/// A published config with some fields changed.
fn with(text: &str, changes: Value) -> anyhow::Result<ModelConfig> {
    let mut config: Value = serde_json::from_str(text).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    read(&config.to_string())
}

/// REFERENCES.md §6.
#[test]
fn parameter_counts() {
    assert_eq!(read(LLAMA_2_7B).unwrap().parameters(), 6_738_415_616);
    assert_eq!(read(LLAMA_3_1_8B).unwrap().parameters(), 8_030_261_248);
    assert_eq!(read(QWEN_3_06B).unwrap().parameters(), 596_049_920);
    assert_eq!(read(QWEN_2_5_05B).unwrap().parameters(), 494_032_768);
    for config in [tiny(Family::Llama), tiny(Family::Qwen2), tiny(Family::Qwen3)] {
        let tensors = config.tensors();
        let sizes = tensors.iter().map(|t| t.shape.iter().product::<usize>() as u64);
        assert_eq!(config.parameters(), sizes.sum::<u64>());
    }
}

#[test]
fn published_configs() {
    let llama = read(LLAMA_3_1_8B).unwrap();
    assert_eq!(llama.family, Family::Llama);
    assert_eq!((llama.head_dim, llama.num_key_value_heads), (128, 8));
    assert_eq!(llama.rms_norm_eps, 1e-5);
    assert_eq!(
        (llama.eos_token_id, &llama.extra_tokens.more_eos[..]),
        (Some(128001), &[128008, 128009][..])
    );
    let scaling = Scaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: Some(8192),
    };
    assert_eq!(llama.rope, Rope { theta: 500_000.0, scaling });
    assert!(!llama.qkv_bias && !llama.qk_norm && !llama.tie_word_embeddings);

    let qwen = read(QWEN_2_5_05B).unwrap();
    assert!(qwen.qkv_bias && !qwen.o_bias && !qwen.mlp_bias && !qwen.qk_norm);
    assert!(qwen.tie_word_embeddings);
    assert_eq!(qwen.head_dim, 64);
    let qwen = read(QWEN_3_06B).unwrap();
    assert!(!qwen.qkv_bias && qwen.qk_norm);
    assert_eq!(qwen.rope, Rope::new(1e6));

    for name in ["llama", "qwen3"] {
        let config = Folder::open(fixture(name).to_str().unwrap()).unwrap().config();
        assert_eq!(config.unwrap().rope, Rope::new(10_000.0), "{name}");
    }
}

/// What is not there is what transformers takes for it.
#[test]
fn defaults() {
    let llama = read(r#"{"model_type": "llama"}"#).unwrap();
    assert_eq!(llama, ModelConfig::defaults(Family::Llama));
    assert_eq!(llama.parameters(), 6_738_415_616);
    assert_eq!((llama.bos_token_id, llama.eos_token_id), (Some(1), Some(2)));
    let few = r#"{"model_type": "llama", "num_attention_heads": 16,
        "bos_token_id": null, "pad_token_id": -1}"#;
    let few = read(few).unwrap();
    assert_eq!((few.num_key_value_heads, few.head_dim), (16, 256));
    assert_eq!((few.bos_token_id, few.extra_tokens.pad), (None, None));

    let qwen = read(r#"{"model_type": "qwen2"}"#).unwrap();
    assert_eq!(qwen, ModelConfig::defaults(Family::Qwen2));
    let qwen = read(r#"{"model_type": "qwen3"}"#).unwrap();
    assert_eq!(qwen, ModelConfig::defaults(Family::Qwen3));
    assert_eq!((qwen.vocab_size, qwen.intermediate_size), (151_936, 22_016));
    let null = r#"{"model_type": "qwen3", "num_attention_heads": 16,
        "num_key_value_heads": null, "hidden_size": 1024}"#;
    let null = read(null).unwrap();
    assert_eq!((null.num_key_value_heads, null.head_dim), (16, 128));
    // Qwen's missing key/value heads are 32, whatever the query heads.
    let missing = r#"{"model_type": "qwen2", "num_attention_heads": 16}"#;
    says(&message(read(missing)), &["num_attention_heads is 16", "32"]);
    // attention_bias is q, k, v and the output at once.
    let biased = with(LLAMA_2_7B, json!({"attention_bias": true, "mlp_bias": true}));
    let biased = biased.unwrap();
    assert!(biased.qkv_bias && biased.o_bias && biased.mlp_bias);
    assert!(with(QWEN_3_06B, json!({"attention_bias": true})).unwrap().o_bias);
}

/// Everything that would be another model's maths.
#[test]
fn refused() {
    let cases = [
        (json!({"model_type": "mixtral"}), "model_type is \"mixtral\""),
        (json!({"model_type": null}), "model_type is missing"),
        (json!({"architectures": ["LlamaForSequenceClassification"]}), "architectures"),
        (json!({"hidden_act": "gelu"}), "hidden_act is \"gelu\"; silu"),
        (
            json!({"attention_dropout": 0.1}),
            "attention_dropout is 0.1: training here has",
        ),
        (json!({"pretraining_tp": 2}), "pretraining_tp is 2"),
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor is 0.5"),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config is {\"bits\"",
        ),
        (json!({"num_local_experts": 8}), "num_local_experts is 8: a mixture"),
        (json!({"residual_multiplier": 0.22}), "residual_multiplier is 0.22"),
        (json!({"embedding_multiplier": 12}), "embedding_multiplier is 12"),
        (json!({"logits_scaling": 8}), "logits_scaling is 8"),
        (json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping is 30"),
        (json!({"auto_map": {"AutoModel": "x.Y"}}), "auto_map"),
        (json!({"is_encoder_decoder": true}), "is_encoder_decoder"),
        (json!({"sliding_window": 4096}), "a sliding window of 4096"),
        (
            json!({"swiglu_limit": 7.0}),
            "swiglu_limit is 7.0, a field that is not known",
        ),
        (json!({"use_gated_norm": true}), "use_gated_norm is true, a field"),
        (json!({"layer_types": ["full_attention"]}), "layer_types has 1 entries"),
        (json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}), "\"dynamic\""),
        (json!({"rope_scaling": {"type": "longrope"}}), "rope_type is \"longrope\""),
        (json!({"rope_scaling": {"type": "linear"}}), "linear needs factor"),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2, "wave": 1}}),
            "wave is 1",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "rope_type": "yarn"}}),
            "rope_type is given twice",
        ),
        (
            json!({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}),
            "rope_theta is given twice",
        ),
        (
            json!({"rope_parameters": {"partial_rotary_factor": 0.25}}),
            "partial_rotary_factor is 0.25",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2},
            "rope_parameters": {"type": "linear", "factor": 4}}),
            "remove the one",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}),
            "full_attention is",
        ),
    ];
    for (change, part) in cases {
        let error = message(with(LLAMA_2_7B, change));
        says(&error, &["a/config.json", part]);
    }
}

#[test]
fn windows() {
    let on =
        |first: usize| json!({"use_sliding_window": true, "max_window_layers": first});
    says(&message(with(QWEN_2_5_05B, on(20))), &["a sliding window of 32768"]);
    // It would begin after the last layer.
    with(QWEN_2_5_05B, on(24)).unwrap();
    // layer_types decides where it is given; null switches windows off.
    let mut change = on(20);
    change["layer_types"] = json!(vec!["full_attention"; 24]);
    with(QWEN_2_5_05B, change.clone()).unwrap();
    change["layer_types"][7] = json!("sliding_attention");
    let error = message(with(QWEN_2_5_05B, change));
    says(&error, &["\"sliding_attention\" for layer 7"]);
    let mut change = on(20);
    change["sliding_window"] = json!(null);
    with(QWEN_2_5_05B, change).unwrap();
    let missing = r#"{"model_type": "qwen3", "use_sliding_window": true}"#;
    says(&message(read(missing)), &["a sliding window of 4096"]);
}

/// Not understood, but saying nothing.
#[test]
fn harmless() {
    let change = json!({"use_gated_norm": false, "notes": null, "extra": {},
        "attention_dropout": 0, "pretraining_tp": 1, "partial_rotary_factor": 1.0,
        "logits_scaling": 1, "hidden_act": "swish", "quantization_config": null,
        "temperature": 0.6, "id2label": {"0": "A"}, "unsloth_fixed": true});
    assert_eq!(with(LLAMA_2_7B, change).unwrap(), read(LLAMA_2_7B).unwrap());
}

#[test]
fn sizes_that_do_not_fit() {
    let cases = [
        (json!({"hidden_size": 0}), "hidden_size is 0"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers is 0"),
        (json!({"num_attention_heads": 0}), "num_attention_heads"),
        (json!({"num_key_value_heads": 5}), "no multiple of num_key_value_heads, 5"),
        (json!({"num_key_value_heads": 0}), "num_key_value_heads is 0"),
        (json!({"head_dim": 127}), "head_dim is 127; an even number"),
        (json!({"hidden_size": 4097}), "hidden_size is 4097, no multiple"),
        (json!({"hidden_size": 4097, "head_dim": 128}), "refuses such a Llama"),
        (json!({"vocab_size": -1}), "vocab_size is -1; a whole number"),
        (json!({"vocab_size": "big"}), "vocab_size is \"big\"; a whole number"),
        (json!({"vocab_size": 1e30}), "vocab_size is 1e+30; a whole number"),
        (json!({"vocab_size": 1u64 << 40}), "vocab_size is 1099511627776; a whole"),
        (
            json!({"num_hidden_layers": 2_000_000_000}),
            "num_hidden_layers is 2000000000",
        ),
        (
            json!({"hidden_size": 1 << 30, "vocab_size": 1 << 30,
            "intermediate_size": 1 << 30}),
            "is the file damaged?",
        ),
        (json!({"rms_norm_eps": 0}), "rms_norm_eps is 0"),
        (json!({"rope_theta": 0.5}), "rope_theta is 0.5"),
        (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "rope factor is 0"),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8,
            "low_freq_factor": 4, "high_freq_factor": 1}}),
            "low_freq_factor is 4",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 8, "beta_fast": 1,
            "beta_slow": 2}}),
            "beta_fast is 1",
        ),
        (json!({"eos_token_id": "</s>"}), "eos_token_id is \"</s>\"; a token id"),
        (json!({"tie_word_embeddings": 1}), "tie_word_embeddings is 1; true or false"),
    ];
    for (change, part) in cases {
        says(&message(with(LLAMA_2_7B, change)), &["a/config.json", part]);
    }
    says(&message(with(QWEN_2_5_05B, json!({"attention_bias": false}))), &["Qwen2"]);
    says(&message(with(QWEN_3_06B, json!({"mlp_bias": true}))), &["only Llama"]);
    let mut impossible = tiny(Family::Llama);
    impossible.qk_norm = true;
    says(&message(impossible.validate()), &["qk_norm true exists nowhere"]);
}

#[test]
fn broken_files() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path().to_str().unwrap()).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    says(&message(folder.config()), &["has no config.json", "notes.txt"]);

    let cases: [(&[u8], &str); 6] = [
        (b"", "line 1 column 0: not sound JSON: EOF"),
        (b"{\n  \"a\": 1,\n  oops\n}", "line 3 column 3: not sound JSON: key must be"),
        (b"{\n \"a\": \"\xff\"}", "line 2 column 8: byte 0xff is not UTF-8"),
        (b"[1]", "a JSON object is expected"),
        (b"{\"model_type\": \"llama\"", "line 1 column 22: not sound JSON: EOF"),
        (&[b'['; 100_000], "not sound JSON: recursion limit"),
    ];
    for (bytes, part) in cases {
        std::fs::write(dir.path().join("config.json"), bytes).unwrap();
        says(&message(folder.config()), &["config.json", part]);
    }
    let huge = std::fs::File::create(dir.path().join("config.json")).unwrap();
    huge.set_len(1 << 40).unwrap();
    says(&message(folder.config()), &["config.json is larger than 16000000 bytes"]);
}

/// transformers 4 refuses llama3 without the original context, 5 takes the present one.
#[test]
fn llama3_context_made_explicit() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0});
    let text = with(LLAMA_2_7B, json!({"rope_scaling": scaling})).unwrap().to_json();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["rope_scaling"]["original_max_position_embeddings"], 4096);
}

/// Whatever can be configured survives being written and read.
#[test]
fn round_trip() {
    let mut configs: Vec<ModelConfig> =
        [LLAMA_2_7B, LLAMA_3_1_8B, QWEN_2_5_05B, QWEN_3_06B]
            .map(|text| read(text).unwrap())
            .into();
    configs.extend([Family::Llama, Family::Qwen2, Family::Qwen3].map(tiny));
    let mut odd = tiny(Family::Llama);
    (odd.qkv_bias, odd.o_bias, odd.mlp_bias) = (true, true, true);
    (odd.bos_token_id, odd.eos_token_id, odd.extra_tokens.pad) = (None, None, Some(3));
    (odd.rms_norm_eps, odd.initializer_range) = (3.3e-7, 0.006);
    configs.push(odd);
    let mut wide = tiny(Family::Qwen2);
    wide.head_dim = 16;
    configs.push(wide);
    for config in configs {
        assert_eq!(read(&config.to_json()).unwrap(), config);
    }
}
