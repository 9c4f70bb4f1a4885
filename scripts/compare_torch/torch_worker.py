"""PyTorch's side of the comparison: Llama trained in eager mode on the CPU, as a
competent user would write it.

    python torch_worker.py DIR [--threads 2]

DIR is from make_inputs.py. Prints `ready` once loaded; then, for each line `k` on
stdin, runs k training steps on successive batches and prints one line of JSON. Ends
when stdin does.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on `[batch, heads, seq, head_dim]`, Hugging Face's split halves."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Norm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(size)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        q, kv = (c[n] * self.head_dim for n in ("num_attention_heads", "num_key_value_heads"))
        self.q_proj = nn.Linear(c["hidden_size"], q, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], kv, bias=False)
        self.o_proj = nn.Linear(q, c["hidden_size"], bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Its parameters carry Hugging Face's names, less the leading `model.`"""

    def __init__(self, c: dict, seq: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        if c["tie_word_embeddings"]:
            self.lm_head.weight = self.embed_tokens.weight
        half = torch.arange(0, self.layers[0].self_attn.head_dim, 2).double()
        theta = c["rope_parameters"]["rope_theta"]
        angle = torch.outer(torch.arange(seq).double(),
                            theta ** (-half / (2 * len(half))))
        self.cos, self.sin = angle.cos().float(), angle.sin().float()

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = self.lm_head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def load(folder: Path) -> tuple[Llama, Tensor]:
    """Fills the model tensor by tensor from the mapped file, which is unmapped at
    the end: loading stays far below training's peak."""
    with safe_open(folder / "batches.safetensors", "pt") as f:
        tokens = f.get_tensor("tokens").clone()
    config = json.loads((folder / "config.json").read_text())
    model = Llama(config, tokens.shape[-1] - 1)
    with safe_open(folder / "model.safetensors", "pt") as f, torch.no_grad():
        for name, parameter in model.named_parameters():
            prefix = "" if name.startswith("lm_head") else "model."
            parameter.copy_(f.get_tensor(prefix + name))
    return model, tokens


def memory(field: str) -> int:
    """Bytes of VmHWM, the largest resident set so far, or of VmRSS, the present one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) * 1024


def runtime_bytes() -> int:
    """What PyTorch itself occupies before there is any model: its libraries (of a
    CUDA build, on PyPI) and modules, those that an optimizer imports included."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True)
    return memory("VmRSS")


class Trainer:
    def __init__(self, model: Llama, tokens: Tensor):
        self.model, self.tokens, self.next = model, tokens, 0
        self.parameters = list(model.parameters())
        matrices = [p for p in self.parameters if p.ndim >= 2]
        vectors = [p for p in self.parameters if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1},
             {"params": vectors, "weight_decay": 0.0}],
            lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def step(self) -> tuple[float, list[float]]:
        """One step: its loss, and the seconds of its three phases."""
        batch = self.tokens[self.next % len(self.tokens)]
        self.next += 1
        times = [time.perf_counter()]
        loss = self.model(batch[:, :-1], batch[:, 1:])
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        return loss.item(), [b - a for a, b in zip(times, times[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runtime = runtime_bytes()
    trainer = Trainer(*load(args.dir))
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        losses, phases = zip(*(trainer.step() for _ in range(int(line))))
        seconds = time.perf_counter() - start
        forward, backward, optimizer = map(sum, zip(*phases))
        print(json.dumps({
            "seconds": seconds, "losses": losses,
            "peak_bytes": memory("VmHWM"), "runtime_bytes": runtime,
            "forward": forward, "backward": backward, "optimizer": optimizer,
        }), flush=True)


if __name__ == "__main__":
    main()
