"""Figures of predictions: the crop, bars of the probabilities, heat maps, and the difference of two heat maps."""

import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from PIL import Image

from flowers_tl.inference.explanations import Explanation, explain_images
from flowers_tl.inference.grad_cam import captum_method
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write
from flowers_tl.utils.notes import log_note

Panel = Callable[[Axes], Any]

FORMATS = (".png", ".svg", ".pdf")
# In the metadata of a figure; the user's images lack it.
MADE_HERE = "flowers_tl figure"
# A font with Chinese, Japanese and Korean letters, which each system calls otherwise.
CHINESE = {"Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS"}
# Side of a panel and height of a line, in inches; letters per inch.
PANEL, LINE, LETTERS = 2.3, 0.15, 12
# Most classes that are named beside an image.
NAMED = 10
# In which crops and maps of any size lie upon each other.
FRAME = (0, 1, 1, 0)
# Lightness alone tells its values apart; red and blue differ for colour-blind readers too.
HEAT, DIFFERENCE = colormaps["inferno"], colormaps["RdBu_r"]
BAR, TRACK = "#9ECAE1", "#F2F2F2"
EVIDENCE = "evidence for the class, in multiples of the mean; line: half of the maximum"


class Scale(NamedTuple):
    """A colour bar: the meaning of the colours, and the columns of a row that it belongs to."""

    norm: Normalize
    colours: Colormap
    columns: Sequence[int]
    label: str


def validate_figure(path: Path, images: Iterable[Path], heat: bool) -> None:
    """Raise UserError if a figure can't be written to ``path``, or would overwrite anything but a figure made here.

    Args:
        path: of the figure.
        images: that it shows: none of them may be ``path``.
        heat: whether it shows heat maps, which need captum.
    """
    if heat:
        captum_method()
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"figure={path} must end with one of {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise UserError(f"The folder of figure={path} is not there: make it, or use another.")
    if not path.exists():
        return
    is_input = any(image.samefile(path) for image in images if image.exists())
    if is_input or not path.is_file() or MADE_HERE.encode() not in path.read_bytes():
        what = "is one of the images" if is_input else "is there already, and was not drawn by this project"
        raise UserError(f"figure={path} {what}: use another file.")


def draw_predictions(network: Predictor, images: Iterable[Path], path: Path, top: int, heat: bool) -> None:
    """Draw images with bars of the network's ``top`` classes, and with heat maps if ``heat`` is true."""
    prepared = {image: network.prepare(image) for image in images}
    draw_explanations([explain_images(network, prepared, top, heat=heat)], path, [network.name], bars=True)


def draw_explanations(
    explanations: Sequence[Sequence[Explanation]], path: Path, names: Sequence[str], bars: bool = False
) -> None:
    """Draw a row of panels for each image into a PNG, SVG or PDF: the crop, and the heat maps that there are, on one scale.

    Args:
        explanations: of each network, image by image. Of two networks, A and B, the difference is drawn too.
        path: of the figure.
        names: of the networks.
        bars: whether bars beside the crop show the most likely classes; else they are named below the maps.
    """
    pair, first = len(explanations) == 2, explanations[0]
    marks = ("A: ", "B: ") if pair else ("",)
    rows: list[list[Panel]] = [[partial(show_crop, one), *[partial(show_bars, one)] * bars] for one in first]
    scales = []
    if first[0].places:
        norm = heat_norm(one for network in explanations for one in network)
        scales.append(Scale(norm, HEAT, range(1 + bars, 1 + bars + len(explanations)), EVIDENCE))
        for mark, network in zip(marks, explanations, strict=True):
            for row, one in zip(rows, network, strict=True):
                row.append(partial(show_heat, one, norm, mark=mark, answers=not bars))
    if pair:
        differences = [b.evidence - a.evidence for a, b in zip(*explanations, strict=True)]
        most = np.abs(differences).max() or 1
        scales.append(Scale(Normalize(-most, most), DIFFERENCE, [3], "B minus A: red, B looks more"))
        for row, one, values in zip(rows, first, differences, strict=True):
            row.append(partial(show_difference, one, values, scales[1].norm))
    title = []
    for mark, name, (one, *_) in zip(marks, names, explanations, strict=True):
        title.append(f"{mark}Grad-CAM at {one.places}: {name}" if one.places else mark + name)
    draw(rows, path, title, scales, below=0 if bars else len(first[0].top[:NAMED]))


def heat_norm(explanations: Iterable[Explanation]) -> Normalize:
    """The one scale of all maps, from 0 to the largest value of any."""
    return Normalize(0, max(one.evidence.max() for one in explanations) or 1)


