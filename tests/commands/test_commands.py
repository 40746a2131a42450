"""All commands are typed alike: key=value, --help, --version; and flowers-tl runs each of them as python -m does."""

import json
import os
import re
import resource
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from flowers_tl.__main__ import COMMANDS
from flowers_tl.cli.options import Option, read_options

# Runs each command with each flag in one process; prints what they print, and which modules were imported.
ALL = """
import contextlib, importlib, io, json, sys
names, texts = sys.argv[1:], {}
for name in names:
    for flag in ("--help", "--version"):
        sys.argv[1:] = [flag]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
            importlib.import_module(f"flowers_tl.{name}").main()
        texts[f"{name} {flag}"] = out.getvalue()
print(json.dumps([texts, list(sys.modules)]))
"""


@pytest.fixture(scope="module")
def printed() -> tuple[dict[str, str], list[str]]:
    """What all commands print with --help and --version; and the modules that this imports."""
    done = subprocess.run([sys.executable, "-c", ALL, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(entry: list[str], *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([*entry, *words], cwd=cwd, env=os.environ | environment, capture_output=True, text=True)


def options(name: str) -> list[Option]:
    """The options of a command that composes nothing."""
    (schema,) = (
        kind for key, kind in import_module(f"flowers_tl.{name}").main.__annotations__.items() if key != "return"
    )
    return read_options(schema)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_version_look_alike(printed, name):
    text = printed[0][f"{name} --help"]
    layout = rf"Usage: python -m flowers_tl\.{name} .*\n\n[A-Z](.+\n)+\n(Options|Examples):\n(.|\n)+\n  --version  +Show .*\n"
    assert re.fullmatch(layout, text)
    assert max(map(len, text.splitlines())) <= 110
    assert printed[0][f"{name} --version"] == f"flowers_tl {version('flowers_tl')}\n"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"train"}))
def test_every_option_says_what_it_means(name):
    for option in options(name):
        assert re.match(r"[A-Z`]|cpu|true:|false:", option.help), option.key


def test_help_of_train_has_every_choice_and_every_key(printed, config):
    text = printed[0]["train --help"]
    for group, choice in (
        ("strategy", "fine_tuning"),
        ("backbone", "resnet18"),
        ("data", "synthetic"),
        ("sweep", "data_size"),
    ):
        assert re.search(rf"^  {group}= [^=]*\b{choice}\b", text, re.MULTILINE)
    composed = config(["data=synthetic"])
    keys = [f"{part}.{key}" for part, inner in composed.items() if isinstance(inner, dict) for key in inner]
    keys += [key for key, inner in composed.items() if not isinstance(inner, dict)]
    listed = set(re.findall(r"^  ([\w.]+)(?: = |  |$)", text, re.MULTILINE))
    assert {key for key in keys if key != "strategy.table"} <= listed
    assert {"strategy.table.0.stage", "data.partition", "data.val_fraction"} <= listed
    assert "the last value counts" in text
    assert re.search(r"^  optimizer\.weight_decay = 0\.0  Weight decay", text, re.MULTILINE)
    assert text.count("\n  python -m flowers_tl.train ") == 3


def test_no_help_imports_what_takes_seconds(printed):
    assert not {"torch", "lightning", "optuna", "gradio", "matplotlib", "captum"} & set(printed[1])


def test_help_of_train_takes_less_than_two_seconds(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run([sys.executable, "-m", "flowers_tl.train"], "--help", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor's time: others may work on this machine.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 2


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"train"}))
def test_a_wrong_key_is_told_with_the_nearest_right_one(name, capsys):
    key = next(option.key for option in reversed(options(name)) if not option.words)
    for word, sentence in (
        (f"{key[:-1]}x=1", f"did you mean '{key}'"),
        (f"--{key}=1", f"use {key}=1 instead of --{key}"),
    ):
        with pytest.raises(SystemExit) as end:
            import_module(f"flowers_tl.{name}").main([word])
        assert end.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("Error: ")
        assert sentence in error
        assert error.count("\n") == 1


def test_of_a_key_of_train_that_is_named_twice_the_last_value_counts(run_command):
    done = run_command("train", "seed=1", "seed=2", "--cfg", "job")
    assert "\nseed: 2\n" in done.stdout


def test_a_closed_pipe_is_no_error(tmp_path):
    shell = f"{sys.executable} -m flowers_tl.train --help | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""
