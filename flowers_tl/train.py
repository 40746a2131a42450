"""Train one strategy, test it, and leave a record: ``python -m flowers_tl.train strategy=fine_tuning seed=1``."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from flowers_tl.cli.hydra_main import continue_in, hydra_main
from flowers_tl.config.schema import TrainConfig


@hydra_main("train")
def main(cfg: DictConfig) -> float | None:
    """Run what the config says; return the final val accuracy, None where none is measured."""
    from hydra.core.hydra_config import HydraConfig

    from flowers_tl.cli.sweep_summary import in_sweep
    from flowers_tl.training.run import show_strategy
    from flowers_tl.training.run_once import train_once

    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    OmegaConf.merge(OmegaConf.structured(TrainConfig), plain)  # refuses a `+key=value` that Hydra lets through
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if plain["print_strategy"]:
        show_strategy(plain)
        if not any(folder.iterdir()):  # Hydra makes a folder for every job; rmdir removes an empty one alone
            folder.rmdir()
        return None
    given = tuple(override.partition("=")[0].lstrip("+") for override in hydra.overrides.task)
    beside = [Path(hydra.sweep.dir)] if in_sweep(hydra) else []
    return train_once(plain, folder, given, beside, continue_in)["val"]["accuracy"]


if __name__ == "__main__":
    main()
