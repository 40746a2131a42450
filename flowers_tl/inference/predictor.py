"""Predict the classes of images with a trained network: the one object that a notebook and the commands need."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.transforms.v2.functional import to_pil_image

from flowers_tl.data.image_io import read_image, to_rgb
from flowers_tl.data.transforms import Preprocessing, eval_transform
from flowers_tl.inference.checkpoint import TrainedModel, load_trained
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.preprocessing import find_preprocessing
from flowers_tl.models.pretrained import read_weights
from flowers_tl.training.gpu_memory import explain_out_of_memory
from flowers_tl.utils.errors import UserError, first_line, validate_count

ImageInput = str | Path | Image.Image | np.ndarray | Tensor
# Its name; None takes a GPU if there is one.
Device = str | torch.device | None
# Is called with the error of each file that can't be read, and the file is left out; None raises the error.
OnUnreadable = Callable[[UserError], None] | None


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of an image.

    Attributes:
        image: the path of its file; None if it came as an image.
        classes: names of classes, the most likely first.
        probabilities: theirs, from 0 to 1, in that order.
    """

    image: str | None
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def top(self) -> list[tuple[str, float]]:
        """Classes with their probabilities."""
        return list(zip(self.classes, self.probabilities, strict=True))


class Predictor:
    """A network that classifies images.

    Args:
        backbone: with its weights; it is put into eval mode.
        class_names: one per class.
        device: of the computation; None takes a GPU if there is one.
        name: of the network in figures.
        trained: what the checkpoint says of the network, which ImageNet's has not.
    """

    def __init__(
        self,
        backbone: StagedNetwork,
        class_names: Sequence[str],
        device: Device = None,
        name: str = "the network",
        trained: TrainedModel | None = None,
    ) -> None:
        self.name, self.class_names, self.trained = name, tuple(class_names), trained
        self.device = find_device(device)
        self.backbone = backbone.to(self.device, memory_format=torch.channels_last).eval()
        self.transform = eval_transform(backbone.image_size, backbone.preprocessing)
        self.temperature, self.value_range = (trained.temperature, trained.value_range) if trained else (1.0, None)

    @classmethod
    def load(cls, path: str | Path, device: Device = None) -> "Predictor":
        """Load a checkpoint, or the last one of a run's folder.

        Raises:
            UserError: if it is not there, or not of this project.
        """
        trained = load_trained(path)
        name = f"{trained.model.strategy.name} of {trained.model.backbone.name}"
        return cls(trained.model.backbone, trained.class_names, device, name, trained)

    @classmethod
    def pretrained(cls, backbone: str, weights: str = "DEFAULT", device: Device = None) -> "Predictor":
        """ImageNet's network as it is, with its 1,000 classes.

        Raises:
            UserError: if the weights can't be read, or hold no head for these classes.
        """
        if weights == "null":
            raise UserError("backbone.weights=null would predict at random: use a torchvision name or a file.")
        preprocessing = Preprocessing(**find_preprocessing(backbone, weights))
        network = StagedNetwork(backbone, 1000, preprocessing.crop, preprocessing)
        state = read_weights(network, weights)
        head = state.get(f"{network.final}.weight")
        if head is None or len(head) != 1000:
            content = "no head" if head is None else f"a head for {len(head)} classes"
            raise UserError(
                f"backbone.weights={weights} has {content}, not one for ImageNet's 1,000 classes: use complete weights, or a "
                "trained network with ckpt=PATH."
            )
        try:
            network.network.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(
                f"backbone.weights={weights} does not fit {backbone}: use weights of this network."
            ) from error
        # ImageNet's classes have the same order in all networks, of timm too.
        names = get_model_weights("resnet18").DEFAULT.meta["categories"]
        return cls(network, names, device, f"ImageNet's {backbone}")

    def predict(
        self, images: ImageInput | Iterable[ImageInput], top: int = 5, batch_size: int = 32
    ) -> list[Prediction]:
        """Predict the classes of each image, in their order.

        Args:
            images: one or many: paths, PIL images, uint8 arrays (height, width, 3) or uint8 tensors
                (3, height, width), of any size.
            top: how many classes to name.
            batch_size: images at a time.

        Raises:
            UserError: if a file can't be read.
        """
        if isinstance(images, ImageInput) or not isinstance(images, Iterable):
            images = [images]
        return list(self.stream(images, top, batch_size))

    def stream(
        self, images: Iterable[ImageInput], top: int = 5, batch_size: int = 32, unreadable: OnUnreadable = None
    ) -> Iterator[Prediction]:
        """Predict one after another as :meth:`predict` does, in the memory of three batches however many there are."""
        validate_count("batch_size", batch_size)
        for paths, inputs in self.batches(images, batch_size, unreadable):
            for path, classes in zip(paths, self.top_classes(self.probabilities(inputs), top), strict=True):
                yield Prediction(path, *zip(*classes, strict=True))

    def batches(
        self, images: Iterable[ImageInput], batch_size: int, unreadable: OnUnreadable = None
    ) -> Iterator[tuple[list[str | None], Tensor]]:
        """Read and prepare images, two batches ahead on all cores: their paths, and inputs (n, 3, size, size)."""
        source, waiting = iter(images), deque()
        with ThreadPoolExecutor() as pool:
            while True:
                while len(waiting) < 3 and (group := list(islice(source, batch_size))):
                    waiting.append([(image, pool.submit(self.prepare, image)) for image in group])
                if not waiting:
                    return
                paths, inputs = [], []
                for image, future in waiting.popleft():
                    try:
                        inputs.append(future.result())
                        paths.append(str(image) if isinstance(image, str | Path) else None)
                    except UserError as error:
                        if unreadable is None:
                            raise
                        unreadable(error)
                if inputs:
                    yield paths, torch.stack(inputs)

    def prepare(self, image: ImageInput) -> Tensor:
        """An image as the network takes it: resized, made square, normalised; float32 (3, size, size)."""
        if isinstance(image, str | Path):
            return self.transform(read_image(image, value_range=self.value_range))
        if isinstance(image, np.ndarray | Tensor):
            image = image_from_array(image)
        if not isinstance(image, Image.Image):
            raise UserError(f"{image!r:.40} is no image: give a path, a PIL image, an array or a tensor.")
        return self.transform(to_rgb(image, self.value_range))

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Map prepared images (n, 3, size, size) to logits, float32 (n, classes), on the CPU."""
        with explain_out_of_memory(f"take fewer than {len(inputs)} images at a time, or device=cpu"):
            inputs = inputs.to(self.device, memory_format=torch.channels_last)
            return self.backbone(inputs).float().cpu()

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Map prepared images (n, 3, size, size) to probabilities, float32 (n, classes), on the CPU."""
        return (self.logits(inputs) / self.temperature).softmax(dim=1)

    def top_classes(self, probabilities: Tensor, top: int) -> list[list[tuple[str, float]]]:
        """The ``top`` most likely classes of each row of probabilities (n, classes), with their probabilities."""
        validate_count("top", top)
        values, places = probabilities.topk(min(top, len(self.class_names)))
        names = [[self.class_names[k] for k in row] for row in places.tolist()]
        return [list(zip(*row, strict=True)) for row in zip(names, values.tolist(), strict=True)]


