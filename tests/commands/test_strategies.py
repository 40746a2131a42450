"""Every strategy that is shipped trains every network that is offered, and is proven to do what its table says."""

import collections
import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from torchvision.models import resnet18

from flowers_tl.config.backbones import FIRST
from flowers_tl.config.schema import CONF
from flowers_tl.data.cached.decoded_images import DecodedImages
from flowers_tl.exporting.export import export
from flowers_tl.exporting.formats import FORMATS
from flowers_tl.inference.checkpoint import load_trained
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

STRATEGIES = sorted(path.stem for path in (CONF / "strategy").glob("*.yaml"))
EIGHT = {
    "feature_extraction", "fine_tuning", "from_scratch", "full_fine_tuning", "gradual_unfreezing", "linear_probe", "lp_ft",
    "norm_tuning",
}  # fmt: skip
NO_SENSE = {("norm_tuning", "squeezenet1_1"): "trains only norm parameters .* this network has none there"}
NO_SENSE |= {("l2_sp", name): "pulls towards pretrained weights" for name in FIRST}
# Networks of unlike layers are enough for the rows that came later.
FEW = ("efficientnet_b0", "squeezenet1_1")
PAIRS = itertools.product(STRATEGIES, FIRST)
SMALL = [pytest.param(*pair) for pair in PAIRS if pair[1] in (FEW if pair[0] not in EIGHT else {*FIRST} - {"vit_b_16"})]
LARGE = [pytest.param(strategy, "vit_b_16", marks=pytest.mark.slow) for strategy in STRATEGIES]


def test_the_eight_are_there():
    assert set(STRATEGIES) >= EIGHT


@pytest.mark.parametrize(("strategy", "backbone"), SMALL + LARGE)
def test_every_strategy_trains_every_network(config, tiny, tmp_path, strategy, backbone):
    keys = {"strategy": strategy, "backbone": backbone, "trainer.max_epochs": 2, "data.val_per_class": 1}
    keys |= {"data.test_per_class": 1, "data.train_per_class": 2, "data.batch_size": 6}
    if backbone == "vit_b_16":
        keys["data.image_size"] = 224
    if strategy == "gradual_unfreezing":
        keys["trainer.max_epochs"] = 15 if backbone == "vit_b_16" else 8
        keys["trainer.limit_val_batches"] = 0
    chosen = config(tiny(**keys))
    if (strategy, backbone) in NO_SENSE:
        with pytest.raises(UserError, match=NO_SENSE[strategy, backbone]):
            train(chosen, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    result = train(chosen, tmp_path / "run")
    assert result["status"] == "finished"
    assert result["test"]["accuracy"] is not None
    epochs = chosen["trainer"]["max_epochs"] if chosen["strategy"]["table"] else 0
    assert result["epochs"] == epochs
    if epochs:
        assert result["proof"]["epochs"] == epochs
        assert result["proof"]["never_began"] == []
    assert (strategy != "knn") <= result["parameters"]["trainable"] <= result["parameters"]["total"]


def test_each_file_says_when_why_and_what_to_expect():
    for strategy in STRATEGIES:
        text = (CONF / "strategy" / f"{strategy}.yaml").read_text()
        comment = [line for line in text.splitlines() if line.startswith("#")]
        assert len(comment) >= 2, strategy
        assert "% test" in text or "Not measured" in text, f"{strategy} does not say what was measured"
        assert len(text.splitlines()) <= 16, f"{strategy} is more than a few lines"
        assert yaml.safe_load(text)["name"] == strategy


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["gradual_unfreezing", "lp_ft"])
def test_two_processes_keep_equal_weights_through_every_unfreezing(run_command, tiny, tmp_path, strategy):
    keys = {"strategy": strategy, "backbone": "resnet18", "trainer.max_epochs": 7, "trainer.devices": 2}
    folder = tmp_path / "run"
    program = tmp_path / "both.py"
    program.write_text(
        "import torch\n"
        "from flowers_tl.training.freeze_check import FreezeCheck, fingerprint_tensors, tensors\n"
        "end = FreezeCheck.on_train_end\n"
        "def on_train_end(self, trainer, module):\n"
        "    end(self, trainer, module)\n"
        f"    torch.save(dict(module.backbone.network.named_parameters()), '{tmp_path}/%d.pt' % trainer.global_rank)\n"
        "FreezeCheck.on_train_end = on_train_end\n"
        "from flowers_tl.train import main\n"
        "main()\n"
    )
    command = [sys.executable, str(program), *tiny(**keys), f"hydra.run.dir={folder}"]
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert process.returncode == 0, process.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    assert json.loads((folder / "result.json").read_text())["proof"]["epochs"] == 7


def test_print_strategy_shows_the_table_and_leaves_nothing(run_command, tmp_path):
    process = run_command(
        "train", "strategy=gradual_unfreezing", "print_strategy=true", "scheduler=cosine", cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    lines = {line.split("│")[1].strip(): line for line in process.stdout.splitlines() if "│" in line}
    assert "first epoch" in process.stdout
    assert [cell.strip() for cell in lines["layer4"].split("│")[1:-1]] == [
        "layer4",
        "8,393,728",
        "8,393,728",
        "0.00036",
        "3",
    ]
    assert "optimizer adam, scheduler cosine, regularisation none" in process.stdout
    assert not list(tmp_path.rglob("*.*"))
    refused = run_command(
        "train", "strategy=gradual_unfreezing", "print_strategy=true", "trainer.max_epochs=3", cwd=tmp_path
    )
    assert refused.returncode == 1
    assert "set trainer.max_epochs to 7 or more" in refused.stderr


def test_a_probe_without_a_cache_reads_each_training_image_once(config, tiny, tmp_path, monkeypatch):
    read = collections.Counter()
    get = DecodedImages.__getitem__

    def counting(self, index):
        read[len(self)] += 1
        return get(self, index)

    monkeypatch.setattr(DecodedImages, "__getitem__", counting)
    train(config([*tiny(strategy="linear_probe"), "cache.enabled=false"]), tmp_path / "run")
    assert read == {12: 12, 6: 2 * 6, 9: 9}  # val: to choose the weight decay, and to be scored


def test_a_network_with_adapters_is_exported_without_them(config, tiny, tmp_path):
    """An export and a prediction compute what the trained network with its adapters does; weights have their own names."""
    folder = tmp_path / "run"
    result = train(config(tiny(strategy="lora", backbone="resnet18")), folder)
    assert result["proof"]["epochs"] == 2
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    model = TransferClassifier(**content["hyper_parameters"])
    model.load_state_dict(content["state_dict"])
    trained = load_trained(folder)
    plain = trained.model.backbone.network.state_dict()
    assert plain.keys() == resnet18(num_classes=3).state_dict().keys()
    _, agreements = export(trained, tmp_path / "out", ["torch", "safetensors"])
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        logits = model.eval()(images)
        for name, kind in FORMATS.items():
            if (tmp_path / "out" / kind.file).is_file():
                other = kind.read(tmp_path / "out" / kind.file)(images)
                assert (logits - other).abs().max() < 1e-5 * logits.abs().max(), name
    assert len(agreements) == 2
