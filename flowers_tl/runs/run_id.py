"""Which run this is: a hash of all that its result follows from, and the protocol under which it is measured."""

import hashlib
import json
from typing import Any

import torch

from flowers_tl.config.keys import KEYS_WITHOUT_EFFECT, flatten, is_later_default
from flowers_tl.data.cached.content_hash import find_traits
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_io import PROFILE_READER_VERSION, RANGE_READER_VERSION
from flowers_tl.data.manifest import ManifestDataModule
from flowers_tl.data.transforms import ARTICLE, Preprocessing
from flowers_tl.models.libraries import find_library
from flowers_tl.models.preprocessing import with_preprocessing
from flowers_tl.models.pretrained import initial_weights
from flowers_tl.models.weights_file import find_file

# Keys that stand for something else: the weights file for its content, the audit's for the images that it leaves out. A record with `best` is another than one without.
KEYS_NOT_IN_ID = (*(key for key in KEYS_WITHOUT_EFFECT if key != "test_best"), "backbone.weights", "data.exclude")
# Version 0.1.0 put its own number into the hash. It stays, so that runs of all versions have the same ids.
HASHED_VERSION = "0.1.0"
# In the words of version 0.1.0, since it is part of every id.
METRIC_IN_ID = "top-1 accuracy and mean recall by class over all pictures of a split, with the final weights"


def identify(config: dict[str, Any], data: ImageDataModule) -> dict[str, Any]:
    """Say which run a config makes of data that is set up.

    Returns:
        For ``result.json``: ``id``, 12 hexadecimal digits, the same for two runs whose results must be; ``protocol``, the
        splits' fingerprints and what is measured; ``weights_fingerprint``; of a manifest also ``classes``, in their order.
    """
    config = with_preprocessing(config)
    settings = {
        key: value
        for key, value in flatten(config).items()
        if key not in KEYS_NOT_IN_ID and not is_later_default(key, value)
    }
    if settings["trainer.accelerator"] in ("auto", "gpu") and torch.cuda.is_available():
        settings["trainer.accelerator"] = "cuda"
    # Earlier versions had another loss here, so theirs are other runs.
    if settings.get("data.balance") == "weights" and settings["regularisation.label_smoothing"]:
        settings["loss"] = "weight times smoothed loss"
    together = settings.get("trainer.accumulate_grad_batches", 1)
    if together > 1 and data.sizes["train"] % (together * data.batch_size):
        settings["accumulated loss"] = "mean over images"
    # And read such images wrongly.
    traits = find_traits(file for images in data.all_images.values() for file in images.files)
    if "range" in traits:
        settings["ranges"] = RANGE_READER_VERSION
    if "profile" in traits:
        settings["profiles"] = PROFILE_READER_VERSION
    protocol: dict[str, Any] = {"name": data.protocol, "splits": data.split_fingerprints(), "metric": METRIC_IN_ID}
    if data.excluded:
        protocol["excluded"] = len(data.excluded)
    preprocessing = config["backbone"]["preprocessing"] | {"fit": config["data"]["fit"]}
    if Preprocessing(**preprocessing) != ARTICLE:
        protocol["preprocessing"] = preprocessing
    made_of: dict[str, Any] = {
        "protocol": protocol,
        "weights_fingerprint": fingerprint_weights(config["backbone"]["name"], initial_weights(config)),
    }
    # Folders are part of the images' names; in a table the same images may get classes of other names.
    if isinstance(data, ManifestDataModule):
        made_of["classes"] = data.class_names
    text = json.dumps(made_of | {"config": settings, "version": HASHED_VERSION}, sort_keys=True, default=str)
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:12], **made_of}


def fingerprint_weights(backbone: str, weights: str | None) -> str:
    """A name for weights by their content: a file's hash, torchvision's file name (with a hash), timm's tag, or ``random``."""
    if weights is None:
        return "random"
    if (name := find_library(backbone).identify_weights(backbone, weights)) is not None:
        return name
    file = find_file(weights)
    if file is None:
        # Loading it raises an error that names it.
        return weights
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]
