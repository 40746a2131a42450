"""Export a trained network: files for other tools, each compared with the checkpoint before it is in its place."""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flowers_tl.data.cached.unreadable import find_undecodable
from flowers_tl.data.image_io import find_images
from flowers_tl.data.registry import find_data
from flowers_tl.data.synthetic import Species, draw_flower
from flowers_tl.data.transforms import resized
from flowers_tl.exporting.formats import FORMATS, find_formats
from flowers_tl.exporting.model_card import describe_model, write_card
from flowers_tl.exporting.verify import Agreement, compare, refusal
from flowers_tl.inference.checkpoint import TrainedModel
from flowers_tl.inference.predictor import ImageInput, Predictor
from flowers_tl.models.frozen_heads import has_own_head, in_one_forward
from flowers_tl.utils.errors import UserError, validate_not_empty
from flowers_tl.utils.files import dumps, hidden_folder, lacks_room, named_if_unwritable, validate_new_folder
from flowers_tl.utils.notes import log_note

CARD = "README.md"
# Most val images to compare on: a wrong file is wrong for all images.
COMPARED = 128
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

    The files compute logits before any temperature, which is in their metadata.

    Args:
        trained: the network.
        out: a new folder, or an empty one.
        formats: of FORMATS.
        images: on which files and checkpoint are compared, as :func:`flowers_tl.data.image_io.find_images` takes them;
            by default val images of its run.
        progress: is called with a description of each step.

    Returns:
        A description of the images, and how the files compare with the checkpoint, by file.

    Raises:
        UserError: if the folder holds something, a package is missing, or a file's logits are not those of the checkpoint.
    """
    validate_not_empty(out, "out")
    validate_new_folder(out)
    out, kinds = Path(out), find_formats(fitting_formats(trained, formats))
    images_used, samples = images_to_compare(trained, images)
    about = describe_model(trained)
    backbone = trained.model.backbone
    network = in_one_forward(backbone) if backbone.places else backbone.network
    metadata = {key: dumps(value) for key, value in about.items()}
    with named_if_unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with named_if_unwritable(out), hidden_folder(out.parent) as beside:
        folder, files = beside / out.name, {}
        folder.mkdir()
        for name, kind in kinds.items():
            progress(f"Writing {kind.file}")
            try:
                size = about["preprocessing"]["crop"]
                kind.write(network, size, metadata, folder / kind.file)
                files[kind.file] = kind.read(folder / kind.file)
            # The exporters raise anything.
            except Exception as error:
                if lacks_room(error):
                    raise
                raise refusal(f"{about['backbone']} can't be exported with formats={name}", error) from error
        progress("Comparing with the checkpoint")
        # A copy: its memory format changes.
        predictor = Predictor(copy.deepcopy(backbone), trained.class_names, "cpu", trained=trained)
        agreements = compare(predictor.logits, files, predictor.batches(samples, BATCH))
        write_card(folder / CARD, about, agreements, list(kinds.values()), images_used)
        # Fails if anything lies there by now: a folder replaces only an empty one.
        os.rename(folder, out)
    return images_used, agreements


def fitting_formats(trained: TrainedModel, formats: Sequence[str]) -> Sequence[str]:
    """The formats that can hold the network's head, of all; raises UserError if one that cannot is asked for by name."""
    if not has_own_head(trained.model.strategy) or "safetensors" not in formats:
        return formats
    why = "a state dict alone does not fit the library's network, since the head is another"
    if tuple(formats) != tuple(FORMATS):
        raise UserError(f"formats=safetensors can't be written ({why}): use formats=onnx,torch.")
    log_note(f"safetensors is left out: {why}.")
    return [name for name in formats if name != "safetensors"]


def images_to_compare(trained: TrainedModel, images: Sequence[str]) -> tuple[str, list[ImageInput]]:
    """Images to compare on, and a description of them: those that are named, val images of the run, or drawn ones."""
    if images:
        files = find_images(images)
        bad = find_undecodable(files, value_range=trained.value_range)
        readable = [file for file in files if file not in bad]
        if not readable:
            raise UserError(f"None of the images can be read, for example {files[0]}: give others with images=PATH.")
        for file in sorted(bad):
            log_note(f"{file} can't be read as an image: it is left out.")
        return f"{len(readable):,} images of the exporter's choice", readable
    if trained.config:
        limit = min(COMPARED, trained.config["data"]["limit"] or COMPARED)
        if data := find_data({**trained.config, "data": trained.config["data"] | {"limit": limit}}):
            return f"{data.sizes['val']:,} val images of {data.name}", data.images["val"].files
    side = resized(trained.model.hparams.image_size)
    drawn = [draw_flower(Species.from_number(k), side, np.random.default_rng(k)) for k in range(DRAWN)]
    return f"{DRAWN} drawn flowers (the images of its run were not at hand)", drawn
