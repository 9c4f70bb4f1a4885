"""Checks that transformers loads a model folder that our program saved, and computes
the same logits from it.

    .venv/bin/python scripts/check_saved_model.py out/saved tests/fixtures/hf/llama

The second folder holds the original model and its reference.safetensors (see
tests/fixtures/make_reference.py), whose `tokens` are run through both folders. Exit
status 0 when every difference is within the tolerance, 1 when not, 2 for bad input.
"""
import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

TEXT = "Once upon a time, a small crab counted: 1, 2, 3 … and déjà vu!"


def fail(message: str) -> None:
    print(f"check_saved_model.py: {message}", file=sys.stderr)
    sys.exit(2)


def logits_of(folder: Path, tokens: Tensor) -> Tensor:
    """Fails where transformers would only warn: a missing or unexpected tensor."""
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager",
            local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        fail(f"transformers cannot load {folder}: {error}")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            fail(f"{folder}: {kind.replace('_', ' ')}: {sorted(map(str, info[kind]))}")
    if model.config.vocab_size <= tokens.max():
        fail(f"{folder}: vocabulary of {model.config.vocab_size}, but the reference has "
             f"token {tokens.max()}: is it another model's?")
    with torch.no_grad():
        return model.eval()(input_ids=tokens[:, :-1], use_cache=False).logits


def tokenizer_round_trip(folder: Path, vocab_size: int) -> bool:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    fits = len(tokenizer) <= vocab_size
    print(f"tokenizer: {len(tokenizer)} tokens{'' if fits else ', more than the model has'}; "
          f"a sample becomes {len(ids)} tokens and comes back "
          f"{'the same' if back == TEXT else f'as {back!r}'}")
    return fits and back == TEXT


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("saved", type=Path, metavar="DIR")
    parser.add_argument("original", type=Path, metavar="REFERENCE_DIR")
    parser.add_argument("--tolerance", type=float, default=1e-5,
                        help="largest ‖a−b‖/‖b‖ (default: %(default)s)")
    args = parser.parse_args()
    logging.disable_progress_bar()
    for path in (args.saved / "config.json", args.original / "reference.safetensors"):
        if not path.is_file():
            fail(f"no file {path}")
    reference = load_file(args.original / "reference.safetensors")
    tokens = reference["tokens"]

    ok = True
    saved = logits_of(args.saved, tokens)
    for name, other in (("reference logits", reference["logits"]),
                        ("original's logits", logits_of(args.original, tokens))):
        if saved.shape != other.shape:
            fail(f"logits are {list(saved.shape)}, the {name} {list(other.shape)}")
        distance = ((saved - other).norm() / other.norm()).item()
        same = " (bitwise equal)" if torch.equal(saved, other) else ""
        print(f"{name:18} ‖a−b‖/‖b‖ = {distance:.2e}{same}")
        ok &= distance <= args.tolerance  # false for NaN, too
    if (args.saved / "tokenizer.json").exists():
        ok &= tokenizer_round_trip(args.saved, saved.shape[-1])
    print(f"{args.saved}: {'ok' if ok else 'DIFFERS'} (tolerance {args.tolerance:g})")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
