"""The parallel launcher gives its jobs devices and arguments."""

import sys

from omegaconf import OmegaConf

from hydra_plugins import flowers_tl_parallel
from hydra_plugins.flowers_tl_parallel import find_devices


def test_the_devices_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-4")
    assert find_devices(OmegaConf.create({"trainer": {"accelerator": "auto"}})) == ["2", "MIG-4"]
    assert find_devices(OmegaConf.create({"trainer": {"accelerator": "cpu"}})) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_devices(OmegaConf.create({"trainer": {"accelerator": "gpu"}})) == []


def test_what_concerns_the_sweep_alone_is_not_handed_on(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "--config-dir", "mine", "seed=0,1"])
    hydra = {"sweep": {"dir": "s"}, "overrides": {"hydra": ["hydra/launcher=parallel", "hydra.searchpath=[x]"]}}
    launcher = flowers_tl_parallel.ParallelLauncher()
    words = launcher.arguments(OmegaConf.create({"hydra": hydra}), tmp_path, 3, ["seed=1"])
    assert words[:4] == ["--config-dir", "mine", "seed=1", "hydra.searchpath=[x]"]
    assert words[-2:] == ["hydra.job.num=3", "hydra.mode=RUN"]
    assert len(words) == 8
