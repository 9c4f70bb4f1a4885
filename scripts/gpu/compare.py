"""Compares training in bf16 on a GPU with PyTorch's, eager and through torch.compile:
tokens per second, MFU and peak memory.

    python3 scripts/gpu/compare.py 350m --ours target/gpu/compare/gpu_worker \\
        --record 350m.json
    .venv/bin/python scripts/gpu/compare.py nano --device cpu

Both sides train the same weights on the same batches and take turns on the device,
never at once: first some steps each, from the same start, of which losses and the norms
of gradients must agree, or the program ends there; then rounds of steps. No number is
shown that these turns did not give.

What is the same on both sides: a Llama of the preset's size with RMSNorm, RoPE, SwiGLU
and causal attention by FlashAttention; parameters and activations in bf16, logits in
fp32; fp32 masters, gradients and moments, 18 bytes per parameter in all; one
micro-batch per step, clipping at norm 1, AdamW (lr 1e-4, betas 0.9/0.95, eps 1e-8,
weight decay 0.1 on matrices, none on norms). `--recipe autocast` has PyTorch train fp32
parameters under torch.autocast instead. Ours is tests/gpu_worker, chapter 2's parts in
chapter 2's order: it waits for each step's loss and norm, as that does; PyTorch waits
once a turn.

The protocol. A worker is started as `COMMAND DIR`, loads DIR/config.json,
DIR/model.safetensors and DIR/batches.safetensors and prints `ready`. It answers each
line on standard input with a line of JSON. Ours is asked for `STEPS`, PyTorch's
(torch_worker.py) for `eager STEPS` or `compile STEPS`; both answer `seconds` for all of
them, `losses`, `norms`, and on a GPU `allocated_bytes`: the most that tensors took
together in that turn. PyTorch's is also asked to `reset`, to `describe` the machine, and
for its `peak`, the FLOP/s of a large matrix product, which MFU is a share of.
"""
import argparse
import datetime
import json
import math
import os
import random
import shlex
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compare_torch"))
import compare as on_cpu  # noqa: E402
import make_inputs  # noqa: E402

ROOT = on_cpu.ROOT
# As in chapters/ch01_single_gpu/src/presets.rs. There the vocabulary is the tokenizer's;
# here it is Llama 2's, as large as models of these sizes have it. `nano` is for trying
# this out on a CPU, and has a head of its own, unlike there.
PRESETS = {
    "nano": dict(layers=4, hidden=128, heads=4, kv_heads=4, mlp=344, vocab=2048,
                 seq=128, batch=8),
    "125m": dict(layers=12, hidden=768, heads=12, kv_heads=12, mlp=2048, vocab=32000,
                 seq=2048, batch=8),
    "350m": dict(layers=24, hidden=1024, heads=16, kv_heads=16, mlp=2816, vocab=32000,
                 seq=2048, batch=4),
    "1.3b": dict(layers=24, hidden=2048, heads=16, kv_heads=16, mlp=5632, vocab=32000,
                 seq=2048, batch=2),
}
FIRST = 5
# Both relative. At `nano` on a CPU roundings of bf16 make 1.1e-5 of the losses and 8e-4
# of the norms; PyTorch without RoPE is 3.4e-4 and 1e-2 away, and further if it sees
# later tokens or updates nothing. How far a GPU's sums are at other sizes nobody has
# seen: the flags widen it.
LOSS_TOLERANCE, NORM_TOLERANCE = 1e-4, 5e-3
OURS = "cargo run -q -p gpu_worker --features cuda --"
OURS_ON_CPU = "cargo run -q -p gpu_worker --"
TORCH = f"{shlex.quote(sys.executable)} {HERE.relative_to(ROOT) / 'torch_worker.py'}"


class Worker(on_cpu.Worker):
    """A process of either side, which waits until it is asked."""

    def ask(self, *words) -> dict:
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def turn(self, mode: str, k: int) -> dict:
        answer = self.ask(mode, k) if mode else self.ask(k)
        for key in ("losses", "norms"):
            if len(answer[key]) != k:
                sys.exit(f"{self.name}: asked for {k} steps, got {len(answer[key])} "
                         f"{key}")
        if not answer["seconds"] > 0:
            sys.exit(f"{self.name}: {k} steps took {answer['seconds']} seconds")
        answer["steps"] = k
        return answer


