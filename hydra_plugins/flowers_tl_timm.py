"""Any network of timm as a choice of the group ``backbone``, although no file names it: ``backbone=timm/NAME.TAG``.

Hydra finds both classes wherever it composes a config: in a command, a sweep, a search, and the processes of several
devices. timm is not imported here, so ``--help`` stays quick and works without it.
"""

from collections.abc import Sequence

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

GROUP = "backbone/timm"


class TimmSource(ConfigSource):
    """Configs that follow from their name; whether timm knows it is told when the network is built."""

    @staticmethod
    def scheme() -> str:
        return "timm"

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} names no network of timm")
        name = config_path.removeprefix(f"{GROUP}/").removesuffix(".yaml")
        config = OmegaConf.create({"name": f"timm/{name}", "weights": name.partition(".")[2] or "DEFAULT"})
        return ConfigResult(self.provider, self.full_path(), config, {"package": "backbone"})

    def is_group(self, config_path: str) -> bool:
        return config_path == GROUP

    def is_config(self, config_path: str) -> bool:
        return config_path.startswith(f"{GROUP}/") and len(config_path) > len(GROUP) + 1

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> Sequence[str]:
        return []


class TimmSearchPath(SearchPathPlugin):
    """Lets Hydra look there, behind the user's files and ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("timm", f"{TimmSource.scheme()}://")
