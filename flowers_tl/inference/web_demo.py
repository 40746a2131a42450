"""A local web page to try a network: upload images, see the most likely classes and a heat map."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from flowers_tl.data.registry import find_data
from flowers_tl.inference.explanations import explain_images, prepare_first
from flowers_tl.inference.figures import HEAT, blend, heat_norm
from flowers_tl.inference.predictor import Predictor
from flowers_tl.inference.web_answers import (
    TOP,
    describe,
    describe_certainty,
    endpoint,
    explain_threshold,
    find_threshold,
)
from flowers_tl.results.load_runs import are_recorded
from flowers_tl.utils.errors import UserError, needs_extra
from flowers_tl.utils.notes import log
from flowers_tl.utils.templates import escape_markdown

# Images of an upload that are answered.
MOST = 12
# A click answers: it does not enlarge the image over the others.
GALLERY: dict[str, Any] = {"columns": TOP, "interactive": False, "allow_preview": False, "buttons": []}
# Visitors that are answered at once: a large image of one, which takes some seconds to read, does not stop the others.
VISITORS = 4
# Those of gradio's theme would be loaded from a server.
FONTS = ("system-ui", "sans-serif")


def serve(network: Predictor, host: str, port: int, max_mb: int, explain: bool, alpha: float) -> None:
    """Serve the page, and ``POST /predict``, until it is interrupted.

    Args:
        network, explain: see :func:`make_page`.
        alpha: see :func:`find_threshold`.
        host: address to listen on.
        port: port to listen on.
        max_mb: largest file that is taken, in megabytes.
    """
    examples, threshold = find_examples(network), find_threshold(network, alpha)
    page = make_page(network, examples, explain, threshold, alpha)
    log.info(f"The page is at http://{host}:{port}; Ctrl-C ends it.")
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=f"{max_mb}mb",
        allowed_paths=[str(path) for path in examples.values()],
        theme=import_gradio().themes.Default(font=FONTS, font_mono="monospace"),
        css_paths=Path(__file__).with_name("templates") / "web_demo.css",
        app_kwargs={"routes": [endpoint(network, max_mb, threshold)]},
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
            f"{host}:{port} can't be used ({error}): use another port=N, or a host= of this machine."
        ) from error


def find_examples(network: Predictor) -> dict[str, Path]:
    """A training image of each class of the network's run; none if the very images are not on this machine."""
    trained = network.trained
    if not trained or not trained.config:
        return {}
    images, recorded = trained.config["data"], trained.record.get("data", {}).get("root")
    # The page may be served from another folder than the run was started in; drawn images have a folder below data.root.
    others = (recorded, str(Path(recorded).parent)) if recorded else ()
    for root in (images.get("root"), *others):
        data = find_data({**trained.config, "data": images | {"root": root}})
        if data and are_recorded(trained.record, "train", data.all_images["train"], data.root):
            train = data.images["train"]
            # Backwards, so that the first image of a class stays.
            pairs = list(zip(train.labels, train.files, strict=True))[::-1]
            return {train.classes[label]: file for label, file in pairs}
    return {}


