"""Compares our data-parallel training with PyTorch's DistributedDataParallel on gloo,
on this CPU: two ranks of one thread each.

    python scripts/compare_ddp/compare_ddp.py tiny --record tiny.json

Both sides train the same weights on the same batches, on the same cores, and take
turns (never at once): five steps each to warm up, of which losses and norms must
agree, then rounds of steps, ours with and without overlap, theirs with and without
communication. See README.md here.
"""
import argparse
import datetime
import json
import math
import os
import shlex
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compare_torch"))
import compare  # noqa: E402
import make_inputs  # noqa: E402
from compare import ROOT  # noqa: E402

RANKS = 2
# As in compare_torch, but `small` has one sequence there: here each rank has one.
PRESETS = make_inputs.PRESETS
PRESETS["small"]["batch"] = RANKS
OURS = "cargo run -q -p dp_worker --"
TORCH = ("OMP_NUM_THREADS=1 " + shlex.quote(sys.executable) + " "
         + str(HERE.relative_to(ROOT) / "ddp_worker.py"))
WARM_UP = 5
# Both relative. Rounding makes 5e-6 of the losses, and 6e-5 of the norms of the first
# three averaged gradients: a sum, or a rank left out, would show in the first. (The
# fourth is 5e-3 apart at `small`. One thread of torch sums squares in fp32: its norm of
# as many Gaussian numbers as the embedding has is 1e-3 below that in fp64.)
LOSS_TOLERANCE, NORM_TOLERANCE, NORMS = 1e-4, 1e-3, 3


