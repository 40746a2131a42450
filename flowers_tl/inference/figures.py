"""Figures of what networks see in images: the crop, bars of the answers, heat maps, and the difference of two."""

import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from flowers_tl.inference.explanations import Explanation, explain_images
from flowers_tl.inference.grad_cam import captum_method
from flowers_tl.inference.predictor import Predictor
from flowers_tl.utils.errors import UserError

Panel = Callable[[Axes], Any]

FORMATS = (".png", ".svg", ".pdf")
MADE_HERE = "flowers_tl figure"  # in the file's metadata, by which a figure is told from the user's own images
PANEL = 2.3  # side of a panel, in inches
NAMED = 10  # most classes that are named beside an image
LETTERS = 12  # that fit into an inch
LINE = 0.15  # height of a line, in inches
FRAME = (0, 1, 1, 0)  # in which crops and maps of any size lie upon each other
HEAT = colormaps["inferno"]  # grows in lightness alone, so that it is read without telling colours apart
DIFFERENCE = colormaps["RdBu_r"]  # red and blue: told apart by colour-blind readers too
BAR, TRACK = "#9ECAE1", "#F2F2F2"
EVIDENCE = "evidence for the class, in multiples of the mean; line: half of the maximum"


class Scale(NamedTuple):
    """A colour bar: what the colours mean, and for which columns of a row."""

    norm: Normalize
    colours: Colormap
    columns: Sequence[int]
    label: str


def validate_figure(path: Path, images: Iterable[Path] = (), heat: bool = False) -> None:
    """Raise UserError if a figure can't go to ``path``, or would take the place of anything but a figure made here.

    Args:
        path: where it is to go.
        images: that are to be looked at: none of them may be it.
        heat: whether it shows heat maps, which need captum.
    """
    if heat:
        captum_method()
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"figure={path} must end with one of {', '.join(FORMATS)}, which says what to write.")
    if not path.parent.is_dir():
        raise UserError(f"figure={path} would lie in a folder that is not there: make it, or name another.")
    if not path.exists():
        return
    own = any(image.samefile(path) for image in images if image.exists())
    if own or not path.is_file() or MADE_HERE.encode() not in path.read_bytes():
        what = "is one of the images" if own else "is there already, and no figure that was made here"
        raise UserError(f"figure={path} {what}: name another file.")


def draw_predictions(network: Predictor, images: Iterable[Path], path: Path, top: int, heat: bool) -> None:
    """Draw images with bars of the network's ``top`` classes, and with heat maps if ``heat`` is true."""
    prepared = {image: network.prepare(image) for image in images}
    draw_answers(explain_images(network, prepared, top, heat=heat), path, network.name)


def draw_answers(views: Sequence[Explanation], path: Path, name: str) -> None:
    """Draw each image with bars of a network's answers, and its heat map where it has one, into a PNG, SVG or PDF."""
    rows = [[partial(show_crop, view), partial(show_bars, view)] for view in views]
    norm = heat_norm(views)
    if norm is not None:
        rows = [[*row, partial(show_heat, view, norm)] for row, view in zip(rows, views, strict=True)]
    draw(rows, path, [headline(name, views[0])], [Scale(norm, HEAT, [2], EVIDENCE)] if norm else [])


def draw_heat(seen: Sequence[Sequence[Explanation]], path: Path, names: Sequence[str]) -> None:
    """Draw the heat maps of each image into a PNG, SVG or PDF, all on one scale.

    Args:
        seen: what each network sees, image by image. Of two, A and B, the difference is drawn too.
        path: of the figure.
        names: of the networks.
    """
    pair = len(seen) == 2
    marks = ("A: ", "B: ") if pair else ("",)
    norm = heat_norm(view for views in seen for view in views)
    rows: list[list[Panel]] = [[partial(show_crop, view)] for view in seen[0]]
    for mark, views in zip(marks, seen, strict=True):
        for row, view in zip(rows, views, strict=True):
            row.append(partial(show_heat, view, norm, mark=mark, answers=True))
    scales = [Scale(norm, HEAT, range(1, 1 + len(seen)), EVIDENCE)]
    if pair:
        apart = [b.heat.values - a.heat.values for a, b in zip(*seen, strict=True)]
        most = max(np.abs(values).max() for values in apart) or 1
        scales.append(Scale(Normalize(-most, most), DIFFERENCE, [3], "B less A: red, B looks more"))
        for row, view, values in zip(rows, seen[0], apart, strict=True):
            row.append(partial(show_difference, view, values, scales[1].norm))
    title = [mark + headline(name, views[0]) for mark, name, views in zip(marks, names, seen, strict=True)]
    draw(rows, path, title, scales, below=len(seen[0][0].answers[:NAMED]))


