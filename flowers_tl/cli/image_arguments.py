"""What the commands that apply a network to images share: which images, which network, and what can't be read."""

import sys
from dataclasses import dataclass
from pathlib import Path

from flowers_tl.cli.exit import print_error
from flowers_tl.utils.errors import UserError

# Most images in a figure.
MOST_DRAWN = 12


@dataclass(kw_only=True)
class DeviceOptions:
    backbone: str | None = None
    """Needed without ckpt: name of an ImageNet network (1,000 classes)."""
    backbone__weights: str = "DEFAULT"
    """Weights of this network: a torchvision name or a file."""
    device: str | None = None
    """cpu or cuda; by default a GPU where there is one."""


@dataclass(kw_only=True)
class NetworkOptions(DeviceOptions):
    ckpt: Path | None = None
    """A checkpoint, or the folder of a run (its last checkpoint is used)."""


@dataclass(kw_only=True)
class ImageOptions:
    images: list[Path]
    """An image, a folder (with its subfolders), or a pattern ('photos/**/*.jpg')."""


class UnreadableImages(list[UserError]):
    """Called with the error of an image that can't be read, it prints the error and counts it."""

    def __call__(self, error: UserError) -> None:
        self.append(error)
        print_error(error)

    def exit_code(self, images: int) -> int:
        """1, and a sentence on how many of the images it was, if there were any."""
        if self:
            print_error(f"{len(self)} of {images} images could not be read.")
        return 1 if self else 0

    def print_figure(self, figure: Path, drawn: int, images: int) -> None:
        """Print to stderr where the figure is, and how many readable ones of the images it leaves out."""
        readable = images - len(self)
        rest = f", with the first {drawn} of {readable} images" if drawn < readable else ""
        print(f"Drawn: {figure}{rest}.", file=sys.stderr)
