"""A page to try a network on: drop an image, see what it is taken for, and where that is seen."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowers_tl.inference.explanations import explain_images
from flowers_tl.inference.figures import HEAT, blend, heat_norm
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError

TOP = 5
FONTS = ("system-ui", "sans-serif")  # the theme's own would be asked from a server


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