def headline(name: str, view: Explanation) -> str:
    """At which stage the maps are made, and of which network."""
    heat = view.heat
    return f"Grad-CAM at {heat.stage}, {heat.places} by {heat.places} places: {name}" if heat else name


def heat_norm(views: Iterable[Explanation]) -> Normalize | None:
    """The one scale of all maps, from 0 to the hottest place of any; None if there are no maps."""
    hottest = [view.heat.values.max() for view in views if view.heat]
    return Normalize(0, max(hottest) or 1) if hottest else None


def draw(
    rows: Sequence[Sequence[Panel]], path: Path, title: Sequence[str], scales: Sequence[Scale], below: int = 0
) -> None:
    """Lay out a row of panels for each image, where they are few several side by side, with colour bars beneath.

    Args:
        rows: of panels, each a function that draws into its axes; all have the same number.
        path: of the figure.
        title: lines above.
        scales: one or two colour bars.
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
        width_ratios=[*[1] * wide, 0.05] * across,  # a gap after each picture's panels
        height_ratios=[1] * down + [0.05] * bool(scales),
    )
    for k, row in enumerate(rows):
        for column, panel in enumerate(row, start=k % across * (wide + 1)):
            axis = figure.add_subplot(grid[k // across, column])
            axis.set(xticks=[], yticks=[], box_aspect=1, anchor="S")  # S: else the layout forgets the text below
            axis.spines[:].set_visible(False)
            panel(axis)
    for scale, span, label in zip(scales, spans, labels, strict=True):
        space = figure.add_subplot(grid[-1, span[0] : span[-1] + 1])
        bar = figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=space, orientation="horizontal")
        bar.set_label(label, fontsize=8)
        space.tick_params(labelsize=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a name in a script that the font lacks
        # What was there before is a figure made here: `refuse_figure` has refused anything else.
        figure.savefig(path, metadata={"Creator": MADE_HERE})


def show_crop(view: Explanation, axis: Axes) -> None:
    axis.imshow(view.pixels, extent=FRAME)
    head(axis, fit(view.image))


def show_bars(view: Explanation, axis: Axes) -> None:
    """Bars from 0 to 1, with the names on them: names of any length leave the bars where they are."""
    answers = view.answers[:NAMED]
    axis.set(xlim=(0, 1), ylim=(len(answers) - 0.4, -0.6))
    for place, (name, share) in enumerate(answers):
        axis.barh(place, 1, height=0.8, color=TRACK)
        axis.barh(place, share, height=0.8, color=BAR)
        axis.text(
            0.02, place, fit(name, 0.85, 2 if len(answers) <= 6 else 1), va="center", fontsize=8, parse_math=False
        )
        axis.text(0.98, place, f"{share:.1%}", va="center", ha="right", fontsize=8)


def show_heat(view: Explanation, norm: Normalize, axis: Axes, mark: str = "", answers: bool = False) -> None:
    """The map over the grey image, with a line around what is more than half as hot as its hottest place."""
    heat, (name, share) = view.heat.values, view.asked
    axis.imshow(blend(view.pixels, HEAT(norm(heat))), extent=FRAME)
    if heat.max() > heat.min():
        axis.contour(heat, levels=[heat.max() / 2], extent=(0, 1, 0, 1), colors="white", linewidths=1)
    head(axis, f"{mark}{fit(name)}\n{share:.1%}" + ("" if heat.any() else ", nothing speaks for it"))
    if answers:
        lines = "\n".join(f"{fit(name, 1, 1)} {share:.1%}" for name, share in view.answers[:NAMED])
        axis.set_xlabel(lines, loc="left", fontsize=7, parse_math=False)


def show_difference(view: Explanation, values: np.ndarray, norm: Normalize, axis: Axes) -> None:
    axis.imshow(blend(view.pixels, DIFFERENCE(norm(values))), extent=FRAME)
    head(axis, "B less A")


def blend(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Colours (h, w, 4) laid over the image in grey, through which it can be seen: (h, w, 3)."""
    grey = Image.fromarray((pixels * 255).astype(np.uint8)).convert("L").resize(colours.shape[1::-1])
    return 0.65 * colours[..., :3] + 0.35 * np.asarray(grey)[..., None] / 255


def head(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=8, parse_math=False)


def fit(text: str, panels: float = 1, lines: int = 2) -> str:
    """Break a text into lines that fit into the width of some panels, and cut off what is too long."""
    width = int(LETTERS * PANEL * panels)
    found = textwrap.wrap(text, width, break_on_hyphens=False)
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: width - 1] + "…"]
    return "\n".join(found)
