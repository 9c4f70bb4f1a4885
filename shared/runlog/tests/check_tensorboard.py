"""TensorBoard itself reads our event files, and reads what the JSONL says.

    python3 -m venv /tmp/tb && /tmp/tb/bin/pip install tensorboard
    cargo run -p runlog --example demo -- /tmp/demo
    /tmp/tb/bin/python shared/runlog/tests/check_tensorboard.py /tmp/demo
"""

import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


folder = sys.argv[1]
header, *steps, last = [json.loads(line) for line in open(f"{folder}/run.jsonl")]
for step in steps:
    for field, value in step.get("nonfinite", {}).items():
        step[field] = float(value)
mfu = header["mfu"]["flops_per_token"] / header["mfu"]["peak_flops"]
# Keep every event: by default TensorBoard samples.
events = EventAccumulator(f"{folder}/events", size_guidance={"scalars": 0})
events.Reload()

expected = {
    "train/loss": lambda s: s["loss"],
    "train/grad_norm": lambda s: s["grad_norm"],
    "train/lr": lambda s: s["lr"],
    "train/tokens_per_second": lambda s: s["tokens"] / s["seconds"],
    "train/mfu": lambda s: s["tokens"] / s["seconds"] * mfu,
    "memory/peak_bytes": lambda s: s["bytes_peak"],
    "extra/bytes_sent": lambda s: s["bytes_sent"],
}
tags = events.Tags()["scalars"]
assert sorted(tags) == sorted([*expected, "validation/loss"]), tags
checked = 0
for tag, value in expected.items():
    read = events.Scalars(tag)
    assert [e.step for e in read] == [s["step"] for s in steps], tag
    for event, step in zip(read, steps):
        assert same(event.value, f32(value(step))), (tag, event, step)
        checked += 1
(validation,) = events.Scalars("validation/loss")
assert validation.value == f32(last["val_loss"]), validation
assert validation.step == last["last"]["steps"], validation
print(f"{checked + 1} scalars under {len(tags)} tags: all equal")
