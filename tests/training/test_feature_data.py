"""Kept features give what a run without them gives, are computed once, and are never stale."""

import json

import pytest
import torch

from flowers_tl.data.cached import content_hash, decoded_images
from flowers_tl.data.cached.disk_cache import entries
from flowers_tl.training import feature_data as room
from flowers_tl.training.run import train
from flowers_tl.utils.errors import UserError

RESNET = {"trainer.max_epochs": 4, "backbone": "resnet18"}


@pytest.fixture
def run(config, tiny, tmp_path):
    """Train with overrides; return what was kept (entries by name), the result, and the final weights."""

    def trained(name: str, cache: str = "cache", **more):
        keys = RESNET | {"cache.dir": str(tmp_path / cache)} | {k.replace("__", "."): v for k, v in more.items()}
        result = train(config(tiny(**keys)), tmp_path / name)
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        return result, state

    def kept(cache: str = "cache") -> list[str]:
        """What is kept of images and features."""
        return sorted(e["what"] for e in entries(tmp_path / cache) if not e["folder"].name.startswith("contents-"))

    trained.kept = kept
    trained.folder = tmp_path
    return trained


@pytest.fixture
def passes(monkeypatch):
    """Count the images that pass a prefix."""
    counted = []
    call = room.FrozenPrefix.__call__

    def counting(self, images):
        counted.append(len(images))
        return call(self, images)

    monkeypatch.setattr(room.FrozenPrefix, "__call__", counting)
    return counted


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


# Networks whose features are smaller than the images, so that they are kept though each view is used once.
@pytest.mark.parametrize(
    ("strategy", "backbone"),
    [("feature_extraction", "resnet18"), ("fine_tuning", "mobilenet_v2"), ("gradual_unfreezing", "mobilenet_v2")],
)
def test_as_many_views_as_epochs_are_fresh_crops(run, strategy, backbone):
    """The same bits, whether features are kept, too large to be kept, or computed afresh in each epoch."""
    keys = {"strategy": strategy, "trainer__max_epochs": 7 if strategy == "gradual_unfreezing" else 4}
    keys |= {"backbone": backbone}
    result, kept = run("kept", cache__views=7, **keys)
    fresh_result, fresh = run("fresh", cache="other", cache__views="null", **keys)
    assert any("train, view 3" in what for what in run.kept())
    assert not any("train, view" in what for what in run.kept("other"))
    assert same(kept, fresh)
    assert result["test"] == fresh_result["test"]
    _, small = run("small", cache="small", cache__views=7, cache__max_gb=1e-9, **keys)
    assert same(kept, small)
    assert run.kept("small") == [] or all("decoded" in what for what in run.kept("small"))


@pytest.mark.parametrize("strategy", ["feature_extraction", "fine_tuning", "linear_probe", "knn", "side_probe"])
def test_without_any_cache_the_numbers_differ_by_rounding_alone(run, strategy):
    result, kept = run("kept", cache__views=4, strategy=strategy)
    plain_result, plain = run("plain", cache__enabled="false", strategy=strategy, cache="none")
    assert plain_result["prefix"] is None
    assert not (run.folder / "none").exists()
    for key, value in kept.items():
        torch.testing.assert_close(value, plain[key], rtol=2e-3, atol=2e-4, msg=key)
    for split in ("val", "test"):
        assert result[split]["loss"] == pytest.approx(plain_result[split]["loss"], abs=2e-3)


def test_views_are_taken_in_turn(run):
    _, two = run("two", cache__views=2)
    _, four = run("four", cache__views=4)
    assert not same(two, four)
    shown = [what for what in run.kept() if "train" in what and "decoded" not in what]
    assert [what.split(":")[0] for what in shown] == [f"synthetic, train, view {k} of seed 0" for k in range(4)]


