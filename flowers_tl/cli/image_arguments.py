"""What the doors that ask a network of images share: which images, which network, and what can't be read."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowers_tl.cli.options import Options
from flowers_tl.utils.errors import UserError, print_error

if TYPE_CHECKING:
    from flowers_tl.inference.predictor import Predictor

SHOWN = 12  # most images in a figure


def add_images(options: Options) -> None:
    """The option that says which images."""
    words = "an image, a folder with all below it, or a pattern ('photos/**/*.jpg'); may be repeated"
    options.add("images", words, action="append")


def named_images(chosen: dict[str, Any]) -> list[Path]:
    """The images that the options name."""
    from flowers_tl.data.image_io import find_images

    if not chosen["images"]:
        raise UserError("No image is named: images=PATH.")
    return find_images(chosen["images"])


def add_network(options: Options, **ckpt: Any) -> None:
    """Options that say which network; ``ckpt`` is what else argparse is to know of the checkpoint."""
    options.add("ckpt", "a checkpoint, or a run's folder, whose last one is taken", **ckpt)
    options.add("backbone", "without ckpt: a network with ImageNet's 1,000 classes")
    options.add("backbone.weights", "its weights: a torchvision name or a file", "DEFAULT")
    options.add("device", "cpu or cuda; default: a GPU where there is one")


def load_network(chosen: dict[str, Any]) -> "Predictor":
    """The network that the options name."""
    from flowers_tl.inference.predictor import Predictor

    if (chosen["ckpt"] is None) == (chosen["backbone"] is None):
        raise UserError("Name one network: ckpt=PATH for a trained one, or backbone=NAME for ImageNet's.")
    if chosen["ckpt"] is not None:
        return Predictor.load(chosen["ckpt"], chosen["device"])
    return Predictor.pretrained(chosen["backbone"], chosen["backbone.weights"], chosen["device"])


class UnreadableImages(list[UserError]):
    """Called with the error of an image that can't be read, it tells of it and counts it."""

    def __call__(self, error: UserError) -> None:
        self.append(error)
        print_error(error)

    def exit_code(self, images: int) -> int:
        """1, and a word on how many of the images it was, if there were any."""
        if self:
            print_error(f"{len(self)} of {images} images could not be read.")
        return 1 if self else 0


def print_figure_path(figure: Path | str, shown: int, images: int) -> None:
    """Say where the figure is, and how many images it leaves out; not where answers go."""
    rest = f", the first {shown} of {images} images: name others to see them" if shown < images else ""
    print(f"Drawn: {figure}{rest}.", file=sys.stderr)
