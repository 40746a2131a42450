"""What an exported network carries along: metadata in each file, and a model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowers_tl.exporting.formats import Format
from flowers_tl.exporting.verify import Agreement
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.results.protocol import fingerprints, split_sizes
from flowers_tl.runs.record import versions
from flowers_tl.utils.templates import render

UNKNOWN = "not on record"


def describe_model(trained: TrainedModel) -> dict[str, Any]:
    """All that a user of the network must know, as plain Python: its inputs, its outputs, and where it comes from.

    It names no path of the machine.
    """
    hparams, record = trained.model.hparams, trained.record
    kept = ("strategy", "seed", "epochs", "id", "protocol", "weights_fingerprint")
    data = {
        key: value for key in ("name", "train", "val", "test") if (value := record.get("data", {}).get(key)) is not None
    }
    provenance = {key: record.get(key) for key in kept}
    provenance |= {"data": data, "weights": Path(record["weights"]).name if "weights" in record else None}
    provenance |= {"checkpoint": trained.path.name, "measured": trained.measured, "measured_in": measured_in(trained)}
    provenance |= {"trained_with": record.get("versions", {}), "exported_with": versions()}
    how = trained.model.backbone.preprocessing
    return {
        "backbone": hparams.backbone,
        # Of the library's function for this network.
        "arguments": trained.model.backbone.arguments,
        "class_names": trained.class_names,
        "preprocessing": {
            "colours": "RGB",
            "value_range": trained.value_range,
            "fit": how.fit,
            "fill": how.fill,
            "resize": how.side(hparams.image_size),
            "interpolation": f"{how.interpolation}, antialiased",
            "crop": hparams.image_size,
            "range": [0, 1],
            "mean": how.mean,
            "std": how.std,
            "layout": "NCHW",
            "dtype": "float32",
        },
        "temperature": trained.temperature,
        "provenance": provenance,
    }


def measured_in(trained: TrainedModel) -> dict[str, Any]:
    """Settings on which the scores depend: precisions, and what limited the images of a split."""
    config, prefix = trained.config, trained.record.get("prefix")
    if config is None:
        return {}
    whole = {"limit_val_batches": None, "limit_test_batches": None, "fast_dev_run": False, "overfit_batches": 0.0}
    settings = {"trainer.precision": config["trainer"]["precision"] or "32-true"}
    settings |= {"cache.precision": prefix["precision"]} if prefix else {}
    settings |= {f"trainer.{key}": config["trainer"][key] for key in whole if config["trainer"][key] != whole[key]}
    return settings | ({"data.limit": limit} if (limit := config["data"]["limit"]) else {})


def write_card(
    file: Path,
    about: Mapping[str, Any],
    agreements: Mapping[str, Agreement],
    formats: Sequence[Format],
    compared: str,
) -> None:
    """Write the model card.

    Args:
        file: where.
        about: see :func:`describe_model`.
        agreements: how the logits of each file compare with the checkpoint's.
        formats: of the files.
        compared: the images on which they were compared with the checkpoint, in words.
    """
    provenance = about["provenance"]
    sizes = {name: f"{(file.parent / name).stat().st_size / 1e6:.1f} MB" for name in agreements}
    text = render(
        __package__,
        "model_card.md.j2",
        about=about,
        of=provenance,
        how=about["preprocessing"],
        temperature=f"{about['temperature']:.4g}",
        origin={key: value or UNKNOWN for key, value in describe_origin(provenance).items()},
        scores=[score_row(split, provenance["measured"].get(split)) for split in ("val", "test")],
        files=[[name, sizes[name], f"{one.largest:.1g}", same_class(one)] for name, one in agreements.items()],
        compared=compared,
        ties=any(one.ties for one in agreements.values()),
        formats=formats,
    )
    # In the temporary folder of an export, as are the files of exporting/formats.py.
    file.write_text(text, encoding="utf-8", errors="backslashreplace")


def describe_origin(provenance: Mapping[str, Any]) -> dict[str, str | None]:
    """Data, protocol, strategy and versions in words, None where they are not on record."""
    of, data, protocol = provenance, provenance["data"], provenance["protocol"]
    return {
        "images": f"{data['name']}: {split_sizes(data)}" if data else None,
        "protocol": f"data.protocol={protocol['name']}, fingerprints: {fingerprints(protocol)}" if protocol else None,
        "initial weights": ", fingerprint ".join(filter(None, (of["weights"], of["weights_fingerprint"]))),
        "strategy": f"{of['strategy']}, {of['epochs']} epochs, seed {of['seed']}" if of["strategy"] else None,
        "checkpoint": f"{of['checkpoint']}, run {of['id'] or UNKNOWN}",
        "trained with": format_packages(of["trained_with"]),
        "exported with": format_packages(of["exported_with"]),
    }


def score_row(split: str, scores: Mapping[str, float] | None) -> list[str]:
    """The scores of a split as text; a split that was not measured says so."""
    if scores is None:
        return [split, "not measured", "", ""]
    return [split, f"{scores['accuracy']:.2%}", f"{scores['balanced_accuracy']:.2%}", f"{scores['loss']:.4f}"]


def same_class(agreement: Agreement) -> str:
    """For how many images file and checkpoint predict the same class, in words."""
    same = f"{agreement.images - agreement.ties:,} of {agreement.images:,} images"
    return f"{same}, the others are ties" if agreement.ties else same


def format_packages(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("flowers_tl", "torch", "torchvision") if name in versions)
