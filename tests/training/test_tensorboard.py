"""TensorBoard's tags are its own, those of an old run stay, and HPARAMS has the same columns for every run."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter

from flowers_tl.training.tensorboard import LAYOUT, TensorBoard, log_hyperparameters, tag

NAMES = {
    "val/accuracy": "accuracy/val",
    "train/loss": "loss/train",
    "test/balanced_accuracy": "metrics/balanced_accuracy_test",
    "lr/layer4": "stages/lr/layer4",
    "grad_norm/head": "stages/grad_norm/head",
    "distance/head": "stages/distance/head",
    "result/val_loss": "result/val_loss",
}


def read(folder) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_accuracy_and_loss_of_all_splits_stand_first():
    assert {name: tag(name) for name in NAMES} == NAMES
    groups = sorted({tag(name).partition("/")[0] for name in NAMES})
    assert groups[:2] == ["accuracy", "loss"]


def test_there_is_no_curve_of_epochs(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.log_metrics({"val/accuracy": 0.5, "epoch": 0}, 3)
    logger.finalize("success")
    assert read(tmp_path).Tags()["scalars"] == ["accuracy/val"]


@pytest.mark.parametrize("old", [True, False])
def test_a_run_of_an_earlier_version_that_goes_on_keeps_its_tags(tmp_path, old):
    names = ["train/loss", "val/loss"] if old else ["loss/train", "loss/val"]
    with SummaryWriter(tmp_path) as before:
        for name in names:
            before.add_scalar(name, 1.0, 0)
    logger = TensorBoard(tmp_path, purge_step=1)
    logger.log_metrics({"train/loss": 0.5, "val/loss": 0.5}, 1)
    logger.finalize("success")
    curves = read(tmp_path)
    assert set(curves.Tags()["scalars"]) == set(names)
    # The files' order is that of their names, which end with a number of the process.
    assert [sorted(event.step for event in curves.Scalars(name)) for name in names] == [[0, 1], [0, 1]]


def test_charts_of_train_and_validation_are_laid_out(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.experiment.add_custom_scalars(LAYOUT)
    logger.finalize("success")
    content = read(tmp_path).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    (category,) = layout_pb2.Layout.FromString(content).category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert charts == {
        metric: [tag(f"{split}/{metric}") for split in ("train", "val")] for metric in ("accuracy", "loss")
    }


def hparams(folder, rates, optimizer) -> tuple[set[str], set[str]]:
    """Names of hyper-parameters and of metrics that a run shows."""
    result = {"strategy": "mine", "backbone": "resnet18", "weights": "random", "seed": 0, "epochs": 2}
    result |= {"learning_rates": rates, "val": {"loss": 1.0}, "test": {"loss": None}}
    config = {group: {"name": "none"} for group in ("scheduler", "regularisation")}
    config |= {"data": {"name": "flowers", "batch_size": 8}, "optimizer": {"name": optimizer, "weight_decay": 0.0}}
    log_hyperparameters([TensorBoard(folder)], config, result, 4)
    metadata = read(folder).summary_metadata
    began = plugin_data_pb2.HParamsPluginData.FromString(metadata["_hparams_/session_start_info"].plugin_data.content)
    of = plugin_data_pb2.HParamsPluginData.FromString(metadata["_hparams_/experiment"].plugin_data.content)
    return set(began.session_start_info.hparams), {info.name.tag for info in of.experiment.metric_infos}


def test_hyperparameters_have_the_same_columns_in_every_run(tmp_path):
    first = hparams(tmp_path / "a", {"head": 1e-3}, "adam")
    assert first == hparams(tmp_path / "b", {"layer4": 1e-4, "head": 1e-3}, "sgd")
    assert {"learning_rates", "optimizer", "scheduler", "regularisation", "batch_size"} <= first[0]
    # A metric has the name of its curve, or the page shows nothing in its column.
    assert first[1] == {"result/val_loss"} <= set(read(tmp_path / "a").Tags()["scalars"])
