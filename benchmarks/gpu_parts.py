"""What a machine can do at most, and what the parts of a run take on it: ``python -m benchmarks.gpu_parts BACKBONE...``.

Prints one line of JSON for each part as it is measured, so that a stop loses nothing. Seconds are the median of repeated
calls after a first one, with the GPU's queue emptied before and after each.
"""

import io
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flowers_tl.config.compose import compose_config
from flowers_tl.data.registry import make_data
from flowers_tl.data.transforms import normalise
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_prefix import FrozenPrefix, full_fp32
from flowers_tl.models.partial_run import run_between
from flowers_tl.training.freeze_check import fingerprint_tensors
from flowers_tl.utils.files import dumps
from flowers_tl.utils.threads import map_in_threads

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
SIZE = 224
# Images of one measurement of the prefix.
IMAGES = 1024 if ON_GPU else 4


def main(arguments: list[str]) -> None:
    """Measure all parts, with the images that ``KEY=VALUE`` arguments name; the others are networks."""
    overrides = [argument for argument in arguments if "=" in argument]
    backbones = [argument for argument in arguments if "=" not in argument]
    for part in (decode(overrides), machine(), *map(prefix, backbones)):
        for line in part:
            print(dumps(line), flush=True)


def decode(overrides: list[str]) -> Iterator[dict[str, Any]]:
    """How many of the data's images all cores decode in a second, from memory, without resizing."""
    data = make_data(compose_config(overrides))
    data.prepare_data()
    raw = [file.read_bytes() for file in data.find_splits()["train"].files]

    def decode_one(content: bytes) -> None:
        Image.open(io.BytesIO(content)).convert("RGB")

    seconds = measure(lambda: list(map_in_threads(decode_one, raw)), 3)
    yield {
        "part": "decode",
        "images_per_second": round(len(raw) / seconds),
        "bytes_per_image": sum(map(len, raw)) // len(raw),
    }


def machine() -> Iterator[dict[str, Any]]:
    """Rates of matrix products and copies, which bound all else."""
    side = 8192 if ON_GPU else 512
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        one = torch.randn(side, side, device=DEVICE, dtype=dtype)
        yield {"part": f"matrix product, {name}", "tflops": round(2 * side**3 / measure(lambda a=one: a @ a) / 1e12, 2)}
    if ON_GPU:
        for name, pinned in (("pageable", False), ("pinned", True)):
            host = torch.empty(2**28, dtype=torch.uint8, pin_memory=pinned)
            seconds = measure(lambda h=host: h.to(DEVICE, non_blocking=True))
            yield {"part": f"copy to the GPU, {name}", "gb_per_second": round(2**28 / seconds / 1e9, 1)}


def prefix(name: str) -> Iterator[dict[str, Any]]:
    """The whole network before its head as a frozen prefix, by precision, layout and images at a time; the freeze check."""
    backbone = StagedNetwork(name, num_classes=102)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        StagedNetwork(name, num_classes=102).network.eval()(torch.empty(1, 3, SIZE, SIZE))
    yield {"part": f"{name}, forward", "gflop_per_image": round(counter.get_total_flops() / 1e9, 3)}
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, device=DEVICE)
    for precision, layout, batch, rounded in VARIANTS:
        whole = FrozenPrefix(backbone, "head", precision, DEVICE)
        part = whole.network.to(memory_format=layout)
        dtype = next(part.parameters()).dtype

        @torch.no_grad()
        def forward(part=part, stop=whole.stop, batch=batch, layout=layout, dtype=dtype) -> None:
            for some in images.split(batch):
                run_between(None, stop, part, normalise(some).to(dtype).contiguous(memory_format=layout))

        if rounded:
            seconds = measure(forward, 3)
        else:
            with full_fp32():
                seconds = measure(forward, 3)
        kind = {"precision": "tf32" if rounded and precision == "fp32" else precision, "batch": batch}
        kind["layout"] = "channels last" if layout == torch.channels_last else "channels first"
        yield {"part": f"{name}, prefix", **kind, "images_per_second": round(IMAGES / seconds)}
    in_use = FrozenPrefix(backbone, "head", "fp32", DEVICE)
    seconds = measure(lambda: in_use(images), 3)
    yield {"part": f"{name}, prefix as runs use it, fp32", "images_per_second": round(IMAGES / seconds)}
    network = backbone.network.to(DEVICE)
    named: dict[str, Tensor] = dict(network.named_parameters()) | dict(network.named_buffers())
    yield {
        "part": f"{name}, freeze check of an epoch",
        "milliseconds": round(1e3 * measure(lambda: fingerprint_tensors(named)), 2),
    }


# Precision, layout, images at a time, and whether fp32 may be rounded to TF32.
VARIANTS = [
    (precision, layout, batch, rounded)
    for precision, rounded in (("fp32", False), ("fp32", True), ("bf16", True))
    for layout in (torch.channels_last, torch.contiguous_format)
    for batch in (64, 256)
]
if not ON_GPU:
    VARIANTS = VARIANTS[:1]


def measure(function: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of a call: the median after a first one."""
    function()
    seconds = []
    for _ in range(repeats):
        wait()
        began = time.perf_counter()
        function()
        wait()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def wait() -> None:
    """Until the GPU has done all that it was given."""
    if ON_GPU:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(sys.argv[1:])