def make(name: str, p: dict, folder: Path) -> None:
    """Inputs as for the comparison on a CPU, but for these two things: weights are such
    as bf16 holds, so that both sides start from the same, whatever they keep them in;
    and those of q and k are larger."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    weights = make_inputs.weights(p, generator)
    for key in weights:
        # Scores of the size of one, as training makes them: of the small ones that
        # models start with, a wrong position would not show in a loss.
        if "q_proj" in key or "k_proj" in key:
            weights[key] /= 0.02 * math.sqrt(p["hidden"])
        weights[key] = weights[key].bfloat16()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = make_inputs.config(p) | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({"tokens": make_inputs.tokens(p, generator)},
              folder / "batches.safetensors")
    # Which inputs these are; and last, so that its presence means that all are there.
    (folder / "preset.json").write_text(json.dumps({name: p}))


def apart(values: list[float], base: list[float]) -> float:
    """The largest distance relative to `base`; what is not a number is infinitely far."""
    distances = [abs(a / b - 1) for a, b in zip(values, base, strict=True)]
    return max(math.inf if math.isnan(d) else d for d in distances)


def first_steps(sides: dict[str, tuple[Worker, str]], ours: dict,
                loss_tolerance: float, norm_tolerance: float) -> dict:
    """The same steps from the same start; ends the program if they do not agree with
    `ours`, which are made."""
    first = {}
    print(f"losses and gradients' norms of the first {FIRST} steps:")
    for name, (worker, mode) in sides.items():
        if mode:
            worker.ask("reset")
        first[name] = turn = worker.turn(mode, FIRST) if mode else ours
        losses, norms = (apart(turn[key], ours[key])
                         for key in ("losses", "norms"))
        turn["apart"] = {"losses": losses, "norms": norms}
        print(f"  {name:8}", *(f"{loss:.5f}" for loss in turn["losses"]), " ",
              *(f"{norm:.4f}" for norm in turn["norms"]),
              f"  relative to ours: {losses:.1e}, {norms:.1e}", flush=True)
    for name, turn in first.items():
        if (turn["apart"]["losses"] > loss_tolerance
                or turn["apart"]["norms"] > norm_tolerance):
            sys.exit(f"{name} and ours do not train the same: losses may differ by "
                     f"{loss_tolerance} of themselves, norms by {norm_tolerance}")
    return first


def commit() -> str | None:
    """What was built: where there is no git, scripts/gpu/build.sh left it in a file."""
    if head := on_cpu.output("git", "rev-parse", "HEAD"):
        return head + (" and changes" if on_cpu.output("git", "status", "--porcelain")
                       else "")
    built = ROOT / "target/gpu/commit"
    return built.read_text().strip() if built.exists() else None


def held_bytes(pid: int) -> int | None:
    """What the driver says this process holds of the GPU's memory, its context
    included. Not every machine tells."""
    said = on_cpu.output("nvidia-smi", "--query-compute-apps=pid,used_memory",
                         "--format=csv,noheader,nounits")
    for line in (said or "").splitlines():
        process, _, mebibytes = line.partition(",")
        if process.strip() == str(pid) and mebibytes.strip().isdigit():
            return int(mebibytes) << 20
    return None


def summarize(name: str, rounds: list[dict], tokens: int, flops_per_token: float,
              peak: float | None) -> dict:
    """Medians over the rounds; ratios are of two turns of one round."""
    def seconds(name: str) -> list[float]:
        return [r[name]["seconds"] / r[name]["steps"] for r in rounds]

    ms = [1e3 * s for s in seconds(name)]
    ratios = [other / own for own, other in zip(seconds("ours"), seconds(name))]
    rate = tokens / statistics.median(seconds(name))
    allocated = [r[name].get("allocated_bytes") for r in rounds]
    return {
        "ms_per_step": statistics.median(ms), "ms_min": min(ms), "ms_max": max(ms),
        "tokens_per_second": rate,
        "mfu": peak and rate * flops_per_token / peak,
        "ours_speed": statistics.median(ratios),
        "ours_speed_min": min(ratios), "ours_speed_max": max(ratios),
        "allocated_bytes": max(allocated) if all(allocated) else None,
    }


def table(record: dict) -> str:
    def percent(value: float | None) -> str:
        return "—" if value is None else f"{100 * value:.1f} %"

    def gigabytes(value: int | None) -> str:
        return "—" if value is None else f"{value / 1e9:.2f}"

    lines = [f"{'':10}{'ms/step':>10}{'min–max':>18}{'tokens/s':>11}{'MFU':>8}"
             f"{'ours is':>9}{'min–max':>12}{'peak GB':>10}"]
    for name, s in record["summary"].items():
        lines.append(
            f"{name:10}{s['ms_per_step']:10.2f}"
            f"{s['ms_min']:10.2f}–{s['ms_max']:<7.2f}{s['tokens_per_second']:11.0f}"
            f"{percent(s['mfu']):>8}{s['ours_speed']:8.2f}×"
            f"{s['ours_speed_min']:7.2f}–{s['ours_speed_max']:.2f}"
            f"{gigabytes(s['allocated_bytes']):>10}")
    lines.append(
        f"medians of {len(record['rounds'])} rounds of {record['steps']} steps; "
        "`ours is`: how many times as fast as that line, in the same round")
    if peak := record["peak"]:
        lines.append(
            f"MFU: causal attention by half, of {peak['flops'] / 1e12:.1f} TFLOP/s, the "
            f"median of bf16 products of {peak['n']} × {peak['n']} random numbers by "
            "torch")
    lines.append(
        "peak: the most that tensors took at once; all that the driver gave, context "
        "included: " + ", ".join(f"{name} {gigabytes(value)} GB"
                                 for name, value in record["held_bytes"].items()))
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0].replace("\n", " "))
    parser.add_argument("model", nargs="?", choices=PRESETS)
    parser.add_argument("--model", dest="named", choices=PRESETS,
                        help="the same, by its flag")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=on_cpu.positive,
                        help="sequences per step (default: the preset's)")
    parser.add_argument("--recipe", choices=("masters", "autocast"), default="masters",
                        help="how PyTorch mixes precisions (default: as ours)")
    parser.add_argument("--dir", type=Path, help="the inputs; made where missing "
                        "(default: out/compare_gpu/MODEL)")
    parser.add_argument("--ours", help="command of our worker, which DIR is appended "
                        "to; a `cargo run` is built first (default: one)")
    parser.add_argument("--torch", default=TORCH, help="command of torch's worker "
                        "(default: %(default)s)")
    parser.add_argument("--no-compile", action="store_true",
                        help="leave torch.compile out")
    parser.add_argument("--rounds", type=on_cpu.positive, default=7)
    parser.add_argument("--steps", type=on_cpu.positive, default=10,
                        help="steps per turn (default: 10)")
    parser.add_argument("--loss-tolerance", type=float, default=LOSS_TOLERANCE,
                        help="of the first losses (default: %(default)s)")
    parser.add_argument("--norm-tolerance", type=float, default=NORM_TOLERANCE,
                        help="of the first gradients' norms (default: %(default)s)")
    parser.add_argument("--record", type=Path, help="write everything here as JSON")
    args = parser.parse_args()
    if bool(args.model) == bool(args.named):
        parser.error(f"expected one model, of {', '.join(PRESETS)}")
    args.model = args.model or args.named
    args.preset = PRESETS[args.model]
    if args.batch:
        args.preset = args.preset | {"batch": args.batch}
    args.dir = (args.dir or ROOT / "out/compare_gpu" / args.model).resolve()
    args.record = args.record and args.record.resolve()
    if args.record and not args.record.parent.is_dir():
        parser.error(f"--record: no folder {args.record.parent}")
    on_cpu_too = args.device == "cpu"
    args.ours = args.ours or (OURS_ON_CPU if on_cpu_too else OURS)
    if on_cpu_too:
        args.ours += " --device cpu"
    args.torch += f" --device {args.device} --recipe {args.recipe}"
    return args


def main() -> None:
    args = arguments()
    p = args.preset
    made = args.dir / "preset.json"
    if not made.exists() or json.loads(made.read_text()) != {args.model: p}:
        print(f"making {args.dir}", flush=True)
        made.unlink(missing_ok=True)
        make(args.model, p, args.dir)

    cores = sorted(os.sched_getaffinity(0))
    ours = Worker("ours", args.ours, args.dir, cores)
    # Before PyTorch, which keeps what it once had: ours is to find room.
    sides = {"ours": (ours, "")}
    ours_first = ours.turn("", FIRST)
    torch = Worker("torch", args.torch, args.dir, cores)
    sides["eager"] = (torch, "eager")
    if not args.no_compile:
        sides["compile"] = (torch, "compile")
    tokens = p["batch"] * p["seq"]
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["compare.py", *sys.argv[1:]]),
        "commit": commit(),
        "machine": on_cpu.machine() | torch.ask("describe"),
        "model": {args.model: p}, "device": args.device, "recipe": args.recipe,
        "tokens_per_step": tokens, "steps": args.steps,
        "tolerances": {"losses": args.loss_tolerance, "norms": args.norm_tolerance},
        "flops_per_token": ours_first["flops_per_token"],
        "workers": {"ours": args.ours, "torch": args.torch},
    }
    # A CPU has no speed for bf16: it may compute in fp32.
    record["peak"] = torch.ask("peak", 8192) if args.device == "cuda" else None
    record["first_steps"] = first_steps(sides, ours_first, args.loss_tolerance,
                                        args.norm_tolerance)
    rounds = record["rounds"] = []
    order = random.Random(0)
    for i in range(args.rounds):
        turns = list(sides.items())
        order.shuffle(turns)  # nobody always follows the same
        rounds.append({name: worker.turn(mode, args.steps)
                       for name, (worker, mode) in turns})
        print(f"round {i + 1} of {args.rounds}:", *(
            f"{name} {1e3 * rounds[-1][name]['seconds'] / args.steps:.2f} ms"
            for name in sides), flush=True)
    record["held_bytes"] = {w.name: held_bytes(w.process.pid) for w in (ours, torch)}
    for worker in (ours, torch):
        worker.finish()
    record["summary"] = {
        name: summarize(name, rounds, tokens, record["flops_per_token"],
                        record["peak"] and record["peak"]["flops"])
        for name in sides}
    print(table(record))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"recorded in {args.record}")


if __name__ == "__main__":
    main()
