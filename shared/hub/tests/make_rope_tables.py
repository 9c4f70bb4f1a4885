"""Writes rope_tables.json: inverse frequencies by transformers' own functions.

    .venv/bin/python shared/hub/tests/make_rope_tables.py

transformers computes them in fp32. The same functions are run here a second time with
its torch replaced by one whose float is float64: that is the table; the fp32 result
must agree with it to 1e-6, so that the replacement changed precision and nothing else.
"""

import json
import pathlib
import types

import torch
import transformers
from transformers import LlamaConfig, Qwen2Config, Qwen3Config
from transformers import modeling_rope_utils
from transformers.models.llama import modeling_llama

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=8192)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768)

# name, config class, fields of config.json (version 5 form)
CASES = [
    ("default", LlamaConfig, dict(head_dim=16), dict(rope_theta=10000.0)),
    ("default, qwen3", Qwen3Config, dict(head_dim=128), dict(rope_theta=1e6)),
    ("head of 2", LlamaConfig, dict(head_dim=2), dict(rope_theta=10000.0)),
    ("linear", LlamaConfig, dict(head_dim=64),
     dict(rope_type="linear", factor=2.5, rope_theta=10000.0)),
    ("llama 3.1", LlamaConfig, dict(head_dim=128, max_position_embeddings=131072),
     dict(LLAMA3, rope_theta=500000.0)),
    ("llama 3.2", LlamaConfig, dict(head_dim=64, max_position_embeddings=131072),
     dict(LLAMA3, factor=32.0, rope_theta=500000.0)),
    ("llama3, context by default", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=4096),
     dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
          rope_theta=10000.0)),
    ("qwen2.5, yarn", Qwen2Config,
     dict(hidden_size=3584, num_attention_heads=28, num_key_value_heads=4,
          max_position_embeddings=131072),
     dict(YARN, rope_theta=1e6)),
    ("yarn, attention factor", Qwen3Config,
     dict(head_dim=128, max_position_embeddings=131072),
     dict(YARN, attention_factor=1.25, rope_theta=1e6)),
    ("yarn, betas", LlamaConfig, dict(head_dim=64, max_position_embeddings=65536),
     dict(YARN, factor=16.0, original_max_position_embeddings=4096, beta_fast=24.0,
          beta_slow=2.0, rope_theta=10000.0)),
    ("yarn, mscale", LlamaConfig, dict(head_dim=64, max_position_embeddings=163840),
     dict(YARN, factor=40.0, original_max_position_embeddings=4096, mscale=1.0,
          mscale_all_dim=0.707, rope_theta=10000.0)),
    ("yarn, one mscale does not count", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=163840),
     dict(YARN, factor=40.0, original_max_position_embeddings=4096, mscale=0.5,
          rope_theta=10000.0)),
    ("yarn, not truncated", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=131072),
     dict(YARN, truncate=False, rope_theta=150000.0)),
    ("yarn, truncate null", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=131072),
     dict(YARN, truncate=None, rope_theta=150000.0)),
    ("yarn, factor null", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=131072),
     dict(YARN, factor=None, rope_theta=10000.0)),
    ("yarn, factor below 1", LlamaConfig,
     dict(head_dim=64, max_position_embeddings=4096),
     dict(YARN, factor=0.5, original_max_position_embeddings=8192, rope_theta=1e4)),
    ("yarn, short context", LlamaConfig,
     dict(head_dim=8, max_position_embeddings=64),
     dict(YARN, factor=2.0, original_max_position_embeddings=4, rope_theta=1e4)),
    ("yarn, context by default", LlamaConfig,
     dict(head_dim=32, max_position_embeddings=2048),
     dict(rope_type="yarn", factor=2.0, rope_theta=1e4)),
]


class Float64Torch(types.ModuleType):
    """torch, but what transformers calls float is float64."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


def frequencies(config):
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        rope = modeling_llama.LlamaRotaryEmbedding.compute_default_rope_parameters
    else:
        rope = modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind]
    inverse, factor = rope(config)
    return inverse, float(factor)


def main():
    tables = []
    for name, family, fields, rope in CASES:
        fields = dict(fields)
        if "head_dim" in fields:
            fields.setdefault("num_attention_heads", 4)
            fields.setdefault("num_key_value_heads", 4)
            fields.setdefault("hidden_size", 256)
        config = family(**fields, rope_parameters=dict(rope))
        single, factor = frequencies(config)
        for module in (modeling_rope_utils, modeling_llama):
            module.torch = Float64Torch("torch")
        double, same_factor = frequencies(config)
        for module in (modeling_rope_utils, modeling_llama):
            module.torch = torch
        assert single.dtype == torch.float32 and double.dtype == torch.float64, name
        torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0.0)
        assert factor == same_factor
        head_dim = getattr(config, "head_dim", None)
        head_dim = head_dim or config.hidden_size // config.num_attention_heads
        tables.append({
            "name": name,
            "config": {"model_type": config.model_type, **fields,
                       "rope_parameters": rope},
            "head_dim": head_dim,
            "inverse_frequencies": double.tolist(),
            "attention_factor": factor,
        })
    out = {"transformers": transformers.__version__, "torch": torch.__version__,
           "tables": tables}
    path = pathlib.Path(__file__).with_name("rope_tables.json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(path, len(tables), "tables")


if __name__ == "__main__":
    main()
