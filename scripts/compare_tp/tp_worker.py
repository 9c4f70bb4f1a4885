"""PyTorch's side of the comparison: the model of compare_torch with every matrix cut
over ranks that talk over gloo, a process for each.

    python tp_worker.py DIR [--ranks 2] [--threads 1] [--how functions]

DIR is made by compare_tp.py. The process that is started is rank 0 and starts the
others. Prints `ready` once loaded; then, for each line `k` on stdin, runs k training
steps on successive batches and prints one line of JSON. Ends when stdin does.

`--how` is `functions`: autograd functions around plain modules, as Megatron-LM has
them; `overlapped`: the same, where backward sums the gradients of a layer's input while
it computes those of its weights; or `dtensor`: torch.distributed.tensor.parallel. One
rank is the model of compare_torch as it is. `products` trains nothing: it is the time
of a rank's linear layers alone.
"""
import argparse
import contextlib
import datetime
import json
import subprocess
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel, PrepareModuleInput, RowwiseParallel, loss_parallel,
    parallelize_module)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare_torch"))
import torch_worker  # noqa: E402

# Along which dimension a matrix is cut.
CUT = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "gate_proj": 0,
       "up_proj": 0, "down_proj": 1, "embed_tokens": 0, "lm_head": 0}
# Seconds in which this rank did nothing but sum, or wait for it; of DTensor not known.
waited = 0.0


class Wait:
    """Counts what is in its `with` as waiting."""

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        global waited
        waited += time.perf_counter() - self.start


def all_reduce(x: Tensor, op=dist.ReduceOp.SUM) -> Tensor:
    with Wait():
        dist.all_reduce(x, op)
    return x


class Enter(torch.autograd.Function):
    """f: nothing forward, a sum backward."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        return all_reduce(dy.contiguous())


class Leave(torch.autograd.Function):
    """g: a sum forward, nothing backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return all_reduce(x)

    @staticmethod
    def backward(ctx, dy):
        return dy


class Columns(torch.autograd.Function):
    """f, and behind it linear layers that share their input: the sum is under way
    while the weights' gradients are computed."""

    @staticmethod
    def forward(ctx, x, *weights):
        ctx.save_for_backward(x, *weights)
        return tuple(F.linear(x, w) for w in weights)

    @staticmethod
    def backward(ctx, *dys):
        x, *weights = ctx.saved_tensors
        x, dys = x.flatten(0, -2), [dy.flatten(0, -2) for dy in dys]
        dx = dys[0] @ weights[0]
        for dy, w in zip(dys[1:], weights[1:]):
            dx.addmm_(dy, w)
        with Wait():
            work = dist.all_reduce(dx, async_op=True)
        dws = [dy.t() @ x for dy in dys]
        with Wait():
            work.wait()
        return dx.view(ctx.saved_tensors[0].shape), *dws


class CrossEntropy(torch.autograd.Function):
    """The mean loss of `logits [tokens, vocab / ranks]`, which it overwrites; as
    Megatron-LM's `vocab_parallel_cross_entropy`, with two sums in one call."""

    @staticmethod
    def forward(ctx, logits, targets, first):
        largest = all_reduce(logits.amax(-1), dist.ReduceOp.MAX)
        local = targets - first
        here = (local >= 0) & (local < logits.shape[-1])
        local = local.clamp(0, logits.shape[-1] - 1)[:, None]
        exp = logits.sub_(largest[:, None])
        own = torch.where(here, exp.gather(-1, local)[:, 0], 0.0)
        exp = exp.exp_()
        target, total = all_reduce(torch.stack([own, exp.sum(-1)]))
        ctx.save_for_backward(exp, total, local, here)
        return (total.log() - target).mean()

    @staticmethod
    def backward(ctx, dy):
        exp, total, local, here = ctx.saved_tensors
        scale = dy / len(total)
        d = exp.mul_((scale / total)[:, None])
        d.scatter_add_(-1, local, torch.where(here, -scale, 0.0)[:, None])
        return d, None, None


