"""timm's networks by name in commands: in a sweep, with a folder of the user's, on two devices, continued, in a search."""

import json
from importlib.util import find_spec

import pytest
import torch

from flowers_tl.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("timm"), reason="needs timm: pip install '.[timm]' in a checkout of the project"),
]


def test_a_sweep_with_a_users_network_runs_on_two_devices(run_command, tiny, tmp_path):
    (tmp_path / "own" / "backbone").mkdir(parents=True)
    (tmp_path / "own" / "backbone" / "mine.yaml").write_text("name: timm/test_resnet\n")
    words = tiny(backbone="timm/test_vit,mine", strategy="fine_tuning", trainer__devices=2, data__image_size=64)
    process = run_command("train", "-m", "--config-dir", "own", *words, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert process.returncode == 0, process.stderr
    results = [json.loads(file.read_text()) for file in tmp_path.rglob("result.json")]
    assert sorted(result["backbone"] for result in results) == ["timm/test_resnet", "timm/test_vit"]
    for result in results:
        assert result["status"] == "finished"
        right = result["test"]["accuracy"] * 9
        assert right == pytest.approx(round(right), abs=1e-4)


@pytest.mark.parametrize("strategy", ["fine_tuning", "lora"])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(config, tiny, tmp_path, strategy):
    words = {"backbone": "timm/test_vit", "strategy": strategy, "data__image_size": 64}
    train(config(tiny(**words)), tmp_path / "whole")
    train(config(tiny(**words, trainer__max_epochs=1)), tmp_path / "half")
    rest = config(tiny(**words, ckpt_path=tmp_path / "half" / "checkpoints" / "last.ckpt"))
    train(rest, tmp_path / "rest", ("ckpt_path", "trainer.max_epochs"))
    whole, rest = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "rest")
    )
    assert all(torch.equal(rest[key], tensor) for key, tensor in whole.items() if "backbone" in key)


@pytest.mark.skipif(
    not find_spec("optuna"), reason="needs Optuna: pip install '.[search]' in a checkout of the project"
)
def test_a_search_tries_networks(run_command, tiny, tmp_path):
    words = tiny(backbone="timm/test_vit,timm/test_resnet", data__image_size=64, trainer__max_epochs=1)
    process = run_command("search", *words, "trials=2", "folder=found", "confirm_seeds=0", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    names = {json.loads(file.read_text())["backbone"] for file in tmp_path.rglob("result.json")}
    assert names == {"timm/test_resnet", "timm/test_vit"}
