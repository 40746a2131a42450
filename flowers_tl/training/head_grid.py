"""Many heads in one run: every learning rate, weight decay and seed over the same features, each as a run of it alone."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn.functional import cross_entropy

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.transforms import FLIPS
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.head_stack import HeadStack, clip
from flowers_tl.models.linear_probe import solve_head
from flowers_tl.models.metrics import make_metrics
from flowers_tl.models.optim import make_optimizer, make_schedule
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.scores import Metric, read_monitor
from flowers_tl.results.terminal_tables import print_comparison
from flowers_tl.runs.record import RunFolder, head_of, read_result, validate_unused
from flowers_tl.runs.registry import clear_unfinished, has_no_epoch
from flowers_tl.runs.run_id import identify
from flowers_tl.training.divergence import Diverged
from flowers_tl.training.factory import describe_run, initial_model, prepare_features, prepare_run_data
from flowers_tl.training.feature_data import FeatureDataModule
from flowers_tl.training.gpu_memory import peak_memory_recorded
from flowers_tl.training.head_choices import Head, head_configs
from flowers_tl.training.loggers import finish_loggers, make_loggers
from flowers_tl.training.tensorboard import log_hyperparameters, record_predictions
from flowers_tl.training.trainer import make_trainer, quiet_lightning
from flowers_tl.training.validate import validated_data
from flowers_tl.utils.files import atomic_write
from flowers_tl.utils.notes import log, track
from flowers_tl.utils.phase_timer import PhaseTimer

# Images at a time: a product with all of them would need the features twice.
EVALUATED = 256


def train_heads(config: dict[str, Any], folder: str | Path, data: ImageDataModule | None = None) -> dict[str, Any]:
    """Train, test and record all heads that ``config["heads"]`` names, each in a folder below ``folder``.

    A head begins with the weights, takes the batches and draws the dropout that a run with its config alone would: it
    ends with the same weights but for the rounding of a product that is batched differently. All seeds share the
    crops and flips of one (``cache.view_seed``, else the first seed), and their configs say so. ``data`` are of this
    config, where they are set up already.

    Returns:
        The folder's ``result.json``: names of the heads' folders, which is best on val, and that one's val scores.

    Raises:
        UserError: if more than the head is trainable, or the config names what can't be done for many heads at once.
    """
    data, metric = data or validated_data(config), read_monitor(config["monitor"])
    with quiet_lightning(), RunFolder(folder, yaml.safe_dump(config, sort_keys=False), clock=data.clock) as run:
        run.update(identify(config, data))
        heads = [Head(*named) for named in head_configs(config)]
        unfinished = [head for head in heads if is_unfinished(head, run)]
        model = initial_model(config, data)
        load_weights(model.backbone, initial_weights(config))
        trainer = make_trainer(config | {"logger": "none"}, run, model)
        run_data = prepare_run_data(config, data, model, trainer, first_epoch=0)
        with peak_memory_recorded(run, run_data.device, config["data"]["batch_size"]):
            prepare_features(run_data, "train", "val")
            with run.clock.timed("fit" if model.groups else "solve"):
                stack = (
                    fit(config, heads, model, run_data, run) if model.groups else solve(config, heads, model, run_data)
                )
            logits = measure(heads, stack, run_data, run, metric)
        shared = {key: run.result[key] for key in ("protocol", "weights_fingerprint", "peak_memory_gb")} | {
            "proof": None
        }
        heads_of = {"run": run.result["id"], "together": len(heads), "shared_views": config["heads"]["seeds"] > 1}
        for number, head in enumerate(heads):
            head.result |= describe_run(head.config, model, data, run_data) | shared | {"heads_of": heads_of}
            if model.groups:
                head.result["learning_rates"] = {model.groups[0].name: head.config["strategy"]["table"][0]["lr"]}
            if head in unfinished:
                measured = {split: values[number] for split, values in logits.items()}
                record(head, run.folder / head.name, run.clock, len(heads), stack.state(number), measured, data)
        run.update({"heads": [head.name for head in heads]})
        good = [head for head in heads if head.diverged is None]
        if not good:
            raise heads[0].diverged
        best = max(good, key=lambda head: metric.sign * head.result["val"][metric.name])
        run.update({"best_head": best.name, "val": best.result["val"]})
    runs, left_out = find_runs([run.folder / head.name for head in heads])
    groups, notes = group_runs(runs, metric)
    print_comparison(groups, metric)
    log.info("\n".join([*(f"Note: {note}" for note in [*left_out, *notes]), f"Folder of the heads: {run.folder}"]))
    return run.result


def is_unfinished(head: Head, run: RunFolder) -> bool:
    """Whether this very run has yet to train a head; clear what it left. Raises UserError where the folder is another's."""
    earlier = read_result(place := run.folder / head.name)
    # Killed before its record said whose it is.
    if "id" not in earlier and has_no_epoch(place, head.config):
        clear_unfinished(place)
    if head_of(earlier) == run.result["id"] and earlier["status"] == "finished":
        return False
    validate_unused(place)
    return True


