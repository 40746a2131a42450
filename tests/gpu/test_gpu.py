"""What only a GPU can show. Each test compares it with a CPU; FLOWERS_TL_REHEARSE=1 takes a CPU for both."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flowers_tl.data.cached.decoded_images import DecodedImages, has_room
from flowers_tl.data.image_crops import ImageCrops
from flowers_tl.inference.evaluate import evaluate
from flowers_tl.inference.predictor import Predictor
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_prefix import FrozenPrefix
from flowers_tl.results.predictions import Predictions
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

pytestmark = pytest.mark.gpu

# What TF32, PyTorch's default for convolutions on a GPU, may change of a logit.
TF32 = 2e-2


@pytest.fixture(scope="module")
def device(gpu) -> torch.device:
    return torch.device("cuda" if gpu == "gpu" else "cpu")


@pytest.fixture(scope="module")
def on_gpu(gpu, config, tiny, tmp_path_factory):
    """Train on the GPU with overrides by key: the result, and the run's folder."""

    def run(folder: Path | None = None, given=(), **keys):
        folder = folder or tmp_path_factory.mktemp("gpu") / "run"
        return train(config(tiny(**{"trainer.accelerator": gpu} | keys)), folder, given), folder

    return run


@pytest.fixture(scope="module")
def tuned(on_gpu):
    """A finished run of fine_tuning on the GPU. Not to be changed."""
    return on_gpu(strategy="fine_tuning")


def last(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")


def history(folder: Path) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "convnext_tiny", "vit_b_16"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 5e-2)])
def test_features_equal_the_cpus_to_rounding(name, precision, tolerance, device):
    if device.type == "cpu" and precision == "bf16":
        pytest.skip("a CPU's bf16 is tested with the frozen prefix")
    torch.manual_seed(0)
    backbone = StagedNetwork(name, num_classes=3)
    images = torch.randint(0, 256, (9, 3, 224, 224), dtype=torch.uint8)
    features = FrozenPrefix(backbone, "head", precision, device)(images).float().cpu()
    reference = FrozenPrefix(backbone, "head", "fp32", torch.device("cpu"))(images)
    assert (features - reference).abs().max() <= tolerance * reference.abs().max()
    # It left PyTorch's own precision as it was.
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


def test_crops_and_flips_on_the_card_are_those_of_the_cpu(device):
    images = [torch.randint(0, 256, (40 + k, 50 - k, 3), dtype=torch.uint8) for k in range(8)]
    here = DecodedImages([Path(str(k)) for k in range(8)], None, images)
    there = here.to(device)
    assert there[3].device.type == device.type
    for seed in (None, 0):
        keys = [(epoch, k) for epoch in range(3) for k in range(8)] if seed == 0 else list(range(8))
        crops = [ImageCrops(store, range(8), 32, seed).__getitems__(keys)[0] for store in (here, there)]
        assert crops[1].device.type == device.type
        assert torch.equal(crops[0], crops[1].cpu())


def test_what_does_not_fit_stays_in_memory(device):
    assert has_room(device, 1000) == (device.type == "cuda")
    assert not has_room(device, 10**15)


