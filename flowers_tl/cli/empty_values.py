"""Hydra's callback before Hydra makes a folder: it refuses empty values and a sweep with nothing to continue, and
knows which folders are made."""

from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowers_tl.cli.exit import print_error
from flowers_tl.config.compose import without_hydra
from flowers_tl.utils.errors import UserError, validate_not_empty


class EmptyValues(Callback):
    """Ends a command whose config, folders or sweep hold an empty value, and a sweep with ckpt_path=last and no checkpoint."""

    # What Hydra makes for the run of this process, the innermost first: it keeps the object to itself.
    made: ClassVar[list[Path]] = []

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            task = without_hydra(config)
            try:
                values = OmegaConf.to_container(task, resolve=True)
            except OmegaConfBaseException:
                # The job itself will say so, or it holds what only the job knows.
                values = OmegaConf.to_container(task)
            folders = {key: OmegaConf.to_container(config.hydra[key]) for key in ("run", "sweep")}
            validate_not_empty(values | {f"hydra.{key}": folder for key, folder in folders.items()})
            for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task)):
                if override.is_discrete_sweep():
                    choices = [value.strip("'\"") for value in override.sweep_string_iterator()]
                    validate_not_empty(choices, override.get_key_element())
            if "ckpt_path=last" in config.hydra.overrides.task and config.hydra.mode == RunMode.MULTIRUN:
                validate_sweep_continues(Path(config.hydra.sweep.dir))
        except UserError as error:
            print_error(error)
            # Of other exceptions Hydra makes warnings.
            raise SystemExit(1) from None
        folder = Path(config.hydra.run.dir).absolute()
        EmptyValues.made = [path for path in (folder, *folder.parents) if not path.exists()]

    on_multirun_start = on_run_start


def validate_sweep_continues(folder: Path) -> None:
    """Raise UserError if no run below a sweep's folder has a checkpoint from which it could continue."""
    if next(folder.glob("**/checkpoints/last.ckpt"), None) is None:
        raise UserError(
            f"ckpt_path=last finds no checkpoint below the sweep's folder {folder}: set hydra.sweep.dir to the folder of an "
            "earlier sweep to train its runs longer, or leave ckpt_path out; a sweep that stopped continues with its own command."
        )
