"""Run folders written by hand, for tests of what is read from them."""

import json
from pathlib import Path

import numpy as np
import yaml

from flowers_tl.data.cached.content_hash import fingerprint_split
from flowers_tl.data.splits import ImageSplit
from flowers_tl.results.predictions import Predictions, SplitPredictions

NAMES = ["daisy", "rose", "tulip"]
TRUTH = np.array([0] * 4 + [1] * 2 + [2] * 4)


def logits_of(answers, classes=3, sure=3.0):
    """Logits whose largest is the answer's."""
    return (sure * np.eye(classes, dtype=np.float32))[np.asarray(answers)]


def write_run(
    folder,
    strategy="fine_tuning",
    seed=0,
    val=0.9,
    test=None,
    truth=TRUTH,
    names=NAMES,
    logits=None,
    trainable=250,
    seconds=20.0,
    epochs=3,
    root=None,
    images=None,
    kept=True,
    cold=None,
    measured=None,
    **config,
):
    """Write a run's folder by hand; ``logits`` default to right answers, ``measured`` is more of its record."""
    folder.mkdir(parents=True)
    logits = logits_of(truth, len(names)) if logits is None else logits
    test = float((logits.argmax(axis=1) == truth).mean()) if test is None else test
    settings = {"strategy": {"name": strategy}, "seed": seed} | config
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    if epochs:
        rows = [f"{e},{2 / (1 + e)},{1.5 / (1 + e)},{val * (1 - 0.5 ** (e + 1))}" for e in range(epochs)]
        (folder / "history.csv").write_text("\n".join(["epoch,train/loss,val/loss,val/accuracy", *rows]) + "\n")
    images = [f"jpg/image_{k}.jpg" for k in range(len(truth))] if images is None else images
    result = {
        "status": "finished",
        "strategy": strategy,
        "seed": seed,
        "epochs": epochs,
        "backbone": "resnet18",
        "learning_rates": {"head": 1e-3},
        "parameters": {"total": 1000, "trainable": trainable},
        "data": {
            "name": "drawn",
            "train": 30,
            "val": 10,
            "test": len(truth),
            "root": None if root is None else str(root),
        },
        "val": {"accuracy": val, "loss": 0.4},
        "test": {"accuracy": test, "balanced_accuracy": test, "loss": 0.4},
        "seconds": {"total": seconds} | ({} if cold is None else {"cold": cold}),
        "versions": {"torch": "2.11"},
        **(measured or {}),
    }
    files = [] if root is None else [Path(root, image) for image in images]
    if files and all(file.is_file() for file in files):
        fingerprint = fingerprint_split(ImageSplit(files, truth.tolist(), []), Path(root))
        result["protocol"] = {"name": "drawn", "metric": "accuracy", "splits": {"test": fingerprint}}
    (folder / "result.json").write_text(json.dumps(result))
    if kept:
        Predictions(names, {"test": SplitPredictions(logits, truth, images)}).write(folder)
    return folder
