"""Many heads in one run: every learning rate, weight decay and seed over the same features, each as its own run would be."""

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from rich.progress import track
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from flowers_tl.data.datamodule import ImageDataModule
from flowers_tl.data.sampling import derive_seed
from flowers_tl.models.classifier import TransferClassifier
from flowers_tl.models.head_stack import HeadStack
from flowers_tl.models.linear_probe import solve_head
from flowers_tl.models.metrics import scores
from flowers_tl.models.optim import make_optimizer, make_schedule
from flowers_tl.models.pretrained import initial_weights, load_weights
from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.results.predictions import Predictions
from flowers_tl.results.terminal_tables import print_comparison
from flowers_tl.runs.record import RunFolder, head_of, read_result, validate_unused
from flowers_tl.runs.run_id import identify
from flowers_tl.training.divergence import Diverged
from flowers_tl.training.factory import (
    collect_predictions,
    describe_prefix,
    describe_run,
    make_model,
    prepare_features,
    set_up_data,
    with_frozen_prefix,
)
from flowers_tl.training.feature_data import FeatureDataModule
from flowers_tl.training.head_choices import Head, head_configs, validate_heads
from flowers_tl.training.trainer import log_predictions, make_trainer, quiet
from flowers_tl.training.validate import validate_balance
from flowers_tl.utils.notes import log
from flowers_tl.utils.phase_timer import PHASES

EVALUATED = 256  # images at a time: a product with all of them would need the features twice


def train_heads(config: dict[str, Any], folder: str | Path, data: ImageDataModule | None = None) -> dict[str, Any]:
    """Train, test and record all heads that ``config["heads"]`` asks for, each in a folder below ``folder``.

    A head begins with the weights, sees the batches and draws the dropout that a run with its config alone would: it
    ends with the same weights but for the rounding of a product that is batched differently. All seeds share the
    crops and flips of one (``cache.view_seed``, else the first seed), and their configs say so. ``data`` are of this
    config, where they are set up already.

    Returns:
        The folder's ``result.json``: names of the heads' folders, which is best on val, and that one's val scores.

    Raises:
        UserError: if more than the head would learn, or the config asks for what can't be done for many heads at once.
    """
    with torch.device("meta"):
        model = make_model(config, num_classes=2)
    validate_heads(config, model)
    validate_balance(config, model)
    data = data or set_up_data(config)
    with quiet(), RunFolder(folder, yaml.safe_dump(config, sort_keys=False), clock=data.clock) as run:
        own = identify(config, data)
        run.update(own)
        heads = [Head(name, head_config, [], {}) for name, head_config in head_configs(config)]
        # Finished by this very run before it was stopped: they stay as they are. What is another's is refused at once.
        kept = {head.name for head in heads if is_recorded(run.folder / head.name, own["id"])}
        for head in heads:
            if head.name not in kept:
                validate_unused(run.folder / head.name)
        model = initial_model(config, data)
        weights = initial_weights(config)
        load_weights(model.backbone, weights)
        trainer = make_trainer(config, run, model)
        seen = with_frozen_prefix(config, data, model, trainer, first_epoch=0)
        prepare_features(seen, "train", "val")
        with run.clock.timed("fit" if model.groups else "solve"):
            stack = fit(config, heads, model, seen, run) if model.groups else solve(config, heads, model, seen)
        measured = {}
        for split, phase in (("val", "fit"), ("test", "test")):
            if any(head.diverged is None for head in heads):
                prepare_features(seen, split)
                with run.clock.timed(phase):
                    measured[split] = evaluate(stack, seen, split)
                for head, found in zip(heads, measured[split][0], strict=True):
                    head.check(f"the {split} loss", found["loss"])
        shared = {"run": own["id"], "together": len(heads), "shared_views": config["heads"]["seeds"] > 1}
        seconds = {phase: run.clock.elapsed(phase) / len(heads) for phase in PHASES}
        for number, head in enumerate(heads):
            rates = {group.name: head.config["strategy"]["table"][0]["lr"] for group in model.groups}
            head.result |= describe_run(head.config, model, data, weights) | {
                "learning_rates": rates,
                "heads_of": shared,
            }
            head.result |= {"prefix": describe_prefix(seen), "proof": None}
            head.result |= {split: found[number] for split, (found, _) in measured.items() if head.diverged is None}
            head.result |= {key: own[key] for key in ("protocol", "weights_fingerprint")}
            answers = collect_predictions(data, {split: logits[number] for split, (_, logits) in measured.items()})
            if head.name not in kept:
                record(head, stack.state(number), answers, data.root, run.folder / head.name, seconds)
        run.update({"heads": [head.name for head in heads]})
        good = [head for head in heads if head.diverged is None]
        if not good:
            raise heads[0].diverged
        best = max(good, key=lambda head: head.result["val"]["accuracy"])
        run.update({"best_head": best.name, "val": best.result["val"]})
    runs, left_out = find_runs([run.folder / head.name for head in heads])
    groups, notes = group_runs(runs)
    print_comparison(groups)
    log.info("\n".join([*(f"Note: {note}" for note in [*left_out, *notes]), f"Folder of the heads: {run.folder}"]))
    return run.result


