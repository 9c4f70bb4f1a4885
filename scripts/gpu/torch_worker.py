"""PyTorch's side of the comparison on a GPU: Llama trained in bf16, in eager mode or
through torch.compile, as a competent user would write it.

    python scripts/gpu/torch_worker.py DIR [--device cpu] [--recipe autocast]

DIR is from compare.py, which describes the protocol. One process has both modes, on the
same weights: a second copy of a large model's states would not fit beside ours.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare_torch"))
import torch_worker as on_cpu  # noqa: E402


class Llama(on_cpu.Llama):
    """The model of the comparison on a CPU, with its logits in fp32: in bf16 a loss
    has two digits."""

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = self.lm_head(self.norm(x)).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Masters:
    """Parameters and activations in bf16; AdamW on fp32 copies of the parameters, with
    fp32 gradients, to which each bf16 gradient is moved as soon as backward made it.
    What Megatron-LM does, and what ours does: 18 bytes per parameter."""

    def __init__(self, model: Llama):
        self.model = model.to(torch.bfloat16)
        self.bf16 = list(model.parameters())
        self.fp32 = [nn.Parameter(p.detach().float()) for p in self.bf16]
        for p, master in zip(self.bf16, self.fp32):
            master.grad = torch.zeros_like(master)
            p.register_post_accumulate_grad_hook(self.hook(master))

    @staticmethod
    def hook(master: Tensor):
        def move(p: Tensor) -> None:
            # One micro-batch makes a step: nothing is there to be added to.
            master.grad.copy_(p.grad)
            p.grad = None
        return move

    def context(self, device: str):
        return contextlib.nullcontext()

    def after_step(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.bf16, self.fp32)


class Autocast:
    """Parameters and gradients in fp32; matrix products and attention cast what they
    take to bf16, and the residual stream stays in fp32. As in nanoGPT."""

    def __init__(self, model: Llama):
        self.model = model.float()
        self.fp32 = list(model.parameters())

    def context(self, device: str):
        return torch.autocast(device, torch.bfloat16)

    def after_step(self) -> None:
        for p in self.fp32:
            p.grad = None


RECIPES = {"masters": Masters, "autocast": Autocast}


class Trainer:
    def __init__(self, folder: Path, device: str, recipe: str):
        self.device = device
        # Initialized where it is to be: a CPU would take its time over it.
        on_cpu.Llama = Llama  # what `load` makes
        with torch.device(device):
            model, tokens = on_cpu.load(folder)
        self.tokens = tokens.to(device)
        self.recipe = RECIPES[recipe](model)
        dtype = torch.bfloat16 if recipe == "masters" else torch.float32
        model.cos = model.cos.to(device, dtype)
        model.sin = model.sin.to(device, dtype)
        self.modes = {"eager": model, "compile": torch.compile(model)}
        self.first = [p.detach().cpu().clone() for p in self.recipe.fp32]
        self.reset()

    def reset(self) -> None:
        """Back to before the first step."""
        self.next = 0
        self.optimizer = None  # its states go before new ones come
        with torch.no_grad():
            for p, first in zip(self.recipe.fp32, self.first):
                p.copy_(first)
        self.recipe.after_step()
        groups = [{"params": [p for p in self.recipe.fp32 if (p.ndim >= 2) == matrices],
                   "weight_decay": 0.1 if matrices else 0.0}
                  for matrices in (True, False)]
        self.optimizer = torch.optim.AdamW(
            groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def step(self, mode: str) -> tuple[Tensor, Tensor]:
        """One step: its loss, and its gradient's norm before it is clipped. Neither is
        waited for."""
        batch = self.tokens[self.next % len(self.tokens)]
        self.next += 1
        with self.recipe.context(self.device):
            loss = self.modes[mode](batch[:, :-1], batch[:, 1:])
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.recipe.fp32, 1.0)
        self.optimizer.step()
        self.recipe.after_step()
        return loss.detach(), norm

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def turn(self, mode: str, steps: int) -> dict:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.synchronize()
        start = time.perf_counter()
        made = [self.step(mode) for _ in range(steps)]
        self.synchronize()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds,
                  "losses": [loss.item() for loss, _ in made],
                  "norms": [norm.item() for _, norm in made]}
        if self.device == "cuda":
            answer["allocated_bytes"] = torch.cuda.max_memory_allocated()
        return answer

    def peak(self, n: int, repeats: int = 10) -> dict:
        """FLOP/s of a bf16 product of n × n random numbers, the median of some. Not of
        zeros, which cost a GPU less power, and so run faster."""
        a, b = (torch.randn(n, n, device=self.device).bfloat16() for _ in range(2))
        seconds = []
        for i in range(3 + repeats):
            self.synchronize()
            start = time.perf_counter()
            a @ b
            self.synchronize()
            if i >= 3:
                seconds.append(time.perf_counter() - start)
        return {"flops": 2 * n**3 / statistics.median(seconds), "n": n}


def describe(device: str) -> dict:
    """What computes, and by which versions."""
    about = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cuda":
        p = torch.cuda.get_device_properties(0)
        about |= {"device": p.name, "memory_bytes": p.total_memory,
                  "multiprocessors": p.multi_processor_count,
                  "cudnn": torch.backends.cudnn.version(),
                  "nccl": ".".join(map(str, torch.cuda.nccl.version()))}
    return about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--recipe", choices=RECIPES, default="masters")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU: --device cpu does without")
    if args.device == "cpu":
        torch.set_num_threads(args.threads)
    trainer = Trainer(args.dir, args.device, args.recipe)
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["describe"]:
                answer = describe(args.device)
            case ["peak", n]:
                answer = trainer.peak(int(n))
            case ["reset"]:
                trainer.reset()
                answer = {}
            case [("eager" | "compile") as mode, steps]:
                answer = trainer.turn(mode, int(steps))
            case _:
                sys.exit(f"standard input has {line!r}: expected `describe`, `peak N`, "
                         "`reset`, `eager STEPS` or `compile STEPS`")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