@pytest.mark.parametrize("strategy", ["feature_extraction", "fine_tuning", "full_fine_tuning", "linear_probe"])
def test_a_run_ends_as_on_the_cpu_and_is_checked(strategy, on_gpu, config, tiny, tmp_path, gpu):
    result, folder = on_gpu(strategy=strategy)
    cpu = train(config(tiny(strategy=strategy)), tmp_path / "cpu")
    for split in ("val", "test"):
        assert result[split]["loss"] == pytest.approx(cpu[split]["loss"], rel=0.05, abs=0.02)
    if strategy != "linear_probe":
        assert result["proof"]["frozen_tensors"] == cpu["proof"]["frozen_tensors"]
    if gpu == "gpu":
        assert result["id"] != cpu["id"]
        assert 0 < result["peak_memory_gb"] < 20
    else:
        assert result["peak_memory_gb"] is None
    # The weights in the checkpoint can be loaded where there is no GPU.
    assert all(value.isfinite().all() for value in last(folder)["state_dict"].values() if value.is_floating_point())


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("strategy", ["fine_tuning", "full_fine_tuning"])
def test_autocast_trains_fp32_weights(precision, strategy, on_gpu, gpu):
    if gpu == "cpu" and precision == "16-mixed":
        pytest.skip("a CPU has no gradient scaler")
    _, whole = on_gpu(strategy=strategy, trainer__max_epochs=3)
    result, folder = on_gpu(strategy=strategy, trainer__max_epochs=3, trainer__precision=precision)
    assert result["status"] == "finished"
    assert result["proof"]["epochs"] == 3
    # Later epochs of so few images are far apart.
    losses = [float(history(run)[0]["train/loss"]) for run in (folder, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    weights = last(folder)["state_dict"].values()
    assert {value.dtype for value in weights if value.is_floating_point()} == {torch.float32}


def test_divergence_under_the_gradient_scaler_is_found(on_gpu, gpu, tmp_path):
    keys = {"strategy": "full_fine_tuning", "strategy.table.0.lr": 1e20, "trainer.max_epochs": 3}
    with pytest.raises(UserError, match="The run diverged"):
        on_gpu(tmp_path / "run", **keys, **({"trainer.precision": "16-mixed"} if gpu == "gpu" else {}))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"


@pytest.mark.parametrize("strategy", ["feature_extraction", "fine_tuning", "full_fine_tuning", "gradual_unfreezing"])
def test_a_resumed_run_ends_with_the_same_bits(strategy, on_gpu, tmp_path):
    keys = {"strategy": strategy, "trainer.deterministic": "true"}
    epochs = 7 if strategy == "gradual_unfreezing" else 4
    result, whole = on_gpu(**keys, trainer__max_epochs=epochs)
    if strategy == "gradual_unfreezing":
        # Its table needs all epochs, so it is stopped instead of made longer.
        again, parts = on_gpu(**keys, trainer__max_epochs=epochs)
    else:
        on_gpu(tmp_path / "parts", **keys, trainer__max_epochs=2)
        given = ("ckpt_path", "trainer.max_epochs")
        again, parts = on_gpu(tmp_path / "parts", given, **keys, trainer__max_epochs=epochs, ckpt_path="last")
    first, second = last(whole)["state_dict"], last(parts)["state_dict"]
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []
    assert history(whole) == history(parts)
    assert (result["val"], result["test"]) == (again["val"], again["test"])


def test_many_heads_end_as_each_alone(on_gpu):
    keys = {"strategy": "feature_extraction", "backbone": "mobilenet_v2"}
    _, folder = on_gpu(**keys, heads__lr="[1e-3,1e-2]")
    heads = [json.loads(file.read_text()) for file in folder.glob("*/result.json")]
    assert sorted(head["learning_rates"]["head"] for head in heads) == [1e-3, 1e-2]
    for head in heads:
        alone, _ = on_gpu(**keys, strategy__table__0__lr=head["learning_rates"]["head"])
        assert head["val"]["loss"] == pytest.approx(alone["val"]["loss"], rel=1e-3)


def test_a_run_goes_on_on_the_other_device(on_gpu, config, tiny, tmp_path, gpu):
    keys = {"strategy": "fine_tuning", "trainer.max_epochs": 2}
    given = ("ckpt_path", "trainer.max_epochs", "trainer.accelerator")
    longer = {**keys, "trainer.max_epochs": 4, "ckpt_path": "last"}
    losses = []
    for name, begin, end in (("there", gpu, "cpu"), ("back", "cpu", gpu), ("alone", "cpu", "cpu")):
        train(config(tiny(**keys | {"trainer.accelerator": begin})), tmp_path / name)
        result = train(config(tiny(**longer | {"trainer.accelerator": end})), tmp_path / name, given)
        assert (result["status"], result["epochs"], result["proof"]["epochs"]) == ("finished", 4, 4)
        losses.append(result["val"]["loss"])
    assert losses[0] == pytest.approx(losses[2], rel=0.05)
    assert losses[1] == pytest.approx(losses[2], rel=0.05)


def test_kept_features_of_one_device_are_not_taken_for_the_others(on_gpu, gpu, tmp_path):
    caches = []
    for accelerator in ("cpu", gpu):
        keys = {"strategy": "feature_extraction", "cache.dir": tmp_path / "cache", "trainer.accelerator": accelerator}
        on_gpu(**keys, cache__view_seed=5)
        caches.append({folder.name for folder in (tmp_path / "cache").glob("features-*")})
    assert caches[0] < caches[1] or (gpu == "cpu" and caches[0] == caches[1])


def test_evaluate_finds_what_training_measured(tuned, tmp_path):
    result, folder = tuned
    evaluate(ckpt=folder, split="test", calibrate=False, conformal=None, overrides=[], out=tmp_path / "out")
    again = Predictions.read(tmp_path / "out").splits["test"]
    assert np.abs(again.logits - Predictions.read(folder).splits["test"].logits).max() <= TF32
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["scores"]["loss"] == pytest.approx(result["test"]["loss"], abs=TF32)


def test_predictions_are_those_of_the_cpu(tuned, drawings, device):
    folder = tuned[1]
    split = Predictions.read(folder).splits["test"]
    root = Path(json.loads((folder / "result.json").read_text())["data"]["root"])
    files = [root / image for image in split.images]
    there, here = (Predictor.load(folder, name) for name in (device, "cpu"))
    inputs = torch.stack([here.prepare(file) for file in files])
    assert (there.logits(inputs) - here.logits(inputs)).abs().max() <= TF32
    assert (there.logits(inputs) - torch.from_numpy(split.logits)).abs().max() <= TF32


def test_commands_take_a_run_of_the_gpu(tuned, run_command, drawings, tmp_path):
    pytest.importorskip("captum")
    folder = tuned[1]
    photo = next(drawings.rglob("*.png"), None) or next(drawings.rglob("*.jpg"))
    done = run_command("explain", f"images={photo}", f"ckpt={folder}", f"figure={tmp_path / 'map.png'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map.png").stat().st_size > 0
    done = run_command("predict", f"images={photo}", f"ckpt={folder}", "format=csv")
    assert done.returncode == 0, done.stderr


def test_an_onnx_export_of_a_run_of_the_gpu_is_verified(tuned, run_command, tmp_path):
    pytest.importorskip("onnxruntime")
    done = run_command("export", f"ckpt={tuned[1]}", f"out={tmp_path / 'out'}", "formats=onnx")
    assert done.returncode == 0, done.stderr


def test_worker_processes_hand_over_pinned_images(on_gpu):
    keys = {"strategy": "full_fine_tuning", "data.num_workers": 2, "cache.enabled": "false"}
    result, _ = on_gpu(**keys)
    alone, _ = on_gpu(**keys | {"data.num_workers": 0})
    assert result["val"]["loss"] == pytest.approx(alone["val"]["loss"], rel=0.05, abs=0.02)


@pytest.fixture
def little_memory(gpu):
    """Leave this process about 1.5 GB of the GPU's memory."""
    if gpu == "cpu":
        pytest.skip("a CPU's memory has no such bound")
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(1.5e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_too_little_memory_is_one_sentence_and_the_next_run_works(little_memory, on_gpu, tmp_path):
    keys = {"strategy": "full_fine_tuning", "data.image_size": 224, "data.train_per_class": 100}
    sentence = "The GPU has too little memory .*: use a smaller data.batch_size than 300"
    with pytest.raises(UserError, match=sentence):
        on_gpu(tmp_path / "large", **keys, data__batch_size=300)
    result = json.loads((tmp_path / "large" / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["peak_memory_gb"] <= 1.5
    result, _ = on_gpu(**keys, data__batch_size=8, trainer__max_epochs=1)
    assert result["status"] == "finished"


@pytest.mark.parametrize("visible", [None, "0"])
def test_two_jobs_share_one_card(visible, run_command, tiny, gpu, tmp_path):
    environment = {} if visible is None or gpu == "cpu" else {"CUDA_VISIBLE_DEVICES": visible}
    jobs = ["-m", "hydra/launcher=parallel", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    words = tiny(trainer__accelerator=gpu, strategy="feature_extraction,fine_tuning", runs=tmp_path)
    done = run_command("train", *jobs, *words, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(file.read_text()) for file in (tmp_path / "sweep").glob("*/result.json")]
    assert [result["status"] for result in results] == ["finished"] * 2
    assert all((result["peak_memory_gb"] is not None) == (gpu == "gpu") for result in results)
