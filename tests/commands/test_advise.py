"""advise on drawn flowers: what can't be decided is refused in a sentence; tests/advising has the races."""

import pytest

from flowers_tl.advise import main


@pytest.fixture
def words(tiny, resnet18_weights, tmp_path):
    """What the command gets besides its folder."""
    data = {"data.num_classes": 3, "data.train_per_class": 10, "data.val_per_class": 10, "data.test_per_class": 10}
    keys = tiny(backbone__weights=resnet18_weights, runs=tmp_path / "runs", trainer__max_epochs=2, **data)
    return [*keys, "strategy=linear_probe,from_scratch"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("budget=soon", "budget=soon is no time: write 90s, 30m or 1h30m."),
        ("budget=0m", "is no time"),
        ("budget=1s", "One pass of the images through resnet18 takes about"),
        ("matters=-1", "matters=-1.0 must be a difference in points"),
        ("backbone=[{weights: w}]", "names no backbone"),
        ("data.val_per_class=1", "3 val images can't decide anything"),
        ("data.num_classes=1", "class"),
        ("~strategy", "~strategy leaves strategy without a value: give it one, as in strategy=fine_tuning"),
        ("strategy={}", "strategy={} leaves strategy without a value"),
        ("config_dir=nowhere", "config_dir=nowhere is no folder"),
        ("seed=0,1", "seed=0,1 has several values, and all runs here share one: give one. Seeds are chosen here"),
    ],
)
def test_what_can_not_be_decided_is_refused_in_a_sentence(option, sentence, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("flowers_tl.advising.race.seconds_by_stage", lambda features: {"stem": 0.1})
    with pytest.raises(SystemExit):
        main(
            [
                *(word for word in words if word.partition("=")[0] != option.partition("=")[0]),
                option,
                f"out={tmp_path / 'out'}",
            ]
        )
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