def is_recorded(folder: Path, own: str) -> bool:
    """Whether the folder holds a finished head of the run with this id."""
    result = read_result(folder)
    return head_of(result) == own and result["status"] == "finished"


def initial_model(config: dict[str, Any], data: ImageDataModule) -> TransferClassifier:
    """The network as a run with this config begins, but for the pretrained weights, which leave the head as it is."""
    torch.manual_seed(derive_seed(config["seed"]))
    return make_model(config, data.num_classes, data.class_names, data.class_weights)


def fit(
    config: dict[str, Any], heads: list[Head], model: TransferClassifier, seen: FeatureDataModule, run: RunFolder
) -> HeadStack:
    """Train all heads; fill in their histories."""
    columns = len(heads) // config["heads"]["seeds"]
    seeds = [head.config["seed"] for head in heads[::columns]]
    begun = [initial_model(head.config, seen.data).backbone for head in heads[::columns]]
    states = [network.network.get_submodule(network.final).state_dict() for network in begun]
    stack = HeadStack(model.backbone, [state for state in states for _ in range(columns)], columns, seen.device)
    rows = [head.config["strategy"]["table"][0] for head in heads]
    groups = [
        replace(model.groups[0], name=head.name, lr=row["lr"], weight_decay=row["weight_decay"])
        for head, row in zip(heads, rows, strict=True)
    ]
    optimizer = make_optimizer(list(zip(groups, stack.heads, strict=True)), config["optimizer"])
    labels, size = seen.labels("train").to(seen.device), seen.data.batch_size
    batches, epochs = math.ceil(len(labels) / size), config["trainer"]["max_epochs"]
    schedule = make_schedule(optimizer, config["scheduler"], epochs * batches, batches)
    weights = None if model.class_weights is None else model.class_weights.to(seen.device)
    samplers = [seen.data.sampler("train", shuffled=True, seed=seed) for seed in seeds]
    shown = track(
        range(epochs),
        f"Training {len(heads)} heads",
        transient=True,
        disable=not config["trainer"]["enable_progress_bar"],
    )
    for epoch in shown:
        orders, sums, used = [], [], []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            orders.append([index for _, index in sampler])
        order = torch.tensor(orders, device=seen.device)
        stack.seed(seeds, epoch)
        features = seen.outputs("train", seen.view(epoch), "head")
        loss, right = torch.zeros(len(heads), device=seen.device), torch.zeros(len(heads), device=seen.device)
        for batch in order.split(size, dim=1):
            inputs = features[batch.flatten().to(features.device)].float().unflatten(0, batch.shape)
            losses, hits = stack.backward(inputs, labels[batch], model.label_smoothing, weights)
            clip(stack, config["trainer"])
            used.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            sums.append(losses + stack.sums())
            schedule.step()
            loss, right = loss + losses * batch.shape[1], right + hits
        seconds = run.clock.elapsed("fit") / len(heads)
        sums = torch.stack(sums).tolist()
        for number, (head, val) in enumerate(zip(heads, evaluate(stack, seen, "val")[0], strict=True)):
            for batch, own in enumerate(sums):
                step, rate = epoch * batches + batch + 1, used[batch][number]
                head.check("the loss, the gradients or the weights", own[number], step, epoch, rate)
            head.check("the val loss", val["loss"], step, epoch, rate)
            if head.diverged is None:
                row = {"epoch": epoch, "step": step, f"lr/{model.groups[0].name}": float(f"{used[0][number]:.6g}")}
                train = {"loss": loss[number].item() / len(labels), "accuracy": right[number].item() / len(labels)}
                for split, found in (("train", train), ("val", val)):
                    row |= {f"{split}/{name}": round(value, 6) for name, value in found.items()}
                head.history.append(row | {"seconds": seconds})
        if all(head.diverged for head in heads):
            break
    return stack


