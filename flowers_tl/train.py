"""Train one strategy, test it, and leave a record: ``python -m flowers_tl.train strategy=fine_tuning seed=1``."""

from pathlib import Path

from omegaconf import DictConfig

from flowers_tl.cli.hydra_main import continue_in, hydra_main


@hydra_main
def main(cfg: DictConfig) -> float | None:
    """Train one strategy on few labelled images, test it, and leave a record in the run's folder."""
    from hydra.core.hydra_config import HydraConfig

    from flowers_tl.cli.sweep_summary import in_sweep
    from flowers_tl.config.compose import to_plain
    from flowers_tl.training.run import show_strategy
    from flowers_tl.training.run_once import train_once

    hydra = HydraConfig.get()
    config, folder = to_plain(cfg, hydra.overrides.task), Path(hydra.runtime.output_dir)
    if config["print_strategy"]:
        show_strategy(config)
        return None
    named_keys = tuple(override.partition("=")[0].lstrip("+") for override in hydra.overrides.task)
    other_folders = [Path(hydra.sweep.dir)] if in_sweep(hydra) else []
    scores = train_once(config, folder, named_keys, other_folders, continue_in)["val"]
    return scores[config["monitor"].removeprefix("val/")]


if __name__ == "__main__":
    main()
