"""A page to try a network on: drop an image, see what it is taken for, and where that is seen."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.inference.explanations import explain_images
from flowers_tl.inference.figures import HEAT, blend, heat_norm
from flowers_tl.inference.predictor import Predictor
from flowers_tl.training.factory import make_data
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.notes import log

TOP = 5
FONTS = ("system-ui", "sans-serif")  # the theme's own would be asked from a server


def serve(
    network: Predictor, examples: Mapping[str, Path], host: str, port: int, max_mb: int, explain: bool = True
) -> None:
    """Serve the page until it is interrupted.

    Args:
        network: that answers.
        examples: see :func:`make_page`.
        host: address to listen on.
        port: port to listen on.
        max_mb: largest file that is taken, in megabytes.
        explain: see :func:`make_page`.
    """
    page = make_page(network, examples, explain)
    log.info(f"The page is at http://{host}:{port}; Ctrl-C ends it.")
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=f"{max_mb}mb",
        allowed_paths=[str(path) for path in examples.values()],
        theme=import_gradio().themes.Default(font=FONTS, font_mono="monospace"),
        share=False,
        ssr_mode=False,
        footer_links=[],
        quiet=True,
    )


def validate_address(host: str, port: int) -> None:
    """Raise UserError where nothing can listen there: gradio would speak of its own settings."""
    if not 0 < port < 65536:
        raise UserError(f"port={port} must lie between 1 and 65535.")
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UserError(
            f"{host}:{port} can't be had ({error}): name another port=N, or a host= of this machine."
        ) from error


def find_examples(ckpt: str | Path) -> dict[str, Path]:
    """A training image of each class of the network's run; none where the images are not at hand."""
    config = load_trained(ckpt).config
    if config is None:
        return {}
    data = make_data(config)
    try:
        data.setup()
    except (UserError, OSError, RuntimeError):
        # Gone, or never on this machine: the page does without.
        return {}
    train, first = data.images["train"], {}
    for file, label in zip(train.files, train.labels, strict=True):
        first.setdefault(train.classes[label], file)
    return first


def make_page(network: Predictor, examples: Mapping[str, Path], explain: bool = True) -> Any:
    """Build the page, a ``gradio.Blocks``.

    Args:
        network: that answers.
        examples: an image of some classes, to be shown beside their names.
        explain: whether to show a heat map, which needs captum.

    Raises:
        UserError: if gradio is not installed.
    """
    gradio = import_gradio()
    with gradio.Blocks(title=f"flowers_tl: {network.name}") as page:
        gradio.Markdown(
            f"# What is it?\nThe {TOP} most likely of {len(network.class_names):,} classes, by {network.name}."
        )
        with gradio.Row():
            with gradio.Column():
                file = gradio.File(label="An image", file_count="single", type="filepath", elem_id="upload")
                told = gradio.Markdown(visible=False, elem_id="told")
                answers = gradio.Label(label="What it is taken for", num_top_classes=TOP, elem_id="answers")
            with gradio.Column(), gradio.Row():
                shown = {"height": 240, "interactive": False, "buttons": []}
                seen = gradio.Image(label="What the network sees of it", elem_id="seen", **shown)
                heat = gradio.Image(label="Where the first class is seen", visible=explain, elem_id="heat", **shown)
        like = gradio.Gallery(
            label="Images of these classes",
            columns=TOP,
            height="auto",
            visible=bool(examples),
            interactive=False,
            elem_id="like",
        )
        outputs = [told, seen, heat, answers, like]
        answer = answerer(network, examples, explain, gradio)
        file.change(answer, file, outputs, api_visibility="private")
    return page


def answerer(
    network: Predictor, examples: Mapping[str, Path], explain: bool, gradio: Any
) -> Callable[[str | None], list[Any]]:
    """What the page does with an uploaded file: the values of its parts."""

    def answer(file: str | None) -> list[Any]:
        if file is None:
            return [gradio.Markdown(visible=False), None, None, None, None]
        try:
            (view,) = explain_images(network, {Path(file): network.prepare(file)}, TOP, heat=explain)
        except UserError as error:
            sentence = str(error).replace(file, Path(file).name)  # where it was put is not the visitor's business
            return [gradio.Markdown(sentence, visible=True), None, None, None, None]
        pixels = (255 * view.pixels).astype(np.uint8)
        like = [(str(examples[name]), name) for name, _ in view.answers if name in examples]
        heat = blend(view.pixels, HEAT(heat_norm([view])(view.heat.values))) if view.heat else None
        return [gradio.Markdown(visible=False), pixels, heat, dict(view.answers), like]

    return answer


def import_gradio() -> Any:
    """gradio, which tells nobody that it is used; it is an extra, so it may be missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import gradio
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("The page needs gradio: pip install 'flowers_tl[serve]'.") from error
    return gradio
