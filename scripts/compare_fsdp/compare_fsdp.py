"""Compares our ZeRO with PyTorch's FSDP2 on gloo, on this CPU: two ranks of one thread
each, with stages 1 and 3.

    python scripts/compare_fsdp/compare_fsdp.py tiny --record tiny.json

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
import compare_ddp  # noqa: E402  (which gives `small` two sequences)
import compare_tp  # noqa: E402
import make_inputs  # noqa: E402
from compare import ROOT  # noqa: E402

RANKS = 2
PRESETS = make_inputs.PRESETS
OURS = "cargo run -q -p zero_worker --"
TORCH = ("OMP_NUM_THREADS=1 " + shlex.quote(sys.executable) + " "
         + str(HERE.relative_to(ROOT) / "fsdp_worker.py"))
# For each of our stages how PyTorch shards.
STAGES = {"stage_1": "--keep", "stage_3": ""}


def summarize(rounds: list[dict], tokens: int) -> dict:
    """As of compare_tp, relative to the faster of PyTorch's; and how much of the
    gathering was hidden."""
    base = min(("torch", "torch_ahead"), key=lambda name: statistics.median(
        r[name]["seconds"] for r in rounds))
    summary = {
        name: compare_tp.summarize(name, base, rounds, tokens) for name in rounds[0]}
    hidden, waited = (
        sum(r["ours"][f"gathered_{what}"] for r in rounds)
        for what in ("hidden", "waited"))
    summary["ours"]["gathered_hidden_share"] = hidden / (hidden + waited)
    return summary


def table(record: dict) -> str:
    lines = [f"{'':20}{'ms/step':>9}{'min–max':>17}{'tokens/s':>10}{'speed':>7}"
             f"{'min–max':>12}{'opt':>7}{'CPU ms':>8}{'waited':>8}{'hidden':>8}"]
    for stage, summary in record["summary"].items():
        for name, s in summary.items():
            waited = f"{s['waited_ms']:8.1f}" if "waited_ms" in s else ""
            hidden = (f"{100 * s['gathered_hidden_share']:6.0f} %"
                      if "gathered_hidden_share" in s else "")
            lines.append(
                f"{stage + ' ' + name:20}{s['ms_per_step']:9.1f}"
                f"{s['ms_min']:9.1f}–{s['ms_max']:<7.1f}{s['tokens_per_second']:10.0f}"
                f"{s['speed_ratio']:6.2f}×"
                f"{s['speed_ratio_min']:7.2f}–{s['speed_ratio_max']:.2f}"
                f"{s['optimizer_ms']:7.1f}{s['cpu_ms']:8.1f}{waited}{hidden}")
    lines.append(
        "speed: the time of the faster of PyTorch's two over this one's, median of the "
        "rounds; waited: ms in\nwhich a rank did nothing but gather, scatter, sum or "
        "wait for the other, mean of the ranks; hidden:\nof the time in which "
        "parameters were being gathered, what passed while the rank computed; rounds\n"
        f"summarized: {record['summarized_rounds']}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--dir", type=Path, help="the inputs; made where missing "
                        "(default: out/compare_fsdp/PRESET)")
    parser.add_argument("--ours", default=OURS, help="command of our worker, which "
                        "`--zero STAGE DIR` is appended to; a `cargo run` is built "
                        "first (default: %(default)s)")
    parser.add_argument("--rounds", type=compare.positive, default=10)
    parser.add_argument("--steps", type=compare.positive,
                        help="steps per turn (default: 10 for tiny, 2 for small)")
    parser.add_argument("--elsewhere", type=float, default=0.2, metavar="CORES",
                        help="a round in which other programs used more than this is "
                        "recorded, repeated and left out of the summary (default: 0.2)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="wait up to this long before a round for the others to "
                        "fall quiet (default: 60)")
    parser.add_argument("--record", type=Path, help="write everything here as JSON")
    args = parser.parse_args()
    args.steps = args.steps or {"tiny": 10}.get(args.preset, 2)
    args.dir = (args.dir or ROOT / "out/compare_fsdp" / args.preset).resolve()
    if args.record and not args.record.parent.is_dir():
        parser.error(f"--record: no folder {args.record.parent}")
    available = sorted(os.sched_getaffinity(0))
    if RANKS > len(available):
        parser.error(f"{RANKS} ranks of one thread, but only {len(available)} cores")
    args.cores = available[:RANKS]
    args.workers = {
        stage: {
            "ours": f"{args.ours} --zero {stage[-1]}",
            "torch": f"{TORCH} {how}".strip(), "torch_ahead": f"{TORCH} {how} --ahead",
        }
        for stage, how in STAGES.items()
    }
    return args


def measure(args: argparse.Namespace, workers: dict[str, str]) -> dict:
    """The first steps of these workers, and rounds, with whether they were quiet."""
    # They have one mode, and no word for it.
    turns = {
        name: (compare_ddp.Worker(name, command, args.dir, args.cores), "")
        for name, command in workers.items()
    }
    first_steps = compare_ddp.first_steps(turns)
    rounds, quiet = [], []
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
    for worker, _ in turns.values():
        worker.finish()
    return {"first_steps": first_steps, "rounds": rounds, "quiet": quiet}


def main() -> None:
    args = arguments()
    p = PRESETS[args.preset]
    if not (args.dir / "batches.safetensors").exists():
        make_inputs.make(args.preset, args.dir)

    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["compare_fsdp.py", *sys.argv[1:]]),
        "commit": compare.output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(compare.output("git", "status", "--porcelain")),
        "machine": compare.machine(), "versions": compare.versions(),
        "load_before": os.getloadavg(),
        "preset": args.preset, "model": p, "ranks": RANKS, "threads": 1,
        "tokens_per_step": p["batch"] * p["seq"], "steps_per_turn": args.steps,
        "workers": {
            stage: {n: c.replace(str(ROOT) + "/", "") for n, c in workers.items()}
            for stage, workers in args.workers.items()},
    }
    # One stage after the other: `small` six times does not fit into 24 GB.
    measured = {}
    for stage, workers in args.workers.items():
        print(f"{stage}:")
        measured[stage] = measure(args, workers)
    record["load_after"] = os.getloadavg()
    enough = all(len(m["quiet"]) == args.rounds for m in measured.values())
    record["summarized_rounds"] = "quiet" if enough else "all: the machine was busy"
    record["summary"] = {
        stage: summarize(m["quiet" if enough else "rounds"], record["tokens_per_step"])
        for stage, m in measured.items()}
    for key in ("first_steps", "rounds"):
        record[key] = {stage: m[key] for stage, m in measured.items()}
    print(table(record))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"recorded in {args.record}")


if __name__ == "__main__":
    main()
