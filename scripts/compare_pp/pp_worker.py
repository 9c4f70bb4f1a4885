"""PyTorch's side of the comparison: the model of compare_torch in stages that
torch.distributed.pipelining drives over gloo, a process for each.

    python pp_worker.py DIR [--ranks 2] [--threads 1] [--schedule 1f1b]

DIR is made by compare_pp.py. The process that is started is rank 0 and starts the
others. Prints `ready` once loaded; then, for each line `k` on stdin, runs k training
steps on successive batches and prints one line of JSON. Ends when stdin does.

`--schedule` has the names of chapter 7. One rank is the model of compare_torch as it
is, which takes the micro-batches one after the other.
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
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import pipelining
from torch.distributed.pipelining import schedules

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare_torch"))
import torch_worker  # noqa: E402

# PyTorch's class, and for each rank of so many its chunks.
SCHEDULES = {
    "gpipe": (pipelining.ScheduleGPipe, lambda rank, ranks: [rank]),
    "1f1b": (pipelining.Schedule1F1B, lambda rank, ranks: [rank]),
    "interleaved": (pipelining.ScheduleInterleaved1F1B,
                    lambda rank, ranks: [rank, rank + ranks]),
    # With one chunk on each rank it is the ZB1P of its page: ZB-H1.
    "zb-h1": (pipelining.ScheduleInterleavedZeroBubble, lambda rank, ranks: [rank]),
    "zbv": (pipelining.ScheduleZBVZeroBubble,
            lambda rank, ranks: [rank, 2 * ranks - 1 - rank]),
}
# Seconds in which this rank did nothing but send, receive, sum, or wait for it.
waited = 0.0


def counted(function):
    """The same, counted as waiting."""
    def call(*args, **kwargs):
        global waited
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            waited += time.perf_counter() - start
    return call


# All of PyTorch's schedules start messages with the one, and wait with the other.
for private in ("_batch_p2p", "_wait_batch_p2p"):
    setattr(schedules, private, counted(getattr(schedules, private)))
all_reduce = counted(dist.all_reduce)


class Chunk(torch_worker.Llama):
    """Some layers of the model; before the first the embedding, behind the last the
    head. Tokens or hidden states in, hidden states or logits out."""

    def __init__(self, c: dict, seq: int, layers: range, first: bool, last: bool):
        if c["tie_word_embeddings"]:
            sys.exit("a tied model: expected an embedding and a head of their own")
        super().__init__(c, seq)  # All of it, for a moment.
        self.layers = nn.ModuleDict({str(i): self.layers[i] for i in layers})
        if not first:
            self.embed_tokens = None
        if not last:
            self.norm = self.lm_head = None

    def forward(self, x: Tensor) -> Tensor:
        if self.embed_tokens is not None:
            x = self.embed_tokens(x)
        for layer in self.layers.values():
            x = layer(x, self.cos, self.sin)
        return x if self.lm_head is None else self.lm_head(self.norm(x))


def cut(layers: int, chunks: int, given: list[int] | None) -> list[range]:
    """The layers of each chunk, as chapter 7's stages.rs has them."""
    counts = given
    if counts is None:
        # What does not come out even: the later ones, but those at the ends last.
        more = [*range(chunks - 2, 0, -1), 0][:layers % chunks]
        counts = [layers // chunks + (i in more) for i in range(chunks)]
    if len(counts) != chunks or sum(counts) != layers:
        sys.exit(f"layers {counts}: expected {layers} in {chunks} chunks")
    ends = [sum(counts[:i + 1]) for i in range(chunks)]
    return [range(end - n, end) for n, end in zip(counts, ends)]


def load(folder: Path, own: list[int], chunks: int,
         given: list[int] | None) -> tuple[list[Chunk], Tensor]:
    """This rank's chunks, filled; of the file no more than them is read."""
    from safetensors import safe_open
    with safe_open(folder / "batches.safetensors", "pt") as f:
        tokens = f.get_tensor("tokens").clone()
    config = json.loads((folder / "config.json").read_text())
    layers = cut(config["num_hidden_layers"], chunks, given)
    model = [Chunk(config, tokens.shape[-1] - 1, layers[i], i == 0, i == chunks - 1)
             for i in own]
    with safe_open(folder / "model.safetensors", "pt") as f, torch.no_grad():
        for chunk in model:
            for name, parameter in chunk.named_parameters():
                prefix = "" if name.startswith("lm_head") else "model."
                parameter.copy_(f.get_tensor(prefix + name))
    return model, tokens


class Trainer(torch_worker.Trainer):
    """Its optimizer is that of one process, on this rank's parameters."""

    def __init__(self, model: nn.Module, tokens: Tensor, micros: int):
        super().__init__(model, tokens)
        self.micros = micros
        if tokens.shape[1] % micros:
            sys.exit(f"{tokens.shape[1]} rows do not divide among {micros} "
                     "micro-batches")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Of a micro-batch, its part of the step's."""
        # Divided here and not in the gradients: `scale_grads` is one more pass over
        # all of them.
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()) / self.micros

    def passes(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Forward and backward of all micro-batches: the step's loss."""
        losses = []
        for x, y in zip(inputs.chunk(self.micros), targets.chunk(self.micros)):
            loss = self.model(x, y) / self.micros
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def clip(self) -> Tensor:
        """Of the whole model's gradient."""
        gradients = [p.grad for p in self.parameters]
        # Of rows first, which takes no longer: one thread of torch sums the squares of
        # a large matrix in fp32, and comes to a norm that is too small.
        rows = [torch.linalg.vector_norm(g, dim=-1) for g in gradients]
        squares = nn.utils.get_total_norm(rows).square()
        if dist.get_world_size() > 1:
            all_reduce(squares)
        norm = squares.sqrt()
        torch._foreach_mul_(gradients, (1.0 / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self) -> tuple[Tensor, Tensor, list[float]]:
        """One step: its loss, the norm of the gradient, and the seconds of its two
        phases."""
        batch = self.tokens[self.next % len(self.tokens)]
        self.next += 1
        times = [time.perf_counter()]
        loss = self.passes(batch[:, :-1], batch[:, 1:])
        times.append(time.perf_counter())
        norm = self.clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        return loss, norm, [b - a for a, b in zip(times, times[1:])]

    def turn(self, steps: int) -> dict:
        global waited
        dist.barrier()
        start, waited = time.perf_counter(), 0.0
        losses, norms, phases = zip(*(self.step() for _ in range(steps)))
        own = torch.zeros(dist.get_world_size(), dtype=torch.float64)
        own[dist.get_rank()] = waited
        # Zero but on the last stage. Once a turn, not once a step: nobody needs it
        # sooner.
        losses = torch.stack(losses)
        dist.all_reduce(losses)
        dist.barrier()
        seconds = time.perf_counter() - start
        dist.all_reduce(own)
        scheduled, optimizer = map(sum, zip(*phases))
        return {
            "seconds": seconds, "losses": losses.tolist(),
            "norms": [norm.item() for norm in norms],
            "scheduled": scheduled, "optimizer": optimizer,
            "waited": own.mean().item(), "waited_by_stage": own.tolist(),
        }


class Pipeline(Trainer):
    """The same in stages."""

    def __init__(self, chunks: list[Chunk], own: list[int], tokens: Tensor,
                 micros: int, schedule: str):
        super().__init__(nn.ModuleList(chunks), tokens, micros)
        number = len(own) * dist.get_world_size()
        stages = [pipelining.PipelineStage(chunk, i, number, torch.device("cpu"))
                  for chunk, i in zip(chunks, own)]
        self.first, self.last = 0 in own, number - 1 in own
        kind = SCHEDULES[schedule][0]
        one = issubclass(kind, schedules.PipelineScheduleSingle)
        self.schedule = kind(stages[0] if one else stages, n_microbatches=micros,
                             loss_fn=self.loss, scale_grads=False)

    def passes(self, inputs: Tensor, targets: Tensor) -> Tensor:
        losses = []
        self.schedule.step(
            *([inputs] if self.first else []), target=targets if self.last else None,
            losses=losses if self.last else None, return_outputs=False)
        return sum((loss.detach() for loss in losses), torch.tensor(0.0))


def rank(args: argparse.Namespace, rank: int, folder: str, commands, others) -> None:
    """Obeys `commands`; rank 0 passes them on to the `others` and answers."""
    torch.set_num_threads(args.threads)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
        world_size=args.ranks, timeout=datetime.timedelta(days=1))
    if args.ranks == 1:
        model, tokens = torch_worker.load(args.dir)
        trainer = Trainer(model, tokens, args.micro_batches)
    else:
        own = SCHEDULES[args.schedule][1](rank, args.ranks)
        chunks, tokens = load(args.dir, own, len(own) * args.ranks, args.pp_layers)
        trainer = Pipeline(chunks, own, tokens, args.micro_batches, args.schedule)
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
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--schedule", choices=SCHEDULES, default="1f1b")
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--pp-layers", metavar="N,N,..",
                        type=lambda text: [int(n) for n in text.split(",")],
                        help="layers of each chunk (default: as even as can be)")
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