def test_a_second_run_computes_nothing_and_gives_the_same(run, passes):
    first_result, first = run("first")
    images = sum(passes)
    assert images == 4 * 12 + 6 + 9
    second_result, second = run("second")
    assert sum(passes) == images
    assert same(first, second)
    assert first_result["test"] == second_result["test"]
    assert second_result["seconds"]["prefix"] == 0 == second_result["seconds"]["decode"]


@pytest.fixture
def counted(monkeypatch, wait):
    """A clock on which only what is kept takes time: 3 s to decode an image, 1 s to hash one, 5 s a pass of a prefix."""
    decode_all, hash_unknown, call = (
        decoded_images.decode_all,
        content_hash.hash_unknown,
        room.FrozenPrefix.__call__,
    )

    def decoding(*arguments):
        for image in decode_all(*arguments):
            wait(3)
            yield image

    def hashing(files, states, known, *arguments):
        wait(len({*states} - known.keys()))
        return hash_unknown(files, states, known, *arguments)

    def passing(self, images):
        wait(5)
        return call(self, images)

    monkeypatch.setattr(decoded_images, "decode_all", decoding)
    monkeypatch.setattr(content_hash, "hash_unknown", hashing)
    monkeypatch.setattr(room.FrozenPrefix, "__call__", passing)


