"""What article.json says: tables beside the article's figures, an answer to each claim, and the figure of the curves."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from markupsafe import Markup
from scipy.stats import t

from benchmarks.article import STRATEGIES
from flowers_tl.cli.options import Positional, command
from flowers_tl.report.curves import draw_curves
from flowers_tl.report.paired_tests import points
from flowers_tl.results.load_runs import Run, RunGroup
from flowers_tl.results.scores import mean_and_spread, percent
from flowers_tl.results.statistics import Interval, difference
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import atomic_write
from flowers_tl.utils.templates import markdown_table

# What the article reports (Melo 2026): one run of each strategy.
ARTICLE = {
    "feature_extraction": {"parameters": 52_326, "val": 0.857, "test": 0.837, "loss": 0.7367},
    "fine_tuning": {"parameters": 8_446_054, "val": 0.925, "test": 0.902, "loss": 0.3378},
}
SPLITS, LEVEL = ("val", "test"), 0.95
HEADER = ("strategy", "mode of frozen BatchNorm", "seeds", "trainable parameters",
          "validation accuracy", "test accuracy", "final validation loss")  # fmt: skip
CLAIM_HEADER = ("claim", "answer", "difference in test accuracy, points (95 % CI); above 0 supports the claim", "seeds")
# The article's accuracies have three digits. A tolerance of more than three points would check nothing.
ROUNDED, WIDEST = 0.0005, 0.03

# A variant, and what frozen BatchNorm does.
Group = tuple[str, str]
Groups = Mapping[Group, Sequence[Mapping[str, Any]]]
EXTRACTION, TUNING = ("feature_extraction", "train"), ("fine_tuning", "train")


class Claim(NamedTuple):
    """A sentence that is true if the first group is better than the second on the test images."""

    text: str
    better: Group
    worse: Group


CLAIMS = (
    Claim("Fine-tuning layer4 is better than feature extraction.", TUNING, EXTRACTION),
    Claim("A rate of 1e-3 for both layer4 and head is worse than 1e-4 for layer4 and 1e-3 for the head.",
          TUNING, ("one rate of 1e-3", "train")),
    Claim("A rate of 1e-3 for layer4 destroys what layer4 had learned: the network with layer4 frozen is better.",
          EXTRACTION, ("one rate of 1e-3", "train")),
    Claim("A rate of 1e-4 for both layer4 and head is worse than 1e-4 for layer4 and 1e-3 for the head.",
          TUNING, ("one rate of 1e-4", "train")),
    Claim("Pretrained weights with only a new head are better than training from scratch.",
          EXTRACTION, ("from_scratch", "train")),
    Claim("Training all layers (1e-4, head 1e-3) is better than training only layer4 and the head.",
          ("all layers", "train"), TUNING),
    Claim("Feature extraction is better with frozen BatchNorm in eval mode.", ("feature_extraction", "eval"), EXTRACTION),
    Claim("Fine-tuning is better with frozen BatchNorm in eval mode.", ("fine_tuning", "eval"), TUNING),
)  # fmt: skip


@dataclass(kw_only=True)
class SummaryOptions:
    """Print the tables and answers that follow from an article.json."""

    file: Annotated[Path, Positional("FILE", lambda word: "=" not in word or Path(word).exists())]
    """What benchmarks.article wrote."""
    figure: Path | None = None
    """Also draw the article's figure into this PNG."""
    check: bool = False
    """Check the article's four accuracies; exit code 1 unless all are met."""


@command
def main(options: SummaryOptions) -> int | None:
    """Print the summary of a file."""
    try:
        data = json.loads(options.file.read_text(encoding="utf-8"))
        _ = data["weights"], data["runs"], data["imagenet"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{options.file} can't be read as what benchmarks.article writes: give its article.json."
        ) from error
    return report(data, None, options.figure, options.check)


def report(data: Mapping[str, Any], page: Path | None, figure: Path | None, check: bool) -> int | None:
    """Print the summary, write it and the figure; return the exit code where the accuracies are checked."""
    lines, met = summarize(data), True
    for weights in data["weights"] if check else ():
        checked = check_accuracies(find_groups(data, weights))
        met &= all(good for _, good in checked)
        lines += ["", f"The article's accuracies with {Path(weights).name}:", *(f"- {line}" for line, _ in checked)]
    print("\n".join(lines))
    if page:
        with atomic_write(page) as beside:
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if figure:
        draw(find_groups(data, data["weights"][0]), figure)
    return int(not met) if check else None


def find_groups(data: Mapping[str, Any], weights: str) -> Groups:
    """The finished runs that begin from these weights, or from random ones, by group and in the order of their seeds."""
    groups: dict[Group, list[dict[str, Any]]] = {}
    for row in sorted(data["runs"], key=lambda row: row["seed"]):
        if row["weights"] in (Path(weights).name, "random"):
            groups.setdefault((row["variant"], row["frozen_batchnorm"]), []).append(row)
    return groups


