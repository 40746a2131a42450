"""What tests share: drawn flowers, composed configs, and small runs made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import flowers_tl.door  # noqa: F401  (registers the schema)
from flowers_tl.config import CONF

TINY = {
    "data": "synthetic",
    "data.num_classes": 3,
    "data.train_per_class": 4,
    "data.val_per_class": 2,
    "data.test_per_class": 3,
    "data.image_size": 32,
    "backbone.weights": "null",
    "trainer.max_epochs": 2,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
}


def pytest_collection_modifyitems(items):
    missing = [name for name in ("FLOWERS102_ROOT", "FLOWERS_TL_WEIGHTS") if not os.environ.get(name)]
    for item in items:
        if "real_data" in item.keywords and missing:
            item.add_marker(pytest.mark.skip(reason=f"needs the real data: {' and '.join(missing)} not set"))


@pytest.fixture(scope="session")
def drawings(tmp_path_factory) -> Path:
    """Folder in which all tests draw their flowers, each set once."""
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Path:
    """The cache folder of all tests that name none: not the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder / "flowers_tl"


@pytest.fixture(scope="session")
def tiny(drawings):
    """Overrides for a run of seconds: a function of further overrides, by key."""

    def overrides(**more: object) -> list[str]:
        keys = TINY | {"data.root": str(drawings)} | {key.replace("__", "."): value for key, value in more.items()}
        return [f"{key}={value}" for key, value in keys.items()]

    return overrides


@pytest.fixture(scope="session")
def config():
    """Compose conf/train.yaml with overrides into plain Python."""

    def composed(overrides: list[str]) -> dict:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return OmegaConf.to_container(compose("train", overrides=overrides), resolve=True, throw_on_missing=True)

    return composed


@pytest.fixture(scope="session")
def door(tmp_path_factory):
    """Run a door as a user does, in another process and another folder; return the finished process."""

    def run(name: str, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", f"flowers_tl.{name}", *arguments]
        cwd = cwd or tmp_path_factory.mktemp("cwd")
        env = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | environment
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)

    return run
