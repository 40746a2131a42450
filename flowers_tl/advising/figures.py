"""The pictures of a race: validation accuracy seed by seed, and by the depth of a network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowers_tl.advising.candidates import Candidate
from flowers_tl.advising.profile import StageScore
from flowers_tl.report.charts import LABEL_ROOM, label_height, label_points, new_figure, short_name, zoom_limits
from flowers_tl.report.palette import PERCENT, SETTINGS, dot_style, line_style
from flowers_tl.report.svg import mark


@rc_context(SETTINGS)
def draw_race(candidates: Sequence[Candidate]) -> Figure:
    """Mean validation accuracy after each seed; a cross ends the line of a candidate that left. Far worse ones lie at the edge."""
    shown = [(number, one) for number, one in enumerate(candidates) if one.seeds]
    means = {number: np.cumsum(one.hits.mean(axis=1)) / np.arange(1, one.seeds + 1) for number, one in shown}
    figure, (axes,) = new_figure(width=620, height=label_height(len(shown)) + 40, room=LABEL_ROOM + 60)
    low, high = zoom_limits([(min(values), max(values)) for values in means.values()], 0.1)
    margin = 0.08 * max(high - low, 0.02)
    most = max(one.seeds for _, one in shown)
    axes.set(xlabel="seeds", xlim=(0.8, most + 0.2), ylim=(low - margin, high + margin))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PERCENT)
    labels = []
    for number, one in shown:
        seeds, values = np.arange(1, one.seeds + 1), np.maximum(means[number], low - margin)
        title = f"{one.name}: {100 * means[number][-1]:.1f} %"
        style: dict[str, Any] = {"gid": mark(class_="series", data_series=number, title=title)}
        axes.plot(seeds, values, linewidth=2, **line_style(number), **style)
        end = dot_style(number) | ({"marker": "X"} if one.left else {})
        axes.plot(seeds[-1:], values[-1:], markersize=8, clip_on=False, **end, **style)
        labels.append((f"{short_name(one.name, 22)} {100 * means[number][-1]:.1f} %", number, seeds[-1], values[-1]))
    label_points(axes, labels)
    return figure


@rc_context(SETTINGS)
def draw_profile(stages: Sequence[StageScore]) -> Figure:
    """Validation accuracy of a solved head, and of the nearest neighbours, on the pooled output of each stage."""
    figure, (axes,) = new_figure(width=620, room=LABEL_ROOM)
    x = np.arange(len(stages))
    axes.set(ylim=(0, 1), xlabel=f"stages of {stages[0].backbone}")
    axes.set_xticks(x, [one.stage for one in stages])
    axes.yaxis.set_major_formatter(PERCENT)
    labels = []
    for number, (title, values) in enumerate(
        {"solved head": [one.solved for one in stages], "neighbours": [one.neighbours for one in stages]}.items()
    ):
        axes.plot(x, values, linewidth=2, **line_style(number) | {"marker": dot_style(number)["marker"]})
        labels.append((title, number, x[-1], values[-1]))
    label_points(axes, labels)
    return figure
