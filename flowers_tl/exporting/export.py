"""Hand a trained network on: files that others' tools read, each compared with the checkpoint before it is there."""

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.image_io import find_images
from flowers_tl.data.registry import make_data
from flowers_tl.data.synthetic import Species, draw_flower
from flowers_tl.data.transforms import resized
from flowers_tl.exporting.formats import FORMATS, choose
from flowers_tl.exporting.model_card import describe, write_card
from flowers_tl.exporting.verify import Agreement, compare
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.inference.predictor import ImageInput, Predictor
from flowers_tl.utils.errors import UserError, first_line, validate_not_empty
from flowers_tl.utils.notes import log_note
from flowers_tl.utils.strict_json import dumps

CARD = "README.md"
COMPARED = 128  # images of val, at most: what goes wrong in a file goes wrong for all images
DRAWN = 32
BATCH = 16


def export(
    trained: TrainedModel,
    out: str | Path,
    formats: Sequence[str] = tuple(FORMATS),
    images: Sequence[str] = (),
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[str, dict[str, Agreement]]:
    """Write a network into a folder, in each format, with a model card: all of it or, after an error, nothing.

    The files answer with logits before any temperature, which is in their metadata.

    Args:
        trained: the network.
        out: a folder that is not there, or empty.
        formats: of FORMATS.
        images: on which files and checkpoint are compared, as :func:`flowers_tl.data.image_io.find_images` takes them;
            by default val images of its run.
        progress: is told what is being done.

    Returns:
        The images that were compared, in words, and what was found, by file.

    Raises:
        UserError: if the folder holds something, a package is missing, or a file does not answer as the checkpoint does.
    """
    validate_not_empty(out, "out")
    out, chosen = Path(out), choose(formats)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"out={out} is there already, and not empty: name a new folder.")
    words, samples = images_to_compare(trained, images)
    about = describe(trained)
    metadata = {key: dumps(value) for key, value in about.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder, files = Path(beside) / out.name, {}
        folder.mkdir()
        for name, one in zip(dict.fromkeys(formats), chosen, strict=True):
            progress(f"Writing {one.file}")
            try:
                size = about["preprocessing"]["crop"]
                one.write(trained.model.backbone.network, size, metadata, folder / one.file)
                files[one.file] = one.read(folder / one.file)
            except Exception as error:  # the exporters raise anything
                why = first_line(str(error) or type(error).__name__)
                raise UserError(
                    f"formats={name} can't be made of {about['backbone']} ({why}). Nothing was written: leave it out, or try "
                    "other versions of the packages that write it."
                ) from error
        progress("Comparing with the checkpoint")
        network = copy.deepcopy(trained.model.backbone)  # its order of memory changes
        own = Predictor(network, about["class_names"], about["preprocessing"]["crop"], device="cpu")
        found = compare(own.logits, files, own.batches(samples, BATCH))
        write_card(folder / CARD, about, found, chosen, words)
        # Fails where anything has come to lie there meanwhile: a folder takes the place of an empty one alone.
        os.rename(folder, out)
    return words, found


def images_to_compare(trained: TrainedModel, images: Sequence[str]) -> tuple[str, list[ImageInput]]:
    """Images on which files and checkpoint are compared, and in words which they are: named, of the run's val, or drawn."""
    if images:
        named = find_images(images)
        bad = find_undecodable(named)
        if len(bad) == len(named):
            raise UserError(f"None of the images that images= names can be read, {named[0]} for one: name others.")
        for file in sorted(bad):
            log_note(f"{file} can't be read as an image: it is left out.")
        readable = [file for file in named if file not in bad]
        return f"{len(readable):,} images of the exporter's choice", readable
    if trained.config:
        limits = [COMPARED, trained.config["data"]["limit"]]
        few = trained.config["data"] | {"limit": min(limit for limit in limits if limit)}
        try:
            data = make_data({**trained.config, "data": few})
            data.setup()
            return f"{data.sizes['val']:,} val images of {data.name}", data.images["val"].files
        except (UserError, RuntimeError, OSError):
            pass  # they are not on this machine
    side = resized(trained.model.hparams.image_size)
    drawn = [draw_flower(Species.from_number(k), side, np.random.default_rng(k)) for k in range(DRAWN)]
    return f"{DRAWN} drawn flowers (the images of its run were not at hand)", drawn
