"""How images are prepared belongs to the weights: torchvision and timm say it of theirs, and a config of all others."""

from collections.abc import Mapping
from typing import Any

from flowers_tl.config.keys import ARTICLE
from flowers_tl.config.ranges import validate_ranges
from flowers_tl.models.libraries import find_library
from flowers_tl.models.pretrained import initial_weights
from flowers_tl.utils.errors import UserError, suggest


def with_preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """The config in which ``backbone.preprocessing`` and ``data.image_size`` are values, as a run's record has them.

    Raises:
        UserError: if the config names no weights of the network, or wrong values.
    """
    backbone, data = config["backbone"], config["data"]
    named = backbone.get("preprocessing") or {}
    if isinstance(named, Mapping):
        values = find_preprocessing(backbone["name"], initial_weights(config)) | dict(named)
    else:
        values = find_preprocessing(backbone["name"], str(named), "backbone.preprocessing")
    validate(values)
    size = data.get("image_size") or values["crop"]
    return config | {"backbone": backbone | {"preprocessing": values}, "data": data | {"image_size": size}}


def find_preprocessing(backbone: str, weights: str | None, key: str | None = None) -> dict[str, Any]:
    """How weights of this name expect images, as plain Python; of other weights, the library's first for this network.

    Args:
        backbone: name of the network.
        weights: their name, or timm's tag.
        key: of the config, whose value must be such a name; None takes any weights.
    """
    return find_library(backbone).find_values(backbone, weights, key)


def validate(values: Mapping[str, Any]) -> None:
    """Raise UserError if these are not the values of a preprocessing."""
    for key in values:
        if key not in ARTICLE:
            raise UserError(f"There is no key 'backbone.preprocessing.{key}': {suggest(key, ARTICLE)}.")
        several = key in ("mean", "std")
        if values[key] is None or isinstance(values[key], list) != several or (several and len(values[key]) != 3):
            must = "three numbers, of red, green and blue" if several else "one value"
            raise UserError(f"backbone.preprocessing.{key}={values[key]} must be {must}.")
    validate_ranges({"backbone": {"preprocessing": values}})
    if not values["crop"] <= values["resize"] <= 4 * values["crop"]:
        raise UserError(
            f"backbone.preprocessing.resize={values['resize']} must be at least crop={values['crop']}, and at most four times it."
        )
