"""The benchmark measures what it says, and says what it measured."""

import json

import pytest
import torch

from benchmarks.benchmark import main
from benchmarks.measure import Bench
from benchmarks.speed_table import HEADER, speed_rows
from flowers_tl.data.registry import make_data
from flowers_tl.training.run import train


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that plain loop and framework both begin from."""
    from torchvision.models import resnet18

    torch.manual_seed(7)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(num_classes=5).state_dict(), file)
    return file


def test_every_command_is_measured_and_kept(tiny, weights, tmp_path, capsys):
    given = tiny(trainer__max_epochs=1, backbone__weights=weights)
    main(["strategies=feature_extraction", "sweep=2", f"folder={tmp_path / 'b'}", *given])
    kept = json.loads((tmp_path / "b" / "benchmark.json").read_text())
    found = {one["kind"]: one for one in kept["measured"]}
    assert list(found) == ["plain", "flowers_tl", "again", "sweep", "heads"]
    images = 3 * (4 + 2) + 3 * 3
    assert [one["pictures"] for one in found.values()] == [images] * 3 + [2 * images] * 2
    assert found["flowers_tl"]["phases"]["prefix"] > 0  # an empty cache
    assert found["again"]["phases"]["prefix"] == 0  # a full one
    assert found["heads"]["phases"]["prefix"] > 0
    assert all(one["seconds"] > 1 for one in found.values())
    assert {"processor", "cores", "memory_gb", "gpu"} == set(kept["machine"])
    written = (tmp_path / "b" / "benchmark.md").read_text()
    assert f"{2 * found['plain']['seconds'] / found['sweep']['seconds']:.1f}" in written
    assert "Speed, in seconds" in capsys.readouterr().out

    # Cut off before the last command, and begun again: only that is measured.
    file = tmp_path / "b" / "benchmark.json"
    file.write_text(json.dumps(kept | {"measured": kept["measured"][:-1]}))
    main(["strategies=feature_extraction", "sweep=2", f"folder={tmp_path / 'b'}", *given])
    again = json.loads(file.read_text())
    assert again["measured"][:-1] == kept["measured"][:-1]
    assert again["measured"][-1]["kind"] == "heads"
    assert "[4/4] heads" in (printed := capsys.readouterr().out)
    assert "[3/4]" not in printed


def test_a_folder_of_another_benchmark_is_refused(tiny, tmp_path, capsys):
    (tmp_path / "benchmark.json").write_text('{"overrides": ["other=1"], "measured": []}')
    with pytest.raises(SystemExit):
        main([*tiny(), f"folder={tmp_path}"])
    assert "holds no benchmark with these strategies" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plain_loop_learns_as_the_framework_does(config, tiny, drawings, weights, tmp_path):
    told = tiny(data__train_per_class=20, data__test_per_class=20, trainer__max_epochs=10, backbone__weights=weights)
    for strategy in ("feature_extraction", "fine_tuning"):
        (measured,) = Bench(tmp_path, told).measure("1", "plain", strategy, 0)
        result = train(config([f"strategy={strategy}", *told]), tmp_path / strategy)
        # Other random crops: the same only as far as 60 images tell.
        assert measured["test"] == pytest.approx(result["test"]["accuracy"], abs=0.25)
        assert measured["test"] > 0.4


def measured(kind, seconds, **more) -> dict:
    return {
        "kind": kind,
        "strategy": "feature_extraction",
        "seconds": seconds,
        "pictures": 100,
        "memory_gb": None,
    } | more


def test_ratios_are_those_of_the_means():
    kept = {"sweep": 20, "measured": [measured("plain", 90), measured("flowers_tl", 10, phases={"fit": 4}, test=0.5)]}
    kept["measured"] += [measured("plain", 110), measured("flowers_tl", 15, phases={"fit": 6}), measured("sweep", 40)]
    rows = {row[0]: dict(zip(HEADER, row, strict=True)) for row in speed_rows(kept)}
    ours = rows["feature_extraction, empty cache"]
    assert (ours["seconds"], ours["fit"], ours["test accuracy"], ours["times as fast"]) == (
        "12.5",
        "5.0",
        "50.0%",
        "8.0",
    )
    assert rows["sweep of 20 rates, empty cache"]["times as fast"] == "50.0"  # 20 plain runs would take 2,000 s
    assert rows["feature_extraction, plain loop"]["times as fast"] == ""


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["repeats=0"], "repeats must be at least 1"),
        (["trainer.max_epoch=1"], "did you mean 'trainer.max_epochs'"),
        (["quick"], "quick can't be read as key=value"),
        (["data.limit=0"], "data.limit=0 must be at least 1"),
        (["optimizer=sgd"], "optimizer=sgd has no part in a benchmark"),
        (["strategy=linear_probe"], "strategy=linear_probe has no part"),
        (["data.augmentation=trivial_augment"], "data.augmentation=trivial_augment has no part"),
        (["ckpt_path=last"], "ckpt_path=last has no part"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny, tmp_path, capsys, more, sentence):
    with pytest.raises(SystemExit) as stop:
        main([*tiny(), f"folder={tmp_path / 'b'}", *more])
    assert stop.value.code == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_strategies_are_named_with_commas_wherever_they_stand(tiny, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["strategies=fine_tuning,lp_ft", *tiny()])
    assert "'lp_ft' is none of feature_extraction, fine_tuning" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # the override after the names is one
        main(["strategies=fine_tuning", "data.limit=0", *tiny(), f"folder={tmp_path / 'b'}"])
    assert "data.limit=0 must be at least 1" in capsys.readouterr().err


def test_a_failing_command_is_told_and_nothing_is_overwritten(tiny, tmp_path, capsys):
    for sentence in ("nothing.pth is no file", "is there already"):
        with pytest.raises(SystemExit) as stop:
            main([f"folder={tmp_path / 'b'}", *tiny(backbone__weights="nothing.pth")])
        assert stop.value.code == 1
        assert sentence in capsys.readouterr().err


def test_a_limit_takes_images_from_all_over_the_split(config, tiny):
    whole, some = (make_data(config(tiny(data__limit=limit))) for limit in ("null", 6))
    for data in (whole, some):
        data.prepare_data()
        data.setup()
    assert some.sizes == {"train": 6, "val": 6, "test": 6}
    assert set(some.images["train"].labels) == {0, 1, 2}
    pairs = [list(zip(d.images["train"].files, d.images["train"].labels, strict=True)) for d in (whole, some)]
    assert pairs[1] == pairs[0][::2]
    assert some.describe("train", random=True) != whole.describe("train", random=True)
    assert len(some.in_order("train").dataset) == 6