def load_network(
    ckpt: str | Path | None, backbone: str | None, weights: str = "DEFAULT", device: str | None = None
) -> Predictor:
    """A trained network, or ImageNet's. Raises UserError unless just one of ``ckpt`` and ``backbone`` is named."""
    if (ckpt is None) == (backbone is None):
        raise UserError("Give just one network: ckpt=PATH for a trained one, or backbone=NAME for an ImageNet one.")
    if ckpt is not None and weights != "DEFAULT":
        raise UserError(
            f"backbone.weights={weights} has no effect with ckpt=PATH, which holds weights: leave one of them out."
        )
    return Predictor.pretrained(backbone, weights, device) if ckpt is None else Predictor.load(ckpt, device)


def find_device(name: Device) -> torch.device:
    """The device of this name; None takes a GPU if there is one. Raises UserError if it is not there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    # PyTorch would list twenty kinds.
    except RuntimeError as error:
        raise UserError(f"device={name} is unknown: use cpu or cuda, or cuda:1 for the second GPU.") from error
    try:
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device={name} can't be used ({first_line(error)}): use cpu, or leave it out.") from error
    return device


def image_from_array(pixels: np.ndarray | Tensor) -> Image.Image:
    """The image in an array (height, width, 3) or a tensor (3, height, width). Raises UserError if they hold none."""
    channels = pixels.shape[0 if isinstance(pixels, Tensor) else -1] if pixels.ndim == 3 else None
    if channels != 3 or 0 in pixels.shape or pixels.dtype not in (np.uint8, torch.uint8):
        raise UserError(
            f"{pixels.dtype} {tuple(pixels.shape)} is no image: give uint8, an array (height, width, 3) or a tensor "
            "(3, height, width)."
        )
    return to_pil_image(pixels)