def fit(
    config: dict[str, Any], heads: list[Head], model: TransferClassifier, run_data: FeatureDataModule, run: RunFolder
) -> HeadStack:
    """Train all heads; fill in their histories."""
    columns, metric = len(heads) // config["heads"]["seeds"], read_monitor(config["monitor"])
    seeds, states, groups = [head.config["seed"] for head in heads[::columns]], [], []
    for number, head in enumerate(heads):
        if number % columns == 0:
            backbone = initial_model(head.config, run_data.data).backbone
        states.append(backbone.network.get_submodule(backbone.final).state_dict())
        row = head.config["strategy"]["table"][0]
        groups.append(replace(model.groups[0], name=head.name, lr=row["lr"], weight_decay=row["weight_decay"]))
    stack = HeadStack(model.backbone, states, columns, run_data.device)
    optimizer = make_optimizer(list(zip(groups, stack.heads, strict=True)), config["optimizer"])
    labels, size = run_data.labels("train").to(run_data.device), run_data.data.batch_size
    batches, epochs = math.ceil(len(labels) / size), config["trainer"]["max_epochs"]
    schedule = make_schedule(optimizer, config["scheduler"], epochs * batches, batches)
    weights = None if model.class_weights is None else model.class_weights.to(run_data.device)
    samplers = [run_data.data.sampler("train", shuffled=True, seed=seed) for seed in seeds]
    for epoch in track(range(epochs), f"Training {len(heads)} heads", config["trainer"]["enable_progress_bar"]):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        order = torch.tensor([[index for _, index in sampler] for sampler in samplers], device=run_data.device)
        stack.seed(seeds, epoch)
        features = run_data.outputs("train", run_data.view(epoch), "head")
        rates, sums = [], []
        for batch in order.split(size, dim=1):
            entering = features[batch.flatten().to(features.device)].float().unflatten(0, batch.shape)
            losses, hits = stack.backward(entering, labels[batch], model.label_smoothing, weights)
            clip(stack, config["trainer"])
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
            sums.append(torch.stack([losses * batch.shape[1], hits, losses + stack.sums()]))
        steps, seconds = torch.stack(sums), run.clock.elapsed("fit") / len(heads)
        (loss, right, _), finite = (steps.sum(dim=0) / len(labels)).tolist(), steps[:, 2].tolist()
        for number, (head, val) in enumerate(zip(heads, evaluate(stack, run_data, "val", metric)[0], strict=True)):
            for step in range(batches):
                place = epoch * batches + step + 1, epoch, rates[step][number]
                head.check("the loss, the gradients or the weights", finite[step][number], *place)
            head.check("the val loss", val["loss"], *place)
            if head.diverged is None:
                row = {"epoch": epoch, "step": place[0], f"lr/{model.groups[0].name}": float(f"{rates[0][number]:.6g}")}
                row |= {"train/loss": round(loss[number], 6), "train/accuracy": round(right[number], 6)}
                row |= {f"val/{name}": value for name, value in val.items()}
                head.history.append(row | {"seconds": seconds})
        if all(head.diverged for head in heads):
            break
    return stack


