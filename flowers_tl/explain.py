"""See where a network's answer comes from: ``python -m flowers_tl.explain images=photos ckpt=RUN figure=heat.png``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowers_tl.cli.image_arguments import MOST_DRAWN, DeviceOptions, ImageOptions, UnreadableImages
from flowers_tl.cli.options import command
from flowers_tl.utils.errors import UserError


@dataclass(kw_only=True)
class ExplainOptions(DeviceOptions, ImageOptions):
    """Heat maps (Grad-CAM) of the first 12 images: which parts of an image are evidence for a class. Two networks (ckpt=A
    ckpt=B) stand side by side: their maps for the same class, and the difference. An image that can't be read is named and left
    out; the exit code is 1 then."""

    ckpt: list[Path] = field(default_factory=list)
    """A checkpoint, or the folder of a run (its last checkpoint is used)."""
    stage: str | None = None
    """Stage at whose output the map is computed; by default the last one with spatial positions."""
    class_: str | None = None
    """Name of the class; by default the most likely class of the first network."""
    top: int = 3
    """Number of classes below a map, at most 10."""
    figure: Path
    """The file to write: PNG, SVG or PDF."""


@command
def main(options: ExplainOptions) -> int:
    """Draw the maps; return the exit code."""
    from flowers_tl.data.image_io import find_images
    from flowers_tl.inference.explanations import explain_same_classes, prepare_first
    from flowers_tl.inference.figures import NAMED, draw_explanations, validate_figure
    from flowers_tl.inference.predictor import load_network

    images = find_images(list(map(str, options.images)))
    validate_figure(options.figure, images, heat=True)
    checkpoints: Sequence[Path | None] = options.ckpt or [None]
    if len(checkpoints) > 2:
        raise UserError(f"ckpt=PATH is given {len(checkpoints)} times: give one network, or two to compare.")
    if not 1 <= options.top <= NAMED:
        raise UserError(f"top={options.top} must lie between 1 and {NAMED}.")
    networks = [load_network(path, options.backbone, options.backbone__weights, options.device) for path in checkpoints]
    unreadable = UnreadableImages()
    prepared = prepare_first(networks[0], images, MOST_DRAWN, unreadable)
    if prepared:
        explanations = explain_same_classes(networks, prepared, options.top, options.class_, options.stage)
        names = [f"{net.name}, {path}" if path else net.name for net, path in zip(networks, checkpoints, strict=True)]
        draw_explanations(explanations, options.figure, names)
        unreadable.print_figure(options.figure, len(prepared), len(images))
    return unreadable.exit_code(len(prepared) + len(unreadable))


if __name__ == "__main__":
    main()
