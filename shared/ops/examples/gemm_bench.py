"""GFLOP/s of torch (MKL) on the shapes of gemm_bench.rs, in f32: the best of many calls.

    python3 shared/ops/examples/gemm_bench.py [THREADS]
"""
import sys
import time

import torch

SHAPES = [
    (1024, 512, 256), (1024, 256, 256), (1024, 1408, 256), (1024, 256, 704),
    (256, 4096, 256), (512, 1280, 768), (512, 768, 768), (512, 4096, 768),
    (512, 768, 2048), (128, 32000, 768),
]


def best(product, seconds=0.4):
    times, begin = [], time.perf_counter()
    while len(times) < 10 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times)


torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
for n, o, i in SHAPES:
    x, w, dy = torch.randn(n, i), torch.randn(o, i), torch.randn(n, o)
    y, dx, dw = torch.empty(n, o), torch.empty(n, i), torch.zeros(o, i)
    for name, product in [
        ("forward", lambda: torch.mm(x, w.t(), out=y)),
        ("dgrad", lambda: torch.mm(dy, w, out=dx)),
        ("wgrad", lambda: dw.addmm_(dy.t(), x)),
    ]:
        speed = 2 * n * o * i / best(product) / 1e9
        print(f"{n:6} {o:6} {i:6}  {name:8}{speed:9.1f}", flush=True)
