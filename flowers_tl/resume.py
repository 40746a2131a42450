"""Going on where a run stopped: which checkpoint, and what the run's own settings say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from flowers_tl.config import WITHOUT_EFFECT
from flowers_tl.errors import UserError, shorten

# What may differ from the run that is gone on with: it changes no result, or only what comes after.
FREE = (*WITHOUT_EFFECT, "trainer.max_epochs")


def find_checkpoint(ckpt_path: str, folder: str | Path) -> Path:
    """Return the checkpoint that ``ckpt_path`` names: ``last`` is the newest in the run's ``folder``.

    Raises:
        UserError: if it is not there: a run that was told to go on never begins anew without a word.
    """
    if ckpt_path == "last":
        checkpoint = Path(folder) / "checkpoints" / "last.ckpt"
        if not checkpoint.is_file():
            raise UserError(
                f"ckpt_path=last finds nothing to go on from: {checkpoint} is not there; name the run's folder with "
                "hydra.run.dir=DIR, or leave ckpt_path out to begin anew."
            )
        return checkpoint
    checkpoint = Path(ckpt_path)
    if not checkpoint.is_file():
        raise UserError(
            f"ckpt_path={ckpt_path} is not a file: name a checkpoint, or say ckpt_path=last hydra.run.dir=DIR."
        )
    return checkpoint


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Load a checkpoint; raise UserError if it can't be gone on from."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        _ = content["epoch"], content["state_dict"], content["loops"], content["hyper_parameters"]["strategy"]
    except Exception as error:  # torch.load raises nearly anything on a file that is not its own
        raise UserError(
            f"{checkpoint} is no checkpoint that training can go on from: name one that a run has left."
        ) from error
    return content


def settle(config: dict[str, Any], checkpoint: Path, given: Sequence[str]) -> dict[str, Any]:
    """Return the settings with which to go on: the run's own, in which the command line may only repeat them.

    Args:
        config: what was composed from defaults and command line.
        checkpoint: whose run's ``config.yaml`` lies two folders up; without one, ``config`` is taken as it is.
        given: keys and groups that the command line names (``strategy``, ``trainer.max_epochs``).

    Raises:
        UserError: if the command line names a setting that the run does not have, but for :data:`FREE`.
    """
    file = checkpoint.parent.parent / "config.yaml"
    if not file.is_file():
        return config
    try:
        saved = dict(yaml.safe_load(file.read_text()))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UserError(f"{file} can't be read as the run's settings: put it right, or begin a new run.") from error
    wrong: list[str] = []

    def merged(new: Any, old: Any, path: str) -> Any:
        if isinstance(new, dict) and isinstance(old, dict):
            keys = [*old, *(key for key in new if key not in old)]
            return {
                key: merged(new.get(key), old.get(key, new.get(key)), f"{path}.{key}" if path else key) for key in keys
            }
        named = any(path == key or path.startswith(key + ".") or key.startswith(path + ".") for key in given)
        if named and new != old and path not in FREE:
            wrong.append(f"{path}={old}")
        return new if named and path in FREE else old

    settled = merged(config, saved, "") | {"ckpt_path": config["ckpt_path"], "print_strategy": config["print_strategy"]}
    if wrong:
        raise UserError(
            f"The run of {checkpoint} can't go on with other settings than its own, which were {shorten(wrong)}: leave them out, "
            "or begin a new run without ckpt_path."
        )
    name, longer = settled["scheduler"]["name"], settled["trainer"]["max_epochs"] != saved["trainer"]["max_epochs"]
    if longer and name != "constant":
        raise UserError(
            f"trainer.max_epochs can't change while scheduler={name} counts on {saved['trainer']['max_epochs']}: begin a new run."
        )
    return settled


def refuse_mismatch(content: dict[str, Any], hyper_parameters: dict[str, Any], checkpoint: Path) -> None:
    """Raise UserError if a checkpoint's network or strategy is not this run's."""
    for key in ("backbone", "num_classes", "strategy", "seed"):
        theirs, ours = content["hyper_parameters"].get(key), hyper_parameters[key]
        if theirs != ours:
            raise UserError(
                f"{checkpoint} was trained with another {key}: {theirs}, not {ours}; give this run the same."
            )