def solve(
    config: dict[str, Any], heads: list[Head], model: TransferClassifier, run_data: FeatureDataModule
) -> HeadStack:
    """Solve the head once for each weight decay."""
    train = run_data.before_head("train", *FLIPS[run_data.data.flip])
    val = run_data.before_head("val", "centre")
    final, states = model.backbone.network.get_submodule(model.backbone.final), []
    for head in track(heads, f"Solving {len(heads)} heads", config["trainer"]["enable_progress_bar"]):
        best, _ = solve_head(model.backbone, train, val, head.config["heads"]["weight_decay"], model.class_weights)
        head.result["solved_head"] = best.to_dict() | {"candidates": [best.to_dict()]}
        states.append({name: value.clone() for name, value in final.state_dict().items()})
    return HeadStack(model.backbone, states, len(heads), run_data.device)


def measure(
    heads: list[Head], stack: HeadStack, run_data: FeatureDataModule, run: RunFolder, metric: Metric
) -> dict[str, np.ndarray]:
    """Add val and test scores to the heads' results; return the logits (heads, n, classes) by split."""
    logits = {}
    for split, phase in (("val", "fit"), ("test", "test")):
        if any(head.diverged is None for head in heads):
            prepare_features(run_data, split)
            with run.clock.timed(phase):
                results, logits[split] = evaluate(stack, run_data, split, metric)
            for head, result in zip(heads, results, strict=True):
                head.check(f"the {split} loss", result["loss"])
                head.result[split] = result
    for head in heads:
        if head.diverged:
            head.result = {key: value for key, value in head.result.items() if key not in logits}
    return logits


@torch.inference_mode()
def evaluate(
    stack: HeadStack, run_data: FeatureDataModule, split: str, metric: Metric
) -> tuple[list[dict[str, float]], np.ndarray]:
    """Each head's metrics, the one that is monitored among them, and loss over a split, and its logits (heads, n, classes)."""
    features, labels = run_data.outputs(split, "centre", "head"), run_data.labels(split).to(run_data.device)
    parts: list[Tensor] = [stack.logits(part.float()[None].to(run_data.device)) for part in features.split(EVALUATED)]
    results, all_logits = [], torch.cat(parts, dim=1)
    for logits in all_logits:
        values = make_metrics(logits.shape[1]).to(run_data.device)(logits, labels)
        if metric.name not in (*values, "loss"):
            values |= {metric.name: torch.tensor(metric.function(logits.cpu().numpy(), labels.cpu().numpy()))}
        values |= {"loss": cross_entropy(logits, labels)}
        results.append({name: round(value.item(), 6) for name, value in values.items()})
    return results, all_logits.cpu().numpy()


def record(
    head: Head,
    folder: Path,
    whole: PhaseTimer,
    of: int,
    state: dict[str, Tensor],
    logits: Mapping[str, np.ndarray],
    data: ImageDataModule,
) -> None:
    """Write a head's folder like that of a run.

    Args:
        head: with its history and results.
        folder: of this head.
        whole, of: the seconds of all heads, of which it has an equal part, and their number.
        state: its weights by their names in the network.
        logits: (n, classes) by split.
        data: on which they were measured.
    """
    folder = RunFolder(folder, yaml.safe_dump(head.config, sort_keys=False))
    with suppress(Diverged), finish_loggers(), folder as run, run.clock.stopped():
        run.clock.take_share(whole, of)
        run.update(head.result)
        loggers = make_loggers(head.config, run)
        for row in head.history:
            run.append_history(row)
            for logger in loggers:
                logger.log_metrics({key: value for key, value in row.items() if "/" in key}, step=row["step"] - 1)
        if head.diverged:
            for logger in loggers:
                logger.finalize("failed")
            raise head.diverged
        record_predictions(run, loggers, data, logits)
        log_hyperparameters(loggers, head.config, head.result, head.history[-1]["step"] if head.history else 0)
        with atomic_write(run.folder / "head.pt") as beside:
            torch.save(state, beside)
