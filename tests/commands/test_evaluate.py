"""An evaluation finds what training measured: the same answers, the same loss, on any split and on other images."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from filelock import FileLock

from flowers_tl.data.exclusions import FIELDS
from flowers_tl.data.transforms import normalise
from flowers_tl.evaluate import main
from flowers_tl.inference.checkpoint import keep_temperature, load_trained
from flowers_tl.inference.evaluate import evaluate, evaluation_config, predict_splits
from flowers_tl.inference.predictor import Predictor
from flowers_tl.results.predictions import Predictions
from flowers_tl.training import feature_data as features
from flowers_tl.training.factory import set_up_data
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

STRATEGIES = {
    "fine_tuning": {},
    "gradual_unfreezing": {"trainer.max_epochs": 7},
    "full_fine_tuning": {"cache.enabled": "false"},
    "linear_probe": {},
}


def found(out):
    return json.loads((out / "evaluation.json").read_text())


def options(**chosen):
    defaults = {"split": "test", "calibrate": False, "conformal": None, "overrides": []}
    return defaults | chosen


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_answers_are_the_very_ones_that_training_measured(strategy, config, tiny, tmp_path):
    more = STRATEGIES[strategy]
    result = train(config(tiny(strategy=strategy, test_best="true", **more)), tmp_path / "run")
    for split in ("val", "test"):
        for name, reported in (("last", result), ("best", result.get("best"))):
            if not reported:
                continue
            out = tmp_path / f"{split}_{name}"
            evaluate(**options(ckpt=tmp_path / "run" / "checkpoints" / f"{name}.ckpt", split=split, out=out))
            own = found(out)
            assert own["scores"]["accuracy"] == pytest.approx(reported[split]["accuracy"], abs=1e-6)
            assert own["scores"]["loss"] == pytest.approx(reported[split]["loss"], abs=1e-6)
            assert own["reported_by_training"] == reported[split]
        kept, again = (Predictions.read(tmp_path / name).splits[split] for name in ("run", f"{split}_last"))
        assert np.array_equal(again.logits, kept.logits)
        assert again.images == kept.images


def test_images_that_an_audit_leaves_out_are_told(run_folder, tested, tmp_path, capsys):
    split, _ = tested
    wrong = split.logits.argmax(1) != split.labels
    image, other = split.images[int(wrong.argmax())], "jpg/of_train.jpg"
    (tmp_path / "audit.csv").write_text(f"{','.join(FIELDS)}\nexact,{other},{image},train,test,x,x,1\n")
    evaluate(run_folder, exclude=tmp_path / "audit.csv", out=tmp_path / "out")
    first, second = found(tmp_path / "out")["without_excluded"]
    assert first == f"1 of {len(wrong)} test images are left out by audit.csv: 1 with a copy in train."
    share = 100 * (1 - wrong.mean()), 100 * (1 - wrong.sum() / len(wrong)) * len(wrong) / (len(wrong) - 1)
    assert second.endswith(f"from {share[0]:.2f} % to {share[1]:.2f} %.")
    assert second in capsys.readouterr().out


def test_train_images_are_answered_as_they_are_once(config, tiny, tmp_path, monkeypatch):
    train(config(tiny(strategy="feature_extraction")), tmp_path / "run")
    passed, call = [], features.FrozenPrefix.__call__
    monkeypatch.setattr(
        features.FrozenPrefix, "__call__", lambda self, batch: passed.append(len(batch)) or call(self, batch)
    )
    for out, computed in (("out", 12), ("again", 0)):
        passed.clear()
        kept = [f"cache.dir={tmp_path / 'cache'}"]
        evaluate(**options(ckpt=tmp_path / "run", split="train", out=tmp_path / out, overrides=kept))
        assert sum(passed) == computed
        assert found(tmp_path / out)["reported_by_training"] is None
    trained = load_trained(tmp_path / "run")
    batches = set_up_data(trained.config | {"cache": trained.config["cache"] | {"enabled": False}}).in_order("train")
    with torch.inference_mode():
        expected = torch.cat([trained.model.eval()(normalise(images)) for images, _ in batches])
    logits = predict_splits(trained, trained.config, ["train"])[0].splits["train"].logits
    assert logits == pytest.approx(expected.numpy(), abs=1e-4)


def test_the_files_say_what_every_class_did(run_folder, tmp_path):
    evaluate(**options(ckpt=run_folder, out=tmp_path / "out"))
    own = found(tmp_path / "out")
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [row["class"] for row in own["classes"]]
    right = sum(round(row["recall"] * row["pictures"]) for row in own["classes"])
    assert right == own["scores"]["right"]
    with open(tmp_path / "out" / "confusion.csv", newline="") as file:
        matrix = np.array([row[1:] for row in list(csv.reader(file))[1:]], dtype=int)
    assert matrix.sum() == own["scores"]["pictures"]
    assert np.trace(matrix) == right
    with pytest.raises(UserError, match="is there already"):
        evaluate(**options(ckpt=run_folder, out=tmp_path / "out"))


def test_nothing_of_a_run_is_overwritten_and_a_refusal_changes_no_checkpoint(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    for more in (
        {"out": tmp_path / "run"},
        {"out": tmp_path / "a", "conformal": 0.001},
        {"out": None, "conformal": 0.0},
    ):
        with pytest.raises(UserError):
            evaluate(**options(ckpt=tmp_path / "run", calibrate=True, **more))
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before


def test_a_temperature_is_fitted_on_val_and_kept(run_folder, tmp_path, capsys):
    shutil.copytree(run_folder, tmp_path / "run")
    evaluate(**options(ckpt=tmp_path / "run", split="val", calibrate=True, out=tmp_path / "fitted"))
    own = found(tmp_path / "fitted")
    changed = (
        f"Changed: {tmp_path / 'run' / 'checkpoints' / 'last.ckpt'} has the temperature {own['temperature']:.3f} now"
    )
    assert changed in capsys.readouterr().out
    assert own["temperature"] != 1.0
    assert own["scores_with_temperature"]["loss"] < own["scores"]["loss"]
    assert own["scores_with_temperature"]["accuracy"] == own["scores"]["accuracy"]
    evaluate(**options(ckpt=tmp_path / "run", out=tmp_path / "later"))
    assert found(tmp_path / "later")["temperature"] == own["temperature"]
    assert "Changed" not in capsys.readouterr().out


def test_a_checkpoint_that_a_run_may_write_at_the_same_time_is_left_alone(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(UserError, match="Another process works on the run"):
        keep_temperature(load_trained(checkpoint), 2.0)
    assert checkpoint.read_bytes() == before
    keep_temperature(load_trained(checkpoint), 2.0)
    assert load_trained(checkpoint).temperature == 2.0


def test_what_is_written_to_the_folder_meanwhile_stays(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "flowers_tl.inference.evaluate.print_evaluation",
        lambda *_: ((tmp_path / "out").mkdir(), (tmp_path / "out" / "classes.csv").write_text("mine")),
    )
    with pytest.raises(UserError, match="is there already"):
        evaluate(**options(ckpt=run_folder, out=tmp_path / "out"))
    assert [file.read_text() for file in (tmp_path / "out").iterdir()] == ["mine"]


def test_sets_are_made_by_val_and_measured_on_test(run_folder, tmp_path, capsys):
    evaluate(**options(ckpt=run_folder, conformal=0.2, out=tmp_path / "out"))
    sets = found(tmp_path / "out")["prediction_sets"]
    assert sets["wanted"] == 0.8
    assert 0 <= sets["by_class"] <= 1
    assert 0 <= sets["size"] <= 3
    assert "average over" in capsys.readouterr().out


def test_other_images_are_matched_by_the_names_of_their_classes(config, tiny, tmp_path):
    train(config(tiny(**{"data.num_classes": 4})), tmp_path / "run")
    trained = load_trained(tmp_path / "run")
    root = trained.config["data"]["root"]
    words = [
        "data=synthetic",
        f"data.root={root}",
        "data.num_classes=2",
        "data.first_species=1",
        "data.test_per_class=3",
    ]
    split = predict_splits(trained, evaluation_config(trained, words), ["test"])[0].splits["test"]
    assert split.labels.tolist() == [1, 1, 1, 2, 2, 2]
    assert split.logits.shape == (6, 4)
    strange = evaluation_config(trained, [*words[:-2], "data.first_species=7"])
    with pytest.raises(UserError, match="no class drawn species 7"):
        predict_splits(trained, strange, ["test"])


def test_a_part_of_the_runs_own_images_can_be_named(run_folder):
    trained = load_trained(run_folder)
    changed = evaluation_config(trained, ["data.limit=2", "cache.enabled=false"])
    assert changed["data"] == trained.config["data"] | {"limit": 2}
    assert len(predict_splits(trained, changed, ["val"])[0].splits["val"].labels) == 2


def test_scores_of_training_stand_beside_those_of_the_same_images_alone(run_folder, tmp_path):
    for number, (words, beside) in enumerate(((["cache.enabled=false"], True), (["data.limit=2"], False))):
        evaluate(**options(ckpt=run_folder, overrides=words, out=tmp_path / str(number)))
        assert (found(tmp_path / str(number))["reported_by_training"] is not None) is beside


LAYOUTS = {  # folders of split, class and number of images: how many there are, and what is said of the test split
    "no splits": ({"": {"a": 1, "b": 2}}, 3, None),
    "no splits, more": ({"": {"a": 9, "b": 9}}, 18, "2 of 18 images were cut out and measured"),
    "test alone": ({"test": {"a": 2, "b": 1}}, 3, None),
    "all splits": ({"train": {"a": 2, "b": 1}, "val": {"a": 1, "b": 1}, "test": {"a": 1, "b": 3}}, 9, ""),
}


@pytest.fixture(scope="module")
def letters(config, tiny, tmp_path_factory):
    """A run whose classes are called a and b."""
    folder = tmp_path_factory.mktemp("letters") / "run"
    train(config(tiny(**{"data.num_classes": 2})), folder)
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"]["class_names"] = ["b", "a"]
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("cache", ["true", "false"])
def test_all_images_of_a_set_can_be_measured(layout, cache, letters, photos, tmp_path, capsys):
    splits, count, said = LAYOUTS[layout]
    for split, counts in splits.items():
        photos(counts, f"photos/{split}")
    words = ["data=folder", f"data.root={tmp_path / 'photos'}", f"cache.enabled={cache}"]
    evaluate(**options(ckpt=letters, split="all", overrides=words, out=tmp_path / "all"))
    with np.load(tmp_path / "all" / "predictions.npz") as kept:
        labels = dict(zip(kept["all_pictures"].tolist(), kept["all_labels"].tolist(), strict=True))
        logits = dict(zip(kept["all_pictures"].tolist(), kept["all_logits"], strict=True))
    assert labels == {
        file.relative_to(tmp_path / "photos").as_posix(): "ba".index(file.parent.name)
        for file in (tmp_path / "photos").rglob("*.jpg")
    }
    assert len(labels) == count == found(tmp_path / "all")["scores"]["pictures"]
    network = Predictor.load(letters, "cpu")
    own = network.logits(torch.stack([network.prepare(tmp_path / "photos" / name) for name in logits])).numpy()
    assert np.stack(list(logits.values())) == pytest.approx(own, abs=1e-4)
    capsys.readouterr()
    if said is None:
        with pytest.raises(UserError, match=r"too few for|to evaluate all images, use split=all"):
            evaluate(**options(ckpt=letters, overrides=words, out=tmp_path / "test"))
        return
    evaluate(**options(ckpt=letters, overrides=words, out=tmp_path / "test"))
    told = capsys.readouterr().err
    assert said in told
    assert ("split=all measures all" in told) is bool(said)


def test_all_images_are_no_val_to_fit_on(run_folder):
    with pytest.raises(UserError, match=r"conformal is fitted on val, .*: use split=test"):
        evaluate(**options(ckpt=run_folder, split="all", conformal=0.1, out=None))


def test_val_that_was_trained_on_is_told(config, tiny, tmp_path, capsys):
    train(config(tiny(**{"data.protocol": "trainval"})), tmp_path / "run")
    for number, word in enumerate(("data.protocol=trainval", "data.protocol=official")):
        evaluate(**options(ckpt=tmp_path / "run", split="val", overrides=[word], out=tmp_path / str(number)))
        assert "was trained on these val images too" in capsys.readouterr().err


def test_val_that_was_trained_on_calibrates_nothing(config, tiny, tmp_path):
    train(config(tiny(**{"data.protocol": "trainval"})), tmp_path / "run")
    with pytest.raises(UserError, match="this network was trained on val"):
        evaluate(**options(ckpt=tmp_path / "run", calibrate=True, out=None))


def test_the_command_says_what_it_found(run_folder, tmp_path, capsys):
    main([f"ckpt={run_folder}", f"out={tmp_path / 'out'}"])
    text = capsys.readouterr().out
    for words in ("of 9 images right", "balanced accuracy", "as trained", "Lowest recall", "evaluation.json"):
        assert words in text


@pytest.mark.real_data
def test_real_flowers_are_measured_as_in_training_and_sets_keep_their_promise(flowers_run, tmp_path):
    shutil.copytree(flowers_run, tmp_path / "run")
    evaluate(**options(ckpt=tmp_path / "run", calibrate=True, conformal=0.2, out=tmp_path / "out"))
    own, reported = found(tmp_path / "out"), load_trained(flowers_run).measured["test"]
    assert own["scores"]["right"] == round(reported["accuracy"] * 306)
    assert own["scores"]["loss"] == pytest.approx(reported["loss"], abs=1e-6)
    assert own["reported_by_training"] == reported
    assert own["scores"]["accuracy"] > 0.4
    assert own["scores"]["top5"] > own["scores"]["accuracy"]
    sets = own["prediction_sets"]
    # Of 306 the promised share itself varies by 2.3 points, and by as many since only 306 of val made the sets: four of both.
    assert abs(sets["marginal"] - 0.8) < 0.13
    assert 1 < sets["size"] < 51


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "ckpt is missing: ckpt=PATH"),
        (["ckpt=nowhere"], "ckpt=nowhere is not there"),
        (["split=tset"], "split=tset must be train or val or test or all"),
        (["ckpt={run}", "data=flwers"], "There is no data set 'flwers'"),
        (["ckpt={run}", "data.image_size=64"], "data.image_size can't differ from that of the network's training, 32"),
        (["ckpt={run}", "exclude=no.csv"], "exclude=no.csv can't be read"),
        (["ckpt={run}", "exclude=no.csv", "split=all"], "split=all has no others: use split=test"),
        (["ckpt={run}", "conformal=2"], "conformal=2.0 must lie between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence, run_folder, capsys):
    with pytest.raises(SystemExit) as end:
        main([word.replace("{run}", str(run_folder)) for word in words])
    assert end.value.code == 1
    text = capsys.readouterr().err
    assert sentence in text
    assert text.count("\n") == 1


def test_images_that_were_trained_on_are_told_under_another_root_too(run_folder, tmp_path, capsys):
    data = set_up_data(load_trained(run_folder).config)
    rows = [*zip(data.images["train"].files, data.images["train"].labels, strict=True)]
    rows += [*zip(data.images["test"].files, data.images["test"].labels, strict=True)][:2]
    for number, (file, label) in enumerate(rows):
        folder = tmp_path / "elsewhere" / data.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"{number}.jpg")
    words = ["data=folder", f"data.root={tmp_path / 'elsewhere'}"]
    evaluate(**options(ckpt=run_folder, split="all", out=tmp_path / "all", overrides=words))
    told = "the network was trained on {} of these {} images, so the scores are too good."
    assert told.format(12, 14) in capsys.readouterr().err
    evaluate(**options(ckpt=run_folder, split="train", out=tmp_path / "train"))
    assert told.format(12, 12) in capsys.readouterr().err
    evaluate(**options(ckpt=run_folder, split="test", out=tmp_path / "test"))
    assert "was trained on" not in capsys.readouterr().err


def test_one_class_alone_is_evaluated(run_folder, tmp_path):
    data = set_up_data(load_trained(run_folder).config)
    (tmp_path / "one" / data.class_names[2]).mkdir(parents=True)
    files = [
        file for file, label in zip(data.images["test"].files, data.images["test"].labels, strict=True) if label == 2
    ]
    for file in files:
        shutil.copy(file, tmp_path / "one" / data.class_names[2])
    words = ["data=folder", f"data.root={tmp_path / 'one'}"]
    evaluate(**options(ckpt=run_folder, split="all", out=tmp_path / "out", overrides=words))
    assert [row["pictures"] for row in found(tmp_path / "out")["classes"]] == [3]