def make_page(
    network: Predictor,
    examples: Mapping[str, Path],
    explain: bool = True,
    threshold: float | None = None,
    alpha: float = 0.1,
) -> Any:
    """Build the page, a ``gradio.Blocks``.

    Args:
        network: the network.
        examples: an image of some classes, shown beside their names, and to click.
        explain: whether to show a heat map, which needs captum.
        threshold, alpha: see :func:`find_threshold`; without a threshold nothing is «not sure».

    Raises:
        UserError: if gradio is not installed.
    """
    gradio = import_gradio()
    about = f"The {TOP} most likely of {len(network.class_names):,} classes, by {escape_markdown(network.name)}."
    with gradio.Blocks(title=f"flowers_tl: {network.name}") as page:
        gradio.Markdown(f"# What is it?\n{about} {explain_threshold(threshold, alpha)}")
        with gradio.Row():
            with gradio.Column():
                files = gradio.File(label="Images", file_count="multiple", type="filepath", elem_id="upload")
                tries = gradio.Gallery(
                    [str(file) for file in list(examples.values())[:TOP]],
                    **GALLERY | {"label": "Or click a training image", "elem_id": "tries", "visible": bool(examples)},
                )
                message = gradio.Markdown(visible=False, elem_id="message")
                every = gradio.Gallery(**GALLERY, label="Your images: click one", visible=False, elem_id="every")
            with gradio.Column():
                verdict = gradio.Markdown(visible=False, elem_id="verdict")
                classes = gradio.Label(
                    label="Prediction", num_top_classes=TOP, show_heading=False, visible=False, elem_id="answers"
                )
                options = {"height": 240, "interactive": False, "buttons": [], "visible": False}
                crop = gradio.Image(label="What the network sees of it", elem_id="crop", **options)
                heat = gradio.Image(label="Evidence for the first class", elem_id="heat", **options)
                scale = gradio.HTML(visible=False, elem_id="scale")
        gallery = gradio.Gallery(**GALLERY, label="Training images of these classes", visible=False, elem_id="gallery")
        answer, paths = answerer(network, examples, explain, gradio, threshold), list(map(str, examples.values()))

        # gradio reads the annotations: it passes the event to an argument of this type.
        def choose(uploaded: list[str] | None, event: gradio.SelectData) -> list[Any]:  # type: ignore[name-defined]
            return answer(uploaded, event.index)

        def try_one(event: gradio.SelectData) -> list[Any]:  # type: ignore[name-defined]
            return answer(paths[event.index])

        parts = [message, every, verdict, classes, crop, heat, scale, gallery]
        how = {"api_visibility": "private", "concurrency_limit": VISITORS}
        files.change(answer, files, parts, **how)
        every.select(choose, files, parts, **how)
        tries.select(try_one, None, parts, **how)
    return page


def answerer(
    network: Predictor, examples: Mapping[str, Path], explain: bool, gradio: Any, threshold: float | None = None
) -> Callable[..., list[Any]]:
    """The function that maps uploaded files, and which of the readable ones is shown, to the page's parts; several threads
    may call it."""
    # A heat map changes the network while it is computed.
    alone = Lock()

    def answer(files: list[str] | str | None, place: int = 0) -> list[Any]:
        files = [files] if isinstance(files, str) else files or []
        errors: list[UserError] = []
        prepared = prepare_first(network, map(Path, files), MOST, errors.append)
        message = " ".join(map(str, errors))
        # Where it lies on this machine is not the visitor's business.
        for file in files:
            message = message.replace(file, Path(file).name)
        values: list[Any] = [escape_markdown(message) or None, *[None] * 7]
        if prepared:
            with alone:
                every = explain_images(network, prepared, TOP)
                shown = list(prepared)[place]
                (one,) = (
                    explain_images(network, {shown: prepared[shown]}, TOP, heat=True) if explain else [every[place]]
                )
            crops = [((255 * each.pixels).astype(np.uint8), describe(each.top[:1])) for each in every]
            training = [(str(examples[name]), name) for name, _ in one.top if name in examples]
            values[1:5] = [
                crops if len(crops) > 1 else None,
                describe_certainty(one.top, threshold),
                dict(one.top),
                crops[place][0],
            ]
            if explain:
                norm = heat_norm([one])
                values[5:7] = [blend(one.pixels, HEAT(norm(one.evidence))), heat_scale(norm.vmax or 0.0)]
            values[7] = training or None
        return [gradio.update(value=value, visible=value is not None) for value in values]

    return answer


def heat_scale(most: float) -> str:
    """The colours of a heat map from 0 to ``most``, as HTML."""
    colours = ", ".join(to_hex(HEAT(k / 8)) for k in range(9))
    bar = f'<span class="bar" style="background: linear-gradient(90deg, {colours})"></span>'
    return f"0 {bar} {most:.1f}<br>evidence for the class, in multiples of the mean"


def import_gradio() -> Any:
    """gradio, without its messages to a server; it is an extra, so it may be missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    with needs_extra("gradio", "The page needs gradio", "serve"):
        import gradio
    return gradio
