"""Compares our collectives with gloo's, which PyTorch takes on CPUs: an all-reduce.

    .venv/bin/python scripts/compare_gloo.py --record gloo.json

Ours are threads of one process, gloo's processes on this machine, which is what a user
of PyTorch would have. For each number of ranks and size the two take turns (never at
once), each turn the median of some all-reduces; printed are the medians of the turns
and the median of the turns' ratios. Times of such a machine are no better than that.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9


def gloo(rank: int, ranks: int, kb: int, folder: str) -> None:
    """One process of gloo's side; rank 0 prints its median seconds."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks
    )
    x = torch.ones(kb * 256)
    repeat = max(1, 4096 // kb)
    seconds = []
    for turn in range(ROUNDS + 2):
        dist.barrier()
        start = time.perf_counter()
        for _ in range(repeat):
            dist.all_reduce(x, op=dist.ReduceOp.MAX)
        dist.barrier()
        if turn >= 2:  # the first ones touch the memory
            seconds.append((time.perf_counter() - start) / repeat)
    dist.destroy_process_group()
    if rank == 0:
        print(statistics.median(seconds))


def their_turn(ranks: int, kb: int) -> float:
    """Median seconds of an all-reduce of gloo's."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--gloo", folder, str(ranks), str(kb)]
        workers = [
            subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True)
            for rank in range(ranks)
        ]
        said = [worker.communicate()[0] for worker in workers]
        if any(worker.returncode for worker in workers):
            raise SystemExit("gloo's side failed; is .venv there (setup_python.sh)?")
        return float(said[0])


def our_turn(program: str, ranks: int, kb: int) -> float:
    """Median seconds of an all-reduce of ours."""
    command = [program, str(ROUNDS), str(ranks), str(kb)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--kb", type=int, nargs="+", default=[64, 1024, 16384, 65536])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--record", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    build = ["cargo", "build", "-q", "-p", "comm", "--example", "bandwidth"]
    subprocess.run(build, check=True, cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = str(target / "debug/examples/bandwidth")
    rows = []
    print(f"{'ranks':>5} {'KB':>6} {'ours, ms':>10} {'gloo, ms':>10} {'gloo / ours':>12}")
    for ranks in args.ranks:
        for kb in args.kb:
            ours, theirs = [], []
            for _ in range(args.turns):
                ours.append(our_turn(program, ranks, kb))
                theirs.append(their_turn(ranks, kb))
            ratio = statistics.median(b / a for a, b in zip(ours, theirs))
            row = {"ranks": ranks, "kb": kb, "ours": ours, "gloo": theirs}
            rows.append(row | {"ratio": ratio})
            both = [statistics.median(times) * 1e3 for times in (ours, theirs)]
            print(
                f"{ranks:>5} {kb:>6} {both[0]:>10.3f} {both[1]:>10.3f} {ratio:>12.2f}",
                flush=True,
            )
    if args.record:
        machine = f"{platform.processor()}, {os.cpu_count()} cores"
        today = datetime.date.today().isoformat()
        record = {"date": today, "machine": machine, "rows": rows}
        args.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--gloo"]:
        folder, ranks, kb, rank = sys.argv[2:]
        gloo(int(rank), int(ranks), int(kb), folder)
    else:
        main()
