"""What travels with a network that is handed on: metadata in each file, and a page that says what it is and how to use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowers_tl.data.transforms import IMAGENET_MEAN, IMAGENET_STD, resized
from flowers_tl.exporting.formats import Format
from flowers_tl.exporting.verify import Agreement
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.report.markdown import grid
from flowers_tl.runs.record import versions

UNKNOWN = "not on record"


def describe(trained: TrainedModel) -> dict[str, Any]:
    """All that a user of the network must know, as plain Python: what it takes, what it answers, and where it comes from.

    It names no path of the machine.
    """
    chosen, record = trained.model.hparams, trained.record
    kept = ("strategy", "seed", "epochs", "id", "protocol", "weights_fingerprint")
    data = {
        key: own for key in ("name", "train", "val", "test") if (own := record.get("data", {}).get(key)) is not None
    }
    provenance = {key: record.get(key) for key in kept}
    provenance |= {"data": data, "weights": Path(record["weights"]).name if "weights" in record else None}
    provenance |= {"checkpoint": trained.path.name, "measured": measured(trained), "measured_in": measured_in(trained)}
    provenance |= {"trained_with": record.get("versions", {}), "exported_with": versions()}
    return {
        "backbone": chosen.backbone,
        "class_names": trained.class_names,
        "preprocessing": {
            "colours": "RGB",
            "resize": resized(chosen.image_size),
            "interpolation": "bilinear, antialiased",
            "crop": chosen.image_size,
            "range": [0, 1],
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "layout": "NCHW",
            "dtype": "float32",
        },
        "temperature": trained.temperature,
        "provenance": provenance,
    }


def measured(trained: TrainedModel) -> dict[str, dict[str, float]]:
    """Scores by split, of the splits that were measured."""
    return {split: scores for split, scores in trained.measured.items() if scores.get("accuracy") is not None}


def measured_in(trained: TrainedModel) -> dict[str, Any]:
    """Settings of the run that its measurement depends on: precisions, and what kept it from all images of a split."""
    config, prefix = trained.config, trained.record.get("prefix")
    if config is None:
        return {}
    whole = {"limit_val_batches": None, "limit_test_batches": None, "fast_dev_run": False, "overfit_batches": 0.0}
    found = {"trainer.precision": config["trainer"]["precision"] or "32-true"}
    found |= {"cache.precision": prefix["precision"]} if prefix else {}
    found |= {f"trainer.{key}": own for key, default in whole.items() if (own := config["trainer"][key]) != default}
    return found | ({"data.limit": limit} if (limit := config["data"]["limit"]) else {})


def write_card(
    file: Path, about: Mapping[str, Any], found: Mapping[str, Agreement], formats: Sequence[Format], compared: str
) -> None:
    """Write the model card.

    Args:
        file: where.
        about: see :func:`describe`.
        found: how each file answered.
        formats: what files there are.
        compared: the images on which they were compared with the checkpoint, in words.
    """
    lines = [
        f"# {about['backbone']} for {len(about['class_names'])} classes",
        "",
        "Says which of its classes an image shows. A torchvision network, trained by transfer learning.",
        "",
        "## Where it comes from",
        "",
        *origin(about),
        "",
        "What may be done with it depends on the licences of these images, and of the weights that it began from.",
        "",
        "## How good it is",
        "",
        *quality(about["provenance"]),
        "",
        "## Files",
        "",
        *agreement(file.parent, found, compared),
        "",
        "## What it takes, and what it answers",
        "",
        *interface(about),
    ]
    for one in formats:
        lines += [
            "",
            f"## Use {one.file}",
            "",
            f"`pip install {one.requirements}`",
            "",
            "```python",
            one.usage.rstrip(),
            "```",
        ]
    # In the temporary folder of an export, as are the files of inference/formats.py.
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def origin(about: Mapping[str, Any]) -> list[str]:
    """Data, protocol, strategy and versions, as a table."""
    of, data = about["provenance"], about["provenance"]["data"]
    sizes = ", ".join(f"{data[split]:,} {split}" for split in ("train", "val", "test") if split in data)
    protocol, splits = of["protocol"] or {}, (of["protocol"] or {}).get("splits", {})
    fingerprints = ", ".join(f"{split} {value}" for split, value in splits.items())
    weights = ", fingerprint ".join(text for text in (of["weights"], of["weights_fingerprint"]) if text)
    rows = {
        "pictures": f"{data['name']}: {sizes}" if data else None,
        "protocol": f"{protocol['name']}, fingerprints: {fingerprints}" if protocol else None,
        "began from": weights,
        "strategy": f"{of['strategy']}, {of['epochs']} epochs, seed {of['seed']}" if of["strategy"] else None,
        "checkpoint": f"{of['checkpoint']}, run {of['id'] or UNKNOWN}",
        "trained with": packages(of["trained_with"]),
        "exported with": packages(of["exported_with"]),
    }
    return grid(["", ""], ([key, value or UNKNOWN] for key, value in rows.items()))


def quality(of: Mapping[str, Any]) -> list[str]:
    """What was measured of these weights, and how; a split that was not measured says so."""
    rows = []
    for split in ("val", "test"):
        own = of["measured"].get(split)
        shares = [f"{own[key]:.2%}" for key in ("accuracy", "balanced_accuracy")] if own else ["not measured", ""]
        rows.append([split, *shares, f"{own['loss']:.4f}" if own else ""])
    lines = grid(["split", "accuracy", "balanced accuracy", "loss"], rows)
    if of["measured"]:
        metric = f" ({of['protocol']['metric']})" if of["protocol"] else ""
        settings = ", ".join(f"{key}={value}" for key, value in of["measured_in"].items())
        how = f", with {settings}" if settings else ""
        lines += ["", f"Measured by the run that trained it{metric}{how}. These files compute in float32."]
    return lines


def agreement(folder: Path, found: Mapping[str, Agreement], compared: str) -> list[str]:
    """How large each file is, and how its answers compare with the checkpoint's."""
    rows = [
        [file, f"{(folder / file).stat().st_size / 1e6:.1f} MB", f"{one.largest:.1g}", same_class(one)]
        for file, one in found.items()
    ]
    header = ["file", "size", "largest difference of a logit", "same class first"]
    note = f"Compared with the checkpoint on {compared}: several at a time, the first of them also one by one."
    if any(one.ties for one in found.values()):
        note += " In a tie the two best logits are too close for the network itself to tell the classes apart."
    return [*grid(header, rows), "", note]