# Whatever the user's matplotlibrc says, names are no LaTeX, and a letter that its font lacks is taken from another.
@rc_context({"text.usetex": False, "font.family": ["sans-serif", *sorted(CHINESE & {*get_font_names()})]})
def draw(
    rows: Sequence[Sequence[Panel]], path: Path, title: Sequence[str], scales: Sequence[Scale], below: int = 0
) -> None:
    """Lay out a row of panels for each image, several rows side by side if they are short, with colour bars beneath.

    Args:
        rows: of panels, each a function that draws into its axes; all have the same number.
        path: of the figure.
        title: lines above.
        scales: at most two colour bars.
        below: most lines of text beneath a panel.
    """
    wide = len(rows[0])
    across = min(len(rows), max(1, 6 // wide))
    down = -(-len(rows) // across)
    text = "\n".join(fit(line, wide * across, 4) for line in title)
    spans = [scale.columns if across == 1 else range(across * (wide + 1) - 1) for scale in scales]
    labels = [fit(scale.label, len(span), 3) for scale, span in zip(scales, spans, strict=True)]
    foot = max((0.5 + LINE * label.count("\n") for label in labels), default=0)
    height = (PANEL + 0.5 + LINE * below) * down + LINE * (1 + text.count("\n")) + foot
    figure = Figure(figsize=(PANEL * wide * across, height), dpi=120, layout="constrained")
    figure.suptitle(text, fontsize=8, x=0.01, ha="left", parse_math=False)
    grid = figure.add_gridspec(
        down + bool(scales),
        across * (wide + 1),
        # A gap after the panels of each image, and colour bars at the bottom.
        width_ratios=[*[1] * wide, 0.05] * across,
        height_ratios=[1] * down + [0.05] * bool(scales),
    )
    for k, row in enumerate(rows):
        for column, panel in enumerate(row, start=k % across * (wide + 1)):
            axis = figure.add_subplot(grid[k // across, column])
            # Without anchor S the layout forgets the text below.
            axis.set(xticks=[], yticks=[], box_aspect=1, anchor="S")
            axis.spines[:].set_visible(False)
            panel(axis)
    for scale, span, label in zip(scales, spans, labels, strict=True):
        space = figure.add_subplot(grid[-1, span[0] : span[-1] + 1])
        bar = figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=space, orientation="horizontal")
        bar.set_label(label, fontsize=8)
        space.tick_params(labelsize=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Glyph .* missing")
        # What was there before is a figure made here: see `validate_figure`.
        with atomic_write(path) as beside:
            figure.savefig(beside, format=path.suffix[1:].lower(), metadata={"Creator": MADE_HERE})
    if any("Glyph" in str(warning.message) for warning in caught):
        log_note(f"{path} shows boxes for letters that no font here has: install one that has, such as Noto Sans CJK.")


def show_crop(explanation: Explanation, axis: Axes) -> None:
    axis.imshow(explanation.pixels, extent=FRAME)
    head(axis, fit(explanation.image))


def show_bars(explanation: Explanation, axis: Axes) -> None:
    """Bars from 0 to 1, with the names on them: names of any length leave the bars where they are."""
    top = explanation.top[:NAMED]
    axis.set(xlim=(0, 1), ylim=(len(top) - 0.4, -0.6))
    lines = 2 if len(top) <= 6 else 1
    for place, (name, share) in enumerate(top):
        axis.barh(place, 1, height=0.8, color=TRACK)
        axis.barh(place, share, height=0.8, color=BAR)
        axis.text(0.02, place, fit(name, 0.85, lines), va="center", fontsize=8, parse_math=False)
        axis.text(0.98, place, f"{share:.1%}", va="center", ha="right", fontsize=8)


def show_heat(explanation: Explanation, norm: Normalize, axis: Axes, mark: str = "", answers: bool = False) -> None:
    """The map over the grey image, with a line at half of its maximum."""
    heat, (name, share) = explanation.evidence, explanation.target
    axis.imshow(blend(explanation.pixels, HEAT(norm(heat))), extent=FRAME)
    if heat.max() > heat.min():
        axis.contour(heat, levels=[heat.max() / 2], extent=(0, 1, 0, 1), colors="white", linewidths=1)
    head(axis, f"{mark}{fit(name)}\n{share:.1%}" + ("" if heat.any() else ", no evidence for it"))
    if answers:
        lines = "\n".join(f"{fit(name, 1, 1)} {share:.1%}" for name, share in explanation.top[:NAMED])
        axis.set_xlabel(lines, loc="left", fontsize=7, parse_math=False)


def show_difference(explanation: Explanation, values: np.ndarray, norm: Normalize, axis: Axes) -> None:
    axis.imshow(blend(explanation.pixels, DIFFERENCE(norm(values))), extent=FRAME)
    head(axis, "B minus A")


def blend(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Colours (h, w, 4) laid over the image in grey, which shows through: (h, w, 3)."""
    grey = Image.fromarray((pixels * 255).astype(np.uint8)).convert("L").resize(colours.shape[1::-1])
    return 0.65 * colours[..., :3] + 0.35 * np.asarray(grey)[..., None] / 255


def head(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=8, parse_math=False)


def fit(text: str, panels: float = 1, lines: int = 2) -> str:
    """Break a text into lines that fit into the width of some panels, and cut off what is too long."""
    width = int(LETTERS * PANEL * panels)
    # A file's name may be no text.
    text = text.encode(errors="backslashreplace").decode()
    wrapped = textwrap.wrap(text, width, break_on_hyphens=False)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], wrapped[lines - 1][: width - 1] + "…"]
    return "\n".join(wrapped)