def test_cold_seconds_do_not_depend_on_who_has_filled_the_cache(run, counted, monkeypatch):
    keys = {"backbone": "mobilenet_v2", "trainer__max_epochs": 1}
    alone, _ = run("alone", "empty", strategy="fine_tuning", **keys)
    # 27 images, and the prefix over a view of train, over val and test.
    assert alone["seconds"]["total"] == alone["seconds"]["cold"] == 27 * (3 + 1) + 3 * 5
    # Other features of the same images, so that these are found and the features are not.
    run("other", strategy="feature_extraction", **keys)
    beside, _ = run("beside", strategy="fine_tuning", **keys)
    again, _ = run("again", strategy="fine_tuning", **keys)
    assert (beside["seconds"]["total"], again["seconds"]["total"]) == (3 * 5, 0)
    assert beside["seconds"]["cold"] == again["seconds"]["cold"] == alone["seconds"]["cold"]
    costs = [{name: cost for name, cost in one["kept"].items() if name != "here"} for one in (alone, beside, again)]
    assert costs[0] == costs[1] == costs[2]
    assert len(costs[0]) == 3 + 2 + 3
    # A run that stops before its test and goes on counts what both parts have used once.
    with monkeypatch.context() as patch:
        patch.setattr("flowers_tl.training.run.test", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("stopped", "new", strategy="fine_tuning", **keys)
    stopped, _ = run("stopped", "new", strategy="fine_tuning", ckpt_path="last", **keys)
    assert stopped["seconds"]["total"] == stopped["seconds"]["cold"] == alone["seconds"]["cold"]
    assert {name: cost for name, cost in stopped["kept"].items() if name != "here"} == costs[0]


def test_without_a_cache_the_cold_seconds_are_the_total(run, wait):
    result, _ = run("one", cache__enabled="false", trainer__max_epochs=1)
    assert result["kept"] == {"here": 0}
    assert result["seconds"]["cold"] == result["seconds"]["total"]


def test_jobs_share_what_they_can(run, passes):
    _, state = run("source", cache="source")  # random weights would follow from the seed
    network = {key.removeprefix("backbone.network."): value for key, value in state.items() if "network" in key}
    torch.save(network, run.folder / "weights.pt")
    weights = {"backbone__weights": run.folder / "weights.pt"}
    run("first", **weights)
    before = sum(passes)
    run("rate", strategy__table__0__lr=1e-2, optimizer="sgd", data__batch_size=4, **weights)
    assert sum(passes) == before
    run("seed", seed=1, **weights)  # other crops, the same val and test
    assert sum(passes) == before + 4 * 12
    run("shared", seed=2, cache__view_seed=1, **weights)
    assert sum(passes) == before + 4 * 12
    run("probe", strategy="linear_probe", **weights)  # centre and mirrored train images; val and test are there
    assert sum(passes) == before + 4 * 12 + 2 * 12


@pytest.mark.parametrize(
    "change",
    [
        {"data__image_size": 48},
        {"cache__precision": "bf16"},
        {"data__augmentation": "trivial_augment"},
        {"data__flip": "none"},
        {"data__fit": "pad"},
        {"backbone__preprocessing": "{mean:[0.4,0.5,0.6]}"},
        {"backbone__weights": "other"},
        {"strategy": "fine_tuning"},
    ],
)
def test_what_is_changed_is_computed_anew(run, passes, change):
    weights = run.folder / "other.pt"
    if change == {"backbone__weights": "other"}:
        _, state = run("source", cache="source")
        network = {key.removeprefix("backbone.network."): value for key, value in state.items() if "network" in key}
        network["layer1.0.bn1.running_mean"][0] += 1e-3  # one number of a file
        torch.save(network, weights)
        first = {"backbone__weights": weights}
        run("first", **first)
        network["layer1.0.bn1.running_mean"][0] += 1e-3
        torch.save(network, weights)
        change = first
    else:
        run("first")
    del passes[:]
    _, again = run("second", **change)
    expected = 4 * 12 + 6 + 9
    if change.keys() & {"data__augmentation", "data__flip"}:
        expected = 4 * 12  # val and test are as they were
    assert sum(passes) == expected
    _, alone = run("alone", cache="alone", **change)
    assert same(again, alone)


def test_mixing_turns_the_kept_train_features_off_and_no_others(run):
    result, _ = run("mixed", regularisation="mixup")
    shown = [what for what in run.kept() if "decoded" not in what]
    assert [what.split(":")[0] for what in shown] == ["synthetic, test, centre", "synthetic, val, centre"]
    assert result["prefix"]["views"] is None


def test_batchnorm_that_follows_the_batches_leaves_no_prefix(run):
    result, _ = run("moving", strategy__frozen_batchnorm="train")
    assert result["prefix"] is None
    assert all("decoded" in what for what in run.kept())


def test_the_record_says_how_the_prefix_was_computed(run):
    result, _ = run("rough", cache__precision="bf16", cache__views=3, strategy="fine_tuning")
    assert result["prefix"] == {"stop": "layer4", "precision": "bf16", "views": 3, "view_seed": 0}
    assert json.loads((run.folder / "rough" / "result.json").read_text())["prefix"] == result["prefix"]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"cache__views": 0}, "cache.views=0 must be at least 1; null makes fresh crops"),
        ({"cache__view_seed": -1}, "cache.view_seed=-1 must be at least 0"),
        ({"cache__precision": "half"}, "cache.precision=half is unknown: Known: fp32, bf16"),
    ],
)
def test_choices_that_make_no_sense_are_refused(run, keys, sentence):
    with pytest.raises(UserError, match=sentence):
        run("refused", **keys)
    assert not (run.folder / "refused").exists()


def test_a_run_does_not_go_on_behind_other_weights(run, config, tiny):
    _, state = run("source", cache="source")
    network = {key.removeprefix("backbone.network."): value for key, value in state.items() if "network" in key}
    torch.save(network, run.folder / "weights.pt")
    keys = {"backbone__weights": run.folder / "weights.pt", "strategy": "fine_tuning"}
    run("one", trainer__max_epochs=2, **keys)
    network["conv1.weight"][0] += 1e-3
    torch.save(network, run.folder / "weights.pt")
    longer = config(tiny(**RESNET | {key.replace("__", "."): value for key, value in keys.items()}, ckpt_path="last"))
    with pytest.raises(UserError, match=r"started from other weights \(the frozen conv1.weight differs"):
        train(longer, run.folder / "one", named_keys=("trainer.max_epochs",))
