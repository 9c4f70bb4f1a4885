"""Compares our pipeline parallelism with PyTorch's on gloo, on this CPU: two stages of
one thread each, and four micro-batches.

    python scripts/compare_pp/compare_pp.py tiny --record tiny.json

All workers train the same weights on the same batches, on the same cores, and take
turns (never at once): five steps each to warm up, of which losses and norms must
agree, then rounds of steps. See README.md here.
"""
import argparse
import datetime
import json
import os
import shlex
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in ("compare_torch", "compare_ddp", "compare_tp"):
    sys.path.insert(0, str(HERE.parent / folder))
import compare  # noqa: E402
import compare_ddp  # noqa: E402
import compare_tp  # noqa: E402
import make_inputs  # noqa: E402
from compare import ROOT  # noqa: E402

RANKS, MICRO_BATCHES = 2, 4
# `tiny` has four sequences anyway; so has `small` here: one for each micro-batch.
PRESETS = make_inputs.PRESETS
PRESETS["small"]["batch"] = MICRO_BATCHES
OURS = "cargo run -q -p pp_worker --"
WORKER = f"{shlex.quote(sys.executable)} {HERE.relative_to(ROOT) / 'pp_worker.py'}"
TORCH = f"OMP_NUM_THREADS=1 {WORKER}"
# What the others' speed is relative to: 1F1B, as ours.
BASE = "torch"
ZERO_BUBBLE = "--schedule zb-h1"
ALONE = f"--ranks 1 --threads {RANKS}"


def summarize(name: str, rounds: list[dict], tokens: int) -> dict:
    """As of compare_tp, and where time was waited away."""
    summary = compare_tp.summarize(name, BASE, rounds, tokens)
    turns = [r[name] for r in rounds]
    stages = zip(*(
        [1e3 * seconds / turn["steps"] for seconds in turn["waited_by_stage"]]
        for turn in turns))
    return summary | {
        "waited_by_stage_ms": [statistics.median(stage) for stage in stages],
        "waited_share": statistics.median(t["waited"] / t["seconds"] for t in turns),
    }


def table(record: dict) -> str:
    lines = [f"{'':16}{'ms/step':>9}{'min–max':>17}{'tokens/s':>10}{'speed':>7}"
             f"{'min–max':>12}{'opt':>7}{'CPU ms':>8}{'waited':>8}{'share':>7}  each"]
    for name, s in record["summary"].items():
        stages = " ".join(f"{ms:.1f}" for ms in s["waited_by_stage_ms"])
        lines.append(
            f"{name:16}{s['ms_per_step']:9.1f}"
            f"{s['ms_min']:9.1f}–{s['ms_max']:<7.1f}{s['tokens_per_second']:10.0f}"
            f"{s['speed_ratio']:6.2f}×"
            f"{s['speed_ratio_min']:7.2f}–{s['speed_ratio_max']:.2f}"
            f"{s['optimizer_ms']:7.1f}{s['cpu_ms']:8.1f}{s['waited_ms']:8.1f}"
            f"{100 * s['waited_share']:5.0f} %  {stages}")
    lines.append(
        "speed: torch's time (1F1B) over this one's, median of the rounds; waited: ms "
        "in which a stage did\nnothing but send, sum, or wait for the other, mean of "
        "the stages, as a share of the step, and of\neach stage; rounds summarized: "
        f"{record['summarized_rounds']}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--dir", type=Path, help="the inputs; made where missing "
                        "(default: out/compare_pp/PRESET)")
    parser.add_argument("--ours", default=OURS, help="command of our worker, which DIR "
                        "is appended to; a `cargo run` is built first (default: "
                        "%(default)s)")
    parser.add_argument("--pp-layers", metavar="N,N", help="layers of each stage, on "
                        "both sides (default: as even as can be)")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND",
                        help="a further worker, in the same rounds (repeatable)")
    parser.add_argument("--without", action="append", default=[], metavar="NAME",
                        help="leave that worker out (repeatable)")
    parser.add_argument("--rounds", type=compare.positive, default=10)
    parser.add_argument("--steps", type=compare.positive,
                        help="steps per turn (default: 10 for tiny, 1 for small)")
    parser.add_argument("--elsewhere", type=float, default=0.2, metavar="CORES",
                        help="a round in which other programs used more than this is "
                        "recorded, repeated and left out of the summary (default: 0.2)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="wait up to this long before a round for the others to "
                        "fall quiet (default: 60)")
    parser.add_argument("--record", type=Path, help="write everything here as JSON")
    args = parser.parse_args()
    args.steps = args.steps or {"tiny": 10}.get(args.preset, 1)
    args.dir = (args.dir or ROOT / "out/compare_pp" / args.preset).resolve()
    if args.record and not args.record.parent.is_dir():
        parser.error(f"--record: no folder {args.record.parent}")
    available = sorted(os.sched_getaffinity(0))
    if RANKS > len(available):
        parser.error(f"{RANKS} stages of one thread, but only {len(available)} cores")
    args.cores = available[:RANKS]
    layers = f" --pp-layers {args.pp_layers}" if args.pp_layers else ""
    args.workers = {
        "ours": args.ours + layers, BASE: TORCH + layers,
        "ours_zb": f"{args.ours} {ZERO_BUBBLE}{layers}",
        "torch_zb": f"{TORCH} {ZERO_BUBBLE}{layers}",
        "ours_one_rank": f"{args.ours} {ALONE}", "torch_one_rank": f"{WORKER} {ALONE}",
    }
    for item in args.also:
        name, found, command = item.partition("=")
        if not found or name in args.workers:
            parser.error(f"--also {item}: expected NAME=COMMAND with a new NAME")
        args.workers[name] = command
    for name in args.without:
        if name not in args.workers or name in ("ours", BASE):
            parser.error(f"--without {name}: expected one of "
                         f"{', '.join(set(args.workers) - {'ours', BASE})}")
        del args.workers[name]
    return args