class Worker(compare.Worker):
    """One side: a process, or one that has started others."""

    def cpu_seconds(self) -> float:
        """Of all its processes."""
        ticks = 0
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = " ".join(task.read_text() for task in tasks).split()
        for pid in [self.process.pid, *children]:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1]
            ticks += sum(map(int, stat.split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def turn(self, mode: str, k: int) -> dict:
        """So many steps, and what others did meanwhile."""
        cpu, machine = self.cpu_seconds(), compare.busy_seconds()
        start = time.monotonic()
        self.process.stdin.write(f"{k} {mode}\n")
        self.process.stdin.flush()
        answer = json.loads(self._line())
        if len(answer["losses"]) != k:
            sys.exit(f"{self.name}: asked for {k} steps, got {len(answer['losses'])}")
        answer["steps"] = k
        answer["cpu_seconds"] = self.cpu_seconds() - cpu
        others = compare.busy_seconds() - machine - answer["cpu_seconds"]
        answer["cores_elsewhere"] = max(0.0, others / (time.monotonic() - start))
        return answer


def largest(distances) -> float:
    """The largest of them; NaN counts as infinite."""
    return max(math.inf if math.isnan(d) else d for d in distances)


def first_steps(turns: dict[str, tuple[Worker, str]]) -> dict:
    """Warms up; ends the program if the sides do not train the same."""
    first = {}
    for worker, mode in turns.values():  # of a worker's modes, the first
        if worker.name not in first:
            first[worker.name] = worker.turn(mode, WARM_UP)
    base, apart = first["torch"], {}
    print(f"losses and gradients' norms of the first {WARM_UP} steps:")
    for name, steps in first.items():
        losses, norms = (zip(steps[key], base[key]) for key in ("losses", "norms"))
        apart[name] = {
            "loss": largest(abs(a / b - 1) for a, b in losses),
            "norm": largest(abs(a / b - 1) for a, b in list(norms)[:NORMS])}
        print(f"  {name:8}", *(f"{loss:.6f}" for loss in steps["losses"]), " ",
              *(f"{norm:.4f}" for norm in steps["norms"]),
              f"  relative to torch's: {apart[name]['loss']:.1e}, of the first "
              f"{NORMS} norms {apart[name]['norm']:.1e}", flush=True)
    for name, d in apart.items():
        if d["loss"] > LOSS_TOLERANCE or d["norm"] > NORM_TOLERANCE:
            sys.exit(f"{name} and torch do not train the same: losses may differ by "
                     f"{LOSS_TOLERANCE} of themselves, norms by {NORM_TOLERANCE}")
    return {"steps": first, "apart": apart}


def summarize(name: str, rounds: list[dict], tokens: int) -> dict:
    """Medians over the rounds, in ms per step; ratios are of one round."""
    def ms(key: str, name: str = name) -> list[float]:
        return [1e3 * r[name][key] / r[name]["steps"] for r in rounds]

    seconds, torch = ms("seconds"), ms("seconds", "torch")
    ratios = [b / a for a, b in zip(seconds, torch)]
    summary = {
        "ms_per_step": statistics.median(seconds),
        "ms_min": min(seconds), "ms_max": max(seconds),
        "tokens_per_second": 1e3 * tokens / statistics.median(seconds),
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_min": min(ratios), "speed_ratio_max": max(ratios),
    }
    for key in ("forward", "backward", "optimizer", "cpu_seconds"):
        summary[key.removesuffix("_seconds") + "_ms"] = statistics.median(ms(key))
    if "hidden" in rounds[0][name]:  # ours, mean of the ranks
        hidden, exposed = (
            sum(r[name][key] for r in rounds) for key in ("hidden", "exposed"))
        summary["hidden_share"] = hidden / (hidden + exposed)
        summary["exposed_ms"] = statistics.median(ms("exposed"))
    if name == "torch":  # what communication adds to a step, hidden or not
        alone = ms("seconds", "torch_no_sync")
        summary["exposed_ms"] = statistics.median(a - b for a, b in zip(torch, alone))
    return summary


def table(record: dict) -> str:
    lines = [f"{'':14}{'ms/step':>9}{'min–max':>17}{'tokens/s':>10}{'speed':>7}"
             f"{'min–max':>12}{'fwd':>8}{'bwd':>8}{'opt':>7}{'CPU ms':>8}"
             f"{'exposed':>9}{'hidden':>8}"]
    for name, s in record["summary"].items():
        exposed = f"{s['exposed_ms']:.1f}" if "exposed_ms" in s else ""
        hidden = f"{100 * s['hidden_share']:6.0f} %" if "hidden_share" in s else ""
        lines.append(
            f"{name:14}{s['ms_per_step']:9.1f}"
            f"{s['ms_min']:9.1f}–{s['ms_max']:<7.1f}{s['tokens_per_second']:10.0f}"
            f"{s['speed_ratio']:6.2f}×"
            f"{s['speed_ratio_min']:7.2f}–{s['speed_ratio_max']:.2f}"
            f"{s['forward_ms']:8.1f}{s['backward_ms']:8.1f}{s['optimizer_ms']:7.1f}"
            f"{s['cpu_ms']:8.1f}{exposed:>9}{hidden}")
    lines.append(
        "speed: torch's time over this one's, median of the rounds; exposed: ms in "
        "which our ranks only\nwaited for gradients, and by which torch's steps are "
        "longer than without communication;\nhidden: of the time in which any of our "
        "gradients were under way, what backward covered;\nrounds summarized: "
        f"{record['summarized_rounds']}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--dir", type=Path, help="the inputs; made where missing "
                        "(default: out/compare_ddp/PRESET)")
    parser.add_argument("--ours", default=OURS, help="command of our worker, which DIR "
                        "is appended to; a `cargo run` is built first (default: "
                        "%(default)s)")
    parser.add_argument("--torch", default=TORCH, help="command of torch's worker")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=OPTIONS",
                        help="torch with other options of ddp_worker.py, in the same "
                        "rounds (repeatable)")
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
    args.dir = (args.dir or ROOT / "out/compare_ddp" / args.preset).resolve()
    if args.record and not args.record.parent.is_dir():
        parser.error(f"--record: no folder {args.record.parent}")
    available = sorted(os.sched_getaffinity(0))
    if RANKS > len(available):
        parser.error(f"{RANKS} ranks of one thread, but only {len(available)} cores")
    args.cores = available[:RANKS]
    args.workers = {"ours": args.ours, "torch": args.torch}
    for item in args.also:
        name, found, options = item.partition("=")
        if not found or name in {*args.workers, "ours_off", "torch_no_sync"}:
            parser.error(f"--also {item}: expected NAME=OPTIONS with a new NAME")
        args.workers[name] = f"{args.torch} {options}"
    return args


def main() -> None:
    args = arguments()
    p = PRESETS[args.preset]
    if not (args.dir / "batches.safetensors").exists():
        make_inputs.make(args.preset, args.dir)

    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["compare_ddp.py", *sys.argv[1:]]),
        "commit": compare.output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(compare.output("git", "status", "--porcelain")),
        "machine": compare.machine(), "versions": compare.versions(),
        "load_before": os.getloadavg(),
        "preset": args.preset, "model": p, "ranks": RANKS, "threads": 1,
        "tokens_per_step": p["batch"] * p["seq"],
        "steps_per_turn": args.steps, "base": "torch",
        "workers": {n: c.replace(str(ROOT) + "/", "") for n, c in args.workers.items()},
    }
    workers = {n: Worker(n, c, args.dir, args.cores) for n, c in args.workers.items()}
    turns = {
        "ours": (workers["ours"], "on"), "torch": (workers["torch"], "ddp"),
        "ours_off": (workers["ours"], "off"),
        "torch_no_sync": (workers["torch"], "no_sync"),
    }
    turns |= {n: (w, "ddp") for n, w in workers.items() if n not in ("ours", "torch")}
    record["first_steps"] = first_steps(turns)

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
    for worker in workers.values():
        worker.finish()
    record["load_after"] = os.getloadavg()
    record["summary"] = {
        name: summarize(name, quiet if enough else rounds, record["tokens_per_step"])
        for name in turns}
    print(table(record))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"recorded in {args.record}")


if __name__ == "__main__":
    main()
