"""Models that transformers writes, saved again by us, are the same to transformers.

    cargo build -p hub --example resave
    .venv/bin/python shared/hub/tests/check_with_transformers.py target/debug/examples/resave

Every family, tied and untied, with biases and every RoPE scaling, whole and in shards, in
fp32 and bf16: equal configurations, equal state dicts, equal logits, bit for bit.
"""

import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SIZES = dict(vocab_size=101, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=512, rope_theta=5e5)
YARN = dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512,
            rope_theta=1e6)
CASES = [
    ("llama", {}),
    ("llama", dict(tie_word_embeddings=True, rope_parameters=LLAMA3, eos_token_id=[2, 5])),
    ("llama", dict(attention_bias=True, mlp_bias=True, head_dim=32, pad_token_id=3,
                   rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=1e4))),
    ("qwen2", {}),
    ("qwen2", dict(tie_word_embeddings=True, rope_parameters=YARN, head_dim=24)),
    ("qwen3", dict(head_dim=32)),
    ("qwen3", dict(tie_word_embeddings=True, attention_bias=True, rms_norm_eps=1e-5,
                   rope_parameters=dict(YARN, attention_factor=1.3, beta_fast=16.0,
                                        truncate=False))),
]
# What no model's maths or text depends on.
IGNORED = {"_name_or_path", "dtype", "transformers_version", "use_cache"}


def comparable(config):
    fields = {k: v for k, v in config.to_dict().items() if k not in IGNORED}
    if fields["rope_parameters"]["rope_type"] == "yarn":  # defaults, written out
        filled = dict(beta_fast=32.0, beta_slow=1.0, truncate=True)
        fields["rope_parameters"] = {**filled, **fields["rope_parameters"]}
    fields.pop("rope_scaling", None)
    return fields


def main(resave):
    tokens = torch.arange(400).reshape(2, 200) * 7 % 101
    for family, fields in CASES:
        for dtype, shard in ((torch.float32, None), (torch.bfloat16, 20_000)):
            torch.manual_seed(1)
            config = AutoConfig.for_model(family, **{**SIZES, **fields})
            model = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(torch.randn_like(p) * 0.05)
            model = model.to(dtype).eval()
            with tempfile.TemporaryDirectory() as folder:
                theirs, ours = pathlib.Path(folder, "theirs"), pathlib.Path(folder, "ours")
                model.save_pretrained(theirs)
                # .to(bfloat16) has rounded RoPE's frequencies; loading does not.
                model = AutoModelForCausalLM.from_pretrained(theirs, dtype="auto")
                name = {torch.float32: "F32", torch.bfloat16: "BF16"}[dtype]
                subprocess.run([resave, theirs, ours, name] + [str(shard)] * bool(shard),
                               check=True)
                again, info = AutoModelForCausalLM.from_pretrained(
                    ours, dtype="auto", output_loading_info=True)
                assert not any(info.values()), info
                files = len(list(ours.glob("*.safetensors")))
                assert (files > 1) == bool(shard), files
            assert again.dtype == dtype
            a, b = comparable(model.config), comparable(again.config)
            assert a == b, {k: (a.get(k), b.get(k)) for k in a | b if a.get(k) != b.get(k)}
            a, b = model.state_dict(), again.state_dict()
            assert a.keys() == b.keys()
            assert all(torch.equal(a[k], b[k]) for k in a), family
            with torch.no_grad():
                assert torch.equal(model(tokens).logits, again(tokens).logits), family
            print("equal:", family, dtype, files, "file(s)", fields)
    print("all equal under transformers", transformers.__version__)


if __name__ == "__main__":
    main(sys.argv[1])