def clip(stack: HeadStack, chosen: dict[str, Any]) -> None:
    """Clip each head's gradients as Lightning would those of its own run."""
    if chosen["gradient_clip_val"] is None:
        return
    by = clip_grad_value_ if chosen["gradient_clip_algorithm"] == "value" else clip_grad_norm_
    for parameters in stack.heads:
        by(parameters, chosen["gradient_clip_val"])


def solve(config: dict[str, Any], heads: list[Head], model: TransferClassifier, seen: FeatureDataModule) -> HeadStack:
    """Solve the head once for each weight decay."""
    train, val = seen.before_head("train", "centre", "mirrored"), seen.before_head("val", "centre")
    model.backbone.to(seen.device)
    final, states = model.backbone.network.get_submodule(model.backbone.final), []
    for head in track(
        heads, f"Solving {len(heads)} heads", transient=True, disable=not config["trainer"]["enable_progress_bar"]
    ):
        best, _ = solve_head(model.backbone, train, val, head.config["heads"]["weight_decay"], model.class_weights)
        head.result["solved_head"] = best.to_dict() | {"candidates": [best.to_dict()]}
        states.append({name: value.clone() for name, value in final.state_dict().items()})
    return HeadStack(model.backbone, states, len(heads), seen.device)


@torch.inference_mode()
def evaluate(stack: HeadStack, seen: FeatureDataModule, split: str) -> tuple[list[dict[str, float]], np.ndarray]:
    """Each head's accuracy, balanced accuracy and loss over a split, and its logits (heads, n, classes)."""
    features, labels = seen.outputs(split, "centre", "head"), seen.labels(split).to(seen.device)
    parts: list[Tensor] = [stack.logits(part.float()[None].to(seen.device)) for part in features.split(EVALUATED)]
    found, every = [], torch.cat(parts, dim=1)
    for logits in every:
        measured = scores(logits.shape[1], "accuracy", "balanced_accuracy").to(seen.device)(logits, labels)
        measured |= {"loss": cross_entropy(logits, labels)}
        found.append({name: round(value.item(), 6) for name, value in measured.items()})
    return found, every.cpu().numpy()


def record(
    head: Head, state: dict[str, Tensor], answers: Predictions, root: Path, folder: Path, seconds: dict[str, float]
) -> None:
    """Write a head's folder as its own run's; ``seconds`` are its equal part of all heads' seconds, by phase."""
    mine = RunFolder(folder, yaml.safe_dump(head.config, sort_keys=False))
    with suppress(Diverged), mine as own, own.clock.stopped():
        own.clock.seconds = dict(seconds)
        own.update(head.result)
        logger = TensorBoardLogger(own.folder, name="", version="", default_hp_metric=False)
        for row in head.history:
            own.append_history(row)
            logger.log_metrics({key: value for key, value in row.items() if "/" in key}, step=row["step"] - 1)
        if head.diverged:
            logger.finalize("failed")
            raise head.diverged
        answers.write(own.folder)
        log_predictions(logger.experiment, answers, root)
        logger.finalize("success")
        torch.save(state, own.folder / "head.pt")
