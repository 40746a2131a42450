"""What the images that an audit leaves out do to test accuracy, and to the order of the strategies."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from flowers_tl.data.exclusions import CONFIRMED, Exclusions
from flowers_tl.report.paired_tests import points, span
from flowers_tl.report.summary import ComparisonSummary
from flowers_tl.results.predictions import SplitPredictions
from flowers_tl.results.statistics import change_without, top_k
from flowers_tl.utils.errors import UserError


def describe_exclusion(summary: ComparisonSummary, exclusions: Exclusions) -> list[str]:
    """Sentences for a comparison: which test images are left out, each strategy without them, and the order.

    Raises:
        UserError: if the audit is not about these images, or no run has predictions by image.
    """
    strategies = summary.with_predictions
    if not strategies:
        raise UserError(f"exclude={exclusions.file} needs predictions by image, and no run has any: leave it out.")
    lines, kept = left_out(exclusions, "test", summary.test.images)
    if kept.all():
        return lines
    hits = {strategy.label: strategy.predictions.correct for strategy in strategies}
    lines += [f"{label}: {describe_change(each, kept)}" for label, each in hits.items()]
    orders = [sorted(hits, key=lambda label: -hits[label][:, some].mean()) for some in (np.full(len(kept), True), kept)]
    if len(hits) > 1:
        before, after = map(", ".join, orders)
        same = "The order of the strategies by test accuracy is the same without these images."
        changed = f"Without these images the order by test accuracy changes from {before} to {after}."
        lines.append(same if before == after else changed)
    return lines


def describe_without(exclusions: Exclusions, split: str, predictions: SplitPredictions) -> list[str]:
    """Sentences for an evaluation of one network."""
    lines, kept = left_out(exclusions, split, predictions.images)
    hits = top_k(predictions.logits, predictions.labels, 1)
    return lines if kept.all() else [*lines, f"W{describe_change(hits, kept)[1:]}"]


def left_out(exclusions: Exclusions, split: str, images: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Which of a split's images are left out, in words, and for each image whether it is kept, bool (images,)."""
    why = exclusions.measured(split, images)
    kept = np.array([image not in why for image in images])
    reasons = ", ".join(f"{count:,} with {reason}" for reason, count in Counter(why.values()).most_common())
    lines = [
        f"{len(why):,} of {len(images):,} {split} images are left out by {exclusions.file.name}{reasons and f': {reasons}'}."
    ]
    if CONFIRMED in why.values():
        lines.append(
            "Leaving out images because a model gets them wrong raises accuracy by itself: confirm a suspect only by looking at it."
        )
    return lines, kept


def describe_change(hits: ArrayLike, kept: np.ndarray) -> str:
    """How accuracy, of ``hits`` (seeds, images), changes when only some images are ``kept``."""
    hits = np.atleast_2d(np.asarray(hits))
    change = change_without(hits, kept)
    falls = change.value < 0
    shown = -change if falls else change
    scores = f"from {100 * hits.mean():.2f} % to {100 * hits[:, kept].mean():.2f} %"
    limits = f"95 % CI {span(shown, 2)}, over {change.over}"
    return f"without them accuracy {'falls' if falls else 'rises'} by {points(shown.value, 2)} points ({limits}), {scores}."
