"""Images of a comparison, drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowers_tl.results.load_runs import RunGroup

PANELS = (("train loss", "train/loss"), ("val loss", "val/loss"), ("val accuracy", "val/accuracy"))
# Okabe and Ito's palette, which colour-blind readers can tell apart; black comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
LINES = ("-", "--", ":", "-.")


def draw_curves(groups: Sequence[RunGroup], path: Path) -> None:
    """Draw train loss, val loss and val accuracy by epoch into a PNG: mean over seeds, band of one standard deviation."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS))
    for axis, (title, column) in zip(axes, PANELS, strict=True):
        for k, group in enumerate(groups):
            epochs, mean, spread = group.curve(column)
            epochs, mean, spread = (values[~np.isnan(mean)] for values in (epochs, mean, spread))
            style = {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k // len(COLOURS) % len(LINES)]}
            if not len(epochs) and not group.curve("epoch")[0].size:  # solved, not trained: a level instead of a curve
                level = group.values(*column.split("/")).mean() if column.startswith("val/") else np.nan
                axis.axhline(level, label=group.label, linewidth=1.5, **style | {"linestyle": ":"})
                continue
            marker = "o" if len(epochs) == 1 else None  # a line through one point is invisible
            axis.plot(epochs, mean, label=group.label, marker=marker, linewidth=2, **style)
            axis.fill_between(epochs, mean - spread, mean + spread, color=style["color"], alpha=0.18, linewidth=0)
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(bottom=0)
    axes[2].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(groups), 4), frameon=False
    )
    # `compare` has refused a folder in which an image of this name may be a user's.
    figure.savefig(path, dpi=120)
