"""See where a network's answer comes from: ``python -m flowers_tl.explain images=photos ckpt=RUN figure=heat.png``."""

import sys
from pathlib import Path
from typing import Any

from flowers_tl.cli.image_arguments import (
    SHOWN,
    UnreadableImages,
    add_images,
    add_network,
    load_network,
    named_images,
    print_figure_path,
)
from flowers_tl.cli.options import Options
from flowers_tl.utils.errors import UserError, exit_on_error

HELP = f"""Heat maps (Grad-CAM) of what in an image speaks for a class, for the first {SHOWN} images. Two networks (ckpt=A
ckpt=B) stand side by side: their maps for the same class, and the difference. An image that can't be read is told, and
left out; the exit code is 1 then."""


def main(arguments: list[str] | None = None) -> None:
    """Draw the maps."""
    options = Options("explain", HELP)
    add_images(options)
    add_network(options, action="append")
    options.add("stage", "of the network, whose places the map has; default: the last one that has any")
    options.add("class", "the class to look for; default: the most likely, to the first network")
    options.add("top", "how many classes to name beneath a map, at most 10", 3, type=int)
    options.add("figure", "draw into this PNG, SVG or PDF")
    with exit_on_error():
        chosen = options.read(arguments)
        if chosen["figure"] is None:
            raise UserError("No figure is named: figure=PATH.")
        sys.exit(explain(chosen))


def explain(chosen: dict[str, Any]) -> int:
    """Draw what the options ask for; return the exit code."""
    from flowers_tl.inference.explanations import explain_same_classes, prepare_first
    from flowers_tl.inference.figures import draw_heat, validate_figure

    images, figure = named_images(chosen), Path(chosen["figure"])
    validate_figure(figure, images)
    checkpoints = chosen["ckpt"] or [None]
    if len(checkpoints) > 2:
        raise UserError(f"ckpt=PATH names {len(checkpoints)} networks: name one, or two to compare.")
    networks = [load_network(chosen | {"ckpt": path}) for path in checkpoints]
    unreadable = UnreadableImages()
    prepared = prepare_first(networks[0], images, SHOWN, unreadable)
    if prepared:
        seen = explain_same_classes(networks, prepared, chosen["top"], chosen["class"], chosen["stage"])
        names = [
            ", ".join([network.name, *filter(None, [path])])
            for network, path in zip(networks, checkpoints, strict=True)
        ]
        draw_heat(seen, figure, names)
        print_figure_path(figure, len(prepared), len(images) - len(unreadable))
    return unreadable.exit_code(len(prepared) + len(unreadable))


if __name__ == "__main__":
    main()
