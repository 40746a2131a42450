"""Whether files answer as the network does that they were made from: logit by logit, one image at a time and several."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowers_tl.utils.errors import UserError, first_line

TOLERANCE = 1e-4  # of a logit: sums of float32 in another order differ by less, another network by far more

Answer = Callable[[Tensor], Tensor]  # prepared images (n, 3, size, size) to logits (n, classes), float32 on the CPU


@dataclass
class Agreement:
    """How a file's answers compare with the network's.

    Attributes:
        images: how many both were asked about.
        largest: the largest difference between two logits.
        ties: images of which the file names another class first. The network's own two best logits lie within
            TOLERANCE of one another there: rounding decides between them, in the network as in the file.
    """

    images: int = 0
    largest: float = 0.0
    ties: int = 0

    def add(self, file: str, images: Sequence[str | None], own: Tensor, answers: Tensor) -> None:
        """Count a batch: the network's ``own`` logits (n, classes), and the file's ``answers`` (times asked, n, classes).

        Raises:
            UserError: if they disagree; it names the image.
        """
        difference = (answers - own).abs().amax(dim=(0, 2))
        other = (answers.argmax(dim=2) != own.argmax(dim=1)).any(dim=0)
        best, second = own.topk(2).values.unbind(dim=1)
        wrong = ~(difference <= TOLERANCE) | (other & (best - second > TOLERANCE))  # a nan is not within the tolerance
        if wrong.any():
            k = wrong.nonzero()[0].item()
            also = ", and names another class" if other[k] else ""
            raise UserError(
                f"{file} does not answer as the checkpoint does: for {images[k] or 'a drawn flower'} a logit differs by "
                f"{difference[k]:.2g}, where {TOLERANCE} is allowed{also}. Nothing was written: leave this format out with "
                "formats=..., or try other versions of the packages that write it."
            )
        self.images += len(own)
        self.largest = max(self.largest, difference.max().item())
        self.ties += other.sum().item()


@torch.inference_mode()
def compare(
    network: Answer, files: Mapping[str, Answer], batches: Iterable[tuple[Sequence[str | None], Tensor]]
) -> dict[str, Agreement]:
    """Ask the network and each file about the same images; of the first batch also one by one, and twice as many at once.

    Args:
        network: what is right.
        files: how each answers, by name.
        batches: names of images (None: drawn), and the images prepared, float32 (n, 3, size, size).

    Raises:
        UserError: if a file names another class than the network, unless that is a tie, if a logit differs by more than
            TOLERANCE, or if it can't answer so many images.
    """
    found = {file: Agreement() for file in files}
    for number, (images, inputs) in enumerate(batches):
        own = network(inputs)
        for file, answer in files.items():
            try:
                answers = [answer(inputs)] if number else at_several_sizes(answer, inputs)
            except Exception as error:  # runtimes raise what they like on a batch that they do not take
                why = first_line(str(error) or type(error).__name__)
                raise UserError(
                    f"{file} does not take any number of images ({why}). Nothing was written: leave this format out with "
                    "formats=..., or try other versions of the packages that write it."
                ) from error
            found[file].add(file, images, own, torch.stack(answers))
    return found


def at_several_sizes(answer: Answer, inputs: Tensor) -> list[Tensor]:
    """Answers to the same images (n, 3, size, size): together, one by one, and twice as many together; each (n, classes)."""
    alone = torch.cat([answer(image[None]) for image in inputs])
    return [answer(inputs), alone, *answer(torch.cat([inputs, inputs])).split(len(inputs))]
