"""How much of what is planted an audit finds: copies that were changed, labels that were flipped, and images of other things.

``python -m benchmarks.audit_recall data=flowers backbone=mobilenet_v2 foreign=photos out=found.json``
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance

from flowers_tl.cli.options import Positional, command, is_override
from flowers_tl.data.image_formats import is_image_file
from flowers_tl.data.synthetic import Species, draw_flower, smooth_noise

# Rates of flipped labels, and how often each is drawn.
RATES, DRAWS = (0.02, 0.05, 0.1), 3


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Up to a tenth of each side cut off."""
    sides = [int(side * random.uniform(0.02, 0.1)) for side in image.size]
    left, top = (int(random.integers(0, cut + 1)) for cut in sides)
    return image.crop((left, top, left + image.width - sides[0], top + image.height - sides[1]))


def recompressed(quality: int) -> tuple[Callable[..., Image.Image], dict[str, Any]]:
    return lambda image, random: image, {"format": "JPEG", "quality": quality}


FINE = {"format": "JPEG", "quality": 90}
# How an image is changed, and how it is saved. `exact` keeps each pixel.
CHANGES: dict[str, tuple[Callable[..., Image.Image], dict[str, Any]]] = {
    "exact": (lambda image, random: image, {"format": "PNG"}),
    **{f"quality {quality}": recompressed(quality) for quality in (50, 75, 95)},
    "cropped": (cropped, FINE),
    "halved": (lambda image, random: image.resize((image.width // 2, image.height // 2)), FINE),
    "mirrored": (lambda image, random: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), FINE),
    "brighter": (lambda image, random: ImageEnhance.Brightness(image).enhance(1.1), FINE),
}


@dataclass(kw_only=True)
class RecallOptions:
    """Audit a data set with planted faults, and say how many of them are found."""

    out: Path | None = None
    """A file of the numbers, as JSON."""
    foreign: Path | None = None
    """A folder of images that do not belong to the data set, such as photographs of other things."""
    parts: str = "copies,labels,outliers"
    """What to measure."""
    overrides: Annotated[
        list[str], Positional("[data.KEY=...] [backbone=NAME]", is_override("data", "backbone", "cache"))
    ] = field(default_factory=list)
    """Keys of train: which images, and which network."""


def plant_copies(data: Any, folder: Path) -> dict[str, str]:
    """Link the train and val images into a folder, and put a changed copy of four fifths of the train images into test.

    Returns:
        The change by the name of the copy, ``SOURCE__NUMBER``.
    """
    random, planted = np.random.default_rng(0), {}
    changes = [*CHANGES.items()]
    for split in ("train", "val"):
        images = data.images[split]
        for place, (file, label) in enumerate(zip(images.files, images.labels, strict=True)):
            names = [folder / part / f"class {label:03d}" for part in (split, "test")]
            for name in names:
                name.mkdir(parents=True, exist_ok=True)
            (names[0] / file.name).symlink_to(file)
            # Each class has images without a copy, and of each change nearly equally many.
            if split == "train" and place % 5:
                change, (function, saved) = changes[(place - place // 5) % len(changes)]
                with Image.open(file) as image:
                    copy = names[1] / f"{file.stem}__{place}.{'png' if saved['format'] == 'PNG' else 'jpg'}"
                    function(image.convert("RGB"), random).save(copy, **saved)
                planted[copy.name] = change
    # A class of which no image was copied needs a test image too.
    for empty in [one for one in (folder / "test").iterdir() if not any(one.iterdir())]:
        random_image = Image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8))
        random_image.save(empty / "nothing.png")
    return planted


def measure_copies(overrides: list[str], data: Any) -> dict[str, Any]:
    """Recall by change, and of the reported pairs those that are planted, that follow from pairs of originals, and others."""
    from flowers_tl.auditing.audit import audit
    from flowers_tl.config.compose import compose_config

    with TemporaryDirectory() as name:
        planted = plant_copies(data, Path(name, "data"))
        others = [word for word in overrides if not word.startswith("data")]
        size = f"data.image_size={data.image_size}"
        copied = compose_config(["strategy=linear_probe", "data=folder", f"data.root='{name}/data'", size, *others])
        start = time.process_time()
        findings = audit(copied, Path(name, "audit"))
        seconds = time.process_time() - start
    pairs = [
        (one["kind"], Path(one["image"]).name, Path(one["other"]).name)
        for one in findings
        if one["kind"] in ("exact", "near")
    ]
    stems = [
        (kind, *(Path(file).stem.split("__")[0] for file in (a, b)), {a, b} & planted.keys()) for kind, a, b in pairs
    ]
    found = {next(iter(copies)): kind for kind, a, b, copies in stems if a == b and len(copies) == 1}
    originals = {frozenset((a, b)) for _, a, b, copies in stems if not copies}
    others = [(a, b) for _, a, b, copies in stems if copies and a != b]
    followed = sum(frozenset(pair) in originals for pair in others)
    total, right = Counter(planted.values()), Counter(planted[file] for file in found)
    wrong_kind = sum((kind == "exact") != (planted[file] == "exact") for file, kind in found.items())
    return {
        "planted": total,
        "found": right,
        "of another kind": wrong_kind,
        "pairs of originals": sorted(sorted(pair) for pair in originals),
        "pairs that follow from those": followed,
        "wrong pairs": [pair for pair in others if frozenset(pair) not in originals],
        "precision": round((len(found) + followed) / max(1, len(found) + len(others)), 4),
        "CPU seconds": round(seconds, 1),
    }


def measure_labels(config: dict[str, Any], data: Any) -> list[dict[str, Any]]:
    """Of flipped train labels, how many are among the first suspects of train, once and twice as many as were flipped.

    Heads are solved on the train images alone, and on all images, as an audit does.
    """
    from flowers_tl.auditing.audit import compute_features
    from flowers_tl.auditing.labels import find_suspects, out_of_fold, unit_features

    features = unit_features(compute_features(config, data))
    truth = np.concatenate([data.images[split].labels for split in ("train", "val", "test")])
    count, rows = len(data.images["train"]), []
    for rate in RATES:
        for images, draws in ((count, DRAWS), (len(truth), 1)):
            shares = []
            for draw in range(draws):
                random, labels = np.random.default_rng(draw), truth[:images].copy()
                flipped = random.choice(count, round(rate * count), replace=False)
                labels[flipped] = (labels[flipped] + random.integers(1, labels.max() + 1, len(flipped))) % (
                    labels.max() + 1
                )
                answers = out_of_fold(features[:images], labels, np.arange(images))
                first = [place for place, _, _ in find_suspects(answers, labels) if place < count]
                shares.append([len({*first[: times * len(flipped)]} & {*flipped}) / len(flipped) for times in (1, 2)])
            once, twice = np.mean(shares, axis=0).round(4).tolist()
            rows.append(
                {"rate": rate, "images": images, "draws": draws, "among the first": once, "among twice as many": twice}
            )
    return rows


def draw_foreign(folder: Path, each: int = 4) -> None:
    """Draw so many images of each kind that is no photograph."""
    rows, columns = np.mgrid[:256, :256]
    for number in range(each):
        random = np.random.default_rng(number)
        page, chart = Image.new("RGB", (256, 340), "white"), Image.new("RGB", (400, 300), "white")
        for y in range(8, 330, 15):
            words = ["".join(map(chr, random.integers(97, 123, random.integers(2, 9)))) for _ in range(7)]
            ImageDraw.Draw(page).text((8, y), " ".join(words), fill="black")
        colours = random.integers(0, 255, (8, 3))
        for bar, colour in enumerate(colours):
            corners = (55 + 40 * bar, int(random.uniform(30, 250)), 80 + 40 * bar, 260)
            ImageDraw.Draw(chart).rectangle(corners, fill=tuple(colour.tolist()))
        ImageDraw.Draw(chart).line([(40, 10), (40, 260), (390, 260)], fill="black", width=2)
        turn, width = random.uniform(0, np.pi), random.uniform(2, 15)
        stripes = colours[((rows * np.cos(turn) + columns * np.sin(turn)) // width % 2).astype(int)]
        clouds = np.stack([255 * smooth_noise(256, int(random.integers(3, 12)), random) for _ in range(3)], -1)
        even = (colours[0] + random.normal(0, 4, (256, 256, 3))).clip(0, 255)
        arrays = {"noise": random.integers(0, 255, (256, 256, 3)), "stripes": stripes, "clouds": clouds, "even": even}
        flower = draw_flower(Species.from_number(number), 256, random)
        images = {"page": page, "chart": chart, "flower": flower}
        images |= {kind: Image.fromarray(array.astype(np.uint8)) for kind, array in arrays.items()}
        for kind, image in images.items():
            image.save(folder / f"{kind}{number}.png")


def measure_outliers(overrides: list[str], config: dict[str, Any], data: Any, foreign: Path | None) -> dict[str, Any]:
    """Of images of other things, with random labels, how many are among the first outliers, and how many are reported."""
    from flowers_tl.auditing.audit import compute_features
    from flowers_tl.auditing.labels import find_outliers
    from flowers_tl.config.compose import compose_config
    from flowers_tl.models.preprocessing import with_preprocessing
    from flowers_tl.training.factory import set_up_data

    features, found = compute_features(config, data), {}
    truth = np.concatenate([data.images[split].labels for split in ("train", "val", "test")])
    with TemporaryDirectory() as name:
        drawn = Path(name, "drawings")
        drawn.mkdir()
        draw_foreign(drawn)
        for what, folder in {"drawn": drawn, "given": foreign}.items():
            for place, file in enumerate(sorted(filter(is_image_file, folder.iterdir())) if folder else ()):
                link = Path(name, what, f"class {place % 2}", file.name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
            if folder:
                words = [word for word in overrides if not word.startswith("data")]
                words = ["data=folder", f"data.root='{name}/{what}'", f"data.image_size={data.image_size}", *words]
                planted_config = with_preprocessing(compose_config(["strategy=linear_probe", *words]))
                planted = compute_features(planted_config, set_up_data(planted_config))
                count = len(planted)
                labels = np.random.default_rng(0).integers(0, truth.max() + 1, count)
                listed = find_outliers(torch.cat([features, planted]), np.concatenate([truth, labels]))
                right = np.array([place >= len(truth) for place, _ in listed])
                shares = {f"among the first {most}": int(right[:most].sum()) for most in (count, 2 * count)}
                found[what] = {
                    "planted": count,
                    **shares,
                    "reported": len(listed),
                    "of these planted": int(right.sum()),
                }
    return found


@command
def main(options: RecallOptions) -> None:
    """Print what is found, and write it."""
    from flowers_tl.config.compose import compose_config
    from flowers_tl.models.preprocessing import with_preprocessing
    from flowers_tl.training.factory import set_up_data

    config = with_preprocessing(compose_config(["strategy=linear_probe", *options.overrides]))
    data = set_up_data(config)
    measures = {
        "copies": lambda: measure_copies(options.overrides, data),
        "labels": lambda: measure_labels(config, data),
        "outliers": lambda: measure_outliers(options.overrides, config, data, options.foreign),
    }
    numbers: dict[str, Any] = {"command": options.overrides}
    for part in options.parts.split(","):
        numbers[part] = measures[part]()
        print(json.dumps(numbers[part], indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
