"""Train one strategy, test it, and leave a record: ``python -m flowers_tl.train strategy=fine_tuning seed=1``."""

from omegaconf import DictConfig, OmegaConf

from flowers_tl.config import TrainConfig
from flowers_tl.door import door


@door("train")
def main(cfg: DictConfig) -> float:
    """Run what the config says; return the final val accuracy, which a sweep can search on."""
    from hydra.core.hydra_config import HydraConfig

    from flowers_tl.training import train

    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    OmegaConf.merge(OmegaConf.structured(TrainConfig), plain)  # refuses a `+key=value` that Hydra lets through
    return train(plain, HydraConfig.get().runtime.output_dir)["val"]["accuracy"]


if __name__ == "__main__":
    main()
