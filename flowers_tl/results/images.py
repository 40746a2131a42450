"""Images of a run's predictions for TensorBoard: the confusion matrix, and the worst mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from flowers_tl.data.image_io import Limits, read_image
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.results.scores import confusion, most_confused, worst_mistakes
from flowers_tl.results.statistics import probabilities

# A cell is dark blue where a class is always predicted as this one, white where it never is.
DARK = np.array([8, 48, 107])
# Pixels: the side of a mistake's image, the height of its caption, and of a line of text.
TILE, CAPTION, LINE = 224, 36, 16
# Classes whose names and counts stand beside and in the cells, letters of a name, and pairs that are named where there are more.
NAMED, LETTERS, PAIRS = 30, 24, 8
MISTAKES = 8


def confusion_image(split: SplitPredictions, names: Sequence[str]) -> np.ndarray:
    """Draw the confusion matrix with the names of the classes: uint8 (height, width, 3), the cells at the bottom right.

    Of more than :data:`NAMED` classes the most confused pairs are named instead.
    """
    counts = confusion(split.logits, split.labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few, names = len(counts) <= NAMED, [*names, *(f"class {k}" for k in range(len(names), len(counts)))]
    cell = 28 if few else max(4, 600 // len(counts))
    colours = (255 + (DARK - 255) * shares[..., None]).astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    lines = ["rows: true class, columns: predicted class", "white: 0 % of the images of the row, dark blue: 100 %"]
    if not few:
        lines += [f"{names[i]} predicted as {names[j]}: {counts[i, j]}" for i, j in most_confused(counts, PAIRS)]
    side, top = LETTERS * 7 * few, len(lines) * LINE + 4
    sheet = Image.new("RGB", (max(side + len(colours), 420), top + side + len(colours)), "white")
    left, above = sheet.width - len(colours), top + side
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((2, number * LINE), line, fill="black", font_size=12)
    sheet.paste(Image.fromarray(colours), (left, above))
    if few:
        columns = Image.new("RGB", (side, len(colours)), "white")
        for k, name in enumerate(names[: len(counts)]):
            middle = (k + 0.5) * cell
            draw.text((left - 4, above + middle), name[:LETTERS], "black", font_size=12, anchor="rm")
            ImageDraw.Draw(columns).text((4, middle), name[:LETTERS], "black", font_size=12, anchor="lm")
            for j in np.flatnonzero(counts[k]).tolist():
                ink = "white" if shares[k, j] > 0.5 else "black"
                draw.text((left + (j + 0.5) * cell, above + middle), f"{counts[k, j]}", ink, font_size=11, anchor="mm")
        sheet.paste(columns.transpose(Image.Transpose.ROTATE_90), (left, top))
    return np.array(sheet)


def mistakes_image(
    split: SplitPredictions, names: Sequence[str], root: Path, value_range: Limits = None
) -> np.ndarray | None:
    """Draw the worst mistakes with the predicted and the true class: uint8 (height, width, 3); None without any."""
    shares = probabilities(split.logits)
    mistakes = worst_mistakes(shares, split.labels, MISTAKES)
    if not len(mistakes):
        return None
    columns = min(4, len(mistakes))
    sheet = Image.new("RGB", (columns * TILE, -(-len(mistakes) // columns) * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, index in enumerate(mistakes):
        left, top = number % columns * TILE, number // columns * (TILE + CAPTION)
        # A gap between two images, and between their captions.
        tile = ImageOps.contain(read_image(root / split.images[index], value_range=value_range), (TILE - 8, TILE - 8))
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top))
        predicted, true = (names[k][:20] for k in (shares[index].argmax(), split.labels[index]))
        caption = f"predicted {predicted}, {shares[index].max():.0%}\ntrue {true}"
        draw.text((left + 4, top + TILE - 6), caption, fill="black", font_size=12)
    return np.array(sheet)