def draw(groups: Groups, path: Path) -> None:
    """The article's figure: train loss, validation loss and accuracy by epoch, with the spread of the seeds."""
    shown = []
    for name in STRATEGIES:
        histories = [row["history"] for row in groups.get((name, "train"), ())]
        runs = [Run(Path(), {}, {}, {key: np.array(values) for key, values in one.items()}) for one in histories]
        shown += [RunGroup(name, tuple(runs))] if runs else []
    if shown:
        draw_curves(shown, path)


def summarize(data: Mapping[str, Any]) -> list[str]:
    """Markdown: a table of accuracies and a table of answers to the claims, for each weights file."""
    lines = []
    for weights in data["weights"]:
        groups = find_groups(data, weights)
        lines += ["", f"## {Path(weights).name}", "", *table(groups), ""]
        lines += markdown_table(CLAIM_HEADER, [answer(claim, groups) for claim in CLAIMS]).splitlines()
        if view := data["imagenet"].get(Path(weights).name):
            seen = ", ".join(f"{name} {points(share)} %" for name, share in list(view["top5"].items())[:8])
            daisy = f"For {points(view['daisy']['top1'])} % daisy is the most likely class."
            lines += [
                "",
                f"Share of {view['images']:,} images with this class among the five most likely: {seen}. {daisy}",
            ]
    return lines[1:]


def table(groups: Groups) -> list[str]:
    """A row for each group, the article's figures above the two that it measured; in brackets the difference from them."""
    rows = []
    for (variant, mode), members in groups.items():
        seeds, parameters = ", ".join(str(row["seed"]) for row in members), members[0]["parameters"]["trainable"]
        cells = [percent(values(members, split)) for split in SPLITS]
        if mode == "train" and (article := ARTICLE.get(variant)):
            figures = [f"{points(article[split])} %" for split in SPLITS]
            rows += [(f"{variant}, the article", "", "", f"{article['parameters']:,}", *figures, article["loss"])]
            cells = [
                f"{cell} ({signed(values(members, split).mean() - article[split])})"
                for cell, split in zip(cells, SPLITS, strict=True)
            ]
        rows += [(variant, mode, seeds, f"{parameters:,}", *cells, mean_and_spread(values(members, "val", "loss"), 4))]
    return markdown_table(HEADER, rows).splitlines()


def values(rows: Sequence[Mapping[str, Any]], split: str, score: str = "accuracy") -> np.ndarray:
    """A score of each run."""
    return np.array([row[split][score] for row in rows])


def signed(share: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"+{text}" if (text := points(share))[0] != "\N{MINUS SIGN}" and float(text) else text


def answer(claim: Claim, groups: Groups) -> tuple[str, str, str, str]:
    """The claim, what became of it, and from which numbers that follows."""
    a, b = ({row["seed"]: row for row in groups.get(group, ())} for group in (claim.better, claim.worse))
    if not (seeds := sorted(a.keys() & b.keys())):
        return claim.text, "not measured", "", ""
    sides = (np.stack([hits(side[seed]) for seed in seeds]) for side in (a, b))
    interval = difference(*sides, level=LEVEL, paired=True)
    numbers = f"{points(interval.value)} ({points(interval.low)} to {points(interval.high)})"
    return claim.text, Markup(f"**{decide(interval)}**"), numbers, ", ".join(map(str, seeds))


def decide(interval: Interval) -> str:
    """The rule: a claim holds if its interval lies above 0, does not hold if it lies below, and else is not decided.

    The interval must be over new images and new seeds: one or two seeds decide nothing.
    """
    if interval.over == "images and seeds":
        if interval.low > 0:
            return "holds"
        if interval.high < 0:
            return "does not hold"
    return "not decided"


def hits(row: Mapping[str, Any]) -> np.ndarray:
    """Whether each test image was classified rightly, bool (images,)."""
    bits = np.frombuffer(base64.b64decode(row["hits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=row["images"]).astype(bool)


def check_accuracies(groups: Groups) -> list[tuple[str, bool]]:
    """Whether the article's four accuracies are met: a sentence for each, and the answer.

    The article's figure is one run with a seed of its own. Of n seeds with standard deviation s, one more run lies within
    t * s * sqrt(1 + 1/n) of their mean in 95 of 100 cases (the prediction interval of a normal sample). The article's
    rounding is added, and the tolerance is never wider than :data:`WIDEST`.
    """
    checked = []
    for strategy, figures in ARTICLE.items():
        for split in SPLITS:
            accuracies = values(groups.get((strategy, "train"), ()), split)
            title = f"{strategy}, {split}: the article {points(figures[split])} %"
            if len(accuracies) < 2:
                checked.append((f"{title}; not checked, which takes two seeds", False))
                continue
            spread = accuracies.std(ddof=1) * np.sqrt(1 + 1 / len(accuracies))
            tolerance = min(WIDEST, t.ppf((1 + LEVEL) / 2, len(accuracies) - 1) * spread + ROUNDED)
            met = bool(abs(accuracies.mean() - figures[split]) <= tolerance)
            distance = f"{signed(accuracies.mean() - figures[split])} points, tolerance {points(tolerance)}"
            checked.append((f"{title}, here {percent(accuracies)} ({distance}): {'met' if met else 'not met'}", met))
    return checked


if __name__ == "__main__":
    main()
