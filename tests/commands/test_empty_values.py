"""An empty value is refused by every command before anything is written: as a path it would be a folder nobody named."""

from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

import flowers_tl
from benchmarks import benchmark
from flowers_tl import compare, evaluate, explain, export, predict, search, serve, train
from flowers_tl.exporting.export import export as export_to
from flowers_tl.training.run import train as train_into
from flowers_tl.training.run_once import train_once
from flowers_tl.utils.errors import UserError


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run a command's main in an empty working directory; return exit code and errors, and check that it stays empty."""

    def run(module, words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [module.__name__, *words])
        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", lambda folder, *_, **__: pytest.fail(f"{folder.absolute()} is made"))
            with pytest.raises(SystemExit) as end:
                module.main()
        assert not list(tmp_path.iterdir())
        return end.value.code, capsys.readouterr().err

    yield run
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    ("module", "words", "key"),
    [
        (train, ["runs="], "runs"),
        (train, ["runs=' '"], "runs"),
        (train, ["runs=${oc.env:NO_SUCH_FOLDER,''}"], "runs"),
        (train, ["hydra.run.dir="], "hydra.run.dir"),
        (train, ["cache.dir="], "cache.dir"),
        (train, ["data.root="], "data.root"),
        (train, ["ckpt_path="], "ckpt_path"),
        (train, ["backbone.weights="], "backbone.weights"),
        (train, ["-m", "seed=0,1", "runs="], "runs"),
        (train, ["-m", "seed=0,1", "hydra.sweep.dir="], "hydra.sweep.dir"),
        (train, ["-m", "seed=0,1", "hydra.sweep.subdir="], "hydra.sweep.subdir"),
        (train, ["-m", "runs=here,''"], "runs"),
        (search, ["seed=0,1", "runs="], "runs"),
        (search, ["seed=0,1", "folder="], "folder"),
        (benchmark, ["folder="], "folder"),
        (benchmark, ["cache.dir="], "cache.dir"),
        (compare, [""], "FOLDER"),
        (compare, ["RUN", "out="], "out"),
        (compare, ["RUN", "report="], "report"),
        (evaluate, ["ckpt=RUN", "out="], "out"),
        (evaluate, ["ckpt=RUN", "cache.dir="], "cache.dir"),
        (evaluate, ["ckpt="], "ckpt"),
        (predict, ["ckpt=RUN", "images=x", "figure="], "figure"),
        (explain, ["ckpt=RUN", "images=x", "figure="], "figure"),
        (export, ["ckpt=RUN", "out="], "out"),
        (serve, ["ckpt=RUN", "host="], "host"),
    ],
)
def test_every_command_refuses_an_empty_value(command, run_folder, module, words, key, tiny):
    words = [word.replace("RUN", str(run_folder)) for word in words]
    if module in (train, search):
        words += [word for word in tiny() if word.partition("=")[0] not in {word.partition("=")[0] for word in words}]
    code, errors = command(module, words)
    assert code == 1
    assert errors == f"Error: {key}= is empty: give it a value, or leave it out.\n"


def test_so_do_functions(config, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = config(tiny())
    for call in (
        lambda: flowers_tl.load(""),
        lambda: train_into(chosen | {"runs": ""}, tmp_path / "run"),
        lambda: train_into(chosen, ""),
        lambda: train_once(chosen | {"runs": ""}, tmp_path / "run"),
        lambda: train_once(chosen | {"cache": chosen["cache"] | {"dir": ""}}, tmp_path / "run"),
        lambda: export_to(None, ""),
    ):
        with pytest.raises(UserError, match=r"= is empty"):
            call()
    assert not list(tmp_path.iterdir())
