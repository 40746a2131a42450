"""Every kind of data by its name: ``data=NAME``."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.manifest import ManifestDataModule
from flowers_tl.data.synthetic import SyntheticDataModule
from flowers_tl.data.torchvision_sets import TABLE, TorchvisionDataModule
from flowers_tl.data.transforms import Preprocessing
from flowers_tl.utils.errors import UserError, suggest

DATA: dict[str, Callable[..., ImageDataModule]] = {
    **{name: partial(TorchvisionDataModule, name) for name in TABLE},
    "synthetic": SyntheticDataModule,
    "folder": FolderDataModule,
    "manifest": ManifestDataModule,
}


def make_data(config: Mapping[str, Any], cache: Cache | None = None) -> ImageDataModule:
    """Build the data module that ``data.name`` names, with the other keys as its arguments."""
    arguments = dict(config["data"])
    name = arguments.pop("name")
    if name not in DATA:
        raise UserError(f"There is no data set '{name}': {suggest(name, DATA)}.")
    values = config.get("backbone", {}).get("preprocessing")
    # Of a name of weights nothing is known here: who reads images has put its values in its place.
    preprocessing = Preprocessing(**(values if isinstance(values, Mapping) else {}), fit=arguments.pop("fit", "crop"))
    return DATA[name](**arguments, preprocessing=preprocessing, seed=config["seed"], cache=cache)


def find_data(config: Mapping[str, Any], cache: Cache | None = None) -> ImageDataModule | None:
    """The data that a run's config names, set up; None where the images are not on this machine, or can't be read."""
    with suppress(UserError, OSError, RuntimeError):
        data = make_data(config, cache)
        data.setup()
        return data
    return None
