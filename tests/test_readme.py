"""What the README tells a newcomer to type is understood."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import flowers_tl
from flowers_tl.config.schema import CONF

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text().replace("\\\n", " ")  # commands over several lines
COMMANDS = sorted(set(re.findall(r"^(?:\$ )?python -m flowers_tl\.train (.*?)(?: +#.*)?$", README, re.MULTILINE)))
ASKED = sorted(
    set(
        re.findall(
            r"^python -m flowers_tl\.(predict|evaluate|explain|export|serve) (.*?)(?: +#.*)?$", README, re.MULTILINE
        )
    )
)
TARGETS = sorted(set(re.findall(r"^(?:\$ )?make ([a-z-]+)", README, re.MULTILINE)))


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 5
    assert len({door for door, _ in ASKED}) >= 4
    assert {"demo", "test"} <= set(TARGETS)


def test_the_article_is_cited_where_it_is_spoken_of():
    documents = [README, flowers_tl.__doc__, (CONF / "experiment" / "article.yaml").read_text()]
    documents.append("".join(file.read_text() for file in (ROOT / "docs").glob("*.md")))
    cited = "Carlos Melo, «Transfer Learning with PyTorch: A Hands-On Guide», Sigmoidal, 2026"
    assert [text.count(cited) for text in documents] == [1, 1, 1, 1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_train_command_composes(config, command):
    overrides = [word for word in shlex.split(command) if not word.startswith("-") and "hydra." not in word]
    first_choices = [re.sub(r"=(\w+),.*", r"=\1", word) for word in overrides]
    assert config(first_choices)["strategy"]["name"]


@pytest.mark.parametrize(("door", "command"), ASKED)
def test_every_other_command_names_options_that_there_are(door, command, capsys):
    with pytest.raises(SystemExit) as end:
        import_module(f"flowers_tl.{door}").main(["--help"])
    assert end.value.code == 0
    known = set(re.findall(r"^  ([\w.]+)=", capsys.readouterr().out, re.MULTILINE))
    assert {word.partition("=")[0] for word in shlex.split(command)} <= known


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