class Parallel(torch_worker.Llama):
    """This rank's part of the model: its heads, its channels, its words."""

    def __init__(self, c: dict, seq: int, overlapped: bool):
        ranks = dist.get_world_size()
        for key in ("num_attention_heads", "num_key_value_heads", "intermediate_size",
                    "vocab_size"):
            if c[key] % ranks:
                sys.exit(f"{key} {c[key]} does not divide among {ranks} ranks")
            c = c | {key: c[key] // ranks}
        super().__init__(c, seq)
        self.overlapped = overlapped
        self.first_word = dist.get_rank() * c["vocab_size"]

    def columns(self, x: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
        if self.overlapped:
            return Columns.apply(x, *(layer.weight for layer in layers))
        x = Enter.apply(x)
        return tuple(layer(x) for layer in layers)

    def attention(self, a: torch_worker.Attention, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (-1, a.head_dim)).transpose(1, 2)
                   for y in self.columns(x, a.q_proj, a.k_proj, a.v_proj))
        q, k = (torch_worker.rotate(y, self.cos, self.sin) for y in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return Leave.apply(a.o_proj(y.transpose(1, 2).flatten(2)))

    def mlp(self, m: torch_worker.Mlp, x: Tensor) -> Tensor:
        gate, up = self.columns(x, m.gate_proj, m.up_proj)
        return Leave.apply(m.down_proj(F.silu(gate) * up))

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        words = self.embed_tokens.num_embeddings
        ids = ids - self.first_word
        elsewhere = (ids < 0) | (ids >= words)
        x = self.embed_tokens(ids.clamp(0, words - 1))
        x = Leave.apply(x.masked_fill(elsewhere[..., None], 0.0))
        for layer in self.layers:
            x = x + self.attention(layer.self_attn, layer.input_layernorm(x))
            x = x + self.mlp(layer.mlp, layer.post_attention_layernorm(x))
        logits, = self.columns(self.norm(x), self.lm_head)
        return CrossEntropy.apply(logits.flatten(0, 1), targets.flatten(),
                                  self.first_word)


def load_part(folder: Path, overlapped: bool) -> tuple[Parallel, Tensor]:
    """Fills this rank's part of the model; reads no more of it."""
    from safetensors import safe_open
    with safe_open(folder / "batches.safetensors", "pt") as f:
        tokens = f.get_tensor("tokens").clone()
    config = json.loads((folder / "config.json").read_text())
    model = Parallel(config, tokens.shape[-1] - 1, overlapped)
    with safe_open(folder / "model.safetensors", "pt") as f, torch.no_grad():
        for name, parameter in model.named_parameters():
            whole = f.get_slice(
                name if name.startswith("lm_head") else f"model.{name}")
            cut = CUT.get(name.split(".")[-2])
            start = 0 if cut is None else dist.get_rank() * parameter.shape[cut]
            where = [slice(None)] * parameter.ndim
            if cut is not None:
                where[cut] = slice(start, start + parameter.shape[cut])
            parameter.copy_(whole[tuple(where)])
    return model, tokens


def distribute(model: torch_worker.Llama) -> None:
    """Has DTensor cut the model."""
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    # Once for all matrices that share it: their terms of its gradient are added before
    # they are summed over the ranks.
    shared = dict(input_layouts=Replicate(), desired_input_layouts=Replicate())
    plan = {
        "embed_tokens": RowwiseParallel(input_layouts=Replicate()),
        "lm_head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
        "layers.*.self_attn": PrepareModuleInput(
            input_layouts=(Replicate(), None, None),
            desired_input_layouts=(Replicate(), None, None)),
        "layers.*.mlp": PrepareModuleInput(**shared),
    }
    for name, cut in CUT.items():
        if name.endswith("_proj"):
            module = "self_attn" if name[0] in "qkvo" else "mlp"
            way = ColwiseParallel if cut == 0 else RowwiseParallel
            plan[f"layers.*.{module}.{name}"] = way()
    parallelize_module(model, mesh, plan)


class Trainer(torch_worker.Trainer):
    """Its optimizer is that of one process, on this rank's parameters."""

    def __init__(self, model: nn.Module, tokens: Tensor, how: str):
        super().__init__(model, tokens)
        self.how = how
        self.cut = [p for p in self.parameters if p.ndim >= 2]
        self.whole = [p for p in self.parameters if p.ndim < 2]

    def clip(self) -> Tensor:
        """Of the whole model's gradient: what every rank has counts once."""
        if self.how == "dtensor":
            for p in self.cut:  # The embedding's is all of it, on every rank.
                p.grad = p.grad.redistribute(placements=p.placements)
        local = [p.grad.to_local() if isinstance(p.grad, DTensor) else p.grad
                 for p in self.cut]
        squares = nn.utils.get_total_norm(local).square()
        if dist.get_world_size() > 1:
            all_reduce(squares)
        whole = nn.utils.get_total_norm([p.grad for p in self.whole]).square()
        norm = (squares + whole).sqrt()
        scale = (1.0 / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(local + [p.grad for p in self.whole], scale)
        return norm

    def step(self) -> tuple[Tensor, Tensor, list[float]]:
        """One step: its loss, the norm of the gradient, and the seconds of its three
        phases."""
        batch = self.tokens[self.next % len(self.tokens)]
        self.next += 1
        with loss_parallel() if self.how == "dtensor" else contextlib.nullcontext():
            times = [time.perf_counter()]
            loss = self.model(batch[:, :-1], batch[:, 1:])
            times.append(time.perf_counter())
            loss.backward()
            times.append(time.perf_counter())
        norm = self.clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        loss = loss.detach()
        loss = loss.full_tensor() if isinstance(loss, DTensor) else loss
        return loss, norm, [b - a for a, b in zip(times, times[1:])]

    def turn(self, steps: int) -> dict:
        global waited
        dist.barrier()
        start, waited = time.perf_counter(), 0.0
        losses, norms, phases = zip(*(self.step() for _ in range(steps)))
        own = torch.tensor(waited, dtype=torch.float64)
        dist.barrier()
        seconds = time.perf_counter() - start
        dist.all_reduce(own)
        forward, backward, optimizer = map(sum, zip(*phases))
        answer = {
            "seconds": seconds, "losses": [loss.item() for loss in losses],
            "norms": [norm.item() for norm in norms],
            "forward": forward, "backward": backward, "optimizer": optimizer,
        }
        if self.how != "dtensor":
            answer["waited"] = own.item() / dist.get_world_size()
        return answer

    def check_equal(self) -> None:
        for parameter in self.whole:
            first = parameter.detach().clone()
            dist.broadcast(first, 0)
            if not torch.equal(first, parameter):
                sys.exit(f"rank {dist.get_rank()}: a norm differs from rank 0's")


class Products(Trainer):
    """The matrix products of this rank's linear layers, forward and backward, and
    nothing else: no step can be shorter that makes them as fast."""

    def __init__(self, model: Parallel, tokens: Tensor):
        super().__init__(model, tokens, "products")
        rows = tokens[0, :, 1:].numel()
        # Where the model has different memory, this has.
        self.layers = [
            (m.weight.detach(), torch.full((rows, m.in_features), 0.01))
            for m in model.modules() if isinstance(m, nn.Linear)]

    def step(self) -> tuple[Tensor, Tensor, list[float]]:
        times = [time.perf_counter()]
        ys = [F.linear(x, w) for w, x in self.layers]
        times.append(time.perf_counter())
        for (w, x), y in zip(self.layers[::-1], ys[::-1]):
            y @ w, y.t() @ x
        times.append(time.perf_counter())
        nothing = torch.tensor(torch.nan)
        return nothing, nothing, [b - a for a, b in zip(times, times[1:])] + [0.0]

    def turn(self, steps: int) -> dict:
        nothing = [None] * steps  # JSON has no NaN.
        return super().turn(steps) | {"losses": nothing, "norms": nothing}


def rank(args: argparse.Namespace, rank: int, folder: str, commands, others) -> None:
    """Obeys `commands`; rank 0 passes them on to the `others` and answers."""
    torch.set_num_threads(args.threads)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank,
        world_size=args.ranks, timeout=datetime.timedelta(days=1))
    if args.ranks == 1 or args.how == "dtensor":
        model, tokens = torch_worker.load(args.dir)
        if args.ranks > 1:
            distribute(model)
    else:
        model, tokens = load_part(args.dir, args.how == "overlapped")
    if args.how == "products":
        trainer = Products(model, tokens)
    else:
        trainer = Trainer(model, tokens, args.how if args.ranks > 1 else "")
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
    trainer.check_equal()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--how", default="functions",
                        choices=["functions", "overlapped", "dtensor", "products"])
    parser.add_argument("--join", nargs=2, metavar=("RANK", "FOLDER"),
                        help="as this rank (used by rank 0)")
    args = parser.parse_args()
    if args.how == "products" and args.ranks == 1:
        parser.error("--how products: of at least 2 --ranks")
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
    # All is said and checked. DTensor leaves threads behind, of which a process was
    # seen to die while the interpreter took itself apart.
    sys.stdout.flush()
    os._exit(0)
