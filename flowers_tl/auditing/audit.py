"""The audit of a data set: all checks one after another, and what they say as a table, as files and as a page."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowers_tl.auditing.copies import BLANK, find_copies
from flowers_tl.auditing.labels import find_inseparable, find_outliers, find_suspects, out_of_fold, unit_features
from flowers_tl.auditing.scan import Scan, scan_images
from flowers_tl.data.cached.unreadable import find_missing
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.exclusions import FIELDS
from flowers_tl.data.registry import make_data
from flowers_tl.data.splits import SPLITS, ImageSplit
from flowers_tl.inference.evaluate import make_trainer
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.models.pretrained import initial_weights
from flowers_tl.report.palette import render_page
from flowers_tl.report.thumbnails import load_thumbnail
from flowers_tl.training.factory import frozen_features, make_cache
from flowers_tl.training.trainer import quiet_lightning
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_folder, dumps, format_csv, names_below, new_folder, validate_new_folder
from flowers_tl.utils.notes import log, log_table, track

KINDS = ("exact", "near", "burst", "suspect", "inseparable", "outlier", "unreadable", "blank", "tiny", "huge", "grey")
Finding = dict[str, Any]
# How many times smaller or larger than the median side tiny and huge images are.
SIZE_FACTOR = 4
# Share of images without colour from which on they are no exception.
GREY = 0.1
# Findings of a kind on the page; audit.csv has all.
MOST_SHOWN = 60


class Images:
    """All images of a data set, split by split: ``files``, ``names`` below the root, ``splits``, and int64 ``labels`` (n,)."""

    def __init__(self, splits: Mapping[str, ImageSplit], root: Path) -> None:
        self.files = [file for split in SPLITS for file in splits[split].files]
        self.names = names_below(self.files, root)
        self.splits = [split for split in SPLITS for _ in splits[split].files]
        self.labels = np.array([label for split in SPLITS for label in splits[split].labels])
        self.classes = splits["train"].classes

    def finding(
        self, kind: str, score: float | str, place: int | None, other: int | None = None, likely: str = ""
    ) -> Finding:
        """A finding about one image, two, or none, but classes; ``likely`` is a class."""
        first, second = (
            ("", "", likely) if k is None else (self.names[k], self.splits[k], self.classes[self.labels[k]])
            for k in (place, other)
        )
        cells = [cell for pair in zip(first, second, strict=True) for cell in pair]
        return dict(zip(FIELDS, (kind, *cells, score if isinstance(score, str) else round(score, 4)), strict=True))


def audit(config: dict[str, Any], out: Path | None = None) -> list[Finding]:
    """Look at all images of the data set that a config names; log a table, and write audit.csv, audit.json and audit.html.

    Raises:
        UserError: if the data or the weights can't be read, or the folder is not new.
    """
    validate_new_folder(out)
    validate(config)
    config = with_preprocessing(config)
    data = make_data(config, make_cache(config))
    data.prepare_data()
    everything = Images(data.plan_splits(), data.root)
    missing = find_missing(everything.files)
    present = [file for file in everything.files if file not in missing]
    scan = scan_images(present, data.value_range)
    place = {file: k for k, file in enumerate(present) if scan.facts[k]}
    findings = [everything.finding("unreadable", "", k) for k, file in enumerate(everything.files) if file not in place]
    if findings:
        data.strict = False
    data.setup()
    images = Images(data.images, data.root)
    order = [place[file] for file in images.files]
    scan = Scan(scan.small[order], [scan.facts[k] for k in order])
    findings += [*check_files(images, scan), *check_content(images, scan, compute_features(config, data))]
    findings.sort(key=lambda one: KINDS.index(one["kind"]))
    write(findings, images, data, config, out)
    return findings


def validate(config: Mapping[str, Any]) -> None:
    """Raise UserError for keys that hide images, or leave nothing to compare by."""
    for key in ("protocol", "per_class", "exclude"):
        if config["data"][key] not in ("official", None):
            raise UserError(f"data.{key}={config['data'][key]} hides images from an audit: leave it out.")
    if not config["cache"]["enabled"] or config["backbone"]["weights"] is None:
        raise UserError(
            "An audit needs features of a pretrained network, which the cache keeps: set backbone.weights, and leave out cache.enabled=false."
        )


def compute_features(config: dict[str, Any], data: ImageDataModule) -> Tensor:
    """Features of all images by the frozen network, split by split, from the cache or into it: float32 (n, ...)."""
    with quiet_lightning(logging.WARNING):
        features = frozen_features(config, data, make_trainer(config["trainer"]))
    return torch.cat([features.before_head(split, "centre")[0].cpu() for split in SPLITS])


def check_files(images: Images, scan: Scan) -> Iterator[Finding]:
    """What is wrong with single images."""
    sides = np.array([sorted((facts["width"], facts["height"])) for facts in scan.facts])
    short, long = np.median(sides, axis=0)
    few_grey = sum(facts["grey"] for facts in scan.facts) < GREY * len(scan.facts)
    for k, facts in enumerate(scan.facts):
        checks = {
            "blank": (facts["spread"] < BLANK, facts["spread"]),
            "tiny": (sides[k, 0] * SIZE_FACTOR < short, float(sides[k, 0])),
            "huge": (sides[k, 1] > SIZE_FACTOR * long, float(sides[k, 1])),
            "grey": (facts["grey"] and few_grey and facts["spread"] >= BLANK, ""),
        }
        yield from (images.finding(kind, score, k) for kind, (wrong, score) in checks.items() if wrong)


def check_content(images: Images, scan: Scan, features: Tensor) -> Iterator[Finding]:
    """What is wrong with images beside others."""
    units = unit_features(features)
    copies, groups = find_copies(scan, units)
    for kind, first, second, score in sorted(copies, key=lambda pair: -pair[3]):
        yield images.finding(kind, score, first, second)
    answers = out_of_fold(units, images.labels, groups)
    for place, likely, score in find_suspects(answers, images.labels):
        yield images.finding("suspect", score, place, likely=images.classes[likely])
    for first, second, score in find_inseparable(answers, images.labels):
        yield images.finding("inseparable", score, None) | {
            "label": images.classes[first],
            "other_label": images.classes[second],
        }
    for place, score in find_outliers(features, images.labels):
        yield images.finding("outlier", score, place)


def is_leak(one: Finding) -> bool:
    """Whether two images are copies in unlike splits; :func:`has_two_labels`, of unlike classes."""
    return one["other"] != "" and one["split"] != one["other_split"]


def has_two_labels(one: Finding) -> bool:
    return one["other"] != "" and one["label"] != one["other_label"]


def write(
    findings: list[Finding], images: Images, data: ImageDataModule, config: Mapping[str, Any], out: Path | None
) -> None:
    """Log a table of counts, and write audit.csv, audit.json and audit.html into a new folder."""
    kinds = {kind: [one for one in findings if one["kind"] == kind] for kind in KINDS}
    rows: list[list[Any]] = [
        [kind, len(of), sum(map(is_leak, of)), sum(map(has_two_labels, of))] for kind, of in kinds.items()
    ]
    counts = Counter(zip(images.labels.tolist(), images.splits, strict=True))
    classes = [{"class": c, **{split: counts[k, split] for split in SPLITS}} for k, c in enumerate(images.classes)]
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    log.info(f"{len(classes):,} classes; images: {sizes}")
    cells = [[kind, *map("{:,}".format, numbers)] for kind, *numbers in rows]
    log_table("Audit", ["what", "findings", "across splits", "two labels"], cells)
    network = {"backbone": config["backbone"]["name"], "weights": initial_weights(config)}
    place = {"name": data.name, "root": str(data.root.resolve()), **data.sizes}
    record = {"data": place, **network, "classes": classes, "findings": findings}
    page = audit_page(kinds, rows, record, data)
    validate_new_folder(out)
    folder = Path(out) if out else new_folder("audit")
    with atomic_folder(folder) as beside:
        # Without a finding there is a header too.
        text = format_csv(findings) if findings else ",".join(FIELDS) + "\r\n"
        (beside / "audit.csv").write_text(text, newline="", encoding="utf-8", errors="surrogateescape")
        (beside / "audit.json").write_text(dumps(record, indent=1) + "\n", encoding="utf-8")
        (beside / "audit.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    log.info(f"Written: {folder / 'audit.html'}, and audit.csv and audit.json beside it.")


def audit_page(
    kinds: Mapping[str, list[Finding]], rows: Sequence[Sequence[Any]], record: Mapping[str, Any], data: ImageDataModule
) -> str:
    """The findings as one page that needs no other file, with the images side by side; copies that do harm come first."""
    first = {kind: sorted(of, key=lambda one: not (is_leak(one) or has_two_labels(one))) for kind, of in kinds.items()}
    shown = {one[key] for of in first.values() for one in of[:MOST_SHOWN] for key in ("image", "other") if one[key]}
    thumbnails = {name: load_thumbnail(data.root, name, data.value_range) for name in track(shown, "Shrinking images")}
    values = {"kinds": first, "rows": rows, "record": record, "thumbnails": thumbnails}
    tests = {"is_leak": is_leak, "has_two_labels": has_two_labels, "most": MOST_SHOWN}
    return render_page(__package__, "audit.html.j2", **values, **tests)
