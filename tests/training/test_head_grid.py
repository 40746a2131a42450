"""Many heads in one run are what as many runs would have been."""

import json
import re
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from flowers_tl.results.load_runs import find_runs, group_runs
from flowers_tl.training.head_grid import train_heads
from flowers_tl.training.run import train

# Two products of single precision that are batched differently, over as many steps as here: see docs/speed.md.
TOLERANCE = 1e-4


@pytest.fixture
def small(config, tiny):
    """A function of overrides that returns a small run's config."""
    return lambda **more: config(tiny(**more))


@pytest.fixture
def weights(tmp_path):
    """A function of a backbone's name that returns a file of weights: all seeds begin from the same ones."""

    def saved(backbone: str) -> str:
        torch.manual_seed(7)
        torch.save(torchvision.models.get_model(backbone, num_classes=5).state_dict(), tmp_path / f"{backbone}.pth")
        return str(tmp_path / f"{backbone}.pth")

    return saved


def own_run(folder, to) -> tuple[dict, dict[str, torch.Tensor]]:
    """Result and head of the run that a head's own config describes."""
    result = train(yaml.safe_load((folder / "config.yaml").read_text()), to)
    if "heads" in result:  # a solved one
        return result, torch.load(to / result["best_head"] / "head.pt")
    state = torch.load(to / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return result, {name.removeprefix("backbone.network."): value for name, value in state.items()}


def rows(folder) -> list[list[float]]:
    header, *lines = (folder / "history.csv").read_text().split()
    wanted = [header.split(",").index(name) for name in ("lr/head", "train/loss", "train/accuracy", "val/loss", "step")]
    return [[float(line.split(",")[i]) for i in wanted] for line in lines]


@pytest.mark.parametrize(
    ("backbone", "more"),
    [
        ("resnet18", {"optimizer": "adamw", "heads.weight_decay": "[0.0,0.5]"}),
        ("mobilenet_v2", {"scheduler": "cosine", "heads.lr": "[0.01,0.03]"}),  # dropout before the final layer
        ("squeezenet1_1", {"trainer.gradient_clip_val": 0.1, "data.image_size": 64}),  # layers behind the final one
    ],
)
def test_each_head_ends_as_its_own_run(small, weights, tmp_path, backbone, more):
    more = {"heads.lr": "[0.01,0.001]", "heads.seeds": 2, "data.train_per_class": 13} | more
    more["backbone.weights"] = weights(backbone)
    asked = small(backbone=backbone, **more)
    found = train_heads(asked, tmp_path / "heads")
    assert len(found["heads"]) == (8 if "heads.weight_decay" in more else 4)
    ends = []
    for name in (found["heads"][0], found["heads"][1], found["heads"][-1]):
        folder = tmp_path / "heads" / name
        result, state = own_run(folder, tmp_path / name)
        head, ours = torch.load(folder / "head.pt"), json.loads((folder / "result.json").read_text())
        ends.append(torch.cat([value.flatten() for value in head.values()]))
        for key, value in head.items():
            torch.testing.assert_close(value, state[key], rtol=0, atol=TOLERANCE)
        for split in ("val", "test"):
            assert ours[split] == pytest.approx(result[split], abs=TOLERANCE)
        for key in ("learning_rates", "parameters", "data", "prefix", "seed", "epochs", "strategy"):
            assert ours[key] == result[key]
        for mine, theirs in zip(rows(folder), rows(tmp_path / name), strict=True):
            assert mine == pytest.approx(theirs, abs=TOLERANCE)
    apart = [(a - b).abs().max() for a, b in ((ends[0], ends[1]), (ends[0], ends[2]))]
    assert min(apart) > 10 * TOLERANCE, "heads that differ by nothing would pass this test whatever they were"


@pytest.mark.parametrize("strategy", ["linear_probe", "side_probe"])
def test_a_head_is_solved_for_each_weight_decay(small, tmp_path, strategy):
    asked = small(strategy=strategy, **{"heads.weight_decay": "[0.1,0.01]"})
    found = train_heads(asked, tmp_path / "heads")
    assert found["heads"] == ["weight_decay=0.1,seed=0", "weight_decay=0.01,seed=0"]
    norms = []
    for name in found["heads"]:
        _, state = own_run(tmp_path / "heads" / name, tmp_path / name)
        head = torch.load(tmp_path / "heads" / name / "head.pt")
        assert all(torch.equal(head[key], state[key]) for key in head)
        norms.append(head["fc.weight"].norm())
    assert norms[1] > 1.5 * norms[0]
    # The candidates of a run that solves for both and lets val choose.
    chosen = train(small(strategy=strategy), tmp_path / "chosen")["solved_head"]["candidates"]
    solved = json.loads((tmp_path / "heads" / found["heads"][1] / "result.json").read_text())["solved_head"]
    same = next(one for one in chosen if one["weight_decay"] == 0.01)
    assert solved["val_loss"] == pytest.approx(same["val_loss"], abs=TOLERANCE)


def test_every_head_is_a_row_of_the_comparison(small, weights, tmp_path):
    more = {"heads.seeds": 3, "trainer.max_epochs": 1, "backbone.weights": weights("resnet18")}
    asked = small(**{"heads.lr": "[0.01,0.1]"} | more)
    found = train(asked, tmp_path / "heads")  # by the same call as any run
    runs, notes = find_runs([tmp_path / "heads"])
    assert len(runs) == len(found["heads"]) == 6
    assert notes == []
    groups, notes = group_runs(runs)
    assert [len(group.runs) for group in groups] == [3, 3]
    assert len(notes) == 1
    assert "share their crops and flips" in notes[0]
    assert {json.dumps(run.result["prefix"]) for run in runs} == {json.dumps(runs[0].result["prefix"])}
    assert max(run.result["val"]["accuracy"] for run in runs) == found["val"]["accuracy"]
    whole = json.loads((tmp_path / "heads" / "result.json").read_text())["seconds"]
    for phase in ("fit", "prefix", "total", "cold"):
        equal = {run.result["seconds"][phase] for run in runs}
        assert len(equal) == 1
        assert 6 * equal.pop() <= whole[phase] + 0.1  # the records are written after the parts are known
    # Equal parts of what all took without the cache: those of the entries too.
    kept = json.loads((tmp_path / "heads" / "result.json").read_text())["kept"]
    for run in runs:
        assert run.result["kept"].keys() == kept.keys()
        assert all(6 * cost == pytest.approx(kept[name], abs=0.01) for name, cost in run.result["kept"].items())
    assert sum(run.result["seconds"]["fit"] for run in runs) == pytest.approx(whole["fit"], abs=0.1)
    assert list((tmp_path / "heads" / found["best_head"]).glob("events.out.tfevents*"))
    record = json.loads((tmp_path / "heads" / "result.json").read_text())
    assert "best" not in record  # which holds scores, in a run of one network
    documented = set(re.findall(r"`([\w.]+)`", (Path(__file__).parents[2] / "docs" / "runs.md").read_text()))
    assert {"head.pt", *record, *runs[0].result} <= documented
    record["best"] = record.pop("best_head")  # as earlier versions wrote it
    (tmp_path / "heads" / "result.json").write_text(json.dumps(record))
    assert len(find_runs([tmp_path / "heads"])[0]) == 6