def same_class(found: Agreement) -> str:
    """On how many images file and checkpoint name the same class first, in words."""
    same = f"{found.images - found.ties:,} of {found.images:,} images"
    return f"{same}, the others are ties" if found.ties else same


def interface(about: Mapping[str, Any]) -> list[str]:
    """Preprocessing step by step, and what to make of the logits."""
    how, temperature = about["preprocessing"], about["temperature"]
    calibrated = f"{temperature:.4g}, fitted on val" if temperature != 1 else "1: none was fitted"
    return [
        f"1. Read the image as {how['colours']}, turned as its camera says.",
        f"2. Resize it so that its short side has {how['resize']} pixels ({how['interpolation']}).",
        f"3. Cut out the centre, {how['crop']} by {how['crop']} pixels.",
        f"4. Bring the values from 0..255 to {how['range'][0]}..{how['range'][1]}.",
        f"5. Subtract the mean {list(how['mean'])}, and divide by {list(how['std'])}, each for red, green and blue.",
        f"6. Hand over any number of them: {how['dtype']}, (images, 3, {how['crop']}, {how['crop']}).",
        "",
        "The answers are logits, float32 (images, classes), as the network computes them. Probabilities are",
        f"softmax(logits / temperature). The temperature is {calibrated}.",
        "",
        f"Each file carries this page's facts and the names of the classes as metadata, in JSON: {', '.join(about)}.",
    ]


def packages(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("flowers_tl", "torch", "torchvision") if name in versions)
