"""Pictures of a run's answers for TensorBoard: the confusion matrix, and the worst mistakes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.special import softmax

from flowers_tl.data.reading import to_rgb
from flowers_tl.results.predictions import Predictions, Split

DARK = np.array([8, 48, 107])  # of a class that is always taken for this one; white: never
TILE = 192  # side of a mistake's picture, in pixels
CAPTION = 30


def confusion_picture(split: Split, classes: int) -> np.ndarray:
    """Draw the confusion matrix, true classes downwards: uint8 (height, width, 3). A row's darkness adds up to one."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (split.labels, split.logits.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = max(4, 400 // classes)
    colours = 255 + (DARK - 255) * shares[..., None]
    return colours.astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)


def worst_mistakes(split: Split, most: int) -> np.ndarray:
    """Indices of the wrongly answered pictures, the most confident answer first."""
    found = softmax(split.logits, axis=1)
    wrong = np.flatnonzero(found.argmax(axis=1) != split.labels)
    return wrong[np.argsort(-found[wrong].max(axis=1), kind="stable")][:most]


def mistakes_picture(answers: Predictions, split: Split, root: Path, most: int = 8) -> np.ndarray | None:
    """Draw the worst mistakes with what was answered and what is true: uint8 (height, width, 3); None without any."""
    chosen = worst_mistakes(split, most)
    if not len(chosen):
        return None
    columns = min(4, len(chosen))
    sheet = Image.new("RGB", (columns * TILE, -(-len(chosen) // columns) * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    found = softmax(split.logits[chosen], axis=1)
    for number, (index, shares) in enumerate(zip(chosen, found, strict=True)):
        left, top = number % columns * TILE, number // columns * (TILE + CAPTION)
        with Image.open(root / split.pictures[index]) as picture:
            tile = to_rgb(picture)
        tile.thumbnail((TILE, TILE))
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top))
        answered, true = (answers.class_names[k][:24] for k in (shares.argmax(), split.labels[index]))
        draw.text(
            (left + 3, top + TILE + 1), f"{answered} {shares.max():.0%}\ntruly {true}", fill="black", font_size=11
        )
    return np.array(sheet)
