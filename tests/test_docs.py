"""What README and docs tell a newcomer to type is understood, what they link to is there, and their tables are the schema's."""

import importlib
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import generated_docs
import pytest

import flowers_tl
from flowers_tl.__main__ import COMMANDS
from flowers_tl.cli.options import parse_options
from flowers_tl.config.schema import CONF
from flowers_tl.data.image_formats import BOXED, ENDINGS, FORMATS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")
] + DOCS
# Commands over several lines are one; a comment follows two blanks.
TEXTS = {page: page.read_text().replace("\\\n", " ") for page in PAGES}
LINE = re.compile(r"^(?:\$ )?python -m (flowers_tl|benchmarks)\.(\w+) ?(.*?)(?: +#.*)?$", re.MULTILINE)
TYPED = sorted({match for text in TEXTS.values() for match in LINE.findall(text)})
TRAIN = [words for _, name, words in TYPED if name == "train" and "--help" not in words]
OTHERS = [(package, name, words) for package, name, words in TYPED if name not in ("train", "plain_loop")]
TARGETS = sorted(
    {name for text in TEXTS.values() for name in re.findall(r"^(?:\$ )?make ([a-z-]+)(?: +#.*)?$", text, re.MULTILINE)}
)
LINKS = sorted({(page, link) for page, text in TEXTS.items() for link in re.findall(r"\]\(([^)\s]+)\)", text)})
# A changelog names what was there before, too.
NAMES = sorted(
    {
        name
        for page, text in TEXTS.items()
        if page.name != "CHANGELOG.md"
        for name in re.findall(r"`(flowers_tl(?:\.\w+)+)", text)
    }
)


def test_the_commands_are_in_the_docs():
    assert len(TRAIN) >= 20
    assert {name for _, name, _ in OTHERS} >= {*COMMANDS} - {"train"} | {"benchmark"}
    assert {"demo", "test", "install"} <= set(TARGETS)


@pytest.mark.parametrize("words", TRAIN)
def test_every_train_command_composes(config, words):
    overrides = [
        word for word in shlex.split(words) if not word.startswith("-") and "=" in word and "hydra." not in word
    ]
    # Of a sweep's values the first, but not of a list's.
    first_values = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in overrides]
    assert config(first_values)["strategy"]["name"]


@pytest.mark.parametrize(("package", "name", "words"), OTHERS)
def test_every_other_command_is_understood(package, name, words):
    module = importlib.import_module(f"{package}.{name}")
    if "--help" in words:
        return
    (schema,) = (kind for key, kind in get_type_hints(module.main).items() if key != "return")
    options = parse_options(schema, shlex.split(words))
    if name == "search":
        pytest.importorskip("optuna", reason="needs pip install '.[search]' in a checkout of the project")
        from flowers_tl.tuning.search_space import read_space

        assert read_space(options.overrides).parameters


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_somewhere(page, link):
    if link.startswith(("http:", "https:")):
        return
    target, _, heading = link.partition("#")
    file = (page.parent / target).resolve() if target else page
    assert file.exists(), link
    if heading:
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}, link


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_package_is_there(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        return
    raise AssertionError(name)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_tables_of_keys_are_those_of_the_schema(page):
    text = page.read_text()
    assert text == generated_docs.generate(text), "make docs writes them again"


def test_every_key_is_in_a_table():
    listed = set(re.findall(r"^\| `([\w.]+)` \|", (ROOT / "docs" / "keys.md").read_text(), re.MULTILINE))
    assert {key for key, _, _ in generated_docs.list_keys()} <= listed


def test_the_image_formats_in_the_docs_are_those_that_are_read():
    security, data = (
        re.sub(r" (and|or) ", ", ", " ".join(TEXTS[ROOT / page].split())) for page in ("SECURITY.md", "docs/data.md")
    )
    formats = ", ".join([*FORMATS, *BOXED]).replace("HEIF", "HEIC")
    assert formats in security.upper()
    assert formats in data.upper()
    assert ", ".join(ENDINGS) in data


def test_the_article_is_cited_where_it_is_spoken_of():
    documents = [TEXTS[ROOT / "README.md"], flowers_tl.__doc__, (CONF / "experiment" / "article.yaml").read_text()]
    documents.append("".join(page.read_text() for page in DOCS))
    # In a paragraph the citation may run over two lines.
    cited = "Carlos Melo, «Transfer Learning with PyTorch: A Hands-On Guide», Sigmoidal, 2026"
    assert [" ".join(text.split()).count(cited) for text in documents] == [1, 1, 1, 1]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
