"""Search for settings by val accuracy: ``python -m flowers_tl.search 'strategy.table.0.lr=tag(log,interval(1e-5,1e-2))'``."""

import argparse
import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

from flowers_tl.utils.errors import UserError, exit_on_error, print_error, validate_not_empty

HELP = """Search for good settings with Optuna: what has several values is searched, by val accuracy with the final weights
and never by test. The same command goes on where it was stopped, and with a larger --trials from where it ended."""


def main(arguments: list[str] | None = None) -> None:
    """Run the search that the command line asks for, or go on with it; print what it found."""
    parser = argparse.ArgumentParser(prog="python -m flowers_tl.search", description=HELP)
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many settings to try (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the proposals; the runs' is seed=N")
    parser.add_argument("--no-pruning", action="store_true", help="let trials that fall behind go on to their end")
    again = "at the end run the best anew with N other seeds, and test it"
    parser.add_argument("--confirm-seeds", type=int, default=0, metavar="N", help=again)
    parser.add_argument("--folder", help="where all goes (default: search_HASH-OF-THE-COMMAND below runs)")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with strategies and the like of your own")
    words = "what train takes; searched: KEY=a,b  KEY=range(1,4)  KEY=interval(0,0.3)  KEY=tag(log,interval(1e-5,1e-2))"
    parser.add_argument("overrides", nargs="+", metavar="key=value", help=words)
    given = parser.parse_intermixed_args(arguments)
    with exit_on_error():
        try:
            search(**vars(given))
        except (KeyboardInterrupt, SystemExit) as stop:
            # Lightning turns Ctrl-C into sys.exit(1) and SIGTERM into an exit that looks like success.
            terminated = type(stop).__name__ == "SIGTERMException"
            if not (terminated or isinstance(stop.__context__ or stop, KeyboardInterrupt)):
                raise
            print_error("interrupted; the same command goes on.")
            raise SystemExit(143 if terminated else 130) from None


def search(
    overrides: list[str],
    trials: int = 20,
    seed: int = 0,
    no_pruning: bool = False,
    confirm_seeds: int = 0,
    folder: str | Path | None = None,
    config_dir: str | None = None,
) -> Any:
    """Try ``trials`` settings, those counted that the folder's search has tried before; print and return Optuna's study.

    Raises:
        UserError: if the space makes no sense, the folder holds another search, or all trials fail.
    """
    validate_not_empty({"folder": folder, "config-dir": config_dir})
    if trials < 1 or confirm_seeds < 0 or seed < 0:
        raise UserError("--trials must be at least 1, --seed and --confirm-seeds at least 0.")
    from flowers_tl.tuning.search_space import read_space

    space = read_space(overrides, os.path.abspath(config_dir) if config_dir else None)
    for config in space.configs():
        validate_trial_config(config)
    asked = {"overrides": sorted(overrides), "seed": seed, "pruning": not no_pruning}
    name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
    try:
        from flowers_tl.tuning.study import Search, print_best
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError("A search needs Optuna: pip install 'flowers_tl[search]'.") from error
    with Search(Path(folder or f"{config['runs']}/search_{name}"), space, asked) as running:
        print(f"Search folder: {running.folder}")
        running.run(trials)
        command = ["python", "-m", "flowers_tl.train", *(["--config-dir", config_dir] if config_dir else [])]
        fixed = [word for word in space.fixed if not word.startswith("hydra.")]
        best = print_best(running.study, space)
        print(f"The best: {shlex.join([*command, *fixed, *best])}")
        if confirm_seeds:
            confirm(space.compose(best), confirm_seeds, running.folder)
    return running.study


def validate_trial_config(config: dict[str, Any]) -> None:
    """Raise UserError for what a trial can't be."""
    wrong = {
        "trainer.devices": str(config["trainer"]["devices"]) != "1",
        "trainer.limit_test_batches": config["trainer"]["limit_test_batches"] is not None,
        "trainer.limit_val_batches": config["trainer"]["limit_val_batches"] == 0,
        "data.protocol": config["data"].get("protocol") == "trainval",
        "heads": any(config["heads"][key] is not None for key in ("lr", "weight_decay"))
        or config["heads"]["seeds"] != 1,
        **{key: bool(config[key]) for key in ("test_best", "ckpt_path", "print_strategy")},
    }
    if found := [key for key, is_wrong in wrong.items() if is_wrong]:
        raise UserError(
            f"{found[0]} does not go with a search: each trial is one whole run on one device, measured on val and not on test."
        )


def confirm(config: dict[str, Any], seeds: int, folder: Path) -> None:
    """Run the best settings with seeds that the search has not seen, test included; print val and test."""
    import numpy as np

    from flowers_tl.results.load_runs import percent
    from flowers_tl.training.run_once import train_once

    results = []
    for seed in range(config["seed"] + 1, config["seed"] + 1 + seeds):
        results.append(train_once(config | {"seed": seed}, folder / "confirm" / f"seed{seed}", beside=[folder]))
    found = {split: np.array([result[split]["accuracy"] for result in results]) for split in ("val", "test")}
    print(f"{seeds} other seeds: " + ", ".join(f"{split} accuracy {percent(found[split])}" for split in found))


if __name__ == "__main__":
    main()
