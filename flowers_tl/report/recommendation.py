"""Which strategy at which budget: a validation score selects it, the test images show what the selection is worth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from flowers_tl.report.paired_tests import PairedDifference, compare, points
from flowers_tl.report.summary import ComparisonSummary, StrategySummary
from flowers_tl.results.scores import percent
from flowers_tl.results.terminal_tables import share
from flowers_tl.utils.errors import shorten


@dataclass(frozen=True)
class Step:
    """From this budget on the strategy is the best on val; ``evidence`` is what the test images show.

    ``decided`` is false where the test images do not show that it is better than an earlier step.
    """

    budget: str
    label: str
    scores: str
    evidence: str
    decided: bool


@dataclass(frozen=True)
class Recommendation:
    """The best strategies as one budget grows."""

    title: str
    steps: list[Step]
    # A sentence on the strategies that cost more than a step and are no better, or nothing.
    no_better: str


def by_train_images(summary: ComparisonSummary) -> list[ComparisonSummary]:
    """The comparison of each number of training images, the largest first: budgets can only be compared within one."""
    sizes = {strategy.train_images for strategy in summary.strategies}
    return [
        replace(summary, strategies=[s for s in summary.strategies if s.train_images == size])
        for size in sorted(sizes, key=lambda size: -(size or 0))
    ]


def size_title(summary: ComparisonSummary) -> str:
    """The heading of one number of training images."""
    size = summary.strategies[0].train_images
    return "Training images: " + ("not on record" if size is None else f"{size:,}")


def recommend(summary: ComparisonSummary) -> list[Recommendation]:
    """One by seconds, one by trainable parameters, as far as these were measured."""
    budgets = (
        ("As time grows", lambda s: s.seconds.mean, lambda s: f"from {seconds(s.seconds.mean)} s per run"),
        (
            "As trainable parameters grow",
            lambda s: s.trainable,
            lambda s: f"from {s.trainable:,} ({share(s.trainable, s.total)})",
        ),
    )
    recommendations = [recommend_by(summary, *budget) for budget in budgets]
    return [recommendation for recommendation in recommendations if recommendation.steps]


def recommend_by(
    summary: ComparisonSummary,
    title: str,
    cost: Callable[[StrategySummary], float],
    budget: Callable[[StrategySummary], str],
) -> Recommendation:
    """Take each strategy that costs more than the steps before it and has a better validation score.

    It is compared with the last step that was significantly better than the one it was compared with: a step whose gain is not
    significant is no reference.
    """
    steps: list[Step] = []
    no_better: list[str] = []
    best: StrategySummary | None = None
    reference: StrategySummary | None = None
    measured = [s for s in summary.strategies if np.isfinite([s.val.mean, cost(s)]).all()]
    sign = summary.metric.sign
    for strategy in sorted(measured, key=lambda strategy: (cost(strategy), -sign * strategy.val.mean)):
        if best is not None and sign * strategy.val.mean <= sign * best.val.mean:
            no_better.append(strategy.label)
            continue
        best = strategy
        score = summary.val_title.replace("validation accuracy", "validation")
        scores = f"{score} {strategy.val_text}, test {percent(strategy.accuracy.values)}"
        if reference is None:
            steps.append(Step(budget(strategy), strategy.label, scores, "", True))
            reference = strategy
            continue
        difference = compare(summary, strategy, reference)
        evidence = f"{describe_difference(summary, strategy, reference, difference)}."
        decided = difference is None or difference.interval.low > 0
        steps.append(Step(budget(strategy), strategy.label, scores, evidence, decided))
        if difference is not None and decided:
            reference = strategy
    rest = f"More expensive and no better by {summary.val_title}: {shorten(no_better, most=6)}." if no_better else ""
    return Recommendation(title, steps, rest)


def describe_difference(
    summary: ComparisonSummary, better: StrategySummary, other: StrategySummary, difference: PairedDifference | None
) -> str:
    """What the test images show of two strategies, of which the first has the better validation score."""
    if difference is not None:
        contrary = f", although the other has the better {summary.val_title}" if difference.interval.high < 0 else ""
        return difference.sentence() + contrary
    gap = better.accuracy.mean - other.accuracy.mean
    known = f"difference {points(gap)} points, no confidence interval without predictions by image"
    return f"{better.label} against {other.label}: {'not tested' if np.isnan(gap) else known}"


def cautions(summary: ComparisonSummary) -> list[str]:
    """What else may differ between the groups, and how far the recommendation goes."""
    sentences, first, title = [], summary.strategies[0], summary.val_title
    if len(summary.strategies) > 1:
        sentences += [
            f"{title.capitalize()} alone selects; the test images are only reported. The {title} of the best of many is "
            f"slightly too {'high' if summary.metric.sign > 0 else 'low'}, its test accuracy is not.",
            "Seconds are those with an empty cache: what a run took from its cache counts as when it was computed."
            if first.cold
            else "Seconds are as recorded: a run that finds images and features in the cache is faster.",
        ]
    # A head that was solved has 0 epochs.
    epochs = sorted({int(n) for strategy in summary.strategies for n in strategy.epochs.values if n > 0})
    if len(epochs) > 1:
        sentences.append(
            f"The runs had different numbers of epochs ({', '.join(f'{n:,}' for n in epochs)}): more epochs for those "
            "with fewer might change the result."
        )
    if len(by_train_images(summary)) > 1:
        sentences.append(
            "Groups with different numbers of training images differ in more than their strategy; there is one "
            "recommendation for each number."
        )
    return sentences


def seconds(value: float) -> str:
    """Seconds, with a tenth where there are few."""
    return f"{value:,.{1 if value < 10 else 0}f}"
