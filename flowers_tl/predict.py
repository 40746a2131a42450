"""Ask a network what it sees in images: ``python -m flowers_tl.predict images=photos ckpt=RUN``."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flowers_tl.cli.image_arguments import (
    SHOWN,
    UnreadableImages,
    add_images,
    add_network,
    load_network,
    named_images,
    print_figure_path,
)
from flowers_tl.cli.options import Options, parse_bool
from flowers_tl.utils.errors import UserError, exit_on_error
from flowers_tl.utils.strict_json import dumps

if TYPE_CHECKING:
    from flowers_tl.inference.predictor import Prediction, Predictor

HELP = """The most likely classes of images, by a network that was trained here (ckpt=...), or by ImageNet's as it is
(backbone=... backbone.weights=...). An image that can't be read is told, and left out; the exit code is 1 then."""
FORMATS = ("table", "jsonl", "csv")


def main(arguments: list[str] | None = None) -> None:
    """Print what the network sees, image by image."""
    options = Options("predict", HELP)
    add_images(options)
    add_network(options)
    options.add("top", "how many classes to name", 5, type=int)
    options.add("format", "how to print them", "table", choices=FORMATS)
    options.add("batch_size", "images at a time", 32, type=int)
    options.add("figure", f"also draw the first {SHOWN} with bars into this PNG, SVG or PDF")
    options.add(
        "explain",
        "true: with a heat map of what the first class is seen by",
        False,
        type=parse_bool,
        metavar="true|false",
    )
    with exit_on_error():
        sys.exit(predict(options.read(arguments)))


def predict(chosen: dict[str, Any]) -> int:
    """Print the answers as they come, and draw the first; return the exit code."""
    from rich.console import Console
    from rich.progress import track

    images = named_images(chosen)
    validate_drawing(chosen, images)
    network = load_network(chosen)
    unreadable, first = UnreadableImages(), []
    show = PRINTERS[chosen["format"]](sys.stdout)
    answers = network.stream(images, chosen["top"], chosen["batch_size"], unreadable)
    many = len(images) > chosen["batch_size"]
    for answer in track(
        answers, "Predicting", len(images), console=Console(stderr=True), transient=True, disable=not many
    ):
        show(answer)
        first += [Path(answer.image)][: SHOWN - len(first)]
    if chosen["figure"] and first:
        draw(chosen, network, first)
        print_figure_path(chosen["figure"], len(first), len(images) - len(unreadable))
    return unreadable.exit_code(len(images))


def validate_drawing(chosen: dict[str, Any], images: list[Path]) -> None:
    """Raise UserError if what is to be drawn can't be: before thousands of images are asked."""
    if not chosen["figure"]:
        if chosen["explain"]:
            raise UserError("explain=true draws heat maps, and no figure is named: figure=PATH.")
        return
    from flowers_tl.inference.figures import validate_figure
    from flowers_tl.inference.grad_cam import captum_method

    validate_figure(Path(chosen["figure"]), images)
    if chosen["explain"]:
        captum_method()


def draw(chosen: dict[str, Any], network: "Predictor", images: list[Path]) -> None:
    """Draw the images with the network's answers, and with heat maps if they are asked for."""
    from flowers_tl.inference.explanations import explain_images
    from flowers_tl.inference.figures import draw_answers

    prepared = {image: network.prepare(image) for image in images}
    views = explain_images(network, prepared, chosen["top"], heat=chosen["explain"])
    draw_answers(views, Path(chosen["figure"]), network.name)


def as_table(out: TextIO) -> Callable[["Prediction"], None]:
    def show(answer: "Prediction") -> None:
        print(answer.image, file=out)
        for name, share in zip(answer.classes, answer.probabilities, strict=True):
            print(f"  {share:7.1%}  {name}", file=out)

    return show


def as_jsonl(out: TextIO) -> Callable[["Prediction"], None]:
    def show(answer: "Prediction") -> None:
        top = [{"class": n, "probability": p} for n, p in zip(answer.classes, answer.probabilities, strict=True)]
        print(dumps({"picture": answer.image, "top": top}, ensure_ascii=False), file=out)

    return show


def as_csv(out: TextIO) -> Callable[["Prediction"], None]:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("picture", "rank", "class", "probability"))

    def show(answer: "Prediction") -> None:
        for rank, (name, share) in enumerate(zip(answer.classes, answer.probabilities, strict=True), start=1):
            writer.writerow((answer.image, rank, name, f"{share:.6f}"))

    return show


PRINTERS = {"table": as_table, "jsonl": as_jsonl, "csv": as_csv}

if __name__ == "__main__":
    main()
