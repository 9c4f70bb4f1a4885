"""Compares our training step with PyTorch eager's on this CPU: speed and memory.

    python scripts/compare_torch/compare.py tiny --record tiny.json

Both workers train the same weights on the same batches, pinned to the same cores, and
take turns (never at once): five steps each to warm up and to compare losses, then
rounds of steps. See README.md here for the protocol and what is measured.
"""
import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = "cargo run -q -p testkit --bin step_worker --"
TORCH = f"{shlex.quote(sys.executable)} {HERE.relative_to(ROOT) / 'torch_worker.py'}"
WARM_UP = 5


class Worker:
    """One side, as a process that obeys the protocol and waits in between."""

    def __init__(self, name: str, command: str, folder: Path, cores: list[int]):
        self.name, self.command = name, command
        words, env = shlex.split(command), dict(os.environ)
        while "=" in words[0]:  # leading VARIABLE=value, as in a shell
            key, value = words.pop(0).split("=", 1)
            env[key] = value
        if words[:2] == ["cargo", "run"]:
            head = words[2:words.index("--")] if "--" in words else words[2:]
            subprocess.run(["cargo", "build", *head], check=True, cwd=ROOT)
        for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
            env.setdefault(variable, str(len(cores)))
        self.process = subprocess.Popen(
            [*words, str(folder)], cwd=ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        if (line := self._line()) != "ready":
            sys.exit(f"{name}: expected `ready`, got {line!r}")
        self.at_ready = self.memory()

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended (exit status {self.process.wait()}); its "
                     f"command was `{self.command}`")
        return line.strip()

    def memory(self) -> dict[str, int]:
        """Bytes now: peak and current resident set, anonymous and file-backed part."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return {key: int(fields[key].split()[0]) * 1024
                for key in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}

    def cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1]
        return sum(map(int, stat.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def steps(self, k: int) -> dict:
        cpu, machine, start = self.cpu_seconds(), busy_seconds(), time.monotonic()
        self.process.stdin.write(f"{k}\n")
        self.process.stdin.flush()
        answer = json.loads(self._line())
        if len(answer["losses"]) != k:
            sys.exit(f"{self.name}: asked for {k} steps, got {len(answer['losses'])}")
        answer["steps"] = k
        answer["cpu_seconds"] = self.cpu_seconds() - cpu
        others = busy_seconds() - machine - answer["cpu_seconds"]
        answer["cores_elsewhere"] = max(0.0, others / (time.monotonic() - start))
        return answer

    def finish(self) -> None:
        self.memory_at_end = self.memory()
        self.process.stdin.close()
        if status := self.process.wait():
            sys.exit(f"{self.name}: exit status {status} after its last step")


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent on anything."""
    ticks = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    idle, iowait = ticks[3:5]
    return (sum(ticks[:8]) - idle - iowait) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(cores: float, patience: float) -> None:
    """Returns when others used at most `cores` for a second, or patience has run out."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(1)
        if busy_seconds() - before <= cores:
            return


def output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine() -> dict:
    cpu = next((line.split(":", 1)[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())
    flags = [f for f in ("avx2", "avx512f", "amx_tile")
             if f" {f} " in Path("/proc/cpuinfo").read_text()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "flags": flags, "cores": os.cpu_count(), "memory_bytes": memory,
            "kernel": platform.release()}


def versions() -> dict:
    import torch
    return {"python": platform.python_version(), "torch": torch.__version__,
            "rustc": output("rustc", "--version")}


def summarize(name: str, rounds: list[dict], tokens: int, base: str) -> dict:
    """Medians over the rounds, in ms per step; ratios are of the pair in one round."""
    def ms(key: str) -> list[float]:
        return [1e3 * r[name][key] / r[name]["steps"] for r in rounds]

    median = {key: statistics.median(ms(key))
              for key in ("seconds", "forward", "backward", "optimizer", "cpu_seconds")}
    ratios = [r[base]["seconds"] / r[name]["seconds"] for r in rounds]
    return {
        "ms_per_step": median["seconds"],
        "ms_min": min(ms("seconds")), "ms_max": max(ms("seconds")),
        "tokens_per_second": 1e3 * tokens / median["seconds"],
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_min": min(ratios), "speed_ratio_max": max(ratios),
        "forward_ms": median["forward"], "backward_ms": median["backward"],
        "optimizer_ms": median["optimizer"], "cpu_ms": median["cpu_seconds"],
        "peak_bytes": max(r[name]["peak_bytes"] for r in rounds),
        "runtime_bytes": rounds[0][name].get("runtime_bytes", 0),
    }


def table(record: dict) -> str:
    base = record["base"]
    lines = [f"{'':8}{'ms/step':>9}{'min–max':>17}{'tokens/s':>10}{'speed':>7}"
             f"{'min–max':>12}{'fwd':>7}{'bwd':>7}{'opt':>7}{'CPU ms':>8}"
             f"{'peak MB':>9}{'ratio':>7}{'− runtime':>11}{'ratio':>7}"]
    first = record["summary"][base]
    for name, s in record["summary"].items():
        own = s["peak_bytes"] - s["runtime_bytes"]
        lines.append(
            f"{name:8}{s['ms_per_step']:9.1f}"
            f"{s['ms_min']:9.1f}–{s['ms_max']:<7.1f}{s['tokens_per_second']:10.0f}"
            f"{s['speed_ratio']:6.2f}×"
            f"{s['speed_ratio_min']:7.2f}–{s['speed_ratio_max']:.2f}"
            f"{s['forward_ms']:7.1f}{s['backward_ms']:7.1f}{s['optimizer_ms']:7.1f}"
            f"{s['cpu_ms']:8.1f}{s['peak_bytes'] / 1e6:9.0f}"
            f"{s['peak_bytes'] / first['peak_bytes']:6.2f}×{own / 1e6:11.0f}"
            f"{own / (first['peak_bytes'] - first['runtime_bytes']):6.2f}×")
    lines.append(f"speed and memory relative to {base}: speed above 1 is faster "
                 f"(median of per-round ratios), memory below 1 is smaller; "
                 f"rounds summarized: {record['summarized_rounds']}")
    return "\n".join(lines)


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def arguments() -> argparse.Namespace:
    from make_inputs import PRESETS
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--dir", type=Path, help="the inputs; made where missing "
                        "(default: out/compare_torch/PRESET)")
    parser.add_argument("--ours", default=OURS, help="command of our worker, which DIR "
                        "is appended to; a `cargo run` is built first (default: %(default)s)")
    parser.add_argument("--torch", default=TORCH, help="command of torch's worker")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND",
                        help="a further worker, in the same rounds (repeatable)")
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument("--steps", type=positive,
                        help="steps per round (default: 10 for tiny, 3 for small)")
    parser.add_argument("--elsewhere", type=float, default=0.2, metavar="CORES",
                        help="a round in which other programs used more than this is "
                        "recorded, repeated and left out of the summary (default: 0.2)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="wait up to this long before a round for the others to "
                        "fall quiet (default: 60)")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--record", type=Path, help="write everything here as JSON")
    args = parser.parse_args()
    args.steps = args.steps or {"tiny": 10}.get(args.preset, 3)
    args.dir = (args.dir or ROOT / "out/compare_torch" / args.preset).resolve()
    if args.record and not args.record.parent.is_dir():
        parser.error(f"--record: no folder {args.record.parent}")
    available = sorted(os.sched_getaffinity(0))
    if args.threads > len(available):
        parser.error(f"--threads {args.threads}: only {len(available)} cores")
    args.cores = available[:args.threads]
    args.workers = {"torch": args.torch, "ours": args.ours}
    for item in args.also:
        name, found, command = item.partition("=")
        if not found or name in args.workers:
            parser.error(f"--also {item}: expected NAME=COMMAND with a new NAME")
        args.workers[name] = command
    return args


def main() -> None:
    args = arguments()
    import make_inputs
    p = make_inputs.PRESETS[args.preset]
    if not (args.dir / "batches.safetensors").exists():
        make_inputs.make(args.preset, args.dir)

    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["compare.py", *sys.argv[1:]]),
        "commit": output("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "status", "--porcelain")),
        "machine": machine(), "versions": versions(),
        "allocator": {k: v for k, v in os.environ.items()
                      if k.startswith("MALLOC_") or k == "LD_PRELOAD"},
        "load_before": os.getloadavg(),
        "preset": args.preset, "model": p, "threads": args.threads,
        "tokens_per_step": p["batch"] * p["seq"],
        "rounds_of_steps": args.steps, "base": "torch",
        "workers": {n: c.replace(str(ROOT) + "/", "") for n, c in args.workers.items()},
    }
    workers = [Worker(n, c, args.dir, args.cores) for n, c in args.workers.items()]
    record["memory_at_ready"] = {w.name: w.at_ready for w in workers}

    record["first_steps"] = {w.name: w.steps(WARM_UP) for w in workers}
    losses = {name: r["losses"] for name, r in record["first_steps"].items()}
    record["max_loss_difference"] = {
        name: max(abs(a - b) for a, b in zip(ls, losses["torch"]))
        for name, ls in losses.items()}
    print(f"losses of the first {WARM_UP} steps:")
    for name, ls in losses.items():
        print(f"  {name:8}", *(f"{loss:.6f}" for loss in ls),
              f" largest difference from torch {record['max_loss_difference'][name]:.1e}")

    rounds = record["rounds"] = []
    quiet = []
    while len(quiet) < args.rounds and len(rounds) < 4 * args.rounds:
        rounds.append({})
        wait_for_quiet(args.elsewhere, args.patience)
        for worker in workers:
            time.sleep(0.25)  # lets the other side's spinning threads fall asleep
            rounds[-1][worker.name] = worker.steps(args.steps)
        elsewhere = max(r["cores_elsewhere"] for r in rounds[-1].values())
        if elsewhere <= args.elsewhere:
            quiet.append(rounds[-1])
        print(f"round {len(rounds)} ({len(quiet)} of {args.rounds} quiet):", *(
            f"{name} {1e3 * r['seconds'] / args.steps:.1f} ms"
            for name, r in rounds[-1].items()),
            f" others used {elsewhere:.2f} cores", flush=True)
    enough = len(quiet) == args.rounds
    record["summarized_rounds"] = "quiet" if enough else "all: the machine was busy"
    for worker in workers:
        worker.finish()
    record["memory_at_end"] = {w.name: w.memory_at_end for w in workers}
    record["load_after"] = os.getloadavg()
    record["summary"] = {
        w.name: summarize(w.name, quiet if enough else rounds,
                          record["tokens_per_step"], "torch")
        for w in workers}
    print(table(record))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"recorded in {args.record}")


if __name__ == "__main__":
    main()
