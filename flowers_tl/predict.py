"""Apply a network to images: ``python -m flowers_tl.predict images=photos ckpt=RUN``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowers_tl.cli.image_arguments import MOST_DRAWN, ImageOptions, NetworkOptions, UnreadableImages
from flowers_tl.cli.options import command
from flowers_tl.utils.errors import UserError, validate_count


@dataclass(kw_only=True)
class PredictOptions(NetworkOptions, ImageOptions):
    """The most likely classes of images, by a network that was trained here (ckpt=...), or by an ImageNet network
    (backbone=... backbone.weights=...). An image that can't be read is named and left out; the exit code is 1 then."""

    top: int = 5
    """Number of classes per image."""
    format: Literal["table", "jsonl", "csv"] = "table"
    """Format of the output."""
    batch_size: int = 32
    """Number of images per batch."""
    figure: Path | None = None
    """Also draw the first 12 images with bars into this PNG, SVG or PDF."""
    explain: bool = False
    """true: with a heat map for the most likely class beside each image of the figure."""


@command
def main(options: PredictOptions) -> int:
    """Print the predictions as they come, and draw the first; return the exit code."""
    from flowers_tl.data.image_io import find_images
    from flowers_tl.inference.predictor import load_network
    from flowers_tl.inference.writers import write_predictions

    images = find_images(list(map(str, options.images)))
    validate_count("batch_size", options.batch_size)
    if options.explain and not options.figure:
        raise UserError("explain=true draws heat maps into a figure: add figure=PATH.")
    if options.figure:
        # Imported where it is needed: it draws with matplotlib.
        from flowers_tl.inference.figures import draw_predictions, validate_figure

        validate_figure(options.figure, images, options.explain)
    network = load_network(options.ckpt, options.backbone, options.backbone__weights, options.device)
    unreadable = UnreadableImages()
    predictions = network.stream(images, options.top, options.batch_size, unreadable)
    progress = len(images) > options.batch_size
    drawn = write_predictions(predictions, options.format, sys.stdout, len(images), progress, MOST_DRAWN)
    if options.figure and drawn:
        draw_predictions(network, drawn, options.figure, options.top, options.explain)
        unreadable.print_figure(options.figure, len(drawn), len(images))
    return unreadable.exit_code(len(images))


if __name__ == "__main__":
    main()
