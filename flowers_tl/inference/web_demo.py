"""A local web page to try a network: upload an image, see the most likely classes and a heat map."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from flowers_tl.data.registry import find_data
from flowers_tl.inference.explanations import explain_images
from flowers_tl.inference.figures import HEAT, blend, heat_norm
from flowers_tl.inference.predictor import Predictor
from flowers_tl.results.load_runs import are_recorded
from flowers_tl.utils.errors import UserError, needs_extra
from flowers_tl.utils.notes import log
from flowers_tl.utils.templates import escape_markdown

TOP = 5
# Visitors that are answered at once: a large image of one, which takes some seconds to read, does not stop the others.
VISITORS = 4
# Those of gradio's theme would be loaded from a server.
FONTS = ("system-ui", "sans-serif")


def serve(
    network: Predictor, examples: Mapping[str, Path], host: str, port: int, max_mb: int, explain: bool = True
) -> None:
    """Serve the page until it is interrupted.

    Args:
        network, examples, explain: see :func:`make_page`.
        host: address to listen on.
        port: port to listen on.
        max_mb: largest file that is taken, in megabytes.
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
    """Raise UserError if nothing can listen there; gradio's error names other remedies."""
    if not 0 < port < 65536:
        raise UserError(f"port={port} must lie between 1 and 65535.")
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UserError(
            f"{host}:{port} can't be used ({error}): name another port=N, or a host= of this machine."
        ) from error


def find_examples(network: Predictor) -> dict[str, Path]:
    """A training image of each class of the network's run; none if the very images are not on this machine."""
    trained = network.trained
    data = find_data(trained.config) if trained and trained.config else None
    if not trained or not data or not are_recorded(trained.record, "train", data.all_images["train"], data.root):
        return {}
    train = data.images["train"]
    # Backwards, so that the first image of a class stays.
    pairs = list(zip(train.labels, train.files, strict=True))[::-1]
    return {train.classes[label]: file for label, file in pairs}


def make_page(network: Predictor, examples: Mapping[str, Path], explain: bool = True) -> Any:
    """Build the page, a ``gradio.Blocks``.

    Args:
        network: the network.
        examples: an image of some classes, shown beside their names.
        explain: whether to show a heat map, which needs captum.

    Raises:
        UserError: if gradio is not installed.
    """
    gradio = import_gradio()
    with gradio.Blocks(title=f"flowers_tl: {network.name}") as page:
        gradio.Markdown(
            f"# What is it?\nThe {TOP} most likely of {len(network.class_names):,} classes, by {escape_markdown(network.name)}."
        )
        with gradio.Row():
            with gradio.Column():
                file = gradio.File(label="An image", file_count="single", type="filepath", elem_id="upload")
                message = gradio.Markdown(visible=False, elem_id="message")
                classes = gradio.Label(label="Most likely classes", num_top_classes=TOP, elem_id="answers")
            with gradio.Column(), gradio.Row():
                options = {"height": 240, "interactive": False, "buttons": []}
                crop = gradio.Image(label="What the network sees of it", elem_id="crop", **options)
                heat = gradio.Image(label="Evidence for the first class", visible=explain, elem_id="heat", **options)
        gallery = gradio.Gallery(
            label="Images of these classes",
            columns=TOP,
            height="auto",
            visible=bool(examples),
            interactive=False,
            elem_id="gallery",
        )
        answer = answerer(network, examples, explain, gradio)
        parts = [message, crop, heat, classes, gallery]
        file.change(answer, file, parts, api_visibility="private", concurrency_limit=VISITORS)
    return page


def answerer(
    network: Predictor, examples: Mapping[str, Path], explain: bool, gradio: Any
) -> Callable[[str | None], list[Any]]:
    """The function that maps an uploaded file to the values of the page's parts; several threads may call it."""
    # A heat map changes the network while it is computed.
    alone = Lock()

    def answer(file: str | None) -> list[Any]:
        if file is None:
            return [gradio.Markdown(visible=False), *[None] * 4]
        try:
            prepared = {Path(file): network.prepare(file)}
            with alone:
                (explanation,) = explain_images(network, prepared, TOP, heat=explain)
        except UserError as error:
            # Where it lies on this machine is not the visitor's business.
            sentence = str(error).replace(file, Path(file).name)
            return [gradio.Markdown(escape_markdown(sentence), visible=True), *[None] * 4]
        crop, heat, top = explanation.pixels, None, explanation.top
        if explain:
            heat = blend(crop, HEAT(heat_norm([explanation])(explanation.evidence)))
        gallery = [(str(examples[name]), name) for name, _ in top if name in examples]
        return [gradio.Markdown(visible=False), (255 * crop).astype(np.uint8), heat, dict(top), gallery]

    return answer


def import_gradio() -> Any:
    """gradio, without its messages to a server; it is an extra, so it may be missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    with needs_extra("gradio", "The page needs gradio", "serve"):
        import gradio
    return gradio
