"""PyTorch's side of the comparison: the model of compare_torch trained by
DistributedDataParallel over gloo, a process of one thread for each rank.

    python ddp_worker.py DIR [--ranks 2]

DIR is made by compare.py. The process that is started is rank 0 and starts the others.
Prints `ready` once loaded; then, for each line `k ddp` or `k no_sync` on stdin, runs k
training steps on successive batches, with or without communication, and prints one
line of JSON. Ends when stdin does.
"""
import argparse
import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare_torch"))
import torch_worker  # noqa: E402


class Trainer(torch_worker.Trainer):
    """Its optimizer is that of one process; a step averages the gradients besides."""

    def __init__(self, model: nn.Module, tokens: Tensor, options: dict):
        super().__init__(model, tokens)
        self.ddp = DistributedDataParallel(model, **options)

    def step(self, mode: str) -> tuple[Tensor, Tensor, list[float]]:
        """One step: its loss on this rank's rows, the norm of the gradient, and the
        seconds of its three phases."""
        batch = self.tokens[self.next % len(self.tokens)]
        batch = batch.chunk(dist.get_world_size())[dist.get_rank()]
        self.next += 1
        alone = mode == "no_sync"
        with self.ddp.no_sync() if alone else contextlib.nullcontext():
            times = [time.perf_counter()]
            loss = self.ddp(batch[:, :-1], batch[:, 1:])
            times.append(time.perf_counter())
            loss.backward()
            times.append(time.perf_counter())
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        return loss.detach(), norm, [b - a for a, b in zip(times, times[1:])]

    def turn(self, steps: int, mode: str) -> dict:
        dist.barrier()
        start = time.perf_counter()
        losses, norms, phases = zip(*(self.step(mode) for _ in range(steps)))
        # The ranks have equally many tokens: the mean of their means. Once a turn,
        # not once a step: nobody needs it sooner.
        losses = torch.stack(losses)
        dist.all_reduce(losses)
        dist.barrier()
        seconds = time.perf_counter() - start
        if mode == "no_sync":
            self.make_equal()
        forward, backward, optimizer = map(sum, zip(*phases))
        return {
            "seconds": seconds, "losses": (losses / dist.get_world_size()).tolist(),
            "norms": [norm.item() for norm in norms],
            "forward": forward, "backward": backward, "optimizer": optimizer,
        }

    def make_equal(self) -> None:
        """Gives all ranks the weights and moments of rank 0: without communication
        they have gone ways of their own."""
        with torch.no_grad():
            for parameter in self.parameters:
                state = self.optimizer.state[parameter]
                for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"]):
                    dist.broadcast(tensor, 0)

    def check_equal(self) -> None:
        for parameter in self.parameters:
            first = parameter.detach().clone()
            dist.broadcast(first, 0)
            if not torch.equal(first, parameter):
                sys.exit(f"rank {dist.get_rank()}: a parameter differs from rank 0's")


def rank(args: argparse.Namespace, rank: int, folder: str, commands, others) -> None:
    """Obeys `commands`; rank 0 passes them on to the `others` and answers."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
        world_size=args.ranks, timeout=datetime.timedelta(days=1))
    model, tokens = torch_worker.load(args.dir)
    if tokens.shape[1] % args.ranks:
        sys.exit(f"{tokens.shape[1]} rows do not divide among {args.ranks} ranks")
    trainer = Trainer(model, tokens, {
        "bucket_cap_mb": args.bucket_cap_mb, "static_graph": args.static_graph,
        "gradient_as_bucket_view": args.gradient_as_bucket_view})
    dist.barrier()
    if rank == 0:
        print("ready", flush=True)
    for line in commands:
        for other in others:
            other.stdin.write(line)
            other.stdin.flush()
        steps, mode = line.split()
        answer = trainer.turn(int(steps), mode)
        if rank == 0:
            print(json.dumps(answer), flush=True)
    for other in others:
        other.stdin.close()
    trainer.check_equal()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--bucket-cap-mb", type=float, default=25)
    for option in ("static-graph", "gradient-as-bucket-view"):
        parser.add_argument(f"--{option}", default=True,
                            action=argparse.BooleanOptionalAction)
    parser.add_argument("--join", nargs=2, metavar=("RANK", "FOLDER"),
                        help="as this rank (used by rank 0)")
    args = parser.parse_args()
    if args.join:
        return rank(args, int(args.join[0]), args.join[1], sys.stdin, [])
    with tempfile.TemporaryDirectory() as folder:
        others = [
            subprocess.Popen([sys.executable, *sys.argv, "--join", str(i), folder],
                             stdin=subprocess.PIPE, text=True)
            for i in range(1, args.ranks)]
        try:
            rank(args, 0, folder, sys.stdin, others)
        except BaseException:
            for other in others:
                other.kill()
            raise
        if any([other.wait() for other in others]):
            sys.exit("a rank failed")


if __name__ == "__main__":
    main()
