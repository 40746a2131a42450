"""Advice for some images: a depth profile, a race of strategies within a budget of time, a test, and the answer."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowers_tl.advising.answer import write_answer
from flowers_tl.advising.candidates import STRATEGIES, list_backbones, list_candidates
from flowers_tl.advising.race import Race
from flowers_tl.utils.errors import UserError
from flowers_tl.utils.files import validate_folder
from flowers_tl.utils.notes import log, log_note

UNITS = {"s": 1, "m": 60, "h": 3600}


def advise(
    overrides: Sequence[str],
    budget: str = "30m",
    backbone: str | None = None,
    strategy: str | None = None,
    matters: float = 0.5,
    out: Path | None = None,
    config_dir: Path | None = None,
) -> dict[str, Any]:
    """Find out which strategy suits these images, and stop when that is decided or the budget is spent.

    Args:
        overrides: keys of the command ``train`` that all runs get.
        budget: seconds, minutes or hours: ``90s``, ``30m``, ``1h30m``.
        backbone: see :func:`flowers_tl.advising.candidates.list_backbones`.
        strategy: names, separated by commas; None: :data:`flowers_tl.advising.candidates.STRATEGIES`.
        matters: a difference in accuracy, in points, that is too small to matter.
        out: folder of the answer and the runs; None is named after the question, below ``runs``.
        config_dir: a folder with further choices.

    Returns:
        The content of advice.json.

    Raises:
        UserError: if no strategy fits, the budget is shorter than a pass of the images, or val is too small to decide anything.
    """
    limit = read_budget(budget)
    if not 0 <= matters < 100:
        raise UserError(f"matters={matters} must be a difference in points, from 0 to below 100.")
    validate_folder(out, "out")
    for word in overrides:
        if re.fullmatch(r"[^=]+=[^\[{'\"]*,.*", word):
            raise UserError(
                f"{word} has several values, and all runs here share one: give one. Seeds are chosen here, and several networks "
                "go into backbone=A,B."
            )
    names = STRATEGIES if strategy is None else [name.strip() for name in strategy.split(",")]
    candidates, left_out = list_candidates(names, list_backbones(backbone), overrides, config_dir)
    # Where runs are looked for is no part of the question.
    words = sorted(word for word in overrides if not word.startswith("runs="))
    # Nor do names say what strategies are: their files may be changed.
    tables = {one.name: one.config["strategy"] for one in candidates}
    question = {"overrides": words, "backbone": backbone, "strategies": tables, "matters": matters}
    code = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:8]
    with Race(Path(out or f"{candidates[0].config['runs']}/advice_{code}"), candidates, question, limit) as race:
        log.info(f"Folder: {race.folder}")
        for sentence in left_out:
            log_note(sentence)
        profiles = race.look()
        race.run()
        race.test()
        return write_answer(race, profiles, left_out)


def read_budget(text: str) -> float:
    """Seconds of ``90s``, ``30m`` or ``1h30m``. Raises UserError for another text."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise UserError(f"budget={text} is no time: write 90s, 30m or 1h30m.")
    return seconds
