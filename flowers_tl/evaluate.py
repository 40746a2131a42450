"""Measure a trained network on any split: ``python -m flowers_tl.evaluate ckpt=RUN split=test``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowers_tl.cli.options import Options, parse_bool
from flowers_tl.data.splits import SPLITS
from flowers_tl.utils.errors import UserError, exit_on_error
from flowers_tl.utils.files import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowers_tl.data.datamodule import ImageDataModule
    from flowers_tl.inference.checkpoint import TrainedModel

HELP = """Accuracy, loss, calibration and every class's part of a trained network, on a split of the images of its run, or of
others (data=... data.root=...). The answers are the very ones that training measured."""
SHOWN = 10  # classes in the terminal; the file has all


def main(arguments: list[str] | None = None) -> None:
    """Print what is measured, and write it."""
    options = Options("evaluate", HELP, overrides=("data", "cache"))
    options.add("ckpt", "a checkpoint, or a run's folder, whose last one is taken")
    options.add("split", "of the data; all: every image, however the set is split", "test", choices=(*SPLITS, "all"))
    calibrate = "true: fit a temperature on val, and keep it in the checkpoint for all who ask for probabilities"
    options.add("calibrate", calibrate, False, type=parse_bool, metavar="true|false")
    options.add(
        "conformal", "share of prediction sets that may miss the true class: measure such sets, made by val", type=float
    )
    options.add("out", "folder of the files; default: a new one in outputs")
    with exit_on_error():
        chosen = options.read(arguments)
        if chosen["ckpt"] is None:
            raise UserError("No network is named: ckpt=PATH.")
        evaluate(chosen)


def evaluate(chosen: dict[str, Any]) -> None:
    """Measure what the options say."""
    from flowers_tl.inference.calibration import fit_temperature
    from flowers_tl.inference.checkpoint import keep_temperature, load_trained
    from flowers_tl.inference.evaluate import predict_splits
    from flowers_tl.results.conformal import conformal_threshold, coverage, validate_alpha
    from flowers_tl.results.evaluation import Evaluation, print_evaluation, write_evaluation

    trained, split, alpha = load_trained(chosen["ckpt"]), chosen["split"], chosen["conformal"]
    if alpha is not None:
        validate_alpha(alpha)
    validate_new_folder(chosen["out"])
    config = evaluation_config(trained, chosen["overrides"])
    by_val = [key for key in ("calibrate", "conformal") if chosen[key]]  # a conformal of 0 was refused
    if by_val:
        validate_val_use(by_val[0], split, trained, config)
    found, data = predict_splits(trained, config, list(dict.fromkeys([*(["val"] if by_val else []), split])))
    val, own, temperature, sets = found.splits.get("val"), found.splits[split], trained.temperature, None
    if chosen["calibrate"]:
        temperature = fit_temperature(val.logits, val.labels)
    if alpha is not None:
        threshold = conformal_threshold(val.logits / temperature, val.labels, alpha)
        sets = coverage(own.logits / temperature, own.labels, threshold, alpha)
    measured = trained.record.get("protocol", {}).get("splits", {}).get(split)
    reported = trained.measured.get(split) if measured == data.fingerprints().get(split) else None
    for note in notes(trained, config, split, data, reported is not None):
        print(f"Note: {note}")
    result = Evaluation(trained.path, split, own, found.class_names, reported, temperature, sets)
    print_evaluation(result, SHOWN)
    validate_new_folder(chosen["out"])  # measuring takes minutes, in which another command may have written there
    write_evaluation(result, Path(chosen["out"]) if chosen["out"] else new_folder("evaluation"))
    if chosen["calibrate"]:  # last: an evaluation that fails leaves the checkpoint as it was
        keep_temperature(trained, temperature)


def validate_val_use(key: str, split: str, trained: "TrainedModel", config: "Mapping[str, Any]") -> None:
    """Raise UserError if what the option ``key`` asks for would be fitted on images that are no val of this network."""
    if split == "all":
        raise UserError(f"{key} is fitted on val, which split=all measures with all others: name split=test.")
    if trained_on_val(trained, config):
        raise UserError(f"{key} is fitted on val, which this network was trained on (data.protocol=trainval).")


def trained_on_val(trained: "TrainedModel", config: "Mapping[str, Any]") -> bool:
    """Whether these data's val images are among those that the network learned from."""
    same = all(config["data"][key] == trained.config["data"][key] for key in ("name", "root"))
    return same and trained.config["data"]["protocol"] == "trainval"


def notes(
    trained: "TrainedModel", config: "Mapping[str, Any]", split: str, data: "ImageDataModule", as_trained: bool
) -> "Iterator[str]":
    """What a reader of the scores should know of the images."""
    if not as_trained and split in trained.measured:
        yield f"these are not the {split} images that training measured."
    if split == "val" and trained_on_val(trained, config):
        yield "the network was trained on these val images too (data.protocol=trainval)."
    if not as_trained and split in data.cut:
        share = f"{data.sizes[split]:,} of {sum(data.sizes.values()):,} images"
        yield f"the set has no {split} of its own: measured are {share}, cut out of it; split=all measures all."


def validate_new_folder(out: str | Path | None) -> None:
    """Raise UserError if the folder holds anything, before anything is computed."""
    if out is None or not Path(out).exists():
        return
    if not Path(out).is_dir() or any(Path(out).iterdir()):
        raise UserError(f"out={out} is there already: name a new folder, so that nothing in it is lost.")


def evaluation_config(trained: "TrainedModel", overrides: list[str]) -> dict[str, Any]:
    """The config of the network's run, with what the command line says of data and cache.

    ``data=...`` takes other images, ``data.limit=...`` another part of the same.
    """
    from omegaconf import OmegaConf

    from flowers_tl.config.error_messages import COMPOSE_ERRORS, compose_config, explain_error

    config = trained.config
    if config is None:
        raise UserError(
            f"{trained.path} does not say on which images it was trained: put it back into its run's folder."
        )
    keys = [word.partition("=")[0] for word in overrides]
    if "data.image_size" in keys:
        size = trained.model.hparams.image_size
        raise UserError(f"data.image_size is the network's own, {size}, on which it was trained: leave it out.")
    chosen = [] if "data" in keys else [f"data={config['data']['name']}"]
    try:
        given = OmegaConf.to_container(compose_config("train", [*chosen, *overrides]), resolve=True)
    except COMPOSE_ERRORS as error:
        raise UserError(explain_error(error)) from error
    for key in keys:
        part, _, own = key.partition(".")
        config = config | {part: config[part] | {own: given[part][own]} if own else given[part]}
    return config | {"data": config["data"] | {"image_size": trained.model.hparams.image_size}}


if __name__ == "__main__":
    main()
