"""Tables for the terminal: the strategy before a run, its scores afterwards; the table of a comparison."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowers_tl.data.splits import ImageSplit
from flowers_tl.results.load_runs import RunGroup
from flowers_tl.results.protocol import split_sizes
from flowers_tl.results.scores import METRICS, Metric, format_values, mean_and_spread, percent
from flowers_tl.utils.errors import shorten
from flowers_tl.utils.notes import log, log_table

# (stage, parameters, trainable parameters, `solved` or `neighbours` if it is, groups with lr, from_epoch and weight_decay)
StageRow = tuple[str, int, int, str, Sequence[Any]]


def print_stages(rows: Iterable[StageRow], strategy: str, backbone: str) -> None:
    """Print the strategy as a table over the backbone's stages; a setting that no row has makes no column."""
    rows = list(rows)
    all_groups = [group for *_, groups in rows for group in groups]
    extra = [key for key in ("from_epoch", "weight_decay") if any(getattr(group, key) for group in all_groups)]
    lines = []
    for name, parameters, trainable, solved, groups in rows:
        rates = [solved] * bool(solved) + [f"{group.lr:.3g}" for group in groups]
        # Epochs are counted from 1 for a reader, and from 0 in a table's file.
        cells = [
            ", ".join(str(getattr(g, key) + (key == "from_epoch")) for g in groups if g.parameters) for key in extra
        ]
        lines.append([name, f"{parameters:,}", f"{trainable:,}", ", ".join(rates) or "frozen", *cells])
    total, trainable = sum(row[1] for row in rows), sum(row[2] for row in rows)
    footer = ["all", f"{total:,}", f"{trainable:,} ({share(trainable, total)})"]
    header = ["stage", "parameters", "trainable", "learning rate"]
    header += [key.replace("from_", "first_").replace("_", " ") for key in extra]
    log_table(f"{strategy} on {backbone}", header, lines, footer)


def print_classes(root: Path, splits: Mapping[str, ImageSplit]) -> None:
    """Print how many images each class has in each split."""
    names, counts = next(iter(splits.values())).classes, [Counter(images.labels) for images in splits.values()]
    rows = [[name, *(f"{count[label]:,}" for count in counts)] for label, name in enumerate(names)]
    log.info(f"Classes in {root}")
    totals = [f"{len(names):,} classes", *(f"{count.total():,}" for count in counts)]
    log_table("", ["class", *splits], rows, totals)


def print_setup(result: Mapping[str, Any], classes: int, device: str, cached: bool) -> None:
    """Print on which images, device and epochs a run will train, and what of it is kept; ``result`` is its record."""
    data, prefix = result["data"], result["prefix"] or {}
    kept = "decoded images" if cached else "nothing"
    if stop := prefix.get("stop"):
        # A head that is solved has no epochs, and all its images are kept.
        fresh = ", not of training images, which are new in each epoch" * bool(result["epochs"])
        views = f", {prefix['views']} views of each training image" if prefix["views"] else fresh
        kept += f", outputs of the frozen stages before {stop}{views}"
    log.info(f"Data    {data['name']}, {classes:,} classes; images: {split_sizes(data)}")
    log.info(f"Device  {device}, {result['epochs'] or 'no'} epochs")
    log.info(f"Cached  {kept}")


def print_outcome(result: Mapping[str, Any], folder: Path) -> None:
    """Print the final scores and times; the last line names the run's folder."""
    for split in ("val", "test"):
        scores = result[split]
        text = "not measured"
        if scores["loss"] is not None:
            shares = [f"{name.replace('_', ' ')} {score:.1%}" for name, score in scores.items() if name != "loss"]
            text = f"{', '.join(shares)}, loss {scores['loss']:.3f}  ({result['measured'][split]:,} images)"
        log.info(f"{split:4}  {text}")
    took = {name.replace("cold", "with an empty cache"): seconds for name, seconds in result["seconds"].items()}
    log.info(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items() if seconds >= 0.05))
    log.info(f"Run folder: {folder}")


def comparison_table(groups: Sequence[RunGroup], metric: Metric = METRICS[0]) -> tuple[list[str], list[list[str]]]:
    """The article's table, where ``metric`` selects: titles, and a row per group, mean ± standard deviation over its seeds."""
    columns: dict[str, Callable[[RunGroup], str]] = {
        "strategy": lambda group: group.label,
        "seeds": list_seeds,
        "trainable parameters": lambda group: f"{group.trainable:,} ({share(group.trainable, group.total)})",
        "learning rates": list_rates,
        f"val {metric.title}": lambda group: format_values(group.val_scores(metric), metric),
        "test accuracy": lambda group: percent(group.values("test", "accuracy")),
        "final val loss": lambda group: mean_and_spread(group.values("val", "loss"), 3),
    }
    return list(columns), [[cell(group) for cell in columns.values()] for group in groups]


def print_comparison(groups: Sequence[RunGroup], metric: Metric = METRICS[0], best: str | None = None) -> None:
    """Print a comparison's table in 80 columns: settings, seeds, rates and spreads below one another; ``best`` is marked."""
    titles, table = comparison_table(groups, metric)
    header = [title.replace(" ", "\n", 1) for title in titles if title != "seeds"]
    rows = []
    for label, seeds, trainable, rates, *scores in table:
        name = f"{label} seeds {seeds}".replace(" ", "\n  ", label.count(" ") + 1)
        name += "\n  best on val" if label == best else ""
        scores = [score.replace(" ±", "\n±") for score in scores]
        rows.append([name, trainable.replace(" ", "\n", 1), rates.replace(", ", "\n"), *scores])
    log_table("Comparison", header, rows, left=[header[2]], padding=(0, 0))


def list_rates(group: RunGroup) -> str:
    """The learning rate of each parameter group, and whether the head was solved."""
    first = group.runs[0].result
    rates = [f"{name} {rate:.3g}" for name, rate in first["learning_rates"].items()]
    neighbours = first.get("solved_head", {}).get("neighbours")
    heads = [f"{neighbours} neighbours" if neighbours else "head solved"] * ("solved_head" in first)
    return ", ".join(heads + rates)


def list_seeds(group: RunGroup) -> str:
    return shorten([str(seed) for seed in group.seeds], most=6)


def share(part: int, whole: int) -> str:
    """A share in percent with three significant digits: 0.466 %."""
    return f"{100 * part / whole:.3g} %"