def main() -> None:
    args = arguments()
    p = PRESETS[args.preset]
    if not (args.dir / "batches.safetensors").exists():
        make_inputs.make(args.preset, args.dir)

    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["compare_pp.py", *sys.argv[1:]]),
        "commit": compare.output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(compare.output("git", "status", "--porcelain")),
        "machine": compare.machine(), "versions": compare.versions(),
        "load_before": os.getloadavg(),
        "preset": args.preset, "model": p, "ranks": RANKS, "threads": 1,
        "micro_batches": MICRO_BATCHES, "base": BASE,
        "tokens_per_step": p["batch"] * p["seq"], "steps_per_turn": args.steps,
        "workers": {n: c.replace(str(ROOT) + "/", "") for n, c in args.workers.items()},
    }
    # They have one mode, and no word for it.
    turns = {
        name: (compare_ddp.Worker(name, command, args.dir, args.cores), "")
        for name, command in args.workers.items()
    }
    record["first_steps"] = compare_ddp.first_steps(turns)

    rounds = record["rounds"] = []
    quiet = []
    while len(quiet) < args.rounds and len(rounds) < 4 * args.rounds:
        rounds.append({})
        compare.wait_for_quiet(args.elsewhere, args.patience)
        for name, (worker, mode) in turns.items():
            time.sleep(0.25)  # lets the other side's threads fall asleep
            rounds[-1][name] = worker.turn(mode, args.steps)
        elsewhere = max(r["cores_elsewhere"] for r in rounds[-1].values())
        if elsewhere <= args.elsewhere:
            quiet.append(rounds[-1])
        print(f"round {len(rounds)} ({len(quiet)} of {args.rounds} quiet):", *(
            f"{name} {1e3 * r['seconds'] / args.steps:.1f} ms"
            for name, r in rounds[-1].items()),
            f" others used {elsewhere:.2f} cores", flush=True)
    enough = len(quiet) == args.rounds
    record["summarized_rounds"] = "quiet" if enough else "all: the machine was busy"
    for worker, _ in turns.values():
        worker.finish()
    record["load_after"] = os.getloadavg()
    counted = quiet if enough else rounds
    record["summary"] = {
        name: summarize(name, counted, record["tokens_per_step"]) for name in turns}
    print(table(record))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"recorded in {args.record}")


if __name__ == "__main__":
    main()
