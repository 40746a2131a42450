"""Compare exported files with their network: logit by logit, one image at a time and several."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowers_tl.utils.errors import UserError, first_line

# Of a logit: sums of float32 in another order differ by less, another network by far more.
TOLERANCE = 1e-4

# Maps prepared images (n, 3, size, size) to logits (n, classes), float32 on the CPU.
LogitsFunction = Callable[[Tensor], Tensor]


def refusal(wrong: str, reason: Exception | str) -> UserError:
    """The error that ends an export, whose sentence begins with what is ``wrong``."""
    return UserError(
        f"{wrong} ({first_line(reason)}), so nothing was written: leave this format out with formats=..., or try other versions of "
        "the packages that write it."
    )


@dataclass
class Agreement:
    """How a file's logits compare with the network's.

    Attributes:
        images: number of images.
        largest: the largest difference between two logits.
        ties: images for which the file predicts another class. The network's two best logits are within TOLERANCE of one
            another there: rounding decides between them, in the network as in the file.
    """

    images: int = 0
    largest: float = 0.0
    ties: int = 0

    def add(self, file: str, images: Sequence[str | None], expected: Tensor, logits: Tensor) -> None:
        """Count a batch: the network's ``expected`` logits (n, classes), and the file's (repetitions, n, classes).

        Raises:
            UserError: if they disagree; it names the image.
        """
        difference = (logits - expected).abs().amax(dim=(0, 2))
        other = (logits.argmax(dim=2) != expected.argmax(dim=1)).any(dim=0)
        best, second = expected.topk(2).values.unbind(dim=1)
        # NaN is not within the tolerance.
        wrong = ~(difference <= TOLERANCE) | (other & (best - second > TOLERANCE))
        if wrong.any():
            k = wrong.nonzero()[0].item()
            also = ", and another class is first" if other[k] else ""
            raise refusal(
                f"{file} gives other results than the checkpoint",
                f"for {images[k] or 'a drawn flower'} a logit differs by {difference[k]:.2g}, where {TOLERANCE} is allowed{also}",
            )
        self.images += len(expected)
        self.largest = max(self.largest, difference.max().item())
        self.ties += other.sum().item()


@torch.inference_mode()
def compare(
    network: LogitsFunction, files: Mapping[str, LogitsFunction], batches: Iterable[tuple[Sequence[str | None], Tensor]]
) -> dict[str, Agreement]:
    """Compare each file with the network on the same images; the first batch also one by one, and twice as many at once.

    Args:
        network: computes the expected logits.
        files: the function of each, by name.
        batches: names of images (None: drawn), and the images prepared, float32 (n, 3, size, size).

    Raises:
        UserError: if a file predicts another class than the network, unless that is a tie, if a logit differs by more than
            TOLERANCE, or if it does not take so many images.
    """
    agreements = {file: Agreement() for file in files}
    for number, (images, inputs) in enumerate(batches):
        expected = network(inputs)
        for file, function in files.items():
            try:
                logits = [function(inputs)] if number else at_several_sizes(function, inputs)
            # Runtimes raise anything on a batch that they do not take.
            except Exception as error:
                raise refusal(f"{file} does not work with every batch size", error) from error
            agreements[file].add(file, images, expected, torch.stack(logits))
    return agreements


def at_several_sizes(function: LogitsFunction, inputs: Tensor) -> list[Tensor]:
    """Logits of the same images (n, 3, size, size): together, one by one, and twice as many together; each (n, classes)."""
    alone = torch.cat([function(image[None]) for image in inputs])
    return [function(inputs), alone, *function(torch.cat([inputs, inputs])).split(len(inputs))]
