"""Time and memory of an audit of many images beyond the features of the network, which are drawn here.

``python -m benchmarks.audit_size images=5000 out=size.json``
"""

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from flowers_tl.cli.options import command

# As the features of MobileNetV2.
FEATURES = 1280


@dataclass(kw_only=True)
class SizeOptions:
    """Draw flowers, changed copies of some and features, and do what an audit does with them."""

    images: int = 5000
    """Number of images, copies among them."""
    copies: int = 300
    """Number of copies: mirrored, and compressed again."""
    classes: int = 100
    """Number of classes, one drawn species each."""
    out: Path | None = None
    """A file of the numbers, as JSON."""


def draw(options: SizeOptions, folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Files, labels (n,) and features (n, FEATURES); copies come last, each of the image in its place from the beginning.

    Images of a class are so alike that each has as many candidates for a copy as an audit takes.
    """
    from PIL import Image, ImageOps

    from flowers_tl.data.synthetic import Species, draw_flower

    random, own = np.random.default_rng(0), options.images - options.copies
    labels = np.arange(own) % options.classes
    files = [folder / f"{number}.jpg" for number in range(options.images)]
    for number, label in enumerate(labels.tolist()):
        draw_flower(Species.from_number(label), 64, random).save(files[number], quality=90)
    for number in range(options.copies):
        with Image.open(files[number]) as image:
            ImageOps.mirror(image).save(files[own + number], quality=90)
    features = random.normal(size=(options.classes, FEATURES))[labels] + random.normal(size=(own, FEATURES)) * 0.7
    copied = features[: options.copies] + random.normal(size=(options.copies, FEATURES)) * 0.1
    every = np.concatenate([features, copied]).astype(np.float32)
    return files, np.concatenate([labels, labels[: options.copies]]), every


@command
def main(options: SizeOptions) -> None:
    """Print how long the parts take, and how many of the copies are found."""
    import torch

    from flowers_tl.auditing import audit, copies
    from flowers_tl.data.splits import ImageSplit

    numbers: dict[str, Any] = {"images": options.images}

    def clocked(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            begin = time.perf_counter(), time.process_time()
            answer = function(*given)
            passed = numbers.setdefault(name, {"seconds": 0.0, "CPU seconds": 0.0})
            passed["seconds"] += round(time.perf_counter() - begin[0], 2)
            passed["CPU seconds"] += round(time.process_time() - begin[1], 2)
            if name == "find_candidates":
                numbers["candidates"] = len(answer)
            return answer

        return call

    for module, names in ((audit, ("find_copies", "out_of_fold")), (copies, ("find_candidates", "register"))):
        for name in names:
            setattr(module, name, clocked(name, getattr(module, name)))
    with TemporaryDirectory() as name:
        root = Path(name)
        files, labels, features = draw(options, root)
        cuts = np.split(np.arange(len(files)), [len(files) // 8, len(files) // 4])
        classes = [f"species {k}" for k in range(options.classes)]
        parts = [ImageSplit([files[k] for k in cut], labels[cut].tolist(), classes) for cut in cuts]
        images = audit.Images(dict(zip(("train", "val", "test"), parts, strict=True)), root)

        def check() -> list[audit.Finding]:
            scan = clocked("scan_images", audit.scan_images)(files, None)
            return [*audit.check_files(images, scan), *audit.check_content(images, scan, torch.from_numpy(features))]

        findings = clocked("all", check)()
    pairs = {tuple(sorted((one["image"], one["other"]))) for one in findings if one["kind"] in ("exact", "near")}
    own = options.images - options.copies
    planted = {tuple(sorted((f"{k}.jpg", f"{own + k}.jpg"))) for k in range(options.copies)}
    numbers |= {"copies": options.copies, "found": len(pairs & planted), "other pairs": len(pairs - planted)}
    numbers["GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(numbers, indent=1))
    if options.out:
        options.out.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
