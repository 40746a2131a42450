"""The libraries that networks come from: the one place that tells them apart by a backbone's name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from flowers_tl.models import timm_networks, torchvision_networks
from flowers_tl.models.cut import Cut


class Library(Protocol):
    """What a module of functions knows of its library's networks; ``backbone`` is their name as in a config."""

    def build(self, backbone: str, num_classes: int, image_size: int) -> tuple[nn.Module, dict[str, Any], Cut]:
        """A network with random weights, the arguments of its library's function, and how it is cut."""

    def find_function(self, backbone: str) -> Callable[..., nn.Module]:
        """The library's function that builds it, of ``num_classes`` and the arguments."""

    def find_values(self, backbone: str, weights: str | None, key: str | None = None) -> dict[str, Any]:
        """How weights expect images, see :func:`flowers_tl.models.preprocessing.find_preprocessing`."""

    def find_weights_file(self, backbone: str, weights: str) -> Path | None:
        """The file of named weights, if it is at hand."""

    def download(self, backbone: str, weights: str) -> dict[str, Tensor]:
        """The state dict of named weights, from the internet or its caches."""

    def fit(
        self, state: dict[str, Tensor], backbone: str, network: nn.Module, weights: str
    ) -> tuple[dict[str, Tensor], str | None]:
        """A state dict under the library's present names, with position embeddings of the network's size.

        And how these were made to fit, where they were.
        """

    def identify_weights(self, backbone: str, weights: str) -> str | None:
        """A name for named weights by their content; None of others."""


def find_library(backbone: str) -> Library:
    """The library of a backbone, by its name."""
    return timm_networks if backbone.startswith(timm_networks.PREFIX) else torchvision_networks
