"""A search: its space, its trials, the best settings, and their confirmation with other seeds."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowers_tl.config.keys import validate_conflicts
from flowers_tl.utils.errors import UserError, needs_extra, validate_count, validate_not_empty
from flowers_tl.utils.files import validate_folder
from flowers_tl.utils.notes import log

if TYPE_CHECKING:
    import optuna


def search(
    overrides: Sequence[str],
    trials: int = 20,
    search_seed: int = 0,
    pruning: bool = True,
    confirm_seeds: int = 0,
    folder: Path | None = None,
    config_dir: Path | None = None,
) -> "optuna.Study":
    """Try settings until so many trials have ended; those of an earlier search in the same folder count.

    Args:
        overrides: what the command ``train`` takes; those with several values are searched.
        trials: how many.
        search_seed: of the proposals.
        pruning: whether trials that fall behind are stopped.
        confirm_seeds: number of other seeds with which the best settings are run again and tested.
        folder: of the search; None is named after the search, below ``runs``.
        config_dir: a folder with further choices.

    Raises:
        UserError: if the space makes no sense, the folder holds another search, or all trials fail.
    """
    validate_count("trials", trials)
    validate_count("search_seed", search_seed, 0)
    validate_count("confirm_seeds", confirm_seeds, 0)
    validate_not_empty({"folder": folder, "config_dir": config_dir})
    validate_folder(folder, "folder")
    # Imported here: they need torch, which takes seconds.
    with needs_extra("optuna", "A search needs Optuna", "search"):
        from flowers_tl.tuning.search_space import read_space
        from flowers_tl.tuning.study import Search, print_best
    from flowers_tl.results.scores import read_monitor
    from flowers_tl.training.validate import validate_jobs

    space = read_space(overrides, config_dir)
    configs = list(space.configs())
    for config in configs:
        validate_trial_config(config)
    if len({config["monitor"] for config in configs}) > 1:
        raise UserError("monitor can't be searched, since trials are judged by it: give it one value.")
    # Of several parameters a value may be right beside other values than those that stand beside it here.
    alone = len(space.parameters) == 1
    validate_jobs([([str(number) if alone else "all"], config) for number, config in enumerate(configs)])
    # The content of search.json.
    identity = {"overrides": sorted(overrides), "seed": search_seed, "pruning": pruning}
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    metric = read_monitor(config["monitor"])
    with Search(Path(folder or f"{config['runs']}/search_{name}"), space, identity, metric) as running:
        log.info(f"Search folder: {running.folder}")
        running.run(trials)
        command = ["python", "-m", "flowers_tl.train", *(["--config-dir", str(config_dir)] if config_dir else [])]
        fixed = [word for word in space.fixed if not word.startswith("hydra.")]
        best = print_best(running.study, space, metric)
        log.info(f"To train with the best settings: {shlex.join([*command, *fixed, *best])}")
        if confirm_seeds:
            confirm(space.compose(best), confirm_seeds, running.folder)
    return running.study


def validate_trial_config(config: Mapping[str, Any]) -> None:
    """Raise UserError for settings that a trial can't have."""
    conflicts = {
        "trainer.devices": str(config["trainer"]["devices"]) != "1",
        "trainer.limit_val_batches": config["trainer"]["limit_val_batches"] == 0,
    }
    validate_conflicts(
        config, conflicts, "in a search (each trial is one whole run on one device, measured only on val)"
    )


def confirm(config: dict[str, Any], seeds: int, folder: Path) -> None:
    """Run the best settings with other seeds than the search, test included; log val and test accuracy."""
    import numpy as np

    from flowers_tl.results.scores import percent
    from flowers_tl.training.run_once import train_once

    results = []
    for seed in range(config["seed"] + 1, config["seed"] + 1 + seeds):
        results.append(train_once(config | {"seed": seed}, folder / "confirm" / f"seed{seed}", other_folders=[folder]))
    val, test = (percent(np.array([result[split]["accuracy"] for result in results])) for split in ("val", "test"))
    log.info(f"{seeds} other seeds: val accuracy {val}, test accuracy {test}")
