"""What a run left, so that two runs can be compared bit for bit: all files of its folder, without times and places."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

# What says when and where a run was made, but not what came out of it. No code reads the score of the last epoch there.
VOLATILE = {
    "seconds", "kept", "root", "dirpath", "best_model_path", "kth_best_model_path", "best_k_models", "last_model_path", "runs", "dir",
    "ckpt_path", "current_score", "num_workers",
}  # fmt: skip


def read_end(folder: Path) -> dict[str, Any]:
    """The content of a run's folder: by file and key, tensors as bytes; TensorBoard's scalars as lists of (step, value)."""
    content: dict[str, Any] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"):
        name = str(file.relative_to(folder))
        if file.name.startswith("events.out.tfevents"):
            name = str(file.parent.relative_to(folder) / "TensorBoard")
            value = content.get(name) or read_scalars(file.parent)
        else:
            value = READERS.get(file.suffix, Path.read_bytes)(file)
        content[name] = value
    return flatten(content)


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each curve as TensorBoard shows it."""
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_history(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


READERS = {
    ".json": lambda file: json.loads(file.read_text()),
    ".yaml": lambda file: yaml.safe_load(file.read_text()),
    ".csv": read_history,
    ".npz": lambda file: dict(np.load(file, allow_pickle=False)),
    ".ckpt": lambda file: torch.load(file, weights_only=True),
    ".pt": lambda file: torch.load(file, weights_only=True),
}


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested content under dotted keys, arrays and tensors as (type, shape, bytes), without what is volatile."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        pairs = [(str(key), inner) for key, inner in pairs if key not in VOLATILE]
        flat = {key: inner for name, part in pairs for key, inner in flatten(part, f"{prefix}{name}: ").items()}
        return flat or {prefix: type(value).__name__}
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        value = (str(value.dtype), value.shape, value.tobytes())
    return {prefix.removesuffix(": "): value}


def differences(expected: dict[str, Any], end: dict[str, Any]) -> list[str]:
    """What is other, missing or too much, a line each."""
    lines = []
    for key in sorted(expected.keys() | end.keys()):
        if key not in end or key not in expected:
            lines.append(f"{key} is {'missing' if key not in end else 'too much'}")
        elif expected[key] != end[key] and not (expected[key] != expected[key] and end[key] != end[key]):
            one, other = (str(value[key])[:60] for value in (expected, end))
            lines.append(f"{key} is {other} instead of {one}")
    return lines
