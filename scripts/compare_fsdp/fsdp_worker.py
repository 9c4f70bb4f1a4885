"""PyTorch's side of the comparison: the model of compare_torch, sharded by FSDP2 over
gloo, a process of one thread for each rank.

    python fsdp_worker.py DIR [--ranks 2] [--keep] [--ahead]

DIR is made by compare_fsdp.py. The process that is started is rank 0 and starts the
others. Prints `ready` once loaded; then, for each line `k` on stdin, runs k training
steps on successive batches and prints one line of JSON. Ends when stdin does.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare_torch"))
import torch_worker  # noqa: E402


def shard(model: torch_worker.Llama, keep: bool, ahead: bool) -> None:
    """As torchtitan does: the embedding, each layer, and the norm with the head are
    gathered as one each. With `keep` they stay between forward and backward."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    layers = list(model.layers)
    fully_shard(model.embed_tokens, mesh=mesh, reshard_after_forward=not keep)
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=not keep)
    # Backward begins with these: they stay in any case.
    fully_shard([model.norm, model.lm_head], mesh=mesh, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    if ahead:
        # Without it a gather is waited for where it is started, on a CPU: what hides
        # it elsewhere is a stream of its own.
        model._set_unshard_async_op(True)
        order = [model.embed_tokens, *layers, model.norm]
        for module, following in zip(order, order[1:]):
            module.set_modules_to_forward_prefetch([following])
            following.set_modules_to_backward_prefetch([module])


class Trainer(torch_worker.Trainer):
    """Its optimizer is that of one process, on this rank's part of the parameters."""

    def step(self) -> tuple[Tensor, Tensor, list[float]]:
        """One step: its loss on this rank's rows, the norm of the gradient, and the
        seconds of its phases."""
        batch = self.tokens[self.next % len(self.tokens)]
        batch = batch.chunk(dist.get_world_size())[dist.get_rank()]
        self.next += 1
        times = [time.perf_counter()]
        loss = self.model(batch[:, :-1], batch[:, 1:])
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0).full_tensor()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        return loss.detach(), norm, [b - a for a, b in zip(times, times[1:])]

    def turn(self, steps: int) -> dict:
        dist.barrier()
        start = time.perf_counter()
        losses, norms, phases = zip(*(self.step() for _ in range(steps)))
        # The ranks have equally many tokens: the mean of their means. Once a turn,
        # not once a step: nobody needs it sooner.
        losses = torch.stack(losses)
        dist.all_reduce(losses)
        dist.barrier()
        seconds = time.perf_counter() - start
        forward, backward, optimizer = map(sum, zip(*phases))
        return {
            "seconds": seconds, "losses": (losses / dist.get_world_size()).tolist(),
            "norms": [norm.item() for norm in norms],
            "scheduled": forward + backward, "optimizer": optimizer,
            "own_bytes": sum(
                p.to_local().nbytes for p in self.parameters if p.to_local().numel()),
        }


def rank(args: argparse.Namespace, rank: int, folder: str, commands, others) -> None:
    """Obeys `commands`; rank 0 passes them on to the `others` and answers."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
        world_size=args.ranks, timeout=datetime.timedelta(days=1))
    model, tokens = torch_worker.load(args.dir)
    if tokens.shape[1] % args.ranks:
        sys.exit(f"{tokens.shape[1]} rows do not divide among {args.ranks} ranks")
    shard(model, args.keep, args.ahead)
    trainer = Trainer(model, tokens)
    dist.barrier()
    if rank == 0:
        print("ready", flush=True)
    for line in commands:
        for other in others:
            other.stdin.write(line)
            other.stdin.flush()
        answer = trainer.turn(int(line))
        if rank == 0:
            print(json.dumps(answer), flush=True)
    for other in others:
        other.stdin.close()
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--keep", action="store_true",
                        help="parameters stay between forward and backward")
    parser.add_argument("--ahead", action="store_true",
                        help="gather the next module while this one works")
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
    # All is said. Libraries leave threads behind, of which a process was seen to die
    # while the interpreter took itself apart.
    sys.stdout.flush()
    os._exit(0)
