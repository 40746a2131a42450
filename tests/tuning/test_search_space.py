"""What a search may choose from: how it is read, and what is refused before anything runs."""

import pytest

from flowers_tl.search import main

pytest.importorskip("optuna", reason="needs pip install '.[search]' in a checkout of the project")
from flowers_tl.tuning.search_space import read_space

RATE = "strategy.table.0.lr=tag(log,interval(1e-5,1e-1))"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1,2,5", dict(choices=("1", "2", "5"))),
        ("optimizer=choice(adam,sgd)", dict(choices=("adam", "sgd"))),
        ("optimizer=glob(adam*)", dict(choices=("adam", "adamw"))),
        ("seed=range(1,10,3)", dict(low=1, high=7, step=3)),
        ("optimizer.weight_decay=range(0.1,0.35,0.1)", dict(low=0.1, high=0.3, step=0.1)),
        ("optimizer.weight_decay=interval(0,0.5)", dict(low=0.0, high=0.5)),
        ("trainer.max_epochs=int(interval(2,9))", dict(low=2, high=9)),
        (RATE, dict(low=1e-5, high=1e-1, log=True)),
    ],
)
def test_the_space_is_read_as_hydra_writes_sweeps(override, expected):
    space = read_space([override, "backbone=resnet34"])
    (distribution,) = space.parameters.values()
    for name, value in expected.items():
        assert getattr(distribution, name) == value
    assert space.fixed == ("backbone=resnet34",)


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("seed=1,1,5", [1, 5]),
        ("seed=range(10,1,-3)", [4, 7, 10]),
        ("optimizer.weight_decay=range(0.1,0.35,0.1)", [0.1, 0.2, 0.3]),
        ("trainer.max_epochs=int(interval(2,5))", [2, 3, 4, 5]),
        ("optimizer.weight_decay=interval(0.1,0.4)", None),
        (RATE, None),
    ],
)
def test_what_can_be_counted_has_no_end_only_where_numbers_lie_dense(override, values):
    untried = read_space([override]).untried([], most=4)
    if values is None:
        assert untried is None
        return
    ((key, _),) = untried[0].items()
    assert [float(combination[key]) for combination in untried] == values  # none a rounding beyond the end
    assert read_space([override]).untried([], most=len(values) - 1) is None
    left = read_space([override]).untried([[f"{key}={values[0]:.4g}"]], most=4)
    assert left == untried[1:]


BAD = [
    (["seed=0"], "There is nothing to search"),
    (["strategy=fine_tunin,feature_extraction"], "There is no strategy 'fine_tunin': did you mean 'fine_tuning'"),
    (["optimizer.weight_deca=0,1"], "There is no key 'optimizer.weight_deca': did you mean 'optimizer.weight_decay'"),
    (["trainer.max_epochs=interval(1.5,2.5)"], "trainer.max_epochs=1.5 must be a whole number"),
    (["optimizer.weight_decay=tag(log,interval(0,1))"], "must begin above 0"),
    (["optimizer.weight_decay=interval(1,0)"], "is empty: the first end must be the lower"),
    (["optimizer.weight_decay=tag(lot,interval(0,1))"], "there is no tag 'lot'"),
    (["optimizer.weight_decay=tag(log,choice(0,1))"], "tag(log,...) needs an interval"),
    (["seed=range(3,3)"], "holds no value"),
    (["seed=0,1", "hydra/launcher=parallel"], "has no effect on a search"),
    (["seed=0,1", "trainer.devices=2"], "trainer.devices can't be set in a search"),
    (["seed=0,1", "test_best=true"], "test_best can't be set in a search"),
    (["seed=0,1", "data.protocol=trainval"], "data.protocol can't be set in a search"),
    (["seed=0,1", "heads.seeds=3"], "heads can't be set in a search"),
    (["seed=0,1", "a=b=c"], "can't be read as key=value"),
    (["seed=0,1", "trials=0"], "trials=0 must be a whole number of at least 1"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_a_senseless_search_is_refused_in_one_sentence(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, f"folder={tmp_path / 's'}"])
    assert stop.value.code == 1
    errors = capsys.readouterr().err
    assert sentence in errors
    assert errors.startswith("Error: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "s").exists()
