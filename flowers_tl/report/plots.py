"""The page's sections of charts: curves, accuracy against costs, reliability."""

from typing import Any

import numpy as np

from flowers_tl.report.axes import plain, short_count
from flowers_tl.report.charts import PANELS, curve_data, draw_cost, draw_curves, draw_reliability
from flowers_tl.report.html import Column, Html, element, table
from flowers_tl.report.sections import named, paragraph, section
from flowers_tl.report.summary import Entry, Facts


def curves(facts: Facts) -> tuple[Html, list[dict[str, Any]]]:
    """Three panels, and below them a table of the values at one epoch; and those of all epochs, for the page."""
    entries = sorted(facts.entries, key=lambda entry: entry.number)
    data = {title: curve_data(entries, column) for title, column in PANELS}
    epochs = max((int(d["epochs"][-1]) for panel in data.values() for d in panel if len(d["epochs"])), default=0)
    if not epochs:
        return section("curves", "Curves", paragraph("No group was trained by epochs, so there are no curves.")), []
    panels = [
        element("figure", element("figcaption", title), draw_curves(entries, panel, title, epochs))
        for title, panel in data.items()
    ]
    slider = element("input", type="range", id="epoch", min=1, max=epochs, value=epochs)
    said = (
        "Lines are means over seeds, bands one standard deviation; a level line is a head that was solved, not trained. "
        "The table has the values at one epoch: move the slider or point at a curve; a dash is an epoch "
        "that the runs did not have. A name picks out its line."
    )
    values = [{"title": title, "values": [by_epoch(d, title, epochs) for d in panel]} for title, panel in data.items()]
    return section(
        "curves",
        "Curves",
        paragraph(said),
        element("div", *panels, class_="panels"),
        element("div", element("label", "epoch ", element("output", epochs), for_="epoch"), slider, class_="slider"),
        values_table(entries, values),
    ), values


def values_table(entries: list[Entry], values: list[dict[str, Any]]) -> Html:
    """The legend of the curves, with the values at the last epoch."""
    head = [Column("strategy", number=False), *(Column(panel["title"]) for panel in values)]
    rows = []
    for k, entry in enumerate(entries):
        pick = element(
            "button", named(entry), type="button", class_="pick", aria_pressed="false", data_series=entry.number
        )
        rows.append([pick, *(panel["values"][k][-1] for panel in values)])
    return table(head, rows, "Values at one epoch", sortable=False, id="values")


def by_epoch(d: dict[str, Any], title: str, epochs: int) -> list[str]:
    return [at_epoch(d, title, epoch) for epoch in range(1, epochs + 1)]


def at_epoch(d: dict[str, Any], title: str, epoch: int) -> str:
    """A curve's value at an epoch, or a dash where it has none."""
    place = np.flatnonzero(d["epochs"] == epoch)
    if not len(place) and d["level"] is None:
        return "-"
    value = d["mean"][place[0]] if len(place) else d["level"]
    return f"{100 * value:.1f} %" if title.endswith("accuracy") else f"{value:.3f}"


def costs(facts: Facts) -> Html:
    """Test accuracy against time and against learning parameters."""
    entries = [entry for entry in facts.entries if np.isfinite(entry.accuracy.mean)]
    kinds = (
        ("seconds a run", lambda e: e.seconds.mean, plain),
        ("learning parameters", lambda e: e.trainable, short_count),
    )
    figures = []
    for title, cost, text in kinds:
        known = [entry for entry in entries if np.isfinite(cost(entry)) and cost(entry) > 0]
        if known:
            figures.append(element("figure", element("figcaption", f"by {title}"), draw_cost(known, cost, title, text)))
    said = "Test accuracy with its 95 % interval, on a logarithmic axis. Up and to the left is better."
    body = [paragraph(said), element("div", *figures, class_="panels two")] if figures else [paragraph("Not measured.")]
    return section("costs", "Accuracy against time and parameters", *body)


def calibration(facts: Facts) -> Html:
    """A reliability diagram for each group whose logits are finite."""
    figures = [
        element("figure", element("figcaption", named(e)), draw_reliability(e, facts.test.labels))
        for e in facts.answered
        if np.isfinite(e.calibration.mean)
    ]
    said = (
        "Confidence against accuracy on test, all seeds of a group together: on the diagonal a network is as sure as it "
        "is right, below it too sure. The larger the dot, the more answers."
    )
    return section("reliability", "Reliability", paragraph(said), element("div", *figures, class_="panels small"))
