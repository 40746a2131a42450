"""Images of a run's predictions for TensorBoard: the confusion matrix, and the worst mistakes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from flowers_tl.data.image_io import Limits, read_image
from flowers_tl.results.predictions import Predictions, SplitPredictions
from flowers_tl.results.scores import confusion, worst_mistakes
from flowers_tl.results.statistics import probabilities

# A cell is dark blue where a class is always predicted as this one, white where it never is.
DARK = np.array([8, 48, 107])
# Pixels: the side of a mistake's image, and the height of its caption.
TILE, CAPTION = 192, 30


def confusion_image(split: SplitPredictions) -> np.ndarray:
    """Draw the confusion matrix, true classes downwards: uint8 (height, width, 3). A row's darkness adds up to one."""
    counts = confusion(split.logits, split.labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = max(4, 400 // len(counts))
    colours = 255 + (DARK - 255) * shares[..., None]
    return colours.astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)


def mistakes_image(
    predictions: Predictions, split: SplitPredictions, root: Path, most: int = 8, value_range: Limits = None
) -> np.ndarray | None:
    """Draw the worst mistakes with the predicted and the true class: uint8 (height, width, 3); None without any."""
    shares = probabilities(split.logits)
    mistakes = worst_mistakes(shares, split.labels, most)
    if not len(mistakes):
        return None
    columns = min(4, len(mistakes))
    sheet = Image.new("RGB", (columns * TILE, -(-len(mistakes) // columns) * (TILE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, index in enumerate(mistakes):
        left, top = number % columns * TILE, number // columns * (TILE + CAPTION)
        tile = read_image(root / split.images[index], value_range=value_range)
        tile.thumbnail((TILE, TILE))
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top))
        predicted, true = (predictions.class_names[k][:24] for k in (shares[index].argmax(), split.labels[index]))
        caption = f"{predicted} {shares[index].max():.0%}\ntruly {true}"
        draw.text((left + 3, top + TILE + 1), caption, fill="black", font_size=11)
    return np.array(sheet)
