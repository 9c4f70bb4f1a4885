"""Writes what both sides of the comparison train: a Llama folder in Hugging Face
form (config.json, model.safetensors in fp32) and DIR/batches.safetensors, whose
`tokens` are i64 [8, batch, seq + 1].

    python make_inputs.py tiny out/compare_torch/tiny
"""
import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

PRESETS = {
    "tiny": dict(layers=4, hidden=256, heads=8, kv_heads=4, mlp=704, vocab=4096,
                 seq=256, batch=4),
    "small": dict(layers=12, hidden=768, heads=12, kv_heads=4, mlp=2048, vocab=32000,
                  seq=512, batch=1),
}
BATCHES = 8


def config(p: dict) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "attention_bias": False, "mlp_bias": False, "hidden_act": "silu",
        "bos_token_id": 0, "eos_token_id": 1, "dtype": "float32",
        "head_dim": p["hidden"] // p["heads"], "hidden_size": p["hidden"],
        "intermediate_size": p["mlp"], "max_position_embeddings": p["seq"],
        "num_attention_heads": p["heads"], "num_hidden_layers": p["layers"],
        "num_key_value_heads": p["kv_heads"], "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False, "vocab_size": p["vocab"],
    }


def weights(p: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """GPT-2's initialization: 0.02, and 0.02 / sqrt(2 layers) into the residual."""
    def normal(*shape: int, std: float = 0.02) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * std

    d, f, residual = p["hidden"], p["mlp"], 0.02 / math.sqrt(2 * p["layers"])
    kv = d // p["heads"] * p["kv_heads"]
    w = {"model.embed_tokens.weight": normal(p["vocab"], d)}
    for i in range(p["layers"]):
        w |= {f"model.layers.{i}.{name}": tensor for name, tensor in {
            "input_layernorm.weight": 1 + normal(d),
            "self_attn.q_proj.weight": normal(d, d),
            "self_attn.k_proj.weight": normal(kv, d),
            "self_attn.v_proj.weight": normal(kv, d),
            "self_attn.o_proj.weight": normal(d, d, std=residual),
            "post_attention_layernorm.weight": 1 + normal(d),
            "mlp.gate_proj.weight": normal(f, d),
            "mlp.up_proj.weight": normal(f, d),
            "mlp.down_proj.weight": normal(d, f, std=residual),
        }.items()}
    w["model.norm.weight"] = 1 + normal(d)
    w["lm_head.weight"] = normal(p["vocab"], d)
    return w


def tokens(p: dict, generator: torch.Generator) -> torch.Tensor:
    """Zipf-like (probability falling as id^(-2/3)), so that there is a unigram
    distribution to learn and the loss moves."""
    uniform = torch.rand(BATCHES, p["batch"], p["seq"] + 1, generator=generator)
    return (uniform**3 * p["vocab"]).long().clamp(max=p["vocab"] - 1)


def make(preset: str, folder: Path) -> None:
    p, generator = PRESETS[preset], torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(p, generator), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config(p), indent=2) + "\n")
    # Last, so that its presence means that the folder is whole.
    save_file({"tokens": tokens(p, generator)}, folder / "batches.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("dir", type=Path)
    args = parser.parse_args()
    make(args.preset, args.dir)
